"""A trace as Perfetto reads it: its protobuf, written by hand.

Only what is needed of perfetto's trace format (protos/perfetto/trace, fields by their numbers there):
a packet for each thing, a track for each task, and slices on it. https://ui.perfetto.dev opens the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from backstay._base import cover_secrets
from backstay.observe.recorder._trace import Step, Trace, TraceTask

__all__ = ["to_perfetto"]

# TracePacket
_PACKET, _TIMESTAMP, _SEQUENCE, _TRACK_EVENT, _TRACK_DESCRIPTOR = 1, 8, 10, 11, 60
_SEQUENCE_FLAGS, _CLEARED = 13, 1
# TrackEvent
_TYPE, _TRACK, _NAME, _COUNTER_VALUE, _FLOWS, _ENDING_FLOWS, _ANNOTATIONS = (
    9, 11, 23, 30, 47, 48, 4,
)  # fmt: skip
_BEGIN, _END, _COUNTER = 1, 2, 4
# DebugAnnotation
_KEY, _STRING = 10, 6
# TrackDescriptor
_UUID, _TRACK_NAME, _PARENT, _COUNTER_DESCRIPTOR = 1, 2, 5, 8

_OWNERS = 1 << 32  # uuids: tasks from 1 on, owners, loops and counters above
_LOOPS = 2 << 32
_COUNTERS = 3 << 32
_ALL_LOOPS = 4 << 32
_REGIONS = 5 << 32


def to_perfetto(trace: Trace) -> bytes:
    """Return the trace as a file for Perfetto.

    Every owner is a group of tracks, every task a track in it: "wait", "ready" and "run" after each
    other, and an arrow from the step that has woken a task to the one it led to. Each loop has a
    track with all its steps, and a counter of what is ready. A task with regions has a track of them below its own.

    Cost: 10 to 20 microseconds a step.
    """
    packets = [
        _descriptor(uuid, name, parent, counts) for uuid, name, parent, counts in _tracks(trace)
    ]
    events = [*_events(trace), *_regions(trace), *_counters(trace)]
    packets += [packet for _, packet in sorted(events, key=lambda event: event[0])]
    if packets:  # a reader keeps nothing from an earlier sequence
        packets[0] += _number(_SEQUENCE_FLAGS, _CLEARED)
    return b"".join(_bytes(_PACKET, one) for one in packets)


def _tracks(trace: Trace) -> Iterator[tuple[int, str, int, bool]]:
    if trace.steps:
        yield _ALL_LOOPS, "event loops", 0, False
    for loop in sorted({step.loop for step in trace.steps}):
        yield _LOOPS + loop, f"event loop {loop}: steps", _ALL_LOOPS, False
        yield _COUNTERS + loop, f"event loop {loop}: ready", _ALL_LOOPS, True
    owners: dict[str, int] = {}
    for at, task in enumerate(trace.tasks):
        owner = task.owner or "(no owner)"
        if owner not in owners:
            owners[owner] = _OWNERS + len(owners)
            yield owners[owner], f"owner {owner}", 0, False
        yield at + 1, _label(task), owners[owner], False
    for at in sorted({region.task for region in trace.regions}):
        yield _REGIONS + at, "regions", at + 1, False


def _label(task: TraceTask) -> str:
    """Say of a task first what tells it from others: the column of names shows some twenty letters."""
    site = task.site.rpartition("/")[2]
    return " ".join(word for word in (task.function, site, task.name) if word)


def _events(trace: Trace) -> Iterator[tuple[int, bytes]]:
    ended: dict[int, float] = {}
    for flow, step in enumerate(trace.steps, 1):
        ready, begin, end = (round(at * 1e9) for at in (step.ready, step.begin, step.end))
        name = _label(trace.tasks[step.task]) if step.task >= 0 else "callback"
        yield from _slice(_LOOPS + step.loop, name, begin, end)
        if step.task < 0:
            continue
        track = step.task + 1
        if step.task in ended and ended[step.task] < step.ready:
            yield from _slice(track, "wait", round(ended[step.task] * 1e9), ready)
        if begin > ready:
            yield from _slice(track, "ready", ready, begin)
        woken = flow if step.waker >= 0 and step.waker != step.task else 0
        yield from _slice(
            track, "run", begin, end, flow=woken, arrives=True, step=step, trace=trace
        )
        if woken:
            # A zero-length mark inside the waker's step is where the arrow starts.
            yield from _slice(step.waker + 1, "wakes", ready, ready, flow=woken)
        ended[step.task] = step.end
    for at, task in enumerate(trace.tasks):
        if not task.done and at in ended and ended[at] < trace.to_s:
            words = f"wait {task.wait}".strip()
            yield from _slice(at + 1, words, round(ended[at] * 1e9), round(trace.to_s * 1e9))


def _regions(trace: Trace) -> Iterator[tuple[int, bytes]]:
    """Draw the regions of a task below it: they begin and end in the middle of steps, so they are no part of its own row.

    Slices of a track end in the order of a stack. Regions that overlap by halves, which a `with` in an
    asynchronous generator can do, are cut where the outer one ends.
    """
    stacks: dict[int, list[int]] = {}
    for region in trace.regions:
        begin, end = round(region.begin * 1e9), round(region.end * 1e9)
        stack = stacks.setdefault(region.task, [])
        while stack and stack[-1] <= begin:
            stack.pop()
        end = min(end, stack[-1]) if stack else end
        stack.append(end)
        yield from _slice(_REGIONS + region.task, region.name, begin, end)


def _counters(trace: Trace) -> Iterator[tuple[int, bytes]]:
    """How many callbacks of each loop are ready and wait for their turn."""
    for loop in {step.loop for step in trace.steps}:
        changes = [(step.ready, 1) for step in trace.steps if step.loop == loop]
        changes += [(step.begin, -1) for step in trace.steps if step.loop == loop]
        waiting = 0
        for seconds, change in sorted(changes):
            waiting += change
            at = round(seconds * 1e9)
            event = _number(_TYPE, _COUNTER) + _number(_TRACK, _COUNTERS + loop)
            yield at, _packet(at, event + _number(_COUNTER_VALUE, waiting))


def _slice(
    track: int,
    name: str,
    begin: int,
    end: int,
    *,
    flow: int = 0,
    arrives: bool = False,
    step: Step | None = None,
    trace: Trace | None = None,
) -> Iterator[tuple[int, bytes]]:
    event = _number(_TYPE, _BEGIN) + _number(_TRACK, track) + _text(_NAME, name)
    if flow:
        event += _fixed64(_ENDING_FLOWS if arrives else _FLOWS, flow)
    if step is not None and trace is not None and trace.tasks[step.task].trace_id:
        note = _text(_KEY, "trace_id") + _text(_STRING, trace.tasks[step.task].trace_id)
        event += _bytes(_ANNOTATIONS, note)
    yield begin, _packet(begin, event)
    yield end, _packet(end, _number(_TYPE, _END) + _number(_TRACK, track))


def _packet(at: int, event: bytes) -> bytes:
    return _number(_TIMESTAMP, at) + _number(_SEQUENCE, 1) + _bytes(_TRACK_EVENT, event)


def _descriptor(uuid: int, name: str, parent: int, counts: bool) -> bytes:
    body = _number(_UUID, uuid) + _text(_TRACK_NAME, name)
    if parent:
        body += _number(_PARENT, parent)
    if counts:
        body += _bytes(_COUNTER_DESCRIPTOR, b"")
    return _number(_SEQUENCE, 1) + _bytes(_TRACK_DESCRIPTOR, body)


# -- protobuf's wire format ------------------------------------------------------------


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _fixed64(field: int, value: int) -> bytes:
    return _varint(field << 3 | 1) + value.to_bytes(8, "little")


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    # Names of tasks and owners are the program's, and a file is handed on.
    return _bytes(field, _covered(value).encode("utf-8", "replace"))


@lru_cache(maxsize=4096)
def _covered(text: str) -> str:
    return cover_secrets(text)
