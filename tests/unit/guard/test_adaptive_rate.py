"""AdaptiveRate: what it counts, whom it asks, what it does when nobody answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from math import inf

import pytest

from backstay import Scope, now, timeout
from backstay._base import GuardMoved, guard_moved
from backstay.errors import DeadlineExceeded, GuardMisuse, LimitError
from backstay.guard import (
    AdaptiveRate,
    CounterSource,
    Policy,
    Throughput,
    ThroughputLimit,
    find,
)


class Overloaded(ConnectionError):
    """The dependency had too much to do."""


class Dependency:
    """Does `capacity` units a second well, in even spacing, and refuses what comes beside it."""

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self.calls = self.good = 0
        self._free = 0.0

    async def __call__(self) -> None:
        self.calls += 1
        # A little room for jitter: two of its own spacings.
        self._free = max(self._free, now() - 2 / self.capacity) + 1 / self.capacity
        if self._free > now() + 1e-9:
            self._free -= 1 / self.capacity
            raise Overloaded
        self.good += 1


class Script:
    """A source that says what it is told to say, in turn; the last for ever."""

    def __init__(self, *answers: Throughput | BaseException | Callable[[], object]) -> None:
        self.answers = list(answers)
        self.asked: list[float] = []
        self.running = 0

    async def measure(self, since: float) -> Throughput:
        self.asked.append(now())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.running += 1
        try:
            if isinstance(answer, BaseException):
                raise answer
            if isinstance(answer, Throughput):
                return answer
            await asyncio.sleep(inf)
            raise AssertionError
        finally:
            self.running -= 1


def hangs() -> None:
    """Stand for a source that never answers."""


async def press(rate: AdaptiveRate, work: Dependency, seconds: float) -> None:
    """Ask for as much as the rate lets through."""
    until = now() + seconds
    while now() < until:
        try:
            await rate.call(work)
        except Overloaded:
            pass


async def test_it_follows_the_capacity_down_and_up_again() -> None:
    """Half of the capacity within half of a window, and back within one, from its own calls."""
    work = Dependency(20.0)
    rate = AdaptiveRate(ThroughputLimit(20.0, floor=2.0, window=100.0), burst=1)
    await press(rate, work, 200.0)
    assert rate.statistics().limit == pytest.approx(20.0, rel=0.25)
    work.capacity = 10.0
    await press(rate, work, 50.0)
    assert rate.statistics().rate == pytest.approx(10.0, rel=0.1)
    await press(rate, work, 200.0)
    assert 9.0 <= rate.statistics().rate <= 12.0
    work.capacity = 20.0
    await press(rate, work, 100.0)
    assert rate.statistics().rate >= 19.0


async def test_after_an_idle_hour_the_limit_is_there_and_is_climbed_to() -> None:
    """Nothing decays; the first seconds are cold."""
    work = Dependency(1e6)
    rate = AdaptiveRate(ThroughputLimit(30.0, ceiling=30.0), burst=1)
    await press(rate, work, 60.0)
    await asyncio.sleep(3600)
    assert rate.statistics().rate == 30.0
    before = work.calls
    await press(rate, work, 1.0)
    assert work.calls - before == pytest.approx(10, abs=2)
    await press(rate, work, 30.0)
    before = work.calls
    await press(rate, work, 1.0)
    assert work.calls - before == pytest.approx(30, abs=2)


async def test_what_says_nothing_is_not_counted() -> None:
    """A caller who goes away, a deadline that was too short, a guard of ours further down."""
    rate = AdaptiveRate(ThroughputLimit(1000.0), burst=100, warm_up=None)

    async def slow() -> None:
        await asyncio.sleep(1)

    async def refused() -> None:
        raise LimitError("no", policy="other")

    await rate.call(slow)
    gone = asyncio.ensure_future(rate.call(slow))
    await asyncio.sleep(0.1)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    with pytest.raises(DeadlineExceeded):
        async with timeout(0.1):
            await rate.call(slow)
    with pytest.raises(LimitError):
        await rate.call(refused)
    with pytest.raises(DeadlineExceeded):
        async with timeout(1.5), rate.permit(3):  # longer than such calls take: its fault
            await slow()
            await slow()
    counted = rate._window.measure(now())
    assert counted.asked * counted.span == pytest.approx(4.0)
    assert counted.good * counted.span == pytest.approx(1.0)


async def test_an_error_that_does_not_count_is_an_answer() -> None:
    """And a block teaches as a call does, by its units."""
    rate = AdaptiveRate(ThroughputLimit(1000.0), on=Overloaded, burst=100, warm_up=None)
    with pytest.raises(KeyError):
        async with rate.permit(5):
            raise KeyError
    with pytest.raises(Overloaded):
        async with rate.permit(2):
            raise Overloaded
    await asyncio.sleep(1)
    measured = rate._window.measure(now())
    assert (measured.good, measured.asked) == (5.0, 7.0)


async def test_it_says_when_nobody_teaches_it() -> None:
    """Units were taken, and it was never told how the work ended."""
    rate = AdaptiveRate(ThroughputLimit(100.0))
    assert rate.statistics().source == "own"
    async with rate:
        assert rate.statistics().source == "untaught"
    async with rate.permit():
        pass
    assert rate.statistics().source == "own"


async def test_in_a_policy_it_learns_from_the_attempts() -> None:
    """What came back counts as good, what failed does not, and a call that was never made not at all."""
    rate = AdaptiveRate(ThroughputLimit(100.0))
    policy = Policy("dependency", rate=rate)

    async def work(fails: bool) -> None:
        if fails:
            raise ConnectionError

    for number in range(6):
        with contextlib.suppress(ConnectionError):
            await policy.call(work, number >= 4)
    await asyncio.sleep(1)
    measured = rate._window.measure(now())
    assert measured.good / measured.asked == pytest.approx(4 / 6)
    assert 5 < measured.asked <= 6  # some of it has left the window already
    assert rate.statistics().source == "own"


async def test_a_call_that_began_under_another_limit_says_nothing_of_this_one() -> None:
    """It was asked for when the limit was another; how long it took is noted."""
    rate = AdaptiveRate(ThroughputLimit(10.0, window=10.0, minimum=1.0), burst=100, warm_up=None)

    async def work(seconds: float) -> None:
        await asyncio.sleep(seconds)
        raise Overloaded

    late = asyncio.ensure_future(rate.call(work, 5.0))
    for _ in range(2):
        with pytest.raises(Overloaded):
            await rate.call(work, 1.0)
    assert rate.statistics().rate == 5.0
    with pytest.raises(Overloaded):
        await late
    assert rate.statistics().rate == 5.0
    assert rate._window.measure(now()).asked == 0.0


async def test_a_source_is_asked_now_and_then_and_moves_the_limit() -> None:
    """While somebody follows it; `statistics()` and the hook tell of it."""
    moves: list[GuardMoved] = []
    source = Script(Throughput(100.0, 100.0, 300.0), Throughput(60.0, 110.0, 300.0))
    rate = AdaptiveRate(ThroughputLimit(100.0), source, name="followed", warm_up=None)
    assert rate.statistics().source == "unasked"
    unsubscribe = guard_moved.subscribe(moves.append)
    async with Scope("rates", on_exit="cancel") as scope:
        scope.go(rate.follow)
        await asyncio.sleep(0)
        seen = rate.statistics()
        assert (seen.rate, seen.limit, seen.source, seen.age_s) == (120.0, 120.0, "fresh", 0.0)
        await asyncio.sleep(7)
    unsubscribe()
    assert source.asked == [0.0, 5.0]
    assert rate.statistics().limit == 100.0
    assert rate.statistics().age_s == 2.0
    assert [move.before for move in moves] == ["100/s", "120/s"]
    assert "60/s of 110/s ended well" in moves[1].why
    assert find("followed", "rate") is rate


@pytest.mark.parametrize(
    "trouble",
    [ValueError("no such thing"), OSError(), hangs, asyncio.CancelledError("inside")],
    ids=["raises", "says nothing", "hangs", "is cancelled inside"],
)
async def test_a_source_that_fails_holds_the_limit_and_then_the_floor(
    trouble: BaseException | Callable[[], object],
) -> None:
    """Callers notice nothing; when it is back, so is the limit, cold."""
    good = Throughput(200.0, 200.0, 300.0)
    source = Script(good, trouble)
    rate = AdaptiveRate(
        ThroughputLimit(100.0), source, timeout=2.0, stale_after=60.0, every=10.0, name="f"
    )
    async with Scope("rates", on_exit="cancel") as scope:
        scope.go(rate.follow)
        await asyncio.sleep(15)
        seen = rate.statistics()
        assert (seen.rate, seen.limit, seen.source) == (240.0, 240.0, "failing")
        assert (seen.measured, seen.failures) == (good, 1)
        assert seen.error
        await asyncio.sleep(70)
        seen = rate.statistics()
        assert (seen.rate, seen.limit, seen.source) == (10.0, 240.0, "stale")
        assert rate.try_acquire()
        source.answers = [good]
        await asyncio.sleep(13)
        seen = rate.statistics()
        assert (seen.rate, seen.source, seen.error) == (240.0, "fresh", "")
    assert source.running == 0


async def test_a_source_that_never_answered_leaves_the_first_limit_for_a_while() -> None:
    """And then the floor, unless it is to be held for ever."""
    for stale_after, rest in ((20.0, 10.0), (inf, 100.0)):
        rate = AdaptiveRate(
            ThroughputLimit(100.0), Script(OSError("down")), stale_after=stale_after, name="s"
        )
        async with Scope("rates", on_exit="cancel") as scope:
            scope.go(rate.follow)
            await asyncio.sleep(12)
            assert rate.statistics().rate == 100.0
            assert rate.statistics().error == "OSError: down"
            await asyncio.sleep(20)
            assert rate.statistics().rate == rest


async def test_a_source_that_returns_nonsense_has_failed() -> None:
    """And is asked again."""

    class Nonsense:
        async def measure(self, since: float) -> Throughput:
            return None  # type: ignore[return-value]

    rate = AdaptiveRate(ThroughputLimit(100.0), Nonsense())
    await rate.refresh()
    await rate.refresh()
    assert rate.statistics().failures == 2
    assert "returned None" in rate.statistics().error


async def test_following_ends_with_its_scope_and_is_done_by_one() -> None:
    """Cancelled while it asks or sleeps, it leaves the limit; afterwards it may be followed again."""
    source = Script(Throughput(100.0, 100.0, 300.0), hangs)
    rate = AdaptiveRate(ThroughputLimit(100.0), source, timeout=1000.0)
    async with Scope("rates", on_exit="cancel") as scope:
        scope.go(rate.follow)
        await asyncio.sleep(6)
        assert source.running == 1
        with pytest.raises(GuardMisuse, match="followed already"):
            await rate.follow()
    assert source.running == 0
    assert rate.statistics().rate == 120.0
    async with Scope("again", on_exit="cancel") as scope:
        scope.go(rate.follow)
        await asyncio.sleep(1)
    await AdaptiveRate(ThroughputLimit(1.0)).follow()  # nothing to follow: it ends
    await AdaptiveRate(ThroughputLimit(1.0)).refresh()


async def test_counters_are_measured_by_their_growth() -> None:
    """Since the limit moved last, over the window at most; one that falls begins anew."""
    counted = [0.0, 0.0]
    source = CounterSource(lambda: (counted[0], counted[1]), window=30.0)
    assert await source.measure(-inf) == Throughput(0.0, 0.0, 0.0)
    for _ in range(9):
        await asyncio.sleep(5)
        counted[0] += 40.0
        counted[1] += 50.0
        await source.measure(-inf)
    measured = await source.measure(-inf)
    assert measured == Throughput(8.0, 10.0, 30.0)
    assert (await source.measure(32.0)).span == pytest.approx(10.0)
    counted[:] = [0.0, 0.0]
    with pytest.raises(ValueError, match="has fallen"):
        await source.measure(-inf)
    assert (await source.measure(-inf)).span == 0.0
    with pytest.raises(ValueError, match="window"):
        CounterSource(lambda: (0.0, 0.0), window=0)


async def test_in_a_policy_the_policy_counts() -> None:
    """The rate stands in its order, and follows what the whole policy has done well."""
    work = Dependency(10.0)

    def count() -> tuple[float, float]:
        seen = policy.statistics()
        return seen.ok, seen.ok + seen.failed

    rate = AdaptiveRate(
        ThroughputLimit(20.0, floor=2.0, window=100.0), CounterSource(count, window=100.0), burst=1
    )
    policy: Policy = Policy("adaptive", deadline=5.0, rate=rate)
    async with Scope("rates", on_exit="cancel") as scope:
        scope.go(rate.follow)
        while now() < 300.0:
            try:
                await policy.call(work)
            except Overloaded:
                pass
        assert rate.statistics().rate == pytest.approx(10.0, rel=0.2)
        assert rate.statistics().source == "fresh"


async def test_it_is_a_rate() -> None:
    """It waits in line, refuses what would be too late, and gives back."""
    rate = AdaptiveRate(ThroughputLimit(10.0), burst=1, max_wait=0.15, warm_up=None, name="r")
    async with rate:
        assert not rate.try_acquire()
    await rate.acquire()
    await asyncio.gather(rate.acquire(), return_exceptions=True)
    with pytest.raises(LimitError):
        await asyncio.gather(rate.acquire(), rate.acquire())
    rate.update(max_wait=9.0, mode="shadow")
    assert rate.mode == "shadow"
    assert repr(rate).startswith("<AdaptiveRate 'r' 10/s")


def test_what_cannot_be_is_refused() -> None:
    """With what to do."""
    rate = AdaptiveRate(ThroughputLimit(10.0), name="r")
    with pytest.raises(GuardMisuse, match="finds its limit by itself"):
        rate.update(rate=5)
    with pytest.raises(ValueError, match="every is more"):
        AdaptiveRate(ThroughputLimit(10.0), every=0)
    with pytest.raises(ValueError, match="timeout is more"):
        AdaptiveRate(ThroughputLimit(10.0), timeout=0)
