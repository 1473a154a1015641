"""`Retry`: tries again what may work the next time, within a budget and never past the deadline.

The happy path is a bare `try`; all that a retry needs is made when the first attempt
has failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from backstay import context as ambient
from backstay._base import Chance
from backstay.errors import ExpiredError, Rejected
from backstay.guard._budget import Budget
from backstay.guard._call_around import check_async
from backstay.guard._guard import Guard, Mode
from backstay.guard._judgement import On, counts
from backstay.guard.rules.backoff import Backoff
from backstay.sync._home import read_clock

__all__ = ["TRANSIENT", "Retry", "RetryStatistics"]

P = ParamSpec("P")
T = TypeVar("T")

TRANSIENT: tuple[type[BaseException], ...] = (ConnectionError, TimeoutError)
"""What is tried again unless `on` says otherwise: the network failed, or time ran out further down.

`DeadlineExceeded` of an inner block is a `TimeoutError`, too. Every other error is one that the
same call will most likely meet again.
"""


@dataclass(frozen=True, slots=True)
class RetryStatistics:
    """How retries are doing.

    Attributes:
        name: its name.
        calls: calls so far, by the budget that may be shared with others.
        retries: attempts after the first.
        recovered: calls that succeeded after the first attempt.
        exhausted: calls that failed with their last attempt.
        refused: retries that the budget did not allow.
        too_late: retries that would have come after the deadline.
    """

    name: str
    calls: int
    retries: int
    recovered: int
    exhausted: int
    refused: int
    too_late: int


class Retry(Guard):
    """Calls again what failed in a way that may pass.

    ::

        fetch = Retry(3, on=(ConnectionError, TimeoutError), name="fetch")

        @fetch
        async def page(url: str) -> str: ...

    A guard's no (`Rejected`) is tried again only when it says when, and that is before the
    deadline. An error with a number in `retry_after` is not tried again before.

    Cancelled: at once, in an attempt as in a pause.

    Cost: a `try`; less than 3 bare awaits as a decorator (`benchmarks/guard_retry.py`).

    Attributes:
        budget: what bounds the retries; shared with others when given.
    """

    __slots__ = (
        "_attempts",
        "_backoff",
        "_chance",
        "_counted",
        "_exhausted",
        "_idempotent",
        "_recovered",
        "_retries",
        "_too_late",
        "budget",
    )

    kind = "retry"
    _kind = "retry"

    def __init__(
        self,
        attempts: int = 3,
        *,
        on: On = TRANSIENT,
        budget: Budget | None = None,
        first: float = 0.05,
        most: float = 1.0,
        idempotent: bool = True,
        name: str = "",
        seed: float | None = None,
        mode: Mode = "enforce",
    ) -> None:
        """Describe what is tried again, and when.

        Args:
            attempts: how often a call is made at most, the first time included, >= 1.
            on: which errors are worth another attempt: a class, several, or a function of
                the exception.
            budget: what bounds the retries of all who share it; one of its own when omitted.
            first: seconds, the bound of the random pause before the second attempt; doubled
                with each attempt.
            most: seconds, the bound at most.
            idempotent: False if a call must not be made twice: then only a guard's no, after
                which nothing was done, is tried again.
            name: for people; the line that makes it when omitted.
            seed: of the jitter, for runs that must repeat themselves.
            mode: "shadow" counts what it would try again, and does not.

        Raises:
            ValueError: a number is out of range.
            TypeError: `on` makes no sense.
        """
        super().__init__(name, mode)
        if attempts < 1:
            raise ValueError(f"a call is attempted at least once, not {attempts!r} times")
        self._attempts = attempts
        self._backoff = Backoff(first, most)
        self._counted = counts(on)
        self.budget = budget or Budget(name=name and f"{name} retries")
        self._idempotent = idempotent
        self._chance = Chance(seed)
        self._retries = self._recovered = self._exhausted = self._too_late = 0

    # -- calling -----------------------------------------------------------------

    def __call__(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Let each call of an async function be tried again; signature and types stay."""
        check_async(fn)
        work: Callable[..., Awaitable[T]] = fn  # an empty `**kwargs` costs a third of a bare await
        budget, again = self.budget.rule, self._again

        @wraps(fn)
        async def retried(*args: P.args, **kwargs: P.kwargs) -> T:
            budget.calls += 1
            try:
                return await (work(*args, **kwargs) if kwargs else work(*args))
            except Exception as error:
                failed = error
            try:
                return await again(failed, fn, args, kwargs)
            finally:
                del failed  # its traceback holds this frame

        return retried

    async def call(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `fn(*args, **kwargs)`, again when it fails in a way that may pass.

        Raises:
            Exception: of the last attempt, with a note that tells of those before.
        """
        self.budget.rule.calls += 1
        try:
            return await fn(*args, **kwargs)
        except Exception as error:
            failed = error
        try:
            return await self._again(failed, fn, args, kwargs)
        finally:
            del failed  # its traceback holds this frame

    async def _again(
        self, failed: Exception, fn: Callable[..., Awaitable[T]], args: Any, kwargs: Any
    ) -> T:
        """Make the attempts after the first."""
        earlier: list[str] = []
        try:
            for attempt in range(2, self._attempts + 2):
                now = read_clock.read()
                pause = self.pause_before(attempt, failed, now, ambient.remaining())
                if pause is None:
                    self.tell_of(earlier, failed)
                    raise failed
                earlier.append(in_short(failed))
                await asyncio.sleep(pause)
                try:
                    result = await fn(*args, **kwargs)
                except Exception as error:
                    failed = error
                else:
                    self._recovered += 1
                    return result
            raise AssertionError("the last attempt has no successor")
        finally:
            self.budget.ended(len(earlier))
            del failed

    # -- for who makes the attempts himself ------------------------------------------

    def pause_before(
        self, attempt: int, error: BaseException, now: float, remaining: float | None
    ) -> float | None:
        """Decide whether to try again.

        A yes has spent from the budget; `budget.ended` must follow when the call is over.

        Args:
            attempt: the number of the attempt that would be made: 2, 3, …
            error: what the one before ended with.
            now: seconds on the clock of `backstay.now()`.
            remaining: seconds until the deadline; None without one.

        Returns:
            Seconds to wait; None to give up.
        """
        if not self._is_worth_it(error):
            return None
        if attempt > self._attempts:
            self._exhausted += 1
            return None
        pause = self._backoff.pause(attempt, self._chance.random())
        not_before = getattr(error, "retry_after", None)
        if isinstance(not_before, int | float) and not_before > 0:
            if remaining is None and not_before > self._backoff.most:
                self._too_late += 1
                return None
            pause += not_before
        if remaining is not None and pause >= remaining:
            self._too_late += 1
            return None
        if not self.budget.try_spend(now):
            return None
        if self._shadow:
            self.budget.ended()
            self._rejected += 1
            return None
        self._retries += 1
        return pause

    def _is_worth_it(self, error: BaseException) -> bool:
        if isinstance(error, Rejected):
            return error.retry_after is not None and not isinstance(error, ExpiredError)
        return self._idempotent and isinstance(error, Exception) and self._counted(error)

    def tell_of(self, earlier: list[str], last: BaseException) -> None:
        """Add to the error of the last attempt what became of those before."""
        if earlier:
            tried = "; ".join(f"{number}. {said}" for number, said in enumerate(earlier, 1))
            last.add_note(f"retry {self.name!r}: attempt {len(earlier) + 1}, before that: {tried}")

    def recovered(self) -> None:
        """Count a call that succeeded after the first attempt."""
        self._recovered += 1

    # -- looking after it ------------------------------------------------------------

    def update(
        self,
        *,
        attempts: int | None = None,
        first: float | None = None,
        most: float | None = None,
        mode: Mode | None = None,
    ) -> None:
        """Change settings while it works.

        Raises:
            ValueError: a number is out of range; nothing has changed.
        """
        if attempts is not None and attempts < 1:
            raise ValueError(f"a call is attempted at least once, not {attempts!r} times")
        before = self._backoff
        self._backoff = Backoff(
            before.first if first is None else first, before.most if most is None else most
        )
        self._attempts = self._attempts if attempts is None else attempts
        super().update(mode=mode)

    def statistics(self) -> RetryStatistics:
        """Return how it is doing."""
        return RetryStatistics(
            name=self.name,
            calls=self.budget.rule.calls,
            retries=self._retries,
            recovered=self._recovered,
            exhausted=self._exhausted,
            refused=self.budget.rule.refused,
            too_late=self._too_late,
        )

    def __repr__(self) -> str:
        """Show the name and how often a call is made."""
        return f"<Retry {self.name!r} attempts={self._attempts}>"


def in_short(error: BaseException) -> str:
    """Return an error in a few words, for a note."""
    text = f"{type(error).__name__}: {error}"
    return text if len(text) <= 100 else f"{text[:97]}..."
