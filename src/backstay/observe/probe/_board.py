"""All probes of a process: they are set here, and taken away by themselves.

A probe ends with its hits, with its time, or when whoever set it has not asked for so long that he must have
gone. A thread that lives only while there are probes sees to that.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from types import CodeType, FrameType
from typing import Any, Final

from backstay._base import now
from backstay.errors import UsageError
from backstay.observe.probe._expression import parse_expression
from backstay.observe.probe._monitoring import Monitoring, Watched
from backstay.observe.probe._places import find_place
from backstay.observe.probe._probe import Probe
from backstay.observe.probe._tracing import Tracing
from backstay.observe.probe._variables import read_variable

__all__ = ["LONGEST_S", "MOST_HITS", "MOST_PROBES", "MOST_RATE", "Board"]

MOST_PROBES: Final = 10
MOST_HITS: Final = 1000
MOST_RATE: Final = 100.0
MOST_EXPRESSIONS: Final = 20
#: However long a probe is asked for, it is gone after this.
LONGEST_S: Final = 300.0
# Seconds without a question after which whoever set a probe has gone; the command asks four times a second.
_LEASE_S: Final = 5.0
# Seconds for which the hits of a probe that is over can still be read.
_KEPT_S: Final = 60.0


class Board:
    """Sets probes, and takes them away."""

    def __init__(self, *, lease: float = _LEASE_S) -> None:
        """Have none.

        Args:
            lease: seconds without a question after which a probe is taken away.
        """
        self._lease = lease
        self._guard = threading.RLock()
        self._changed = threading.Condition(self._guard)
        self._probes: dict[int, Probe] = {}
        self._asked: dict[int, float] = {}
        self._last = 0
        self._closed = False
        self._thread: threading.Thread | None = None
        self._active: dict[int, tuple[Probe, ...]] = {}  # by the identity of the code
        self._switch = (
            Monitoring(self._struck) if sys.version_info >= (3, 12) else Tracing(self._struck)
        )

    def set(
        self,
        where: str,
        expressions: Sequence[str] = (),
        *,
        hits: int = 10,
        seconds: float = 30.0,
        rate: float = 10.0,
    ) -> Probe:
        """Set a probe.

        Args:
            where: ``FILE:LINE``.
            expressions: what to read at each hit.
            hits: recorded at most.
            seconds: how long at most.
            rate: recorded a second at most.

        Raises:
            UsageError: no such line, an expression that would run code, a limit out of range, too many
                probes, or tools in the way.
        """
        _check("hits", hits, 1, MOST_HITS)
        _check("seconds", seconds, 0.1, LONGEST_S)
        _check("rate", rate, 0.1, MOST_RATE)
        if len(expressions) > MOST_EXPRESSIONS:
            raise UsageError(
                f"{len(expressions)} expressions are too many: at most {MOST_EXPRESSIONS}"
            )
        read = [parse_expression(text) for text in expressions]
        place = find_place(where)
        with self._guard:
            if self._closed:  # an order was under way when the plane ended
                raise UsageError("the plane was closed: its probes have ended with it")
            if sum(probe.open for probe in self._probes.values()) >= MOST_PROBES:
                raise UsageError(f"{MOST_PROBES} probes are set already: wait for one to end")
            self._last += 1
            probe = Probe(self._last, place, read, hits=hits, seconds=seconds, rate=rate)
            self._probes[probe.number] = probe
            self._asked[probe.number] = now()
            try:
                self._rewatch()
            except BaseException:
                del self._probes[probe.number], self._asked[probe.number]
                self._rewatch()
                raise
            self._look_after()
        return probe

    def find(self, number: int) -> Probe | None:
        """Return a probe that is set, or was until a minute ago; asking keeps it."""
        with self._guard:
            probe = self._probes.get(number)
            if probe is not None:
                self._asked[number] = now()
            return probe

    def all(self) -> list[Probe]:
        """Return those that are set, and those that were until a minute ago."""
        with self._guard:
            return list(self._probes.values())

    def take_away(self, number: int, why: str = "asked") -> None:
        """End a probe; harmless when it has ended."""
        with self._guard:
            if number in self._probes:
                self._probes[number].close(why)
                self._rewatch()

    def close(self) -> None:
        """End all of them, and take no more."""
        with self._guard:
            for probe in self._probes.values():
                probe.close("the plane was closed")
            self._closed = True
            self._rewatch()
            self._probes.clear()  # the thread that looks after them ends with the last one
            self._asked.clear()
            self._changed.notify_all()

    # -- the program's threads -------------------------------------------------

    def _struck(self, frame: FrameType, code: CodeType, line: int) -> bool:
        more = False
        for probe in self._active.get(id(code), ()):
            if probe.place.line == line and probe.strike(frame, read_variable):
                more = True
        return more

    # -- our own ---------------------------------------------------------------

    def _rewatch(self) -> None:
        """Have exactly the lines watched of which a probe still wants hits."""
        active: dict[int, tuple[Probe, ...]] = {}
        lines: Watched = {}
        for probe in self._probes.values():
            for code in probe.place.codes if probe.open else ():
                key = id(code)
                active[key] = (*active.get(key, ()), probe)
                others = lines[key][1] if key in lines else frozenset[int]()
                lines[key] = (code, others | {probe.place.line})
        self._active = active
        self._switch.watch(lines)
        for probe in self._probes.values():
            if not probe.open:
                probe.let_go()

    def _look_after(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._tend, name="backstay-probes", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _tend(self) -> None:
        with self._guard:
            while self._probes:
                self._changed.wait(0.2)
                self._sweep(now())
            self._thread = None

    def _sweep(self, at: float) -> None:
        for number, probe in list(self._probes.items()):
            if at >= probe.expires:
                probe.close("time")
            elif at >= self._asked[number] + self._lease:
                probe.close("nobody asks")
            if probe.ended and at >= self._asked[number] + _KEPT_S:
                del self._probes[number], self._asked[number]
        watched = {probe.number for ones in self._active.values() for probe in ones}
        if any(not self._probes[n].open if n in self._probes else True for n in watched):
            self._rewatch()


def _check(name: str, value: Any, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise UsageError(f"{name} is {value!r}: give {least:g} to {most:g}")
