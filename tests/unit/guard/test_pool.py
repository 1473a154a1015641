"""`Pool`: nothing is lost, nobody waits beside what is free, and who holds what is known."""

from __future__ import annotations

import asyncio
import logging

import pytest

from backstay import Scope, now, timeout
from backstay.errors import DeadlineExceeded, FullError, GuardMisuse
from backstay.guard import Pool


class Line:
    """A resource that knows what became of it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.closed = False
        self.broken = False

    def __repr__(self) -> str:
        return f"line {self.number}"


class Exchange:
    """Opens lines, slowly or not at all."""

    def __init__(self, *, takes: float = 0.1, failures: int = 0) -> None:
        self.takes = takes
        self.failures = failures
        self.opened: list[Line] = []
        self.opening = 0

    async def open(self) -> Line:
        self.opening += 1
        try:
            await asyncio.sleep(self.takes)
            if self.failures:
                self.failures -= 1
                raise ConnectionError("refused")
        finally:
            self.opening -= 1
        line = Line(len(self.opened))
        self.opened.append(line)
        return line

    async def close(self, line: Line) -> None:
        await asyncio.sleep(0.01)
        line.closed = True

    @property
    def live(self) -> int:
        return sum(not line.closed for line in self.opened)


async def test_resources_are_lent_and_used_again() -> None:
    """The last one that came back goes out first; the end closes all."""
    exchange = Exchange()
    async with Pool(exchange.open, close=exchange.close, name="lines") as pool:
        async with pool.take() as first:
            assert now() == pytest.approx(0.1)
            async with pool.take() as second:
                assert (first.number, second.number) == (0, 1)
        async with pool.take() as again:
            assert again is first
        seen = pool.statistics()
        assert (seen.open, seen.in_use, seen.idle, seen.use.count) == (2, 0, 2, 3)
        assert repr(pool) == "<Pool 'lines' 0 of 10 in use, 0 waiting>"
    assert exchange.live == 0
    assert pool.statistics().closed == {"closed": 2}


async def test_who_waits_is_served_in_order_and_never_beside_a_free_one() -> None:
    """Two lines, six callers."""
    exchange = Exchange()
    served: list[int] = []

    async def caller(number: int) -> None:
        async with pool.take():
            served.append(number)
            await asyncio.sleep(1)

    async with Pool(exchange.open, max_open=2) as pool:
        await asyncio.gather(*(caller(n) for n in range(6)))
        assert now() == pytest.approx(3.1)
        seen = pool.statistics()
        assert (seen.wait.count, seen.waiting, seen.open) == (6, 0, 2)
    assert served == list(range(6))
    assert len(exchange.opened) == 2


async def test_a_caller_that_leaves_while_one_is_opened_leaves_it_to_the_pool() -> None:
    """No place is lost, however many leave: what was opened is used by the next."""
    exchange = Exchange(takes=1.0)
    async with Pool(exchange.open, close=exchange.close, max_open=3) as pool:
        for _ in range(20):
            with pytest.raises(DeadlineExceeded):
                async with timeout(0.05):
                    await pool.acquire()
        await asyncio.sleep(2)
        assert pool.statistics().idle <= 3
        assert exchange.live == pool.statistics().idle
        async with pool.take():
            pass
    assert exchange.live == 0


async def test_a_failed_open_fails_one_caller_and_the_next_is_tried() -> None:
    """Each caller hears of its own failure at most, and nobody waits for ever."""
    exchange = Exchange(failures=1)
    async with Pool(exchange.open, max_open=1) as pool:
        results = await asyncio.gather(*(pool.acquire() for _ in range(2)), return_exceptions=True)
        assert isinstance(results[0], ConnectionError)
        assert isinstance(results[1], Line)
        pool.release(results[1])


async def test_a_broken_one_is_closed_and_replaced() -> None:
    """By who used it, or by the check before it goes out."""
    exchange = Exchange()
    async with Pool(
        exchange.open, close=exchange.close, check=lambda line: not line.broken, check_after=1.0
    ) as pool:
        line = await pool.acquire()
        pool.release(line, bad=True)
        second = await pool.acquire()
        assert second is not line
        second.broken = True
        pool.release(second)
        third = await pool.acquire()
        assert third is second, "checked only after some idling"
        pool.release(third)
        await asyncio.sleep(1.5)
        fourth = await pool.acquire()
        assert fourth is not second
        pool.release(fourth)
        assert pool.statistics().closed == {"bad": 2}
        await asyncio.sleep(0.1)
        assert exchange.live == 1


async def test_a_check_that_fails_or_is_cancelled_costs_the_resource_and_no_place() -> None:
    """Nobody knows in which state it is."""
    exchange = Exchange()

    async def check(line: Line) -> bool:
        await asyncio.sleep(0.5)
        if line.number == 0:
            raise ConnectionError("gone")
        return True

    async with Pool(
        exchange.open, close=exchange.close, check=check, check_after=0.0, max_open=1
    ) as pool:
        await pool.warm(1)
        async with pool.take() as line:
            assert line.number == 1
        with pytest.raises(DeadlineExceeded):
            async with timeout(0.1):
                await pool.acquire()
        async with pool.take() as line:
            assert line.number == 2
        assert pool.statistics().closed == {"bad": 2}


async def test_old_and_idle_ones_are_closed_when_they_are_met() -> None:
    """By lifetime, spread by a tenth, and by time without use."""
    exchange = Exchange(takes=0.0)
    async with Pool(exchange.open, close=exchange.close, lifetime=100, idle_time=30) as pool:
        await pool.warm(2)
        await asyncio.sleep(31)
        async with pool.take() as line:
            assert line.number == 2
            await asyncio.sleep(111)
        assert pool.statistics().closed == {"idle_time": 2, "lifetime": 1}
        await asyncio.sleep(0.1)
        assert exchange.live == 0


async def test_no_more_are_kept_than_max_idle() -> None:
    """What comes back beyond that is closed."""
    exchange = Exchange()
    async with Pool(exchange.open, close=exchange.close, max_idle=1) as pool:
        await pool.warm(4)
        assert pool.statistics().idle == 1
        assert pool.statistics().closed == {"idle": 3}


async def test_a_line_that_is_too_long_and_a_wait_that_is_are_refused() -> None:
    """The error names who holds what for how long."""
    exchange = Exchange()

    async def hog() -> None:
        async with pool.take():
            await asyncio.sleep(100)

    async with Pool(exchange.open, max_open=1, max_waiting=1, max_wait=2.0, name="lines") as pool:
        task = asyncio.ensure_future(hog())
        task.set_name("hog")
        await asyncio.sleep(1)
        waiting = asyncio.ensure_future(pool.acquire())
        await asyncio.sleep(0)
        with pytest.raises(FullError, match=r"1 callers wait .* line 0, taken .* by task 'hog'"):
            await pool.acquire()
        with pytest.raises(FullError, match="max_wait is 2 s"):
            await waiting
        assert now() == pytest.approx(3.0)
        seen = pool.statistics()
        assert (seen.rejected, seen.timed_out) == (2, 1)
        task.cancel()
        await asyncio.wait([task])


async def test_what_is_held_by_somebody_who_has_ended_is_a_leak() -> None:
    """With the line that took it, the task and the scope."""
    exchange = Exchange()

    async def forgetful() -> None:
        async with Scope("checkout"):
            await pool.acquire()

    async with Pool(exchange.open, close=exchange.close, name="lines") as pool:
        assert pool.leaks() == ()
        task = asyncio.ensure_future(forgetful())
        task.set_name("forgetful")
        await task
        await asyncio.sleep(5)
        (leak,) = pool.leaks()
        assert (leak.what, leak.task, leak.held_s, leak.owner) == (
            "line 0",
            "forgetful",
            5.0,
            ("checkout",),
        )
        assert "test_pool.py:" in leak.site
        assert "which has ended" in str(leak)
        assert pool.statistics().leaks == 1
        pool.release(exchange.opened[0])


async def test_the_end_waits_for_what_is_out_and_names_what_does_not_come(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Within its budget; callers in line are told at once."""
    exchange = Exchange()
    pool: Pool[Line] = Pool(exchange.open, close=exchange.close, max_open=2, name="lines")

    async def user(seconds: float) -> None:
        async with pool.take():
            await asyncio.sleep(seconds)

    async with pool:
        users = [asyncio.ensure_future(user(seconds)) for seconds in (1.0, 100.0)]
        await asyncio.sleep(0.5)
        waiting = asyncio.ensure_future(pool.acquire())
        await asyncio.sleep(0)
        with caplog.at_level(logging.WARNING):
            await pool.close(drain=5.0)
        assert now() == pytest.approx(5.51, abs=0.05)
        with pytest.raises(GuardMisuse, match="is closed"):
            await waiting
        with pytest.raises(GuardMisuse, match="is closed"):
            await pool.acquire()
    assert "closes while this is still out: line 1" in caplog.text
    for task in users:
        task.cancel()
    await asyncio.gather(*users, return_exceptions=True)
    await asyncio.sleep(0.1)
    assert exchange.live == 0, "what comes back after the end is closed then"


async def test_limits_change_while_it_works() -> None:
    """More places wake who waits; fewer close what is idle, and the rest as it comes back."""
    exchange = Exchange()
    async with Pool(exchange.open, close=exchange.close, max_open=1) as pool:
        first = await pool.acquire()
        waiting = asyncio.ensure_future(pool.acquire())
        await asyncio.sleep(0)
        pool.update(max_open=3, max_idle=3)
        second = await waiting
        pool.update(max_open=1)
        pool.release(first)
        assert pool.statistics().open == 2, "one that is being closed counts until it is"
        await asyncio.sleep(0.05)
        assert pool.statistics().open == 1
        pool.release(second)
        assert pool.statistics().idle == 1
        with pytest.raises(ValueError, match="max_open"):
            pool.update(max_open=0)


async def test_misuse_says_what_is_wrong() -> None:
    """Given back twice, never entered, entered twice."""
    exchange = Exchange()
    pool: Pool[Line] = Pool(exchange.open)
    with pytest.raises(GuardMisuse, match="has not been entered"):
        await pool.acquire()
    async with pool:
        line = await pool.acquire()
        pool.release(line)
        with pytest.raises(GuardMisuse, match="which is not out"):
            pool.release(line)
        with pytest.raises(GuardMisuse, match="entered before"):
            await pool.__aenter__()
    for bad in ({"max_open": 0}, {"max_idle": 11}, {"lifetime": 0}, {"idle_time": -1}):
        with pytest.raises(ValueError, match="not"):
            Pool(exchange.open, **bad)  # type: ignore[arg-type]


async def test_a_close_that_fails_is_told_and_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The pool goes on."""

    def close(line: Line) -> None:
        raise OSError("already gone")

    exchange = Exchange()
    async with Pool(exchange.open, close=close) as pool:
        pool.release(await pool.acquire(), bad=True)
        async with pool.take() as line:
            assert line.number == 1
    assert "already gone" in caplog.text
