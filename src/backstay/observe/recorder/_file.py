"""A recording as a file: what the rings held, and what is known of the moment.

Gzip around one line of JSON that says what follows, a line for each task, and the events as they
stood in the rings. Written a piece at a time: nothing here holds the interpreter for long.
"""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import IO, Any, Final

from backstay.errors import UsageError
from backstay.observe.recorder._capture import MOST_EVENTS, Capture, RingCapture
from backstay.observe.recorder._pure import EVENT
from backstay.observe.recorder._trace import TraceTask

__all__ = ["Recording", "read_recording", "write_recording"]

_FORMAT: Final = "backstay recording 1"
#: Bytes of a file once it is unpacked: what is longer was not written here.
_MOST_BYTES: Final = 256 * 1024 * 1024
_LOOPS_AT_MOST: Final = 1_024
_LINES_AT_ONCE: Final = 200
_BYTES_AT_ONCE: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Recording:
    """A file that was read.

    Attributes:
        about: `kind`, `text`, `trace_id`, `made_at` (unix seconds), `pid`, `also` (what else had
            happened) and `blocks` (the loops that were blocked, with the line).
        capture: what the rings held.
    """

    about: Mapping[str, Any]
    capture: Capture


def write_recording(to: IO[bytes], about: Mapping[str, Any], capture: Capture) -> None:
    """Write a recording; other threads get their turn in between.

    Raises:
        OSError: as the file raises it.
    """
    head = {
        "format": _FORMAT,
        "about": dict(about),
        "recording": capture.recording,
        "since": capture.since,
        "to": capture.to,
        "lost": capture.lost,
        "names": list(capture.names),
        "rings": [
            {
                "events": len(ring.events),
                "tasks": len(ring.tasks),
                "running": ring.running,
                "running_since": ring.running_since,
                "regions": ring.regions,
            }
            for ring in capture.rings
        ],
    }
    with gzip.GzipFile(fileobj=to, mode="wb", compresslevel=1, filename="", mtime=0) as packed:
        packed.write(_line(head))
        for ring in capture.rings:
            for done, (serial, task) in enumerate(ring.tasks.items(), 1):
                packed.write(_line([serial, *astuple(task)]))
                if done % _LINES_AT_ONCE == 0:
                    time.sleep(0)
        for ring in capture.rings:
            view = memoryview(ring.events)
            for begin in range(0, len(view), _BYTES_AT_ONCE):
                packed.write(view[begin : begin + _BYTES_AT_ONCE])


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), default=str).encode("utf-8", "replace") + b"\n"


def read_recording(packed: IO[bytes], name: str) -> Recording:
    """Read what `write_recording` has written.

    Args:
        packed: the file.
        name: of it, for messages.

    Raises:
        UsageError: it is no recording, breaks off, or is longer than any.
    """
    try:
        with gzip.GzipFile(fileobj=packed, mode="rb") as file:
            body = file.read(_MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{name} is not a recording of ours, or breaks off ({error})") from error
    if len(body) > _MOST_BYTES:
        raise UsageError(f"{name} is longer than any recording of ours")
    try:
        return _understood(body)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise UsageError(
            f"{name} is not a recording of ours: expected a file that 'backstay run --record-on' has written"
        ) from error


def _understood(body: bytes) -> Recording:
    end = body.index(b"\n")
    head = json.loads(body[:end])
    if head["format"] != _FORMAT or len(head["rings"]) > _LOOPS_AT_MOST:
        raise ValueError
    at = end + 1
    tasks: list[dict[int, TraceTask]] = []
    for told in head["rings"]:
        found: dict[int, TraceTask] = {}
        for _ in range(told["tasks"]):
            end = body.index(b"\n", at)
            serial, *words = json.loads(body[at:end])
            found[int(serial)] = TraceTask(*words)
            at = end + 1
        tasks.append(found)
    rings: list[RingCapture] = []
    for told, known in zip(head["rings"], tasks, strict=True):
        size = told["events"]
        if size % EVENT.size or not 0 <= size <= MOST_EVENTS * EVENT.size or at + size > len(body):
            raise ValueError
        regions = tuple((int(a), int(b), int(c)) for a, b, c in told["regions"])
        running, running_since = int(told["running"]), int(told["running_since"])
        rings.append(RingCapture(body[at : at + size], known, running, running_since, regions))
        at += size
    names = [str(one) for one in head["names"]]
    about: dict[str, Any] = dict(head["about"])
    since, to, lost = (int(head[name]) for name in ("since", "to", "lost"))
    capture = Capture(bool(head["recording"]), since, to, lost, names, tuple(rings))
    return Recording(about, capture)
