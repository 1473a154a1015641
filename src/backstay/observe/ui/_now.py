"""The present: what the loops do, what the tasks are up to, and what the process has of resources."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from dataclasses import asdict
from typing import Any, Final

from backstay._base import now
from backstay.multiloop import Sysmon, running_multiloops
from backstay.observe.readings import Pulses, rss_bytes
from backstay.observe.ui._survey import Survey
from backstay.tasks import installed_loops

__all__ = ["Present"]

#: Owners told one by one, those with the most tasks.
_MOST_OWNERS: Final = 50
#: Seconds that a loop has to stay away before it is looked at closer, and how long that look takes.
_LATE_S: Final = 0.05
_GLANCE_S: Final = 1.5


class Present:
    """Reads the present; remembers which questions the loops have left unanswered."""

    def __init__(self) -> None:
        """Ask nobody yet."""
        self._pulses = Pulses()

    def document(self, survey: Survey) -> dict[str, Any]:
        """Return what ``/v1/now`` answers.

        Args:
            survey: of the tasks.

        Cost: waits up to 50 ms for the loops, and looks at one that does not come round for 100 ms, for 1.5 s where the
        machine is busy.
        """
        lag = self._pulses.lag()
        owners = sorted(survey.owners.items(), key=lambda item: -item[1])
        return {
            "pid": os.getpid(),
            "loop_lag_s": round(lag, 6),
            "blocked": _glance() if lag >= _LATE_S else None,
            "tasks": survey.tasks,
            "states": dict(survey.states),
            "owners": owners[:_MOST_OWNERS],
            "owners_left_out": max(0, len(owners) - _MOST_OWNERS),
            "tasks_age_s": round(now() - survey.at, 3),
            "tasks_cost_s": round(survey.cost_s, 3),
            "rss_bytes": rss_bytes(),
            "gc": [
                {"collections": one["collections"], "uncollectable": one["uncollectable"]}
                for one in gc.get_stats()
            ],
            "gc_objects": list(gc.get_count()),
            "fds": _open_fds(),
            "max_fds": _max_fds(),
        }


def _glance() -> dict[str, Any] | None:
    """Look for a moment at what blocks a loop; None when all came round meanwhile.

    Where the machine is busy the watch gets to look so seldom that it takes a while to be sure, so the moment may be
    long; it is over as soon as there is an answer, or nothing to be answered.
    """
    apart = {id(loop) for pool in running_multiloops() for loop in pool.loops}
    watched = [loop for loop in installed_loops() if id(loop) not in apart and loop.is_running()]
    came_round = [_round_of(loop) for loop in watched]
    with Sysmon(lambda: watched, _LATE_S, on_block=lambda loop, record: None) as sysmon:
        until = now() + _GLANCE_S
        while now() < until and not all(event.is_set() for event in came_round):
            time.sleep(_LATE_S / 5)
            found = sysmon.statistics().now
            if found is not None:
                return asdict(found)
    return None


def _round_of(loop: asyncio.AbstractEventLoop) -> threading.Event:
    """Return what is set when a loop comes round; at once for one that has been closed."""
    event = threading.Event()
    try:
        loop.call_soon_threadsafe(event.set)
    except RuntimeError:
        event.set()
    return event


def _open_fds() -> int | None:
    try:
        return len(os.listdir("/proc/self/fd")) - 1  # the one that lists them
    except OSError:
        return None


def _max_fds() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft
