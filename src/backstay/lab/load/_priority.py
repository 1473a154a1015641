"""The right to run first, asked of the operating system and not insisted on.

A real user's machine does not compete with the service for its cores; the
generator on the same machine does. With every core busy an ordinary process is
woken up to a scheduler tick late (4 ms on a kernel of 250 Hz; measured p99
3.8 ms), which is the size of what is to be measured. A process of the real-time
class is woken at once (p99 0.06 ms). It uses a seventh of a core at 1,000
requests/s, and the kernel keeps 5 % for others whatever it does.
"""

from __future__ import annotations

import os
from typing import Literal

__all__ = ["Priority", "raise_priority"]

Priority = Literal["realtime", "nice", "normal"]
"""What was granted: the real-time class, a better nice value, or nothing."""

_REALTIME_LEVEL = 1
"""The lowest of the real-time levels: above every ordinary process, below the kernel's own."""

_NICE_STEPS = (-20, -10, -5)


def raise_priority() -> Priority:
    """Raise this process above ordinary ones as far as it is permitted (root, or CAP_SYS_NICE).

    Returns:
        What was granted; children do not inherit the real-time class.
    """
    if hasattr(os, "SCHED_RR"):
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        try:
            os.sched_setscheduler(0, policy, os.sched_param(_REALTIME_LEVEL))
        except OSError:  # not permitted, or a container without real-time share
            pass
        else:
            return "realtime"
    for step in _NICE_STEPS:
        try:
            os.nice(step)
        except OSError:
            continue
        return "nice"
    return "normal"
