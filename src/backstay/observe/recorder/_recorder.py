"""The flight recorder: attached to living loops, and asked afterwards what the last seconds were."""

from __future__ import annotations

import asyncio
import logging
import threading
from asyncio import _get_running_loop as running_loop  # None in a thread that runs no loop
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakSet

from backstay._base import accelerated
from backstay.errors import UsageError
from backstay.observe.recorder._capture import MOST_EVENTS, Capture, take, understand
from backstay.observe.recorder._pure import EVENT, PureRecorder
from backstay.observe.recorder._region import Names, stand_by
from backstay.observe.recorder._trace import Trace
from backstay.tasks import TrackedTask, installed_loops

__all__ = ["Recorder", "RecorderStatistics", "current_recorder"]

Loop = asyncio.AbstractEventLoop

#: Bytes of the ring of a loop, as Go's flight recorder has by default; 40 an event.
DEFAULT_BYTES: Final = 10 * 1024 * 1024

_log = logging.getLogger("backstay.recorder")

_current: Recorder | None = None
_guard = threading.Lock()


@dataclass(frozen=True, slots=True)
class RecorderStatistics:
    """What a recorder has counted since it was started.

    Attributes:
        loops: that it is attached to.
        accelerated: whether the C extension does the work.
        steps: callbacks that have run.
        lost: of these, events that were overwritten by later ones.
        ready: how many callbacks waited so long, by the highest bit of the nanoseconds.
        step: how many callbacks took so long, likewise.
        ready_s: seconds that callbacks were ready and waited, in all.
        step_s: seconds that callbacks took, in all.
    """

    loops: int
    accelerated: bool
    steps: int
    lost: int
    ready: tuple[int, ...]
    step: tuple[int, ...]
    ready_s: float
    step_s: float


class Recorder:
    """Records each step of each task on some loops, in rings of a fixed size.

    ::

        with Recorder() as recorder:
            ...
            print(to_text(analyse(recorder.snapshot(last=10.0))))

    It attaches to loops that run already, sees tasks that exist already, and is taken off without
    a trace. It keeps no task alive. One process has one at a time.

    Not seen are the first slice of an eager task, which runs within the step of who started it, and
    what a loop does by itself between callbacks: timers and sockets. The callbacks they cause are.

    Cost: 0.1 to 0.2 microseconds a step where the C extension is; some 2 in Python
    (``benchmarks/recorder.py``).
    """

    def __init__(
        self,
        loops: Iterable[Loop] | None = None,
        *,
        max_bytes: int = DEFAULT_BYTES,
        pure: bool = False,
    ) -> None:
        """Describe it; `start` attaches it.

        Args:
            loops: where to record; all loops that Backstay tracks at the start when omitted.
            max_bytes: of the ring of each loop.
            pure: do without the C extension.

        Raises:
            ValueError: there is no room for one event.
        """
        if max_bytes < EVENT.size:
            raise ValueError(
                f"max_bytes is {max_bytes!r}: one event takes {EVENT.size}, so give more"
            )
        self._asked = None if loops is None else tuple(loops)
        self._capacity = max_bytes // EVENT.size
        extension = None if pure else accelerated()
        self._make: Callable[..., Any] = PureRecorder if extension is None else extension.recorder
        self.accelerated = extension is not None
        self._rings: dict[Loop, Any] = {}  # a ring holds its loop, so no weak table would help
        self.names = Names()
        self._refused: WeakSet[Loop] = WeakSet()
        self._lock = threading.RLock()
        self._attached = False

    def start(self) -> Recorder:
        """Attach to the loops; those that are tracked later are attached to by `follow`.

        Raises:
            UsageError: another recorder is at work, or a loop does not ask the attribute `call_soon`.
            RuntimeError: it was started before.
        """
        global _current
        with _guard:
            if self._attached:
                raise RuntimeError("this Recorder was started before")
            if _current is not None:
                raise UsageError(
                    "a flight recorder is at work in this process: there is one at a time"
                )
            self._attached = True
            _current = self
            stand_by(self._rings, self.names)
        try:
            self._follow(refuse=True)
        except BaseException:
            self.stop()
            raise
        return self

    def follow(self) -> None:
        """Attach to loops that have come since, and let go of those that were closed; callable from any thread.

        A loop that cannot be recorded is passed by, with one line in the log.
        """
        self._follow(refuse=False)

    def _follow(self, *, refuse: bool) -> None:
        with self._lock:
            if not self._attached:
                return
            for closed in [loop for loop in self._rings if loop.is_closed()]:
                del self._rings[closed]
            for loop in installed_loops() if self._asked is None else self._asked:
                if loop in self._rings or loop in self._refused or loop.is_closed():
                    continue
                try:
                    self._attach(loop)
                except UsageError as error:
                    if refuse:
                        raise
                    self._refused.add(loop)
                    _log.warning("%s", error)

    def stop(self) -> None:
        """Take it off; what was recorded can still be read. Harmless when repeated."""
        global _current
        with _guard:
            if _current is self:
                _current = None
                stand_by(None, self.names)
            self._attached = False
        for loop, ring in list(self._rings.items()):
            if loop.call_soon is ring:
                del loop.call_soon

    def __enter__(self) -> Recorder:
        """Start."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    @property
    def attached(self) -> bool:
        """Whether it records."""
        return self._attached

    def _attach(self, loop: Loop) -> None:
        # Nobody asks for the loop's __dict__: from then on CPython finds its attributes more slowly,
        # which would cost more than the recorder does, and for ever.
        before = loop.call_soon
        if getattr(before, "__self__", None) is not loop:
            raise UsageError(
                f"the recorder cannot stand in for call_soon of a {type(loop).__name__}: "
                f"somebody does already"
            )
        ring = self._make(before, self._capacity, TrackedTask)
        try:
            loop.call_soon = ring
        except AttributeError as error:
            raise UsageError(
                f"the recorder cannot stand in for call_soon of a {type(loop).__name__}: "
                f"it has no place for attributes of its own"
            ) from error
        self._rings[loop] = ring

    def attribute(self, owner: str, trace_id: str) -> None:
        """Say whose the current task is, in its first step: a request that is served in one leaves no other sign.

        Args:
            owner: name of the scope.
            trace_id: of the request.
        """
        loop = running_loop()
        ring = None if loop is None else self._rings.get(loop)
        if ring is not None:
            ring.attribute(owner, trace_id)

    # -- what it knows ---------------------------------------------------------------

    def statistics(self) -> RecorderStatistics:
        """Return what was counted; callable from any thread."""
        return self._counted([ring.state() for ring in list(self._rings.values())])

    def statistics_by_loop(self) -> list[tuple[Loop, RecorderStatistics]]:
        """Return the same for each loop by itself, in the order in which it attached to them."""
        rings = list(self._rings.items())
        return [(loop, self._counted([ring.state()])) for loop, ring in rings]

    def _counted(self, states: list[dict[str, Any]]) -> RecorderStatistics:
        return RecorderStatistics(
            loops=len(states),
            accelerated=self.accelerated,
            steps=sum(one["total"] - one["regions"] for one in states),
            lost=sum(one["lost"] for one in states),
            ready=tuple(map(sum, zip(*(one["ready"] for one in states), strict=True))),
            step=tuple(map(sum, zip(*(one["step"] for one in states), strict=True))),
            ready_s=sum(one["ready_sum"] for one in states) / 1e9,
            step_s=sum(one["step_sum"] for one in states) / 1e9,
        )

    def snapshot(self, last: float = 10.0) -> Trace:
        """Return what has happened in the last seconds, as plain values.

        Callable from any thread, also while a loop is blocked: the step that is under way is part of it.

        Args:
            last: seconds.

        Cost: about 2 microseconds an event, and at most 200,000 events.
        """
        return understand(self.capture(last))

    def capture(self, last: float = 10.0, most: int = MOST_EVENTS) -> Capture:
        """Copy what the rings hold, to be understood later; callable from any thread.

        Args:
            last: seconds.
            most: events of each loop.
        """
        return take(list(self._rings.values()), self._attached, last, self.names.all, most)


def current_recorder() -> Recorder | None:
    """Return the recorder that is at work in this process, or None."""
    return _current
