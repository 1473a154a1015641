"""What every guard has: a name, a mode, a place in the table of guards.

Objects first, registry second: a guard works without anybody looking it up. The
table keeps none of them alive.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from typing import Any, ClassVar, Literal, TypeAlias
from weakref import WeakSet

from backstay._base import CallRejected, call_rejected
from backstay.errors import GuardMisuse, Rejected
from backstay.sync._home import Home

__all__ = ["Guard", "Mode", "find", "guards", "lives_in", "unlist"]

Mode: TypeAlias = Literal["enforce", "shadow"]

_guards: WeakSet[Guard] = WeakSet()


class Guard(Home):
    """The base of all guards.

    Attributes:
        kind: the family in one word, as in metrics: "rate", "bulkhead", "breaker", …
    """

    __slots__ = ("_rejected", "_shadow")

    kind: ClassVar[str] = "guard"

    def __init__(self, name: str, mode: Mode = "enforce") -> None:
        """Take a place in the table.

        Args:
            name: what it guards, for people and metrics; the line that makes it when "".
            mode: "shadow" counts and reports what it would refuse, and refuses nothing.

        Raises:
            ValueError: there is no such mode.
        """
        super().__init__(name)
        self._shadow = _is_shadow(mode)
        self._rejected = 0
        _guards.add(self)

    @property
    def mode(self) -> Mode:
        """Whether it refuses, or only counts what it would refuse; `update(mode=...)` sets it."""
        return "shadow" if self._shadow else "enforce"

    @property
    def rejected(self) -> int:
        """How many calls it has refused, or would have in shadow mode."""
        return self._rejected

    def update(self, *, mode: Mode | None = None) -> None:
        """Change settings while it works; each kind adds its own keywords."""
        if mode is not None:
            self._shadow = _is_shadow(mode)

    def statistics(self) -> object:
        """Return how it is doing, as a frozen record."""
        raise NotImplementedError

    def refuse(self, error: Rejected) -> None:
        """Count a no, tell who listens, and raise it; in shadow mode only count and tell.

        Raises:
            Rejected: `error`, unless in shadow mode.
        """
        self._rejected += 1
        if call_rejected:
            call_rejected.emit(
                CallRejected(self.name, self.kind, error.reason, error.retry_after, self._shadow)
            )
        if not self._shadow:
            raise error

    def _in_use(self) -> bool:
        return False  # those with a line of waiters know better

    def _reset(self) -> None:
        pass


def _is_shadow(mode: Any) -> bool:
    if mode not in ("enforce", "shadow"):
        raise ValueError(f'a guard\'s mode is "enforce" or "shadow", not {mode!r}')
    return bool(mode == "shadow")


def unlist(guard: Guard) -> None:
    """Take a guard that is a part of another one off the table."""
    _guards.discard(guard)


def lives_in(guard: Guard) -> AbstractEventLoop | None:
    """Return the loop in which somebody waited at the guard last; None before that."""
    return guard._loop


def guards() -> tuple[Guard, ...]:
    """Return every guard that lives, by kind and name: for tables, metrics and dumps."""
    return tuple(sorted(_guards, key=lambda guard: (guard.kind, guard.name)))


def find(name: str, kind: str | None = None) -> Guard:
    """Return the guard of that name.

    Args:
        name: as given to the guard.
        kind: to tell guards of one name apart: "policy", "breaker", …

    Raises:
        KeyError: there is none.
        GuardMisuse: there are several.
    """
    found = [g for g in guards() if g.name == name and kind in (None, g.kind)]
    if not found:
        known = ", ".join(sorted({repr(guard.name) for guard in guards()})) or "none yet"
        raise KeyError(f"no guard is called {name!r}; there are: {known}")
    if len(found) > 1:
        kinds = ", ".join(guard.kind for guard in found)
        raise GuardMisuse(f"{len(found)} guards are called {name!r} ({kinds}): say which kind")
    return found[0]
