"""`Pool` when something goes wrong half way: a check, an open, a close, the end of the loop."""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
from typing import Any

import pytest

from backstay import now, timeout
from backstay.errors import DeadlineExceeded, GuardMisuse
from backstay.guard import Pool


class Lines:
    """Opens, checks and closes lines, and knows which are live."""

    def __init__(self, *, takes: float = 0.1) -> None:
        self.takes = takes
        self.opened = 0
        self.live: set[int] = set()
        self.answer: Any = True
        self.most = 0

    async def open(self) -> list[int]:
        await asyncio.sleep(self.takes)
        self.opened += 1
        self.live.add(self.opened)
        self.most = max(self.most, len(self.live))
        return [self.opened]

    async def check(self, line: list[int]) -> bool:
        await asyncio.sleep(1.0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return bool(self.answer)

    async def close(self, line: list[int]) -> None:
        await asyncio.sleep(0.01)
        self.live.discard(line[0])


async def until_is_out(pool: Pool[Any], seconds: float = 0.0) -> None:
    """Take one, use it for so long, and give it back."""
    async with pool.take():
        await asyncio.sleep(seconds)


@pytest.mark.parametrize("answer", [True, False, ConnectionError("gone")])
async def test_a_pool_that_closes_waits_for_a_check_and_lends_nothing(answer: Any) -> None:
    """Whatever the check says; the caller is told, and does not stand in a line that nobody serves."""
    lines = Lines()
    pool = Pool(lines.open, close=lines.close, check=lines.check, check_after=0.0)
    async with pool:
        await pool.warm(1)
        lines.answer = answer
        caller = asyncio.ensure_future(pool.acquire())
        await asyncio.sleep(0.5)
        await pool.close()
        assert lines.live == set()
        assert pool.statistics().open == 0
        with pytest.raises(GuardMisuse, match="is closed"):
            await caller


async def test_a_check_that_hangs_costs_five_seconds_and_the_line() -> None:
    """A peer that answers nothing must not hold the place and the caller for ever."""
    lines = Lines()

    async def check(line: list[int]) -> bool:
        if line == [1]:
            await asyncio.Event().wait()
        return True

    async with Pool(lines.open, close=lines.close, check=check, check_after=0.0) as pool:
        await pool.warm(1)
        began = now()
        async with pool.take() as line:
            assert line == [2]
            assert now() - began == pytest.approx(5.1)
            (holding,) = pool.holdings()
            assert holding.held_s == 0.0, "the check is not a part of the use"


async def test_who_was_first_stays_first_when_its_check_fails() -> None:
    """Those who came while it was asked stand behind it."""
    lines = Lines()
    served: list[str] = []

    async def caller(name: str) -> None:
        async with pool.take():
            served.append(name)

    async with Pool(
        lines.open, close=lines.close, check=lines.check, check_after=0.0, max_open=1
    ) as pool:
        await pool.warm(1)
        lines.answer = False
        first = asyncio.ensure_future(caller("first"))
        await asyncio.sleep(0.5)
        await asyncio.gather(first, caller("second"))
    assert served == ["first", "second"]


async def test_an_open_that_hangs_does_not_hold_up_the_end() -> None:
    """It is cancelled: nobody is left who wants what it opens."""
    lines = Lines(takes=10_000.0)
    async with Pool(lines.open, close=lines.close) as pool:
        caller = asyncio.ensure_future(pool.acquire())
        await asyncio.sleep(1)
        await pool.close()
        assert now() == pytest.approx(1.0)
        with pytest.raises(GuardMisuse, match="is closed"):
            await caller
        assert (pool.statistics().opening, pool.statistics().open) == (0, 0)


async def test_an_open_that_is_cancelled_by_itself_fails_one_caller() -> None:
    """A client that cancels a future of its own leaves nobody in line beside a free place."""
    lines = Lines()
    times = iter([True, False])

    async def open_line() -> list[int]:
        if next(times):
            raise asyncio.CancelledError
        return await lines.open()

    async with Pool(open_line, close=lines.close, max_open=1) as pool:
        first, second = await asyncio.gather(pool.acquire(), pool.acquire(), return_exceptions=True)
        assert isinstance(first, RuntimeError)
        assert "was cancelled" in str(first)
        assert second == [1]
        pool.release(second)


async def test_the_end_of_the_loop_closes_what_is_idle_and_what_comes_back() -> None:
    """`asyncio.run` cancels every task at once, the pool's own included."""
    lines = Lines()
    ended: list[BaseException] = []

    async def service() -> None:
        try:
            async with Pool(lines.open, close=lines.close, max_open=2) as pool:
                await pool.warm(2)
                await until_is_out(pool, 100.0)
        except BaseException as error:
            ended.append(error)
            raise

    task = asyncio.ensure_future(service())
    await asyncio.sleep(1)
    (keeper,) = [t for t in asyncio.all_tasks() if t.get_name().startswith("pool ")]
    task.cancel()
    keeper.cancel()
    await asyncio.wait([task, keeper])
    assert [type(error) for error in ended] == [asyncio.CancelledError]
    assert lines.live == set()


async def test_a_loop_that_ends_tells_who_waits() -> None:
    """Nothing will be opened for them."""
    lines = Lines(takes=1000.0)
    pool = Pool(lines.open, close=lines.close, max_open=1)
    await pool.__aenter__()
    callers = [asyncio.ensure_future(pool.acquire()) for _ in range(2)]
    await asyncio.sleep(1)
    (keeper,) = [t for t in asyncio.all_tasks() if t.get_name().startswith("pool ")]
    keeper.cancel()
    for result in await asyncio.gather(*callers, return_exceptions=True):
        assert isinstance(result, GuardMisuse)
    await pool.close()
    assert pool.statistics().opening == 0


async def test_one_place_less_closes_one() -> None:
    """And not everything that is idle, because one that is being closed is open still."""
    lines = Lines()
    async with Pool(lines.open, close=lines.close, max_open=4) as pool:
        await pool.warm(4)
        pool.update(max_open=3)
        await asyncio.sleep(0.1)
        assert (pool.statistics().idle, lines.live) == (3, {2, 3, 4})
        held = [await pool.acquire() for _ in range(3)]
        pool.update(max_open=2)
        for line in held:
            pool.release(line)
        await asyncio.sleep(0.1)
        assert (pool.statistics().idle, len(lines.live)) == (2, 2)


async def test_what_nobody_meets_grows_old_and_is_closed_all_the_same() -> None:
    """A burst opens ten; afterwards the one used last is always enough."""
    lines = Lines(takes=0.0)
    async with Pool(lines.open, close=lines.close, idle_time=30.0, lifetime=None) as pool:
        await pool.warm(10)
        for _ in range(20):
            await asyncio.sleep(2.0)
            await until_is_out(pool)
        assert len(lines.live) == 1
        assert pool.statistics().closed == {"idle_time": 9}
        pool.update(idle_time=5.0)
        await asyncio.sleep(6.0)
        assert lines.live == set()


async def test_a_block_that_is_cut_closes_what_it_held() -> None:
    """Half of an answer may still be on its way; an error of the block says nothing of the sort."""
    lines = Lines()
    async with Pool(lines.open, close=lines.close, max_open=1) as pool:
        with pytest.raises(DeadlineExceeded):
            async with timeout(1.0):
                await until_is_out(pool, 10.0)
        with pytest.raises(TimeoutError):
            async with pool.take():
                raise TimeoutError
        with pytest.raises(KeyError):
            async with pool.take() as line:
                raise KeyError
        async with pool.take() as same:
            assert same is line
        assert pool.statistics().closed == {"bad": 2}


async def test_a_caller_that_is_cancelled_while_it_enters_leaves_no_task() -> None:
    """The pool is closed then, and can be left out."""
    lines = Lines()
    pool = Pool(lines.open)
    entering = asyncio.ensure_future(pool.__aenter__())
    await asyncio.sleep(0)
    entering.cancel()
    await asyncio.wait([entering])
    await asyncio.sleep(0.1)
    assert not [t for t in asyncio.all_tasks() if t.get_name().startswith("pool ")]
    with pytest.raises(GuardMisuse):
        await pool.acquire()
    await pool.close()


async def test_whoever_closes_finds_it_closed_afterwards() -> None:
    """Also the second one, and one that is cancelled while it waits."""
    lines = Lines()
    async with Pool(lines.open, close=lines.close) as pool:
        user = asyncio.ensure_future(until_is_out(pool, 3.0))
        await asyncio.sleep(1)
        cancelled = asyncio.ensure_future(pool.close())
        both = [asyncio.ensure_future(pool.close()) for _ in range(2)]
        await asyncio.sleep(0.5)
        cancelled.cancel()
        await asyncio.wait(both)
        await user
        await pool.close()
        assert lines.live == set()
        assert pool.statistics().open == 0


async def test_what_nobody_gives_back_is_named_once_somebody_waits_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once, with the line that took it."""
    lines = Lines()

    async def forgetful() -> None:
        await pool.acquire()

    async with Pool(lines.open, close=lines.close, max_open=1, max_wait=2.0) as pool:
        task = asyncio.ensure_future(forgetful())
        task.set_name("forgetful")
        await task
        for _ in range(3):
            with pytest.raises(Exception, match="max_wait"):
                await pool.acquire()
        assert caplog.text.count("nobody gives this back: [1], taken") == 1
        assert "by task 'forgetful', which has ended" in caplog.text
        pool.release(next(iter(pool._held.values())).value)


async def test_warm_counts_what_is_open_already() -> None:
    """Used ones, too."""
    lines = Lines()
    async with Pool(lines.open, close=lines.close) as pool, pool.take():
        await pool.warm(3)
        assert (lines.opened, pool.statistics().idle) == (3, 2)
        await pool.warm(2)
        assert lines.opened == 3


async def test_those_who_gave_up_count_as_having_waited() -> None:
    """As in `database/sql`: the longest waits are those that came to nothing."""
    lines = Lines()
    async with Pool(lines.open, close=lines.close, max_open=1) as pool, pool.take():
        with pytest.raises(DeadlineExceeded):
            async with timeout(5.0):
                await pool.acquire()
        assert pool.statistics().wait.longest_s == pytest.approx(5.0)


async def test_a_close_that_hangs_or_is_cancelled_gives_its_place_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After five seconds, with a line in the log."""
    lines = Lines()

    async def close(line: list[int]) -> None:
        if line == [1]:
            await asyncio.Event().wait()
        raise asyncio.CancelledError

    with caplog.at_level(logging.WARNING):
        async with Pool(lines.open, close=close, max_open=1) as pool:
            pool.release(await pool.acquire(), bad=True)
            pool.release(await pool.acquire(), bad=True)
            assert now() == pytest.approx(5.2)
            pool.release(await pool.acquire())
    assert "closing [1] failed: TimeoutError" in caplog.text
    assert "closing [2] failed: CancelledError" in caplog.text


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_eager_tasks_open_no_more_than_may_be() -> None:
    """An open that fails before it ever waits is tried again inside of the first try."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    lines = Lines()
    failures = 1

    async def open_line() -> list[int]:
        nonlocal failures
        if failures:
            failures -= 1
            raise ConnectionError
        return await lines.open()

    try:
        async with Pool(open_line, close=lines.close, max_open=2) as pool:
            async with pool.take():
                pass
            users = [until_is_out(pool, 1.0) for _ in range(6)]
            await asyncio.gather(*users, return_exceptions=True)
            assert lines.most <= 2
    except ConnectionError:
        pass
    finally:
        loop.set_task_factory(None)


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_after_an_error_the_check_is_asked_however_short_it_was_idle(kind: str) -> None:
    """A server that went away costs its error once, and not as long as callers keep the resource busy."""
    broken: set[int] = set()
    opened = itertools.count()

    async def connect() -> int:
        return next(opened)

    def works(number: int) -> bool:
        return number not in broken

    async def asked(number: int) -> bool:
        return works(number)

    async with Pool(connect, check=works if kind == "plain" else asked, max_open=1) as pool:
        with pytest.raises(ValueError, match="of the application"):
            async with pool.take() as first:
                raise ValueError("of the application")
        async with pool.take() as again:
            assert again == first, "it works, and is kept"
        broken.add(first)
        with pytest.raises(ConnectionError):
            async with pool.take() as dead:
                assert dead == first, "one that was in use a moment ago is not asked"
                raise ConnectionError("gone")
        async with pool.take() as fresh:
            assert fresh != first
        assert pool.statistics().closed["bad"] == 1


async def test_a_check_that_fails_after_an_error_costs_the_resource() -> None:
    """What cannot be told is not handed out again; the error of the block is what the caller sees."""

    async def connect() -> object:
        return object()

    def works(resource: object) -> bool:
        raise OSError("no answer")

    async with Pool(connect, check=works, max_open=1) as pool:
        with pytest.raises(ZeroDivisionError):
            async with pool.take():
                raise ZeroDivisionError
        assert pool.statistics().idle == 0
