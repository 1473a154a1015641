"""Tasks that outlive their request: found, counted, and by policy ended or taken in.

Looking for them at the end of each request would cost a look at every live task
each time, which is dearest exactly where tasks leak. So requests that started
tasks by other means than `go` are noted, and a moment after their end one look
serves them all. The moment is also fairness: a task that is just finishing is
nobody's orphan.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

from backstay._base import OrphansFound, now, orphans_found
from backstay.integrations.asgi._failure_log import log
from backstay.integrations.asgi._options import OnOrphan
from backstay.integrations.asgi._statistics import Counters
from backstay.tasks import Scope, info, live_tasks, owner_of

__all__ = ["OrphanCensus"]

Task = asyncio.Task[Any]

_SETTLE_S = 0.05  # how long after its owner's end a task counts as an orphan
_DUTY = 50  # at least this many times the length of a look passes between two looks
_STUBBORN_S = 5.0  # how long a cancelled orphan may take to end before it is named
_QUIET_S = 60.0  # at most one line in this time for one route and one spawn site
_MOST_KEYS = 1024


class OrphanCensus:
    """Looks after the tasks that the requests of one loop leave behind."""

    __slots__ = (
        "_adopt",
        "_cancelled",
        "_counters",
        "_last_told",
        "_loop",
        "_policy",
        "_silent",
        "_timer",
        "_waiting",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        policy: OnOrphan,
        counters: Counters,
        adopt: Callable[[Task], None],
        *,
        silent: bool,
    ) -> None:
        """Prepare.

        Args:
            loop: whose tasks are looked at.
            policy: what to do with an orphan.
            counters: where to count.
            adopt: takes an orphan into the application's scope.
            silent: count only, as `observe` promises.
        """
        self._loop = loop
        self._policy = policy
        self._counters = counters
        self._adopt = adopt
        self._silent = silent
        self._waiting: deque[Scope] = deque()  # ended scopes, oldest first
        self._cancelled: dict[Task, float] = {}  # orphan -> when it was cancelled
        self._last_told: dict[tuple[str, str], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def note(self, scope: Scope) -> None:
        """Look after what `scope`, which has just ended, may have left behind."""
        self._waiting.append(scope)
        if self._timer is None:
            self._arm(_SETTLE_S)

    def _arm(self, delay: float) -> None:
        self._timer = self._loop.call_later(delay, self._tick, context=Context())

    def _tick(self) -> None:
        self._timer = None
        began = now()
        self.look(settle=_SETTLE_S)
        self._name_stubborn(began)
        if self._waiting or self._cancelled:
            self._arm(max(_SETTLE_S, (now() - began) * _DUTY))

    def look(self, *, settle: float) -> None:
        """Deal with the orphans of the scopes that ended at least `settle` seconds ago."""
        latest = now() - settle
        ended: list[Scope] = []
        while self._waiting and (self._waiting[0].ended_at or 0.0) <= latest:
            ended.append(self._waiting.popleft())
        if not ended:
            return
        orphans: dict[Scope, list[Task]] = {scope: [] for scope in ended}
        # A scope inside a request that has ended as well is found by the trace both serve.
        by_trace = {scope.trace_id: scope for scope in ended}
        for task in live_tasks(self._loop):
            owner = owner_of(task)
            if owner is None or owner.state != "ended":
                continue
            root = owner if owner in orphans else by_trace.get(owner.trace_id)
            if root is not None:
                orphans[root].append(task)
        for scope, tasks in orphans.items():
            if tasks:
                self._deal(scope, tasks)

    def _deal(self, scope: Scope, tasks: list[Task]) -> None:
        self._counters.orphans += len(tasks)
        sites = sorted({str(info(task).site or "an unknown place") for task in tasks})
        if orphans_found:
            orphans_found.emit(
                OrphansFound(scope.path, scope.kind, len(tasks), tuple(sites[:8]), scope.trace_id)
            )
        if self._silent:
            return
        if self._policy == "cancel":
            for task in tasks:
                self._counters.orphans_cancelled += task.cancel()
                self._cancelled[task] = now()
        elif self._policy == "adopt":
            for task in tasks:
                self._adopt(task)
                self._counters.orphans_adopted += 1
        self._tell(scope, len(tasks), sites)

    def _tell(self, scope: Scope, count: int, sites: list[str]) -> None:
        key = (scope.name, sites[0])
        told = self._last_told.get(key)
        if told is not None and now() - told < _QUIET_S:
            return
        if len(self._last_told) >= _MOST_KEYS:
            self._last_told.clear()
        self._last_told[key] = now()
        done = {"report": "left running", "cancel": "cancelled", "adopt": "adopted"}[self._policy]
        log.warning(
            "%s ended and left %d task(s) alive, started at %s (%s): "
            "start them with backstay.go, or give them an owner of their own",
            scope.name,
            count,
            ", ".join(sites[:3]),
            done,
            extra={
                "owner": "/".join(scope.path),
                "trace_id": scope.trace_id,
                "orphans": count,
                "sites": sites[:8],
            },
        )

    def _name_stubborn(self, at: float) -> None:
        for task, since in list(self._cancelled.items()):
            if task.done():
                del self._cancelled[task]
            elif at - since >= _STUBBORN_S:
                del self._cancelled[task]
                card = info(task)
                log.error(
                    "orphan %r (started at %s) was cancelled %.1f s ago and still runs: "
                    "it swallows CancelledError",
                    card.name,
                    card.site,
                    at - since,
                )

    def cancelled(self) -> list[Task]:
        """Return the orphans that were cancelled and have not ended."""
        return [task for task in self._cancelled if not task.done()]
