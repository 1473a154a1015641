"""`Health`: asks the dependencies of a process now and then, and says what it found to whoever asks.

Checks are made by tasks of its own, one for each dependency, so there is never more than one check of
a dependency under way, however many ask. A request to a probe reads what was found, and waits for nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from backstay._base import HealthMoved, health_moved, now, random, wall
from backstay.errors import LifecycleMisuse
from backstay.lifecycle._check_rule import CheckRecord, CheckRule
from backstay.lifecycle._readiness import Readiness
from backstay.tasks import Scope, timeout

__all__ = [
    "Health",
    "HealthState",
    "HealthStatistics",
    "health_document",
    "missing_dependencies",
    "running_health",
]

HealthState = Literal["starting", "up", "degraded", "down"]

_log = logging.getLogger("backstay.health")

_DEAF_S = 1.0  # after its time-out, for a check to end; then it hangs
_START_S = 0.5  # between two checks of what has not been up yet, at most


@dataclass(frozen=True, slots=True)
class HealthStatistics:
    """How a health is doing."""

    name: str
    state: HealthState
    reason: str  # why it is not ready; "" when it is
    checks: tuple[CheckRecord, ...]


@dataclass(slots=True)
class _Check:
    ask: Callable[[], Awaitable[object]]
    timeout: float
    interval: float
    rule: CheckRule


class Health:
    """The dependencies of a process, and whether it can work with what there is of them.

    ::

        health = Health("shop", readiness=service.readiness)
        health.add("redis", redis_ping(client))
        health.add("prices", cache_age(prices.age, 60.0), critical=False)
        service.task("health", health.run, needs=("redis",))

        async with health: ...  # or alone, for as long as the block lasts

    | state | |
    | --- | --- |
    | "starting" | a critical dependency has not been up yet |
    | "up" | all are up |
    | "degraded" | one that is not critical is down |
    | "down" | a critical one is down |

    "up" and "degraded" are ready. Whether the process is *alive* is no question for it: a restart
    mends no dependency.

    Attributes:
        name: shown in events and logs.
        readiness: held back while it is not ready; None when nobody wants to know.
    """

    def __init__(self, name: str = "health", *, readiness: Readiness | None = None) -> None:
        """Describe it; nothing is asked before `run`.

        Args:
            name: of the health.
            readiness: of the service; from now on it is held back until all critical dependencies are up.
        """
        self.name = name
        self.readiness = readiness
        self._checks: dict[str, _Check] = {}
        self._running = False
        self._told = asyncio.Event()
        self._tell()

    def add(
        self,
        name: str,
        check: Callable[[], Awaitable[object]],
        *,
        critical: bool = True,
        timeout: float = 2.0,
        interval: float = 5.0,
        fail_after: int = 3,
        recover_after: int = 2,
    ) -> None:
        """Declare a dependency.

        Args:
            name: of the dependency.
            check: returns when it is up, perhaps with a word of detail, and raises when it is not.
            critical: whether the process is not ready while it is down.
            timeout: seconds for one check, > 0.
            interval: seconds between the end of a check and the next one, > 0.
            fail_after: failures in a row until it is down, >= 1.
            recover_after: passes in a row until it is up again, >= 1.

        Raises:
            LifecycleMisuse: there is one of that name, or the checks have begun.
            ValueError: a number is out of range.
        """
        if self._running or name in self._checks:
            why = "its checks have begun" if self._running else "there is one of that name"
            raise LifecycleMisuse(f"health {self.name!r} cannot take {name!r}: {why}")
        if not timeout > 0 or not interval > 0:
            raise ValueError(
                f"timeout and interval of {name!r} are more than 0 seconds, not {timeout!r} and {interval!r}"
            )
        rule = CheckRule(
            name, now(), critical=critical, fail_after=fail_after, recover_after=recover_after
        )
        self._checks[name] = _Check(check, timeout, interval, rule)
        self._tell()

    # -- what people ask, from any thread -----------------------------------------------

    @property
    def records(self) -> tuple[CheckRecord, ...]:
        """How each dependency is doing."""
        return tuple(one.rule.record for one in self._checks.values())

    @property
    def state(self) -> HealthState:
        """How all of them are doing together."""
        return _state_of(self.records)

    @property
    def ready(self) -> bool:
        """Whether the process can work with what there is."""
        return not self.reason

    @property
    def reason(self) -> str:
        """Why it is not ready, with the names of those that are missing; "" when it is."""
        return _reason_of(self.records)

    def statistics(self) -> HealthStatistics:
        """Return how it is doing."""
        records = self.records
        return HealthStatistics(self.name, _state_of(records), _reason_of(records), records)

    def __repr__(self) -> str:
        """Show the state and how many checks there are."""
        return f"<Health {self.name!r} {self.state} checks={len(self._checks)}>"

    # -- running ---------------------------------------------------------------------------

    async def run(self, leave: asyncio.Event | None = None) -> None:
        """Make the checks until told to leave.

        Args:
            leave: tells it; `stop()` does as well.

        Raises:
            LifecycleMisuse: it runs already.

        Cancelled: checks are cancelled, and have ended when it ends.

        Emits: `health_moved` when a dependency goes up or down.
        """
        if self._running:
            raise LifecycleMisuse(f"health {self.name!r} runs already")
        self._running = True
        self._told = asyncio.Event()
        for one in self._checks.values():
            one.rule.restart(now())
        self._tell()
        _running.append(self)
        try:
            async with Scope(self.name, kind="health", on_exit="cancel", unwrap=True) as scope:
                for one in self._checks.values():
                    scope.go(self._watch, scope, one)
                await (self._told if leave is None else leave).wait()
        finally:
            self._running = False
            _running.remove(self)
            if self.readiness is not None:
                self.readiness.release(self._hold_name)

    def stop(self) -> None:
        """Tell it to leave, when it runs without an event of its own."""
        self._told.set()

    @asynccontextmanager
    async def _in_background(self) -> AsyncGenerator[Health]:
        async with Scope(f"health {self.name}", on_exit="cancel", unwrap=True) as scope:
            scope.go(self.run)
            yield self

    async def __aenter__(self) -> Health:
        """Make the checks in the background of a block; see `run`."""
        self._block = self._in_background()
        return await self._block.__aenter__()

    async def __aexit__(self, *error: object) -> bool | None:
        """End the checks."""
        return await self._block.__aexit__(*error)  # type: ignore[arg-type]

    async def _watch(self, scope: Scope, one: _Check) -> None:
        """Ask one dependency again and again, and never twice at once."""
        while True:
            began = now()
            task = scope.go(self._ask, one)
            task.set_name(f"health check {one.rule.record.name}")
            await asyncio.wait({task}, timeout=one.timeout + _DEAF_S)
            if not task.done():
                why = (
                    f"the check hangs: it did not end when it was cancelled after {one.timeout:g} s"
                )
                self._judge(one, began, why, surely=True)
                await asyncio.wait({task})
            elif task.cancelled():  # by somebody else, or before its first step
                self._judge(one, began, "the check was cancelled")
            starting = one.rule.record.state == "starting"
            pause = min(one.interval, _START_S) if starting else one.interval
            # Spread, or the checks of a fleet that was started at once arrive at once for ever.
            await asyncio.sleep(pause * (0.9 + 0.2 * random()))

    async def _ask(self, one: _Check) -> None:
        """Make one check."""
        began = now()
        try:
            async with timeout(one.timeout, name=f"health check {one.rule.record.name}"):
                found = await one.ask()
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._judge(one, began, f"CancelledError: {error}")
        except Exception as error:  # that is what a check is for
            self._judge(one, began, f"{type(error).__name__}: {error}")
        else:
            self._judge(one, began, None, "" if found is None else str(found))

    def _judge(
        self,
        one: _Check,
        began: float,
        error: str | None,
        detail: str = "",
        *,
        surely: bool = False,
    ) -> None:
        rule, at = one.rule, now()
        before = rule.record.state
        took_s = at - began
        moved = (
            rule.passed(at, took_s, detail)
            if error is None
            else rule.failed(at, took_s, error, surely=surely)
        )
        if moved:
            record = rule.record
            _log.log(
                logging.WARNING if record.state == "down" else logging.INFO,
                "%s: %s is %s%s", self.name, record.name, record.state, f": {record.error}" if record.error else "",
            )  # fmt: skip
            self._tell()
            if health_moved:
                health_moved.emit(
                    HealthMoved(
                        self.name,
                        record.name,
                        before,
                        record.state,
                        record.critical,
                        record.error,
                    )
                )

    @property
    def _hold_name(self) -> str:
        return f"health {self.name}"

    def _tell(self) -> None:
        """Hold the readiness back, or let it go."""
        if self.readiness is None:
            return
        reason = self.reason
        if reason:
            self.readiness.hold(self._hold_name, reason)
        else:
            self.readiness.release(self._hold_name)


_running: list[Health] = []


def running_health() -> tuple[Health, ...]:
    """Return the healths that run in this process; callable from any thread."""
    return tuple(_running)


def missing_dependencies() -> str:
    """Return which critical dependencies of this process are not up, and why; "" when all are, or none is checked."""
    return "; ".join(one.reason for one in _running if not one.ready)


def health_document(
    healths: Iterable[Health] | None = None, readiness: Readiness | None = None
) -> dict[str, Any]:
    """Return what `/healthz` answers, as plain values; callable from any thread.

    Args:
        healths: whose checks; all that run in this process when omitted.
        readiness: of the service: it says whether the process starts, or drains.
    """
    records = [
        record
        for one in (running_health() if healths is None else healths)
        for record in one.records
    ]
    reason = _reason_of(records)
    state: str = _state_of(records)
    if readiness is not None and not readiness.ready:
        reason = readiness.reason
        if readiness.draining:
            state = "draining"
        elif state in ("up", "degraded"):
            state = "starting"
    checks: dict[str, dict[str, Any]] = {}
    for record in records:
        name, number = record.name, 1
        while name in checks:
            number += 1
            name = f"{record.name} {number}"
        checks[name] = _entry(record)
    return {"state": state, "ready": not reason, "reason": reason, "checks": checks}


def _entry(record: CheckRecord) -> dict[str, Any]:
    at = now()
    since = datetime.fromtimestamp(wall() - (at - record.since), UTC)
    return {
        "state": record.state,
        "critical": record.critical,
        "since": since.isoformat(timespec="seconds"),
        "checked_s_ago": None if record.checked_at is None else round(at - record.checked_at, 3),
        "took_s": round(record.took_s, 6),
        "failures": record.failures,
        "error": record.error,
        "detail": record.detail,
    }


def _state_of(records: Iterable[CheckRecord]) -> HealthState:
    found = {(one.critical, one.state) for one in records}
    if (True, "down") in found:
        return "down"
    if (True, "starting") in found:
        return "starting"
    return "degraded" if (False, "down") in found else "up"


def _reason_of(records: Iterable[CheckRecord]) -> str:
    missing = [one for one in records if one.critical and one.state != "up"]
    down = [one.name for one in missing if one.state == "down"]
    starting = [one.name for one in missing if one.state == "starting"]
    parts = [f"{', '.join(down)} down"] if down else []
    parts += [f"not up yet: {', '.join(starting)}"] if starting else []
    return "; ".join(parts)
