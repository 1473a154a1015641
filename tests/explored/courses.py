"""What explored scenarios have in common: work that runs at once, and a step that lets others in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from backstay.sync._wake_queue import wake_queue

__all__ = ["step", "together"]


async def together(
    *work: Awaitable[Any], legal: type[BaseException] | tuple[type[BaseException], ...] = ()
) -> list[Any]:
    """Run all of it as tasks, and return how each ended.

    Args:
        *work: what runs at once.
        legal: errors with which work may end; being cancelled always is a legal course.

    Raises:
        Exception: of the first that ended with another one.
    """
    wake_queue().wakes_per_turn = 0  # each wake-up a handle of its own: every order can be tried
    tasks = [asyncio.ensure_future(part) for part in work]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, legal):
            raise result
    return results


async def step() -> None:
    """Let somebody else come in between."""
    await asyncio.sleep(0)
