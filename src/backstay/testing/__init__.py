"""Instruments for testing asyncio code, ours and yours.

`run_virtual(main)` runs a coroutine on a loop whose time jumps forward when
everything is blocked, so that a test of a ten-second timeout takes no time and
always the same course.
"""

from backstay.testing._virtual_loop import DeadlockError, VirtualClock, VirtualLoop, run_virtual

__all__ = ["DeadlockError", "VirtualClock", "VirtualLoop", "run_virtual"]
