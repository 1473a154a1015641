"""The context itself: an immutable record, and the variable that holds the current one.

Why one record and one variable, and not a variable per thing: entering a block
then costs one `ContextVar.set`, and a reader sees deadline and values that
belong together.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from backstay._base import now

__all__ = ["Context", "current", "deadline", "enter", "leave", "remaining"]

_NOTHING: Mapping[Any, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Context:
    """What surrounds a call: until when it may run, and the values bound around it.

    Invariant: along any chain of calls `deadline` never grows, except through
    `without_deadline()`, which is for work that outlives its caller on purpose.
    """

    deadline: float | None = None  # seconds on the clock of backstay._base.now()
    deadline_setter: str | None = None  # name of the scope that set it
    timeout: float | None = None  # seconds it had asked for; None for an absolute deadline
    values: Mapping[Any, object] = field(default_factory=lambda: _NOTHING)  # Key -> value

    def with_deadline(self, deadline: float, setter: str, timeout: float | None = None) -> Context:
        """Return a context that ends at `deadline`, or this one if it ends sooner already.

        Args:
            deadline: seconds on the clock of `now()`.
            setter: who asks, for `DeadlineExceeded.scope`.
            timeout: seconds asked for, when it was given as a duration.
        """
        if self.deadline is not None and self.deadline <= deadline:
            return self
        return replace(self, deadline=deadline, deadline_setter=setter, timeout=timeout)

    def without_deadline(self) -> Context:
        """Return a context with the same values and no deadline, for detached work."""
        if self.deadline is None:
            return self
        return replace(self, deadline=None, deadline_setter=None, timeout=None)

    def with_value(self, key: object, value: object) -> Context:
        """Return a context in which `key` is bound to `value`."""
        return replace(self, values=MappingProxyType({**self.values, key: value}))

    def __repr__(self) -> str:
        """Show the deadline and the names of the keys; values of secret keys are hidden."""
        parts: list[str] = []
        if self.deadline is not None:
            parts.append(f"remaining={self.deadline - now():.3f}s by {self.deadline_setter!r}")
        for key, value in self.values.items():
            shown = "<secret>" if getattr(key, "secret", False) else repr(value)
            parts.append(f"{getattr(key, 'name', key)}={shown}")
        return f"<Context {' '.join(parts) or 'empty'}>"


_current: ContextVar[Context] = ContextVar("backstay_context", default=Context())


def current() -> Context:
    """Return the context that surrounds the caller; an empty one at the top."""
    return _current.get()


def enter(context: Context) -> Token[Context]:
    """Make `context` the current one until `leave` is called with the returned token."""
    return _current.set(context)


def leave(token: Token[Context]) -> None:
    """Restore what was current before the matching `enter`.

    When the block is left in another `contextvars` context than it was entered
    in (an async generator that the loop finalises, for example), there is
    nothing to restore there and nothing happens.
    """
    try:
        _current.reset(token)
    except ValueError:
        pass  # the variable of *this* context was never set by the matching enter


def deadline() -> float | None:
    """Return the ambient deadline in seconds on the clock of `now()`, or None."""
    return _current.get().deadline


def remaining() -> float | None:
    """Return the seconds left until the ambient deadline, never negative, or None.

    Hand it to clients that take a timeout: ``stub.Reserve(request, timeout=remaining())``.
    """
    at = _current.get().deadline
    return None if at is None else max(0.0, at - now())
