"""What a multiloop refuses, and that each refusal says what to do."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from functools import partial

import pytest
from pool_jobs import where

from backstay import Scope
from backstay.errors import NoOwner, ScopeClosed, ScopeMisuse
from backstay.multiloop import Multiloop

real = pytest.mark.real_loop


@real
async def test_use_before_after_and_twice_is_refused() -> None:
    """Each refusal says what to do."""
    pool = Multiloop("pool", procs=1)
    async with Scope("around"):
        with pytest.raises(ScopeClosed, match="is new, where was not started: enter it"):
            pool.go(where)
        async with pool:
            with pytest.raises(ScopeMisuse, match="was entered before \\(it is open\\)"):
                await pool.__aenter__()
        with pytest.raises(ScopeClosed, match="is closed"):
            pool.go(where)
        with pytest.raises(ScopeMisuse, match="on the loop that entered it"):
            await pool.set_procs(2)


@real
async def test_a_call_without_an_owner_is_refused() -> None:
    """Nobody would hear of its error."""
    errors: list[BaseException] = []

    async def lonely(pool: Multiloop) -> None:
        try:
            pool.go(where)
        except NoOwner as error:
            errors.append(error)

    async with Multiloop("pool", procs=1) as pool:
        loop = asyncio.get_running_loop()
        await loop.create_task(lonely(pool), context=contextvars.Context())
    assert "nobody would own the job" in str(errors[0])


@real
async def test_a_call_instead_of_a_function_is_refused() -> None:
    """The usual slip, said where it was made."""
    async with Multiloop("pool", procs=1) as pool:
        with pytest.raises(
            TypeError, match=r"write go\(where, ...\) instead of go\(where\(...\)\)"
        ):
            pool.go(where())  # type: ignore[arg-type]


@pytest.mark.parametrize("procs", [0, -1, 257])
def test_an_impossible_number_of_loops_is_refused(procs: int) -> None:
    """None would do nothing; hundreds are a slip."""
    with pytest.raises(ValueError, match="procs must be 1 to 256"):
        Multiloop("pool", procs=procs)


class Service:
    """Holds something that belongs to a loop."""

    def __init__(self, held: object) -> None:
        self.held = held

    async def handle(self) -> None:
        """Do nothing."""


@real
async def test_what_belongs_to_a_loop_is_refused() -> None:
    """Directly, in a container, as an attribute of an object, as self, in a partial."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    queue: asyncio.Queue[int] = asyncio.Queue()
    getter = asyncio.create_task(queue.get())
    await asyncio.sleep(0)  # bound now
    async with Multiloop("pool", procs=1) as pool:
        for bad in (future, queue, loop, [future], {"a": queue}, Service(future), Service([queue])):
            with pytest.raises(ScopeMisuse, match="belongs to an event loop"):
                pool.go(where, bad)
        with pytest.raises(ScopeMisuse, match="argument 'value' is a"):
            pool.go(where, value=future)
        with pytest.raises(ScopeMisuse, match=r"its object \(self\) has an attribute 'held'"):
            pool.go(Service(future).handle)
        with pytest.raises(ScopeMisuse, match="an argument of the partial"):
            pool.go(partial(where, future))
        for good in (
            1,
            "x",
            [1, {"a": b"x"}],
            Service("plain"),
            asyncio.Queue,
            where,
            ValueError("x"),
        ):
            assert (await pool.go(where, good))[1] == good
    getter.cancel()


@real
async def test_a_foreign_future_that_slips_in_fails_clearly() -> None:
    """asyncio itself refuses to wait for it; the error comes back."""
    future = asyncio.get_running_loop().create_future()

    async def smuggler() -> None:
        await future

    async with Multiloop("pool", procs=1, on_error="collect") as pool:
        with pytest.raises(ExceptionGroup) as caught:
            async with Scope("request"):
                pool.go(smuggler)
    assert "attached to a different loop" in str(caught.value.exceptions[0])


@real
async def test_a_loop_that_cannot_be_made_is_told() -> None:
    """Nothing is left behind by an entry that fails."""

    def broken() -> asyncio.AbstractEventLoop:
        raise OSError("no more files")

    before = threading.active_count()
    with pytest.raises(OSError, match="no more files"):
        async with Multiloop("pool", procs=2, loop_factory=broken):
            pass
    async with asyncio.timeout(5):  # a thread that has told of its end takes a moment to end
        while threading.active_count() > before:
            await asyncio.sleep(0.01)
