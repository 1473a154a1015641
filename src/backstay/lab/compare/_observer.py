"""What the orchestration tells whoever is watching; it never knows what a terminal is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from backstay.lab.load import SecondRecord

__all__ = ["Observer", "Silent", "Tick"]


@dataclass(frozen=True, slots=True)
class Tick:
    """One second of a running variant."""

    variant: str
    second: SecondRecord
    duration_s: float
    tasks: int | None  # of all services, at the last look
    rss: int | None  # bytes, likewise
    faults: tuple[str, ...]  # what is broken right now, in words for people


class Observer(Protocol):
    """Somebody who wants to see how a comparison goes."""

    def phase(self, variant: str | None, what: str) -> None:
        """A new phase began: "calibrating", "starting inventory", "load", "stopping order"."""
        ...

    def tick(self, tick: Tick) -> None:
        """A second of load is over."""
        ...

    def note(self, text: str) -> None:
        """Something worth a line of its own: the offered rate was lowered, a variant is run again."""
        ...


class Silent:
    """The observer that looks away; for tests and `--json`."""

    def phase(self, variant: str | None, what: str) -> None:
        """Ignore it."""

    def tick(self, tick: Tick) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""
