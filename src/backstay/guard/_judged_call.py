"""A call around which a judge stands: it admits, and learns from how the call ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, Literal, Protocol, TypeVar

from backstay.guard.rules.outcomes import OK, Outcome
from backstay.sync._home import read_clock

__all__ = ["JudgedBlock", "judged_call"]

T = TypeVar("T")
Ticket = TypeVar("Ticket")


class Judge(Protocol[Ticket]):
    """A guard that admits calls and learns from them: a breaker, a throttle."""

    def admit(self, now: float) -> Ticket:
        """Let a call through, or raise."""
        ...

    def settle(self, ticket: Ticket, outcome: Outcome, now: float, elapsed: float) -> None:
        """Learn from a call that has ended."""
        ...

    def judge(self, error: BaseException, elapsed: float, now: float) -> Outcome:
        """Say what an error says about the dependency."""
        ...


async def judged_call(
    guard: Judge[Any], fn: Callable[..., Awaitable[T]], args: Any, kwargs: Any
) -> T:
    """Call `fn` if `guard` admits it, and let the guard learn from how it ended."""
    began = read_clock.read()
    ticket = guard.admit(began)
    try:
        result = await fn(*args, **kwargs)
    except BaseException as error:
        now = read_clock.read()
        guard.settle(ticket, guard.judge(error, now - began, now), now, now - began)
        raise
    now = read_clock.read()
    guard.settle(ticket, OK, now, now - began)
    return result


class JudgedBlock(Generic[Ticket]):
    """An `async with` block that counts as a call; used once."""

    __slots__ = ("_began", "_guard", "_ticket")

    _ticket: Ticket
    _began: float

    def __init__(self, guard: Judge[Ticket]) -> None:
        """Made by `permit()` of a guard."""
        self._guard = guard

    async def __aenter__(self) -> None:
        """Ask to be let through.

        Raises:
            Rejected: the guard says no.
        """
        self._began = read_clock.read()
        self._ticket = self._guard.admit(self._began)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Literal[False]:
        """Let the guard learn from how the block ended."""
        now = read_clock.read()
        elapsed = now - self._began
        outcome = OK if error is None else self._guard.judge(error, elapsed, now)
        self._guard.settle(self._ticket, outcome, now, elapsed)
        return False
