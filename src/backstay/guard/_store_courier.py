"""Carries questions to a store, one at a time, and knows when not to count on it.

A store that answers late is worse than none: whoever waits for it hangs as it does. So a
question has a budget of 20 ms. At its end the store counts as *down*, and callers are decided
about without it; the question itself lives on for up to a second, since a late answer still
says what was handed out.

While it is down, a breaker says when it may be asked again, by a question on which no call
waits. The first answer within the budget brings it back.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Final, Protocol

from backstay._base import Chance
from backstay.guard._shared_rate_records import RateStore
from backstay.guard.rules.breaker_rule import BreakerRule, BreakerSettings, Ticket
from backstay.guard.rules.outcomes import FAIL, OK
from backstay.guard.rules.shared_quota import Ask, QuotaAnswer
from backstay.sync._durations import Durations
from backstay.sync._home import read_clock
from backstay.tasks import Scope

__all__ = ["Customer", "StoreCourier"]

_LONGEST_S: Final = 1.0  # a question lives as long
# A loop that was blocked runs its timers late, and the answer may lie in the socket already: it
# gets a few short turns more before the store is blamed.
_LATE_S: Final = 0.002
_MORE_TURNS: Final = 5
_BREAKER: Final = BreakerSettings(
    failure_rate=1e-9, minimum=1, window=60.0, open_for=0.1, most_open=5.0, lease=2 * _LONGEST_S
)


class Customer(Protocol):
    """Whoever sends a courier."""

    def answered(self, ask: Ask, answer: QuotaAnswer) -> None:
        """The store has answered, in time or late."""
        ...

    def unanswered(self, error: BaseException | None) -> None:
        """The store is not to be counted on: `error` says why, None that it is late."""
        ...

    def idle(self) -> None:
        """The question is over, whatever became of it: the next one may be sent."""
        ...


class StoreCourier:
    """One question at a time.

    Attributes:
        budget: seconds until the store counts as down.
        busy: a question is under way.
        trips: how often the store was asked.
        errors: how often it did not answer in time, or with an error.
        took: how long answers took.
        last_error: what the store failed with last; None when it was only late, or never.
    """

    __slots__ = (
        "_chance",
        "_customer",
        "_rule",
        "_store",
        "budget",
        "busy",
        "errors",
        "last_error",
        "took",
        "trips",
    )

    def __init__(self, store: RateStore, budget: float, customer: Customer) -> None:
        """Stand ready.

        Args:
            store: whom to ask.
            budget: seconds until it counts as down.
            customer: who is told.
        """
        self._store = store
        self.budget = budget
        self._customer = customer
        self._rule = BreakerRule(_BREAKER)
        self._chance = Chance()
        self.busy = False
        self.trips = self.errors = 0
        self.took = Durations()
        self.last_error: BaseException | None = None

    @property
    def up(self) -> bool:
        """Whether the store is counted on."""
        return self._rule.state == "closed"

    def why(self) -> str:
        """Say in a few words what the store did last that it is not counted on for."""
        error = self.last_error
        if error is None:
            return f"no answer within {self.budget * 1e3:g} ms"
        return f"{type(error).__name__}: {error}"[:120]

    def may_ask(self, now: float) -> bool:
        """Tell whether a question can be sent: none is under way, and the breaker has no objection."""
        return not self.busy and (self.up or now >= self._rule.opens_until)

    def send(self, scope: Scope, ask: Ask) -> None:
        """Send a question; to be called where `may_ask` says so."""
        self._rule.dice = self._chance.random()
        ticket = self._rule.admit(read_clock.read())
        if ticket is None:
            return
        self.busy = True
        self.trips += 1
        task = scope.go(self._trip, ask, ticket)
        # Whatever becomes of the task, even if it is cancelled before it has begun.
        task.add_done_callback(lambda _: self._is_back(ticket))

    def _is_back(self, ticket: Ticket) -> None:
        self._rule.release(ticket)  # of one that was cancelled, and has settled nothing
        self.busy = False
        self._customer.idle()

    async def _trip(self, ask: Ask, ticket: Ticket) -> None:
        trip = _Trip(self, ticket, self.budget)
        try:
            async with asyncio.timeout(_LONGEST_S):
                answer = await self._store.ask(ask)
        except asyncio.CancelledError:  # closing, or somebody cancels all tasks there are
            trip.end()
            raise
        except Exception as error:
            trip.end()
            self._failed(trip, error)
        else:
            trip.end()
            if not trip.is_late:
                self.took.record(read_clock.read() - trip.began)
                self._rule.settle(ticket, OK, read_clock.read(), 0.0)
            self._customer.answered(ask, answer)

    def _failed(self, trip: _Trip, error: BaseException | None) -> None:
        """Count a question that was not answered, or not in time; once."""
        if trip.is_late:
            return  # the second thing that goes wrong with one question says nothing new
        trip.is_late = True
        self.errors += 1
        self.last_error = error
        self._rule.dice = self._chance.random()
        self._rule.settle(trip.ticket, FAIL, read_clock.read(), 0.0)
        self._customer.unanswered(error)


class _Trip:
    """One question under way.

    Attributes:
        is_late: the store has been blamed for it.
        watch: strikes at the end of the budget.
    """

    __slots__ = ("_courier", "_loop", "_turns", "began", "is_late", "ticket", "watch")

    def __init__(self, courier: StoreCourier, ticket: Ticket, budget: float) -> None:
        self._courier = courier
        self._loop = asyncio.get_running_loop()
        self._turns = 0
        self.began = read_clock.read()
        self.ticket = ticket
        self.is_late = False
        self.watch = self._loop.call_later(
            budget, self._over_budget, self._loop.time() + budget, context=Context()
        )

    def _over_budget(self, due: float) -> None:
        now = self._loop.time()
        if now - due > _LATE_S and self._turns < _MORE_TURNS:
            self._turns += 1
            due = now + _LATE_S
            self.watch = self._loop.call_at(due, self._over_budget, due, context=Context())
            return
        self._courier._failed(self, None)

    def end(self) -> None:
        """Stop the clock."""
        self.watch.cancel()
