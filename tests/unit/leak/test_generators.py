"""Async generators that nobody goes on with are told; those that somebody may go on with are not."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from backstay.leak import report
from backstay.leak._looks import looks_of

KEPT: list[object] = []


async def rows() -> AsyncGenerator[int]:
    for number in range(100):
        yield number  # here


@asynccontextmanager
async def connection() -> AsyncIterator[int]:
    yield 1


async def first_of(source: AsyncGenerator[int]) -> None:
    async for _ in source:
        break


async def abandon(count: int) -> None:
    for _ in range(count):
        source = rows()
        KEPT.append(source)
        await first_of(source)


async def two_looks() -> list[tuple[str, int]]:
    """Look twice, from a loop on which nothing iterates meanwhile."""
    report()
    await asyncio.sleep(30)
    return [(one.function, one.count) for one in report().generators]


async def close_kept() -> None:
    for source in KEPT:
        await source.aclose()  # type: ignore[attr-defined]
    KEPT.clear()


async def test_generators_that_were_left_at_a_yield_are_told() -> None:
    """Function, where it is defined, the line of the yield, how many, for how long."""
    await abandon(3)
    report()
    assert report().generators == ()  # one look says nothing
    await asyncio.sleep(60)
    (found,) = report().generators
    assert (found.function, found.count, found.seen_for_s) == ("rows", 3, 60.0)
    line = rows.__code__.co_firstlineno
    assert found.definition.endswith(f"test_generators.py:{line}")
    assert found.suspended_at.endswith(f"test_generators.py:{line + 2}")
    page = report().to_text()
    assert "Async generators that were begun, and that no task has in hand:" in page
    assert "3 × rows" in page
    assert report().to_json()["generators"] == [
        {
            "function": "rows",
            "definition": found.definition,
            "suspended_at": found.suspended_at,
            "count": 3,
            "seen_for_s": 60.0,
        }
    ]
    assert report().findings == ()  # evidence, and no accusation
    await close_kept()
    await asyncio.sleep(30)
    assert report().generators == ()


async def test_a_loop_body_that_waits_between_two_items_has_its_generator_in_hand() -> None:
    """Also when it is inside of another generator, or of an object that streams."""

    class Response:
        def __init__(self) -> None:
            self.body = rows()

        def __aiter__(self) -> Response:
            return self

        async def __anext__(self) -> int:
            return await self.body.__anext__()

    async def outer() -> AsyncGenerator[int]:
        async for number in rows():
            yield number

    async def consume(source) -> None:
        async for _ in source:
            await asyncio.sleep(1e6)

    async def in_a_local() -> None:
        source = rows()
        await anext(source)
        await asyncio.sleep(1e6)
        await anext(source)

    tasks = [asyncio.create_task(consume(one)) for one in (rows(), outer(), Response())]
    tasks.append(asyncio.create_task(in_a_local()))
    await asyncio.sleep(1)
    assert await two_looks() == []
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_context_managers_stand_at_their_yield() -> None:
    """In a block, in an exit stack, and kept by an object: none of them is abandoned."""

    async def block() -> None:
        async with connection():
            await asyncio.sleep(1e6)

    async def stack() -> None:
        async with AsyncExitStack() as held:
            await held.enter_async_context(connection())
            await asyncio.sleep(1e6)

    async def undecorated() -> None:
        async with AsyncExitStack() as held:
            await held.enter_async_context(asynccontextmanager(rows)())
            await asyncio.sleep(1e6)

    kept = AsyncExitStack()
    await kept.enter_async_context(connection())
    KEPT.append(kept)
    tasks = [asyncio.create_task(one()) for one in (block, stack, undecorated)]
    await asyncio.sleep(1)
    assert await two_looks() == []
    await close_kept()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_one_that_moves_between_the_looks_is_not_told() -> None:
    """Somebody went on with it."""
    source = rows()
    KEPT.append(source)
    await first_of(source)
    report()
    await asyncio.sleep(30)
    await source.aclose()
    KEPT.clear()
    assert report().generators == ()


async def test_who_asks_from_inside_of_an_iteration_is_not_accused() -> None:
    """What a running call has in hand cannot be seen, so nothing is said at all."""
    seen = []
    async for number in rows():
        seen.append(report().generators)
        await asyncio.sleep(30)
        if number == 4:
            break
    assert seen == [()] * 5


async def test_more_than_can_be_looked_through_is_not_judged(monkeypatch) -> None:
    """When the tasks reach more than the budget, a generator may be among the rest."""
    from backstay.leak import _generators

    monkeypatch.setattr(_generators, "_BUDGET", 1)
    task = asyncio.create_task(asyncio.sleep(1e6))
    await abandon(1)
    assert await two_looks() == []
    task.cancel()
    await close_kept()


@pytest.mark.parametrize("kind", ["stock", "uvloop"])
def test_another_thread_sees_them_on_each_loop(kind: str) -> None:
    """The loop's own registry is found on both kinds, from outside."""
    pytest.importorskip("uvloop")
    import uvloop

    from backstay import install, now

    async def main() -> list[tuple[str, int]]:
        install(exact=True)
        loop = asyncio.get_running_loop()
        await abandon(2)
        looks, began = looks_of(loop), now()

        def look() -> None:
            looks.take(loop, began)
            looks.take(loop, began + 30)

        thread = threading.Thread(target=look)
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0.001)
        found = [(one.function, one.count) for one in looks.generators]
        await close_kept()
        return found

    run = asyncio.run if kind == "stock" else uvloop.run
    assert run(main()) == [("rows", 2)]


async def test_the_looks_keep_no_generator() -> None:
    """Not even weakly: a proof would have to take that for somebody who may go on with it."""
    await abandon(1)
    assert await two_looks() == [("rows", 1)]
    gone = weakref.ref(KEPT[0])
    assert weakref.getweakrefcount(KEPT[0]) == 2  # ours of this test, and the loop's
    await close_kept()
    gc.collect()
    assert gone() is None


async def test_a_look_that_fails_says_nothing(monkeypatch) -> None:
    """An error of the look is no error of the report."""
    from backstay.leak import _looks

    def torn(*_: object) -> None:
        raise RuntimeError("Set changed size during iteration")

    await abandon(1)
    report()
    monkeypatch.setattr(_looks, "suspended", torn)
    await asyncio.sleep(30)
    assert report().generators == ()
    await close_kept()
