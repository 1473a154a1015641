"""The flight recorder: each step of each task of the last seconds, kept in a ring, told when asked.

Go's execution tracer and flight recorder for asyncio. `Recorder` attaches to a living loop; `Trace`
is what it has seen; `to_perfetto` writes it for https://ui.perfetto.dev.
"""

from backstay.observe.recorder._analysis import analyse, to_text
from backstay.observe.recorder._desk import RecorderDesk
from backstay.observe.recorder._perfetto import to_perfetto
from backstay.observe.recorder._recorder import Recorder, RecorderStatistics, current_recorder
from backstay.observe.recorder._trace import Step, Trace, TraceTask

__all__ = [
    "Recorder",
    "RecorderDesk",
    "RecorderStatistics",
    "Step",
    "Trace",
    "TraceTask",
    "analyse",
    "current_recorder",
    "to_perfetto",
    "to_text",
]
