"""What a pool and a gate can say of what is out: who has it, since when, and whether for ever."""

from __future__ import annotations

import logging
from typing import Any, ClassVar, Final, Protocol

from backstay.guard._pool_records import Holding, Item
from backstay.sync._home import read_clock

__all__ = ["Lending"]

_LOOK_S: Final = 1.0  # who holds something for ever is looked for at most as often


class Lending(Protocol):
    """Has things out; a base of guards beside `Guard`, whose own slots these are."""

    __slots__ = ()

    kind: ClassVar[str]
    _held: dict[int, Item[Any]]
    _looked_at: float  # when who holds something for ever was looked for

    def _title(self) -> str: ...

    def holdings(self) -> tuple[Holding, ...]:
        """Return what is out and who has it, the longest first."""
        now = read_clock.read()
        found = [item.holding(now) for item in list(self._held.values())]
        return tuple(sorted(found, key=lambda holding: -holding.held_s))

    def leaks(self) -> tuple[Holding, ...]:
        """Return what is held by tasks and scopes that have ended, so that nobody gives it back."""
        return tuple(holding for holding in self.holdings() if holding.orphaned)

    def _look_for_leaks(self, now: float) -> None:
        """Name in the log, once each, what nobody gives back: somebody has to wait for it."""
        if now - self._looked_at < _LOOK_S:
            return
        setattr(self, "_looked_at", now)  # a slot of the guard
        for item in self._held.values():
            if item.told != item.held_since:
                holding = item.holding(now)
                if holding.orphaned:
                    item.told = item.held_since
                    log = logging.getLogger(f"backstay.{self.kind}")
                    log.warning("%s: nobody gives this back: %s", self._title(), holding)
