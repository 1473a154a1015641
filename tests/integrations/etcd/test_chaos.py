"""Members are killed, hung and brought back under a writer, a watcher and a lease."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from backstay import Scope
from backstay.integrations.etcd import (
    EtcdClient,
    EtcdUnavailable,
    EtcdUnsure,
    LiveConfig,
    Watch,
)

pytestmark = [pytest.mark.slow, pytest.mark.real_loop]


# One thread for the life of this process: a server ends with the thread that has started it.
HANDS = ThreadPoolExecutor(1)


async def aside(work: Callable[[], object]) -> None:
    """Strike or heal members while the loop goes on."""
    await asyncio.get_running_loop().run_in_executor(HANDS, work)


@dataclass
class Log:
    """What a run has seen."""

    acked: dict[str, int] = field(default_factory=dict)
    unsure: list[str] = field(default_factory=list)
    gap: float = 0.0
    told: list[tuple[int, str]] = field(default_factory=list)


def endpoints_from(cluster: Any, first: Any) -> list[str]:
    """Put the member first that will be struck, so that the client stands with it."""
    return sorted(cluster.endpoints, key=lambda one: not one.endswith(f":{first.port}"))


async def write(etcd: EtcdClient, log: Log, end: asyncio.Event) -> None:
    """Put one key after the other, and note what became of each."""
    last, number = time.monotonic(), 0
    while not end.is_set():
        key = f"w/{number:06}"
        number += 1
        try:
            log.acked[key] = await etcd.put(key, b"x", timeout=1.0)
        except EtcdUnsure:
            log.unsure.append(key)
            continue
        except EtcdUnavailable:
            continue
        log.gap = max(log.gap, time.monotonic() - last)
        last = time.monotonic()
        await asyncio.sleep(0.005)


async def read(events: Watch, log: Log) -> None:
    """Note what the watch tells."""
    async for event in events:
        log.told.append((event.revision, event.key))


async def history(cluster: Any, until: int) -> list[tuple[int, str]]:
    """Return what really happened, as a healthy cluster tells it."""
    found: list[tuple[int, str]] = []
    async with EtcdClient(cluster.endpoints) as etcd, etcd.watch("w/", revision=1) as events:
        async for event in events:
            found.append((event.revision, event.key))
            if event.revision >= until:
                return found
    return found


@contextlib.asynccontextmanager
async def struck(cluster: Any, victim: Any, how: str) -> Any:
    """Strike a member, let the others go on for four seconds, and heal it."""
    await asyncio.sleep(1.5)
    if how == "hang":
        victim.send(signal.SIGSTOP)
    else:
        await aside(victim.kill)
    try:
        await asyncio.sleep(4)
        yield
    finally:
        await aside(cluster.heal)


@pytest.mark.parametrize("how", ["kill", "hang"])
@pytest.mark.parametrize("who", ["leader", "follower"])
async def test_no_event_is_missed_and_no_lease_is_lost(cluster: Any, who: str, how: str) -> None:
    """Whoever is struck: the watch tells each revision once, what was acknowledged is there, writes go on."""
    leader = cluster.leader()
    victim = leader if who == "leader" else next(n for n in cluster.nodes if n is not leader)
    log, end = Log(), asyncio.Event()
    endpoints = endpoints_from(cluster, victim)
    async with EtcdClient(endpoints) as etcd, EtcdClient(endpoints) as watching:
        await etcd.delete_prefix("w/", timeout=2)
        async with (
            watching.watch("w/") as events,
            watching.lease(8) as lease,
            Scope("run", on_exit="cancel") as scope,
        ):
            await watching.put("alive", b"", lease=lease.id)
            writer = scope.go(write, etcd, log, end)
            scope.go(read, events, log)
            async with struck(cluster, victim, how):
                pass
            await asyncio.sleep(1.0)
            end.set()
            await writer
            last = await etcd.put("w/last", b"", timeout=2)
            async with asyncio.timeout(5):
                while not log.told or log.told[-1][0] < last:
                    await asyncio.sleep(0.01)
            assert lease.alive
            assert await watching.get("alive") is not None
        first = log.told[0][0]
        true = [(rev, key) for rev, key in await history(cluster, last) if rev >= first]
    assert log.told == true
    assert {(rev, key) for key, rev in log.acked.items()} <= set(true)
    print(
        f"\n{who} {how}: {len(log.acked)} acknowledged, {len(log.unsure)} unsure, {len(log.told)} told, "
        f"gap {log.gap:.2f} s, reopened {events.reopened}, lease gap {lease.longest_gap:.2f} s"
    )
    assert len(log.acked) > 200
    assert len(log.unsure) <= 8
    assert log.gap < 6


async def test_all_members_restarted_one_after_the_other(cluster: Any) -> None:
    """A rolling restart: what the configuration said last is what everybody reads."""
    async with EtcdClient(cluster.endpoints, timeout=8) as etcd:
        await etcd.put("config/n", b"0")
        async with LiveConfig(etcd, "config/n", parse=int) as config:
            for number, node in enumerate(cluster.nodes, 1):
                await aside(node.kill)
                await aside(cluster.heal)
                with contextlib.suppress(EtcdUnsure):
                    await etcd.put("config/n", str(number).encode())
                await etcd.put("config/n", b"not a number")
            written = await etcd.put("config/n", b"42")
            async with asyncio.timeout(8):
                while config.statistics().revision < written:
                    await asyncio.sleep(0.02)
            assert config.current == 42
            assert config.statistics().rejected == 3


async def test_without_a_majority_writes_fail_in_time_and_the_configuration_stays(
    cluster: Any,
) -> None:
    """Two of three are away: calls end when they should; when a second is back, all goes on."""
    async with EtcdClient(cluster.endpoints, timeout=1.5) as etcd:
        await etcd.put("config/n", b"7")
        async with LiveConfig(etcd, "config/n", parse=int) as config:
            for node in cluster.nodes[:2]:
                await aside(node.kill)
            for _ in range(3):
                began = time.monotonic()
                with pytest.raises((EtcdUnavailable, EtcdUnsure)):
                    await etcd.put("config/n", b"8")
                assert time.monotonic() - began < 2
            assert config.current == 7
            await aside(cluster.heal)
            await etcd.put("config/n", b"9")
            async with asyncio.timeout(8):
                while config.current != 9:
                    await asyncio.sleep(0.02)
