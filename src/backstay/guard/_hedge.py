"""`Hedge`: a second attempt beside one that is slower than nearly all others.

"The Tail at Scale" (J. Dean, L. A. Barroso, CACM 2013): sending a second request
once the first has outlasted the 95th percentile adds about 5 % of load and cuts the
tail to a fraction. The loser is cancelled *and waited for*: a cancelled call that
still holds a connection is what a hedge must not leave behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, cast

from backstay.guard._budget import Budget
from backstay.guard._call_around import call_around
from backstay.guard._guard import Guard, Mode
from backstay.guard._retry import in_short
from backstay.guard.rules.running_quantile import RunningQuantile
from backstay.sync._home import read_clock
from backstay.tasks import Scope

__all__ = ["Hedge", "HedgeStatistics"]

P = ParamSpec("P")
T = TypeVar("T")

# Calls before a quantile is believed; until then none is hedged.
_ENOUGH = 20


@dataclass(frozen=True, slots=True)
class HedgeStatistics:
    """How hedges are doing.

    Attributes:
        name: its name.
        launched: second attempts made.
        won: of these, how many answered first.
        refused: second attempts that the budget did not allow.
        lost_errors: losers that ended with an error of their own while they were cancelled.
        after_s: seconds after which a call is hedged at present; None while too little is known.
    """

    name: str
    launched: int
    won: int
    refused: int
    lost_errors: int
    after_s: float | None


class Hedge(Guard):
    """Makes a second attempt when the first one takes long, and uses the first answer.

    For calls that may be made twice. ::

        lookup = Hedge("p95", name="lookup")

        @lookup
        async def find(key: str) -> Row: ...

    Cancelled: both attempts are cancelled and waited for.

    Cost: a task for each call, and a second one for each that is hedged.
    """

    __slots__ = (
        "_after",
        "_launched",
        "_lost_errors",
        "_quantile",
        "_won",
        "budget",
    )

    kind = "hedge"
    _kind = "hedge"

    def __init__(
        self,
        after: float | str = "p95",
        *,
        budget: Budget | None = None,
        name: str = "",
        mode: Mode = "enforce",
    ) -> None:
        """Describe when a second attempt is made.

        Args:
            after: seconds, or a running quantile of the calls that succeeded: "p95".
            budget: what bounds the hedges, shared with retries; one of its own when omitted.
            name: for people; the line that makes it when omitted.
            mode: "shadow" counts what it would launch, and does not.

        Raises:
            ValueError: `after` makes no sense.
        """
        super().__init__(name, mode)
        self._after, self._quantile = _when(after)
        self.budget = budget or Budget(name=name and f"{name} hedges")
        self._launched = self._won = self._lost_errors = 0

    def after(self) -> float | None:
        """Return the seconds after which a call is hedged; None while too little is known."""
        if self._quantile is None:
            return self._after
        return self._quantile.seconds if self._quantile.seen >= _ENOUGH else None

    def __call__(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Hedge each call of an async function; signature and types stay."""
        return call_around(self.call, fn)

    async def call(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `fn(*args, **kwargs)`, and once more if the first call takes long."""
        self.budget.began()
        return await self.run(lambda: fn(*args, **kwargs))

    async def run(self, make_attempt: Callable[[], Awaitable[T]]) -> T:
        """Make one attempt, and a second one beside it if the first takes long.

        Raises:
            Exception: what the first attempt raised. When both were made and failed, a
                note tells of the second.
        """
        after = self.after()
        began = read_clock.read()
        if after is None:
            result = await make_attempt()
            self._learn(read_clock.read() - began)
            return result
        spent = 0
        both: list[asyncio.Task[tuple[T | None, Exception | None]]] = []
        winner = None
        try:
            async with Scope(f"hedge {self.name}", on_exit="cancel") as scope:
                first = scope.go(self._outcome, make_attempt)
                await asyncio.wait([first], timeout=after)
                both.append(first)
                if not first.done() and self._may_launch():
                    spent = 1
                    both.append(scope.go(self._outcome, make_attempt))
                winner = await self._first_good(both)
        finally:
            self.budget.ended(spent)
        return cast("T", self._answer(both, winner, began))

    async def _outcome(
        self, make_attempt: Callable[[], Awaitable[T]]
    ) -> tuple[T | None, Exception | None]:
        """Make an attempt; an error is a result here, so that it ends neither scope nor rival."""
        try:
            return await make_attempt(), None
        except Exception as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                self._lost_errors += 1
            return None, error

    async def _first_good(self, attempts: list[asyncio.Task[Any]]) -> asyncio.Task[Any] | None:
        """Wait for the first attempt that succeeds; None when none does."""
        pending = set(attempts)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in attempts:  # in this order, so that of two the first is used
                if task in done and not task.cancelled() and task.result()[1] is None:
                    return task
        return None

    def _answer(
        self, attempts: list[asyncio.Task[Any]], winner: asyncio.Task[Any] | None, began: float
    ) -> Any:
        if winner is not None:
            if winner is not attempts[0]:
                self._won += 1
            self._learn(read_clock.read() - began)
            return winner.result()[0]
        errors: list[Exception] = [task.result()[1] for task in attempts if not task.cancelled()]
        if not errors:  # a stranger has cancelled the attempts themselves
            raise asyncio.CancelledError
        if len(errors) > 1:
            errors[0].add_note(f"hedge {self.name!r}: the second attempt: {in_short(errors[1])}")
        raise errors[0]

    def _may_launch(self) -> bool:
        if not self.budget.try_spend(read_clock.read()):
            return False
        if self._shadow:
            self.budget.ended()
            self._rejected += 1
            return False
        self._launched += 1
        return True

    def _learn(self, seconds: float) -> None:
        if self._quantile is not None:
            self._quantile.add(seconds)

    def update(self, *, after: float | str | None = None, mode: Mode | None = None) -> None:
        """Change settings while it works.

        Raises:
            ValueError: `after` makes no sense; nothing has changed.
        """
        if after is not None:
            self._after, self._quantile = _when(after)
        super().update(mode=mode)

    def statistics(self) -> HedgeStatistics:
        """Return how it is doing."""
        return HedgeStatistics(
            name=self.name,
            launched=self._launched,
            won=self._won,
            refused=self.budget.rule.refused,
            lost_errors=self._lost_errors,
            after_s=self.after(),
        )

    def __repr__(self) -> str:
        """Show the name and when it hedges."""
        after = self.after()
        return f"<Hedge {self.name!r} after={'?' if after is None else f'{after:.3g} s'}>"


def _when(after: Any) -> tuple[float | None, RunningQuantile | None]:
    if isinstance(after, str):
        if after.startswith("p") and after[1:].isdigit() and 0 < int(after[1:]) < 100:
            return None, RunningQuantile(int(after[1:]) / 100)
    elif isinstance(after, int | float) and after >= 0:
        return float(after), None
    raise ValueError(f'a hedge comes after seconds >= 0 or a quantile such as "p95", not {after!r}')
