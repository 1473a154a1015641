"""What a guard was asked to do, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import translate
from re import compile as compile_pattern
from typing import Final, Literal

__all__ = ["INHERIT", "GuardOptions", "Inherit", "OnOrphan", "Route", "RouteTable"]

OnOrphan = Literal["report", "cancel", "adopt"]


class Inherit:
    """Stands for "as the guard does", where None already means "none at all"."""

    def __repr__(self) -> str:
        return "INHERIT"


INHERIT: Final = Inherit()


@dataclass(frozen=True, slots=True)
class Route:
    """What differs for some paths.

    Attributes:
        path: a path, or a pattern with ``*`` (any characters, also ``/``) and ``?``.
        timeout: seconds, or None for no deadline, as streams need it.
        cancel_on_disconnect: False lets the handler run on when the client leaves.
    """

    path: str
    timeout: float | Inherit | None = INHERIT
    cancel_on_disconnect: bool | Inherit = INHERIT

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ValueError: the path does not begin with ``/`` or ``*``, or the timeout is not above 0.
        """
        if not self.path.startswith(("/", "*")):
            raise ValueError(f"route {self.path!r}: a path begins with '/' (or a pattern with '*')")
        if not isinstance(self.timeout, Inherit):
            _check_above_zero(f"route {self.path!r}: timeout", self.timeout)


class RouteTable:
    """Finds the first route that fits a path; the answer for plain paths is one lookup."""

    __slots__ = ("_exact", "_patterns")

    def __init__(self, routes: Sequence[Route]) -> None:
        """Compile the patterns; the order of `routes` decides among them, plain paths go first."""
        self._exact: dict[str, Route] = {}
        self._patterns = [
            (compile_pattern(translate(route.path)), route)
            for route in routes
            if any(char in route.path for char in "*?[")
        ]
        patterned = {id(route) for _, route in self._patterns}
        for route in routes:
            if id(route) not in patterned:
                self._exact.setdefault(route.path, route)

    def __bool__(self) -> bool:
        return bool(self._exact or self._patterns)

    def find(self, path: str) -> Route | None:
        """Return the route of `path`, or None."""
        route = self._exact.get(path)
        if route is None:
            for pattern, candidate in self._patterns:
                if pattern.match(path):
                    return candidate
        return route


@dataclass(frozen=True, slots=True)
class GuardOptions:
    """Everything that `guard()` takes, with units; see there for the meaning."""

    observe: bool = False
    timeout: float | None = 10.0  # seconds
    max_timeout: float | None = None  # seconds; None: as timeout
    max_in_flight: int | None = 1000
    max_websockets: int | None = None
    retry_after: float = 1.0  # seconds
    on_orphan: OnOrphan = "report"
    cancel_on_disconnect: bool = True
    disconnect_delay: float = 0.05  # seconds
    routes: tuple[Route, ...] = ()
    probes: frozenset[str] = frozenset()
    drain_timeout: float = 10.0  # seconds

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ValueError: a number is out of range or a word is unknown.
        """
        _check_above_zero("guard: timeout", self.timeout)
        _check_above_zero("guard: max_timeout", self.max_timeout)
        _check_above_zero("guard: disconnect_delay", self.disconnect_delay)
        _check_above_zero("guard: drain_timeout", self.drain_timeout)
        for name in ("max_in_flight", "max_websockets"):
            limit = getattr(self, name)
            if limit is not None and limit < 1:
                raise ValueError(
                    f"guard: {name} must be at least 1 (or None for no limit), not {limit!r}"
                )
        if not self.retry_after >= 0:
            raise ValueError(
                f"guard: retry_after must be at least 0 seconds, not {self.retry_after!r}"
            )
        if self.on_orphan not in ("report", "cancel", "adopt"):
            raise ValueError(
                f"guard: on_orphan is 'report', 'cancel' or 'adopt', not {self.on_orphan!r}"
            )


def _check_above_zero(what: str, seconds: float | None) -> None:
    if seconds is not None and not 0 < seconds < float("inf"):
        raise ValueError(f"{what} must be above 0 seconds (or None for none), not {seconds!r}")
