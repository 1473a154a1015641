"""The flight recorder: each step of each task of the last seconds, kept in a ring, told when asked.

Go's execution tracer and flight recorder for asyncio. `Recorder` attaches to a living loop; `Trace`
is what it has seen; `to_perfetto` writes it for https://ui.perfetto.dev.
"""

from backstay.observe.recorder._analysis import analyse, to_text
from backstay.observe.recorder._capture import understand
from backstay.observe.recorder._desk import RecorderDesk
from backstay.observe.recorder._file import Recording, read_recording
from backstay.observe.recorder._perfetto import to_perfetto
from backstay.observe.recorder._recorder import Recorder, RecorderStatistics, current_recorder
from backstay.observe.recorder._recordings import (
    Recordings,
    RecordingsStatistics,
    current_recordings,
    record,
)
from backstay.observe.recorder._region import region
from backstay.observe.recorder._trace import Region, Step, Trace, TraceTask
from backstay.observe.recorder._triggers import Trigger, parse_triggers

__all__ = [
    "Recorder",
    "RecorderDesk",
    "RecorderStatistics",
    "Recording",
    "Recordings",
    "RecordingsStatistics",
    "Region",
    "Step",
    "Trace",
    "TraceTask",
    "Trigger",
    "analyse",
    "current_recorder",
    "current_recordings",
    "parse_triggers",
    "read_recording",
    "record",
    "region",
    "to_perfetto",
    "to_text",
    "understand",
]
