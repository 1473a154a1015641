"""`Hedge`: the first answer counts, and the loser is gone when it is there."""

from __future__ import annotations

import asyncio

import pytest

from backstay import current_scope, now
from backstay.guard import Budget, Hedge


class Server:
    """Takes as long, or fails, as it is told for each attempt."""

    def __init__(self, *plan: float | Exception) -> None:
        self.plan = list(plan)
        self.begun = 0
        self.ended = 0
        self.cancelled = 0

    async def __call__(self) -> int:
        number = self.begun
        self.begun += 1
        step = self.plan[number]
        try:
            if isinstance(step, Exception):
                await asyncio.sleep(0.3)
                raise step
            await asyncio.sleep(step)
        except asyncio.CancelledError:
            self.cancelled += 1
            await asyncio.sleep(0.01)  # clean-up takes its time
            raise
        finally:
            self.ended += 1
        return number


async def test_a_quick_call_is_made_once() -> None:
    """Nothing is launched before its time."""
    hedge = Hedge(0.1)
    server = Server(0.05)
    assert await hedge.call(server) == 0
    assert hedge.statistics().launched == 0


async def test_the_second_attempt_wins_and_the_first_is_ended() -> None:
    """Cancelled and waited for: nobody is left when the answer is there."""
    hedge = Hedge(0.1, name="lookup")
    server = Server(10.0, 0.05)
    assert await hedge.call(server) == 1
    assert now() == pytest.approx(0.16)
    assert (server.begun, server.ended, server.cancelled) == (2, 2, 1)
    seen = hedge.statistics()
    assert (seen.launched, seen.won) == (1, 1)
    assert hedge.budget.statistics().retrying == 0
    assert repr(hedge) == "<Hedge 'lookup' after=0.1 s>"


async def test_the_first_may_win_after_all() -> None:
    """Then the second is the loser."""
    hedge = Hedge(0.1)
    server = Server(0.2, 10.0)
    assert await hedge.call(server) == 0
    assert (server.ended, server.cancelled) == (2, 1)
    assert hedge.statistics().won == 0


async def test_one_failure_waits_for_the_other_and_two_are_told_together() -> None:
    """The first error is raised; a note tells of the second."""
    hedge = Hedge(0.1, name="lookup")
    assert await hedge.call(Server(ConnectionError("a"), 0.5)) == 1
    with pytest.raises(ConnectionError, match="a") as caught:
        await hedge.call(Server(ConnectionError("a"), ValueError("b")))
    assert caught.value.__notes__ == ["hedge 'lookup': the second attempt: ValueError: b"]


async def test_a_failure_before_the_time_is_final() -> None:
    """To try again is for a retry."""
    server = Server(ConnectionError("a"), 0.1)
    with pytest.raises(ConnectionError):
        await Hedge(0.5).call(server)
    assert server.begun == 1


async def test_the_budget_bounds_hedges_as_it_does_retries() -> None:
    """A dependency that is slow for all is not called twice by all."""
    hedge = Hedge(0.1, budget=Budget(0.0, per_second=0.0))
    server = Server(0.5, 0.5)
    assert await hedge.call(server) == 0
    assert server.begun == 1
    assert hedge.statistics().refused == 1
    shadow = Hedge(0.1, mode="shadow")
    server = Server(0.5, 0.5)
    await shadow.call(server)
    assert (server.begun, shadow.rejected) == (1, 1)


async def test_it_learns_when_a_call_is_slow() -> None:
    """The 95th percentile of what it has seen; before that it launches nothing."""
    hedge = Hedge("p95", budget=Budget(1.0))
    assert hedge.after() is None
    for _ in range(100):
        await hedge.call(Server(0.1, 0.1))
    after = hedge.after()
    assert after == pytest.approx(0.1, rel=0.2)
    server = Server(10.0, 0.1)
    assert await hedge.call(server) == 1
    hedge.update(after=0.4)
    assert hedge.after() == 0.4


async def test_a_cancel_ends_both() -> None:
    """And waits for both."""
    hedge = Hedge(0.1)
    server = Server(10.0, 10.0)
    task = asyncio.ensure_future(hedge.call(server))
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert (server.begun, server.ended, server.cancelled) == (2, 2, 2)
    assert hedge.budget.statistics().retrying == 0


async def test_an_error_of_a_loser_is_counted() -> None:
    """It is nobody's to raise, and it is not lost without a trace."""
    hedge = Hedge(0.1)

    async def attempt() -> str:
        if now() < 0.1:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                raise ConnectionError("while closing") from None
        return "second"

    assert await hedge.call(attempt) == "second"
    assert hedge.statistics().lost_errors == 1


async def test_attempts_are_owned() -> None:
    """By a scope of the call, which ends with it."""
    hedge = Hedge(0.1, name="lookup")

    @hedge
    async def look() -> str:
        scope = current_scope()
        assert scope is not None
        return scope.name

    assert await look() == "hedge lookup"


@pytest.mark.parametrize("after", ["p0", "p100", "95", -1, None, "fast"])
def test_nonsense_is_refused(after: object) -> None:
    """With what would make sense."""
    with pytest.raises(ValueError, match="p95"):
        Hedge(after)  # type: ignore[arg-type]
