"""What is done about tasks that a verdict has struck: told, ended, or given a new owner.

The census and the proof say who; here is what follows from it, by rules that go from the particular
to the general: the first rule whose patterns fit a task decides. Without a rule it is reported.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping
from contextvars import Context
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Literal

from backstay._base import now
from backstay.errors import BackstayError
from backstay.leak._expected import unexpected
from backstay.leak._places import in_words, is_ours, relative, site_of
from backstay.leak._prover import Prover
from backstay.leak._undead import heard_of, is_undead
from backstay.tasks import Scope, TaskInfo, adopt, blocked_on, info, live_tasks, owner_of
from backstay.tasks._tracked_task import cancel_stamp

__all__ = ["Action", "InterceptionStatistics", "Interceptor", "Rule"]

AnyTask = asyncio.Task[Any]
Action = Literal["report", "cancel", "adopt"]

_VERDICTS = ("LEAKED", "STUCK", "UNDEAD", "ORPHAN", "OVERDUE")
_MOST_SITES = 1_000  # whose tasks are told apart in the statistics

_log = logging.getLogger("backstay.leak")


@dataclass(frozen=True, slots=True)
class Rule:
    """What is done about some tasks; all patterns must fit, as in the shell.

    Attributes:
        action: "report" logs, "cancel" cancels as well, "adopt" makes the interceptor's scope the owner.
        verdicts: which ones; GROWING is about a site and not about a task.
        site: pattern of "path:line" that started the task, relative to the working directory.
        function: pattern of the qualified name of what runs.
        owner: pattern of "kind name"; "" means nobody's.
    """

    action: Action
    verdicts: tuple[str, ...] = _VERDICTS
    site: str = "*"
    function: str = "*"
    owner: str = "*"

    def __post_init__(self) -> None:
        """Check the words.

        Raises:
            ValueError: there is no such action or verdict.
        """
        if self.action not in ("report", "cancel", "adopt"):
            raise ValueError(f"an action is report, cancel or adopt, not {self.action!r}")
        wrong = [one for one in self.verdicts if one not in _VERDICTS]
        if wrong:
            raise ValueError(f"tasks are struck by {', '.join(_VERDICTS)}, not by {wrong[0]!r}")


@dataclass(frozen=True, slots=True)
class InterceptionStatistics:
    """What has been done so far."""

    looks: int
    reported: Mapping[str, int]  # tasks struck, by verdict; each is counted once
    cancelled: int
    adopted: int
    sites: Mapping[str, int]  # tasks struck, by spawn site
    last_cost_s: float  # processor time of the last look


class Interceptor:
    """Looks for tasks that a verdict strikes, and does what the rules say.

    ::

        keeper = leak.Interceptor(
            leak.Rule("cancel", ("ORPHAN",), site="shop/order/*"),
            leak.Rule("cancel", ("LEAKED", "STUCK")),
        )
        with keeper:
            ...

    It works in the thread of the loop, by a timer; expected tasks and those of Backstay are left alone.
    Each task is told once for each verdict.
    """

    def __init__(
        self,
        *rules: Rule,
        every: float = 30.0,
        grace: float = 5.0,
        scope: Scope | None = None,
        prove: bool = True,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Prepare; nothing is looked at before `start()` or `look()`.

        Args:
            rules: the particular ones first.
            every: seconds between two looks, > 0.
            grace: seconds that a task may outlive its owner, its deadline or a cancel.
            scope: who adopts; wanted when a rule says so.
            prove: whether LEAKED and STUCK are looked for; they are confirmed by a second look.
            loop: whose tasks; the running one when omitted.

        Raises:
            ValueError: a number is out of range, or nobody is there to adopt.
            RuntimeError: no loop was given and none is running.
        """
        if not every > 0 or not grace >= 0:
            raise ValueError(
                f"every is more than 0 and grace at least 0 seconds, not {every!r} and {grace!r}"
            )
        if scope is None and any(rule.action == "adopt" for rule in rules):
            raise ValueError("a rule says adopt, and there is no scope=: give one that lives long")
        self._rules = rules
        self._every = every
        self._grace = grace
        self._scope = scope
        self._loop = loop or asyncio.get_running_loop()
        self._prover = Prover(self._loop, confirm_after=0.9 * every) if prove else None
        self._timer: asyncio.TimerHandle | None = None
        self._told: set[tuple[int, float | None, str]] = set()
        self._reported: Counter[str] = Counter()
        self._sites: Counter[str] = Counter()
        self._looks = self._cancelled = self._adopted = 0
        self._cost = 0.0

    def start(self) -> Interceptor:
        """Look every so many seconds, until `stop()`."""
        if self._timer is None:
            self._again()
        return self

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> Interceptor:
        """Start."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def statistics(self) -> InterceptionStatistics:
        """Return what has been done."""
        return InterceptionStatistics(
            looks=self._looks,
            reported=MappingProxyType(dict(self._reported)),
            cancelled=self._cancelled,
            adopted=self._adopted,
            sites=MappingProxyType(dict(self._sites)),
            last_cost_s=self._cost,
        )

    def _again(self) -> None:
        # An empty context, or the timer would keep alive what whoever started us had in his.
        self._timer = self._loop.call_later(self._every, self._turn, context=Context())

    def _turn(self) -> None:
        try:
            self.look()
        except Exception:
            # A keeper must not die unseen, nor take the loop along; the next look may succeed.
            _log.exception("a look for leaked tasks failed; there will be another one")
        self._again()

    # -- one look --------------------------------------------------------------------

    def look(self) -> int:
        """Look once, in the thread of the loop; return how many tasks were struck anew.

        Cost: about a microsecond a task, and that of a proof.
        """
        begun = time.thread_time()
        # Before we list the tasks: while references are counted, nothing of ours may hold one.
        proved = self._prover.look().proved if self._prover is not None else ()
        verdicts: dict[int, str] = {one.task_id: one.verdict for one in proved}
        at, anew = now(), 0
        told: set[tuple[int, float | None, str]] = set()
        for task in unexpected(live_tasks(self._loop)):
            verdict = verdicts.get(id(task)) or self._verdict(task, at)
            if not verdict:
                continue
            card = info(task)
            key = id(task), card.born, verdict
            told.add(key)
            if key not in self._told:
                anew += self._deal_with(task, card, verdict)
        self._told = told
        self._looks += 1
        self._cost = time.thread_time() - begun
        return anew

    def _verdict(self, task: AnyTask, at: float) -> str:
        if task.cancelling() and is_undead(cancel_stamp(task), at, self._grace, heard_of(task)):
            return "UNDEAD"
        owner = owner_of(task)
        if owner is None:
            return ""
        if (
            owner.state == "ended"
            and owner.ended_at is not None
            and at - owner.ended_at > self._grace
        ):
            return "ORPHAN"
        if owner.deadline is not None and at - owner.deadline > self._grace:
            return "OVERDUE"
        return ""

    def _deal_with(self, task: AnyTask, card: TaskInfo, verdict: str) -> int:
        site = site_of(card)
        if is_ours(site):
            return 0
        site = relative(site)
        owner = in_words(card.owner)
        action = self._action(verdict, site, card.coroutine, owner)
        self._reported[verdict] += 1
        if site in self._sites or len(self._sites) < _MOST_SITES:
            self._sites[site] += 1
        wait = blocked_on(task)
        _log.warning(
            "%s: %s, started at %s, %s; it waits for %s: %s",
            verdict,
            card.coroutine,
            site,
            f"owner {owner}" if owner else "without an owner",
            wait or "nothing",
            action,
            extra={
                "verdict": verdict,
                "site": site,
                "owner": owner,
                "trace_id": card.trace_id,
                "action": action,
            },
        )
        if action == "cancel":
            self._cancelled += task.cancel(f"{verdict}: ended by the interceptor")
        elif action == "adopt" and self._scope is not None:
            try:
                adopt(task, self._scope)
                self._adopted += 1
            except BackstayError as error:  # the scope has ended, say: the task stays as it is
                _log.warning("%s could not be adopted: %s", card.coroutine, error)
        return 1

    def _action(self, verdict: str, site: str, function: str, owner: str) -> Action:
        for rule in self._rules:
            if (
                verdict in rule.verdicts
                and fnmatchcase(site, rule.site)
                and fnmatchcase(function, rule.function)
                and fnmatchcase(owner, rule.owner)
            ):
                return rule.action
        return "report"
