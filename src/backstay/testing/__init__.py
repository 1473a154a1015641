"""Instruments for testing asyncio code, ours and yours.

`run_virtual(main)` runs a coroutine on a loop whose time jumps forward when
everything is blocked, so that a test of a ten-second timeout takes no time and
always the same course. `explore(scenario)` runs it under many schedules and
shows the one under which it fails. `MemoryQueue` is a broker that can be sick.
"""

from backstay.errors import ExplorationFailure, OutsideChance
from backstay.testing._memory_queue import MemoryQueue
from backstay.testing._sequencer import Sequencer
from backstay.testing._virtual_loop import DeadlockError, VirtualClock, VirtualLoop, run_virtual
from backstay.testing._wait_all_blocked import wait_all_blocked
from backstay.testing.exploration import Exploration, StepBudgetExceeded, explore, replay

__all__ = [
    "DeadlockError",
    "Exploration",
    "ExplorationFailure",
    "MemoryQueue",
    "OutsideChance",
    "Sequencer",
    "StepBudgetExceeded",
    "VirtualClock",
    "VirtualLoop",
    "explore",
    "replay",
    "run_virtual",
    "wait_all_blocked",
]
