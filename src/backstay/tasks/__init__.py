"""Owned tasks: `go`, `Scope`, and tracking of every task of a loop.

This room records (where, when and for whom a task was started, and what it
waits for); judging is for the rooms above.
"""

from backstay.tasks._adopt import adopt
from backstay.tasks._await_chain import ChainFrame, await_chain
from backstay.tasks._blocked_on import BlockedOn, blocked_on
from backstay.tasks._deadline_wheel import DeadlineWheel
from backstay.tasks._forever import forever, waits_forever
from backstay.tasks._go import go
from backstay.tasks._info import TaskInfo, info, owned_by, owner_of
from backstay.tasks._lost import LostTasks
from backstay.tasks._run import run
from backstay.tasks._scope import Scope, current_scope
from backstay.tasks._scope_record import ScopeStatistics
from backstay.tasks._served_scope import ServedScope, inside, served_scope
from backstay.tasks._shield import Shield, shield
from backstay.tasks._spawn_site import SpawnSite, resolve_site
from backstay.tasks._time_limit import Limits, TimeLimit, limits_of
from backstay.tasks._timeout import Timeout, deadline_at, timeout
from backstay.tasks._tracked_task import TrackedTask, set_owner
from backstay.tasks._tracking import install, installed_loops, live_tasks, lost_tasks, uninstall

__all__ = [
    "BlockedOn",
    "ChainFrame",
    "DeadlineWheel",
    "Limits",
    "LostTasks",
    "Scope",
    "ScopeStatistics",
    "ServedScope",
    "Shield",
    "SpawnSite",
    "TaskInfo",
    "TimeLimit",
    "Timeout",
    "TrackedTask",
    "adopt",
    "await_chain",
    "blocked_on",
    "current_scope",
    "deadline_at",
    "forever",
    "go",
    "info",
    "inside",
    "install",
    "installed_loops",
    "limits_of",
    "live_tasks",
    "lost_tasks",
    "owned_by",
    "owner_of",
    "resolve_site",
    "run",
    "served_scope",
    "set_owner",
    "shield",
    "timeout",
    "uninstall",
    "waits_forever",
]
