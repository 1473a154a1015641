"""`Deadline`: a bound on the time of each call, enforced, and seen by all that is called.

`timeout()` does the same for one block; a guard does it for every call, at a
quarter of the price (`tasks.TimeLimit`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from backstay.guard._call_around import check_async
from backstay.guard._guard import Guard, Mode
from backstay.sync._home import read_clock
from backstay.sync._wake_queue import here
from backstay.tasks import Limits, TimeLimit, limits_of

__all__ = ["Deadline", "DeadlineStatistics"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DeadlineStatistics:
    """How a deadline is doing.

    Attributes:
        name: its name.
        seconds: how long a call may take.
        cut: calls that were cut, by this deadline or an earlier one around it.
    """

    name: str
    seconds: float
    cut: int


class Deadline(Guard):
    """Ends each call after so many seconds, at the latest.

    ::

        quick = Deadline(0.5, name="search")

        @quick
        async def find(text: str) -> list[Hit]: ...

    An earlier deadline around the call stays in force, and is the one that is named.

    Cancelled: a cancel from outside goes through, also in the turn in which time runs out.
    """

    __slots__ = ("_cut", "_home", "_limits", "_seconds")

    _limits: Limits  # of the loop in which it was last used; unset before

    kind = "deadline"
    _kind = "deadline"

    def __init__(self, seconds: float, *, name: str = "") -> None:
        """Set the bound.

        Args:
            seconds: how long a call may take, > 0.
            name: shows up as `DeadlineExceeded.scope`; the line that makes it when omitted.

        Raises:
            ValueError: `seconds` is not above 0.
        """
        super().__init__(name)
        self._seconds = _checked(seconds)
        self._cut = 0
        self._home: object = None

    def __call__(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """Bound each call of an async function; signature and types stay."""
        check_async(fn)
        work: Callable[..., Awaitable[T]] = fn  # an empty `**kwargs` costs a third of a bare await
        clock = read_clock

        @wraps(fn)
        async def bounded(*args: P.args, **kwargs: P.kwargs) -> T:
            limit = None
            if here() == self._home:
                limit = self._limits.try_begin(self._name, self._seconds, clock.read())
            if limit is None:
                limit = self._begin(clock.read())
            try:
                result = await (work(*args, **kwargs) if kwargs else work(*args))
            except BaseException as error:
                if limit.close():
                    self._cut += 1
                    await limit.settle(error)
                raise
            if limit.close():
                await limit.settle(None)
            return result

        return bounded

    async def call(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `fn(*args, **kwargs)`.

        Raises:
            DeadlineExceeded: time ran out.
        """
        limit = self._begin(read_clock.read())
        try:
            result = await fn(*args, **kwargs)
        except BaseException as error:
            if limit.close():
                self._cut += 1
                await limit.settle(error)
            raise
        if limit.close():
            await limit.settle(None)
        return result

    def _begin(self, now: float) -> TimeLimit:
        if here() == self._home:
            limit = self._limits.try_begin(self._name, self._seconds, now)
            if limit is not None:
                return limit
            # The same thread runs another loop now, or no task runs: the next try tells.
        self._limits = limits_of(self._move_in())
        self._home = here()
        return self._limits.begin(self.name, self._seconds, now)

    def update(self, *, seconds: float | None = None, mode: Mode | None = None) -> None:
        """Change the bound of calls that begin from now on; `mode` means nothing to a deadline.

        Raises:
            ValueError: `seconds` is not above 0; nothing has changed.
        """
        if seconds is not None:
            self._seconds = _checked(seconds)

    def statistics(self) -> DeadlineStatistics:
        """Return how it is doing."""
        return DeadlineStatistics(self.name, self._seconds, self._cut)

    def __repr__(self) -> str:
        """Show the name and the bound."""
        return f"<Deadline {self.name!r} {self._seconds:g} s>"


def _checked(seconds: float) -> float:
    if not seconds > 0:
        raise ValueError(f"a deadline is above 0 seconds, not {seconds!r}")
    return seconds
