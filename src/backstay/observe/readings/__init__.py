"""What can be read of a living process from another thread, for the admin plane and for metrics."""

from backstay.observe.readings._guard_table import GuardReading, GuardTable
from backstay.observe.readings._loop_names import loop_kind, loop_name
from backstay.observe.readings._memory import rss_bytes
from backstay.observe.readings._pulses import Pulses

__all__ = ["GuardReading", "GuardTable", "Pulses", "loop_kind", "loop_name", "rss_bytes"]
