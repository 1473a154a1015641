"""A service under many schedules: whatever order its parts take, needs are respected and nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from backstay.lifecycle import Service

NEEDS = {"db": (), "bus": (), "http": ("db", "bus"), "jobs": ("bus",)}


class Books:
    """Who is up; a part that needs another checks that it is there."""

    def __init__(self) -> None:
        self.up: set[str] = set()
        self.ever: set[str] = set()

    def part(
        self, name: str, fails: bool = False
    ) -> Callable[[], AbstractAsyncContextManager[None]]:
        @asynccontextmanager
        async def component() -> AsyncIterator[None]:
            assert set(NEEDS[name]) <= self.up
            await asyncio.sleep(0.001)
            if fails:
                raise ConnectionError(name)
            self.up.add(name)
            self.ever.add(name)
            try:
                yield
                await asyncio.sleep(0.001)
            finally:
                assert set(NEEDS[name]) <= self.up
                self.up.discard(name)

        return component


def built(books: Books, fails: str = "") -> Service:
    service = Service("s", grace=10)
    for name, needs in NEEDS.items():
        service.add(name, books.part(name, name == fails), needs=needs, budget=5)
    return service


@pytest.mark.explore(schedules=10_000, quick=300)
@pytest.mark.parametrize("at", [0.0, 0.001, 0.002, 0.003])
async def test_it_goes_down_in_order_when_it_is_told_and_cancelled_at_once(at: float) -> None:
    """Nobody is up without whom it needs, and nobody is up at the end."""
    books = Books()
    service = built(books)
    running = asyncio.ensure_future(service.run())

    async def stop() -> None:
        await asyncio.sleep(at)
        service.stop()

    async def cancel() -> None:
        await asyncio.sleep(at)
        running.cancel()

    await asyncio.gather(stop(), cancel(), running, return_exceptions=True)
    assert running.done()
    assert service.record().exit_code == 0
    # A cancel may come before its first step, or after its last one.
    assert service.state == "exited" if books.ever else service.state in ("new", "exited")
    assert books.up == set()


@pytest.mark.explore(schedules=10_000, quick=400)
async def test_a_start_that_fails_takes_everybody_down() -> None:
    """Whoever had started has stopped, and what needs the one that failed never began."""
    books = Books()
    service = built(books, fails="bus")
    with pytest.raises(Exception, match="bus"):
        await service.run()
    assert books.up == set()
    assert not books.ever & {"http", "jobs"}
