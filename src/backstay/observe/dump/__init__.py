"""Dumps: all tasks and threads of a process, where they came from and what they wait for.

`snapshot` takes the look, `document` makes JSON of one, `to_text` makes it
readable. Taken from any thread, also while the loop is blocked; a dump keeps
nothing of the application alive.
"""

from backstay.observe.dump._document import document, to_json
from backstay.observe.dump._executors import ExecutorSight, JobSight
from backstay.observe.dump._groups import Group, Member
from backstay.observe.dump._on_signal import SignalDump, on_signal
from backstay.observe.dump._snapshot import Dump, Sight, sights, snapshot
from backstay.observe.dump._text import to_text
from backstay.observe.dump._threads import LoopSight, ThreadSight, threads

__all__ = [
    "Dump",
    "ExecutorSight",
    "Group",
    "JobSight",
    "LoopSight",
    "Member",
    "Sight",
    "SignalDump",
    "ThreadSight",
    "document",
    "on_signal",
    "sights",
    "snapshot",
    "threads",
    "to_json",
    "to_text",
]
