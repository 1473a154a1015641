"""`Once` and `once_value`: something is done once, whoever comes first, and everybody waits for it.

What Go leaves out, asyncio makes necessary to decide:

* *Failure.* With ``on_error="retry"`` an error goes to the caller whose attempt it was,
  and the next caller tries again: a database that was away for a second must not
  break a service until its restart. With ``on_error="keep"`` the first error is the
  outcome, raised to everybody and for ever (Go's way: a panic counts as done).
* *Cancellation.* A first caller that is cancelled was only the one who happened to
  come first. The next in line does it over.
"""

from __future__ import annotations

from asyncio import Task
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, cast, overload

from backstay.errors import SyncMisuse
from backstay.sync._home import Home, task_in
from backstay.sync._wake_queue import Waiter, WaitLine, was_given

__all__ = ["Once", "OnceStatistics", "OnceValue", "once_value"]

T = TypeVar("T")

OnError = Literal["retry", "keep"]


@dataclass(frozen=True, slots=True)
class OnceStatistics:
    """How far a `Once` is.

    Attributes:
        name: its name.
        state: "new", "running", "done" or "failed" (the last only with ``on_error="keep"``).
        waiting: how many tasks wait for it.
        attempts: how often it was begun.
    """

    name: str
    state: Literal["new", "running", "done", "failed"]
    waiting: int
    attempts: int


class _Run(Home, Generic[T]):
    """One thing that is done once: the part that `Once` and `OnceValue` have in common."""

    __slots__ = ("_attempts", "_error", "_line", "_on_error", "_runner", "_value", "finished")

    _kind = "once"

    def __init__(self, name: str, on_error: OnError) -> None:
        if on_error not in {"retry", "keep"}:
            raise ValueError(f"on_error is 'retry' or 'keep', not {on_error!r}")
        super().__init__(name)
        self._on_error = on_error
        self._value: T
        self._error: Exception | None = None  # kept only with on_error="keep"
        self.finished = False
        # Who runs it. Invariant: while anybody waits in line, somebody runs it or was just
        # woken to, and nobody is woken beside that one before it has finished.
        self._runner: Task[Any] | None = None
        self._attempts = 0
        self._line: WaitLine[Waiter] = WaitLine()

    async def result(self, fn: Callable[[], Awaitable[T]]) -> T:
        """Return what the one run of `fn` returned, running it if nobody has."""
        while not self.finished:
            me = task_in(self._move_in())
            if self._runner is None:
                return await self._attempt(fn, me)
            if self._runner is me:
                raise SyncMisuse(
                    f"{self._title()} is asked for by the very run that it waits for: "
                    f"what is done once must not need itself"
                )
            if await self._turn():
                return await self._attempt(fn, me)
        if self._error is not None:
            raise self._error
        return self._value

    async def _attempt(self, fn: Callable[[], Awaitable[T]], me: Task[Any] | None) -> T:
        self._runner = me
        self._attempts += 1
        try:
            value = await fn()
        except Exception as error:
            if self._on_error == "keep":
                self._error = error
                self._finish()
            else:
                self._next_runner()
            raise
        except BaseException:
            self._next_runner()
            raise
        self._value = value
        self._finish()
        return value

    async def _turn(self) -> bool:
        """Wait until it is finished (False) or it is our turn to run it (True)."""
        waiter = self._waiter()
        self._line.append(waiter)
        try:
            return cast("bool", await waiter)
        except BaseException:
            if not was_given(waiter):
                self._line.discard(waiter)
            elif waiter.result():
                self._next_runner()
            raise

    def _finish(self) -> None:
        self.finished = True
        self._runner = None
        if self._line and self._can_wake("finishing"):
            self._queue.wake_all(self._line, False)

    def _next_runner(self) -> None:
        self._runner = None
        if self._line and self._can_wake("giving up") and self._queue.wake_one(self._line, True):
            # Nobody that comes by may begin before the one who was woken.
            self._runner = _SOMEBODY

    def statistics(self) -> OnceStatistics:
        state: Literal["new", "running", "done", "failed"]
        if self.finished:
            state = "done" if self._error is None else "failed"
        else:
            state = "new" if self._runner is None else "running"
        return OnceStatistics(self.name, state, self._line.waiting, self._attempts)

    def _in_words(self) -> str:
        runner = self._runner
        who = "" if runner is None or runner is _SOMEBODY else f" run by {runner.get_name()!r}"
        return f"{self.name!r}{who}"

    def _in_use(self) -> bool:
        return self._runner is not None

    def _reset(self) -> None:
        self._runner = None
        self._line = WaitLine()


_SOMEBODY = cast("Task[Any]", object())


class Once:
    """Runs something once, however many tasks ask for it, and lets all of them wait for it.

    ::

        connected = Once("connect")

        async def query(...):
            await connected.do(pool.open)
            ...

    Cancelled: when the task that runs it is cancelled, the next in line runs it over.
    """

    __slots__ = ("_run",)

    def __init__(self, name: str = "", *, on_error: OnError = "retry") -> None:
        """Make one that has not run.

        Args:
            name: what is done once, for people; the line that makes it when omitted.
            on_error: "retry": an error goes to the caller whose attempt failed, and the next
                caller tries again. "keep": the first error is the outcome for everybody.

        Raises:
            ValueError: `on_error` is neither.
        """
        self._run: _Run[object] = _Run(name, on_error)

    async def do(self, fn: Callable[..., Awaitable[object]], /, *args: object) -> None:
        """Run `fn(*args)` unless it has run; return when it has.

        Raises:
            Exception: what `fn` raised, see `on_error`.
            SyncMisuse: `fn` itself asks for this `Once`.
        """
        if not self._run.finished or self._run._error is not None:
            await self._run.result(lambda: fn(*args))

    @property
    def done(self) -> bool:
        """Whether it has run, so that `do` returns (or, with "keep", fails) at once."""
        return self._run.finished

    def statistics(self) -> OnceStatistics:
        """Return how far it is."""
        return self._run.statistics()

    def __repr__(self) -> str:
        """Show the name and how far it is."""
        return f"<Once {self._run.name!r} {self._run.statistics().state}>"


class OnceValue(Generic[T]):
    """An async function whose body runs once; made by `once_value`."""

    __slots__ = ("__wrapped__", "_run")

    def __init__(self, fn: Callable[[], Awaitable[T]], name: str, on_error: OnError) -> None:
        """Wrap `fn`; see `once_value`."""
        self.__wrapped__ = fn
        self._run: _Run[T] = _Run(name or getattr(fn, "__qualname__", repr(fn)), on_error)

    async def __call__(self) -> T:
        """Return the value, computing it if nobody has."""
        return await self._run.result(self.__wrapped__)

    @property
    def done(self) -> bool:
        """Whether the value (or, with "keep", the error) is there."""
        return self._run.finished

    def statistics(self) -> OnceStatistics:
        """Return how far it is."""
        return self._run.statistics()

    def __repr__(self) -> str:
        """Show the name and how far it is."""
        return f"<OnceValue {self._run.name!r} {self._run.statistics().state}>"


@overload
def once_value(fn: Callable[[], Awaitable[T]], /) -> OnceValue[T]: ...


@overload
def once_value(
    *, name: str = "", on_error: OnError = "retry"
) -> Callable[[Callable[[], Awaitable[T]]], OnceValue[T]]: ...


def once_value(
    fn: Callable[[], Awaitable[T]] | None = None,
    /,
    *,
    name: str = "",
    on_error: OnError = "retry",
) -> OnceValue[T] | Callable[[Callable[[], Awaitable[T]]], OnceValue[T]]:
    """Turn an async function without arguments into one whose body runs once.

    ::

        @once_value
        async def settings() -> Settings:
            return await load()

        current = await settings()     # loads at the first call; later calls get the same value

    Use it in place of `functools.cache`, which on an async function remembers a
    coroutine that can be awaited only once.

    Args:
        fn: the function.
        name: for people; the function's name when omitted.
        on_error: as for `Once`.

    Raises:
        ValueError: `on_error` is neither "retry" nor "keep".
    """
    if fn is not None:
        return OnceValue(fn, name, on_error)
    return lambda function: OnceValue(function, name, on_error)
