"""Recordings made by themselves when something has happened: the last seconds, written to a file.

An event is heard wherever it happens, often in the thread of a loop; there it is judged and put
into a queue, no more. A thread of our own copies the rings and writes the file.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from backstay._base import BlockRecord, loop_blocked, loop_tracked, now, wall
from backstay.errors import UsageError
from backstay.observe.recorder._capture import MOST_EVENTS
from backstay.observe.recorder._file import write_recording
from backstay.observe.recorder._recorder import Recorder, current_recorder
from backstay.observe.recorder._shelf import Shelf
from backstay.observe.recorder._triggers import Cause, Trigger, parse_triggers

__all__ = ["Recordings", "RecordingsStatistics", "current_recordings", "record"]

#: Blocks of loops remembered, to be told with what they have caused.
_BLOCKS: Final = 64
#: Causes told beside the first one of a recording.
_ALSO: Final = 20
#: Seconds that whoever leaves waits for the file under way.
_PATIENCE_S: Final = 5.0

_log = logging.getLogger("backstay.recorder")

_current: Recordings | None = None


@dataclass(frozen=True, slots=True)
class RecordingsStatistics:
    """What has become of the events.

    Attributes:
        written: files.
        failed: files that could not be written.
        passed_over: events that came too soon after a recording, by the word of their trigger.
    """

    written: int
    failed: int
    passed_over: dict[str, int]


def record(
    triggers: str | Iterable[Trigger],
    directory: str | os.PathLike[str],
    *,
    keep: int = 20,
    every: float = 10.0,
    last: float = 10.0,
    settle: float = 0.25,
) -> Recordings:
    """Return what writes the last seconds to a file whenever something happens; enter it to begin.

    ::

        with record("slow=500ms,blocked,deadline", "/var/lib/shop/recordings"):
            run(main)

    It uses the recorder that is at work, or one of its own.

    Args:
        triggers: as `parse_triggers` reads them.
        directory: for the files; made when it is not there.
        keep: files that stay, the newest. One has some megabytes at most.
        every: seconds between two recordings, at least; what happens meanwhile is counted.
        last: seconds that a recording reaches back.
        settle: seconds that are recorded after the event, so that what it has led to is seen.

    Raises:
        UsageError: a trigger is none, or the directory cannot be made or written.
        ValueError: a number cannot be meant.
    """
    if keep < 1 or every < 0 or not last > 0 or settle < 0:
        raise ValueError(
            f"keep={keep!r}, every={every!r}, last={last!r}, settle={settle!r}: "
            f"keep is 1 or more, last more than 0 seconds, every and settle 0 seconds or more"
        )
    found = parse_triggers(triggers) if isinstance(triggers, str) else tuple(triggers)
    return Recordings(found, Shelf(Path(directory), keep), every, last, settle)


class Recordings:
    """Made by `record`; a context manager."""

    def __init__(
        self, triggers: tuple[Trigger, ...], shelf: Shelf, every: float, last: float, settle: float
    ) -> None:
        """Keep the settings; nothing is listened to before it is entered."""
        self.triggers = triggers
        self._shelf = shelf
        self._every, self._last, self._settle = every, last, settle
        self._own: Recorder | None = None
        self._unsubscribe: list[Callable[[], None]] = []
        self._queue: queue.SimpleQueue[Cause | None] = queue.SimpleQueue()
        self._blocks: OrderedDict[tuple[str, float], BlockRecord] = OrderedDict()
        self._also: deque[Cause] = deque(maxlen=_ALSO)
        self._last_at: float | None = None
        self._passed_over: Counter[str] = Counter()
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._written = self._failed = 0
        self._leaving = threading.Event()
        self._all_written = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Recordings:
        """Begin.

        Raises:
            UsageError: another one is at work in this process.
        """
        global _current
        if _current is not None:
            raise UsageError("recordings are made in this process already: there is one at a time")
        if current_recorder() is None:
            self._own = Recorder().start()
        _current = self
        self._unsubscribe = [
            loop_tracked.subscribe(self._follow),
            loop_blocked.subscribe(self._note),
        ]
        self._unsubscribe += [one.hook.subscribe(self._ear(one)) for one in self.triggers]
        self._thread = threading.Thread(target=self._work, name="backstay-recordings", daemon=True)
        self._thread.start()
        atexit.register(self.close)
        return self

    def __exit__(self, *_: object) -> None:
        """End, once what has happened is written."""
        self.close()

    def close(self) -> None:
        """Listen no more, and wait some seconds for what is being written; harmless when repeated."""
        global _current
        if _current is not self:
            return
        _current = None
        atexit.unregister(self.close)
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._leaving.set()
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(_PATIENCE_S)
        if self._own is not None:
            self._own.stop()

    # -- what there is ---------------------------------------------------------------

    @property
    def directory(self) -> Path:
        """Where the files are."""
        return self._shelf.path

    def list(self) -> list[dict[str, Any]]:
        """Return what is kept, the newest first; `text` of those made by this process."""
        return [{**row, "text": self._texts.get(row["name"], "")} for row in self._shelf.list()]

    def read(self, name: str) -> bytes | None:
        """Return a file as it is, or None where there is none of that name."""
        return self._shelf.read(name)

    def statistics(self) -> RecordingsStatistics:
        """Return what was counted."""
        return RecordingsStatistics(self._written, self._failed, dict(self._passed_over))

    # -- where it happens ---------------------------------------------------------------

    def _follow(self, _: object) -> None:
        recorder = current_recorder()
        if recorder is not None:
            recorder.follow()

    def _note(self, block: BlockRecord) -> None:
        key = block.thread, block.started_at
        self._blocks.pop(key, None)
        self._blocks[key] = block
        if len(self._blocks) > _BLOCKS:
            self._blocks.popitem(last=False)

    def _ear(self, trigger: Trigger) -> Callable[[Any], None]:
        def hear(event: Any) -> None:
            cause = trigger.cause(event)
            if cause is not None:
                recorder = current_recorder()
                if cause.owner and cause.trace_id and recorder is not None:
                    recorder.attribute(cause.owner, cause.trace_id)
                self._take(cause)

        return hear

    def _take(self, cause: Cause) -> None:
        at = now()
        if (
            cause.last
        ):  # nobody is there afterwards to write it, and whoever ends the process must not hang
            self._leaving.set()
            self._queue.put(cause)
            self._all_written.wait(_PATIENCE_S)
        elif self._last_at is not None and at - self._last_at < self._every:
            self._passed_over[cause.kind] += 1
            self._also.append(cause)
        else:
            self._last_at = at
            self._queue.put(cause)

    # -- in a thread of its own --------------------------------------------------------

    def _work(self) -> None:
        while (cause := self._queue.get()) is not None:
            self._leaving.wait(self._settle)
            self._write(cause)
            if cause.last:
                self._all_written.set()

    def _write(self, cause: Cause) -> None:
        """Write a file; whatever goes wrong is a line in the log and nobody else's trouble."""
        try:
            self._write_file(cause)
        except Exception as error:
            self._failed += 1
            why = (error.strerror if isinstance(error, OSError) else None) or str(error)
            _log.warning("the recording of %r could not be written: %s", cause.kind, why)

    def _write_file(self, cause: Cause) -> None:
        recorder = self._own or current_recorder()
        if recorder is None:
            raise RuntimeError("the recorder was stopped")
        capture = recorder.capture(self._last, MOST_EVENTS)
        made_at = wall()
        also = [{"kind": one.kind, "text": one.text} for one in self._also if one != cause]
        self._also.clear()
        blocks = [
            asdict(one)
            for one in list(self._blocks.values())
            if one.started_at + one.duration_s >= made_at - self._last
        ]
        about = {
            "kind": cause.kind,
            "text": cause.text,
            "trace_id": cause.trace_id,
            "made_at": made_at,
            "pid": os.getpid(),
            "also": also,
            "blocks": blocks,
        }
        name = self._shelf.put(
            cause.kind, cause.trace_id, lambda to: write_recording(to, about, capture)
        )
        self._written += 1
        self._texts[name] = cause.text
        if len(self._texts) > self._shelf.keep:
            self._texts.popitem(last=False)
        _log.info("recorded %s: %s", self._shelf.path / name, cause.text)


def current_recordings() -> Recordings | None:
    """Return what makes recordings in this process, or None."""
    return _current
