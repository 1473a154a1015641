"""A recorder of each kind on a loop of each kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from backstay._base import accelerated
from backstay.observe.recorder import Recorder
from backstay.tasks import install

Run = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine function on a loop that is tracked."""
    factory = asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop

    def go(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        async def tracked() -> Any:
            install()
            return await main()

        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(tracked())

    return go


@pytest.fixture(params=["pure", "accelerated"])
def make(request: pytest.FixtureRequest) -> Callable[..., Recorder]:
    """Make a recorder, in Python or in C."""
    pure = request.param == "pure"
    if not pure and accelerated() is None:
        pytest.skip("the C extension is not built, or not wanted")

    def recorder(**options: Any) -> Recorder:
        return Recorder(pure=pure, **options)

    return recorder
