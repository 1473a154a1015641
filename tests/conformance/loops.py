"""Each case runs on every kind of loop that we promise to work on."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop


def _eager() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    return loop


def _debug() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 60  # a crowded machine is not what is tested
    return loop


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "stock": asyncio.new_event_loop,
    "debug": _debug,
    "uvloop": uvloop.new_event_loop,
}
if sys.version_info >= (3, 12):
    LOOPS["eager"] = _eager


def on_each_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test on the stock loop, in debug mode too, on uvloop, and with eager tasks where they exist."""

    @functools.wraps(test)
    def run(loop_name: str, **arguments: Any) -> None:
        with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
            runner.run(asyncio.wait_for(test(**arguments), 20))

    own = list(inspect.signature(test).parameters.values())
    loop = inspect.Parameter("loop_name", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = inspect.Signature([loop, *own])  # type: ignore[attr-defined]
    del run.__wrapped__  # type: ignore[attr-defined]  # pytest would look at the inner one's arguments
    return pytest.mark.parametrize("loop_name", list(LOOPS))(run)


async def turns(count: int = 20) -> None:
    """Let everybody run who can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def assert_blocks(waiting: Awaitable[Any]) -> None:
    """Hold that what is awaited does not come."""
    task = asyncio.ensure_future(waiting)
    await turns()
    assert not task.done(), f"expected it to block, but it ended with {task!r}"
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
