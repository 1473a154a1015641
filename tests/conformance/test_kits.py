"""The conformance kits on asyncio's own parts, and on ours."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Iterator
from typing import Any

import pytest

from backstay.testing.conformance import ChannelKit, Check, LockKit

# The kits are below sync and channels in age, not in layer: what is missing is left out by name.
# With eight checks or more to a primitive, more than 20,000 schedules for each.
FULL = os.environ.get("BACKSTAY_SCHEDULES") == "full"


def part(module: str, name: str) -> Any:
    """Return one of our own parts."""
    return getattr(importlib.import_module(module), name)


def kits() -> Iterator[tuple[str, LockKit | ChannelKit]]:
    """Yield everything that a kit fits, with its name."""
    yield "asyncio.Lock", LockKit(asyncio.Lock)
    yield "asyncio.Semaphore", LockKit(lambda: asyncio.Semaphore(2), places=2)
    yield (
        "asyncio.Queue",
        ChannelKit(asyncio.Queue, send=lambda q, item: q.put(item), receive=lambda q: q.get()),
    )
    mutex = part("backstay.sync", "Mutex")
    yield "Mutex", LockKit(mutex, lambda m: m.lock(), lambda m: m.unlock())
    semaphore = part("backstay.sync", "Semaphore")
    yield "Semaphore", LockKit(lambda: semaphore(2), places=2)
    rwmutex = part("backstay.sync", "RWMutex")
    yield (
        "RWMutex.write",
        LockKit(lambda: rwmutex().write, lambda side: side.lock(), lambda side: side.unlock()),
    )
    channel = part("backstay.channels", "Channel")
    closed = part("backstay.errors", "ChannelClosed")
    yield (
        "Channel",
        ChannelKit(channel, close=lambda c: c.close(), closed=closed, capacities=(0, 1, 2, 5)),
    )
    yield (
        "shared-Channel",
        ChannelKit(
            lambda capacity: channel(capacity, shared=True),
            close=lambda c: c.close(),
            closed=closed,
            capacities=(0, 1, 2),
        ),
    )


CHECKS = [
    pytest.param(check, id=f"{name}-{check}") for name, kit in kits() for check in kit.checks()
]


@pytest.mark.parametrize("check", CHECKS)
def test_conforms(check: Check) -> None:
    """Each check holds under every schedule that is tried."""
    seen = check.run(schedules=4_000 if FULL else 150)
    assert seen.schedules
