"""The guards as metrics: which field of whose statistics is which row.

A table, since there is nothing to decide: what a guard counts it counts anyway, in its slots, and here
it gets the name under which a dashboard finds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple, cast

from backstay._base import now
from backstay.guard import Guard
from backstay.leak._census import breather
from backstay.observe.metrics._families import Page
from backstay.observe.readings import GuardReading
from backstay.sync._durations import Spread

__all__ = ["SPREAD_EDGES", "put_guards"]

#: Upper edges in seconds of all histograms of durations: 1 ms to 67 s, each four times the last. They are
#: edges of the buckets in which durations are kept, so no count is guessed.
SPREAD_EDGES: Final = tuple(2.0**bits / 1e6 for bits in range(10, 27, 2))

#: Guards between two moments for the application.
_STRIDE: Final = 8

_BREAKER_STATES: Final = ("closed", "open", "half_open", "forced_open", "forced_closed")


class _Row(NamedTuple):
    kind: str  # of the guard
    field: str  # of its statistics
    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    label: str = ""  # for a field that counts by something: by what


_POLICY: Final = (
    _Row("policy", "in_flight", "policy_in_flight", "gauge", "Calls under way."),
    _Row("policy", "attempts", "policy_attempts", "counter", "Calls of the dependency."),
    _Row("policy", "fell_back", "policy_fallbacks", "counter", "Calls answered by the fallback."),
    _Row(
        "policy",
        "rejected",
        "policy_rejections",
        "counter",
        "Calls that a guard of the policy refused.",
        "reason",
    ),
    _Row(
        "policy",
        "duration",
        "policy_duration_seconds",
        "histogram",
        "How long calls took that returned; each eighth is timed.",
    ),
)

_BREAKERS: Final = (
    _Row("breaker", "transitions", "breaker_transitions", "counter", "Changes of the state."),
    _Row("breaker", "calls", "breaker_window_calls", "gauge", "Calls in the window."),
    _Row("breaker", "failed", "breaker_window_failures", "gauge", "Of these, how many failed."),
    _Row(
        "throttle",
        "probability",
        "throttle_reject_probability",
        "gauge",
        "Probability with which the next call is refused.",
    ),
)

_ROOM_HELP: Final = {
    "in_flight": "Calls that are in.",
    "limit": "Calls that may be in at once.",
    "queued": "Calls in line.",
    "wait": "How long calls waited that had to and were let in.",
}
_ROOMS: Final = tuple(
    _Row(kind, field, f"bulkhead_{name}", type_, _ROOM_HELP[field])
    for kind in ("bulkhead", "gate")
    for field, name, type_ in cast(
        "tuple[tuple[str, str, Literal['gauge', 'histogram']], ...]",
        (
            ("in_flight", "in_flight", "gauge"),
            ("limit", "limit", "gauge"),
            ("queued", "queued", "gauge"),
            ("wait", "wait_seconds", "histogram"),
        ),
    )
)

_ADMISSION: Final = (
    _Row("admission", "in_flight", "admission_in_flight", "gauge", "Requests that are in."),
    _Row("admission", "limit", "admission_limit", "gauge", "Requests that may be in at once."),
    _Row("admission", "admitted", "admission_admitted", "counter", "Requests let in."),
    _Row("admission", "shed", "admission_shed", "counter", "Requests refused.", "criticality"),
    _Row("admission", "cut", "admission_cuts", "counter", "Times the limit went down."),
)

_RATES: Final = (
    _Row("rate", "permitted", "rate_permitted", "gauge", "Units a second permitted now."),
    _Row("rate", "available", "rate_available", "gauge", "Units that could be taken now."),
    _Row("rate", "waiting", "rate_waiting", "gauge", "Calls in line."),
    _Row("rate", "wait", "rate_wait_seconds", "histogram", "How long calls waited that had to."),
    _Row("shared rate", "available", "rate_available", "gauge", "Units that could be taken now."),
    _Row("shared rate", "waiting", "rate_waiting", "gauge", "Calls in line."),
    _Row(
        "shared rate",
        "wait",
        "rate_wait_seconds",
        "histogram",
        "How long calls waited that had to.",
    ),
    _Row(
        "shared rate",
        "store_errors",
        "rate_store_errors",
        "counter",
        "Times the shared store did not answer.",
    ),
    _Row("keyed rate", "keys", "rate_keys", "gauge", "Keys that are kept."),
    _Row("keyed rate", "forgotten", "rate_keys_forgotten", "counter", "Keys dropped too early."),
)

_TRIES: Final = (
    _Row("retry", "retries", "retry_retries", "counter", "Attempts after the first."),
    _Row("retry", "recovered", "retry_recovered", "counter", "Calls that a retry has saved."),
    _Row("retry", "exhausted", "retry_exhausted", "counter", "Calls that failed all the same."),
    _Row("retry", "refused", "retry_refused", "counter", "Retries that the budget refused."),
    _Row("budget", "left", "retry_budget_available", "gauge", "Retries that could be made now."),
    _Row("budget", "refused", "retry_budget_exhausted", "counter", "Retries that it refused."),
    _Row("hedge", "launched", "hedge_launched", "counter", "Second attempts made."),
    _Row("hedge", "won", "hedge_won", "counter", "Of these, how many answered first."),
    _Row("deadline", "cut", "deadline_cut", "counter", "Calls that ran out of time."),
    _Row("fallback", "answered", "fallback_answered", "counter", "Calls that it answered."),
)

_POOLS: Final = (
    _Row("pool", "max_open", "pool_max", "gauge", "Resources that may be open."),
    _Row("pool", "open", "pool_open", "gauge", "Resources that are open."),
    _Row("pool", "in_use", "pool_in_use", "gauge", "Resources that are lent."),
    _Row("pool", "idle", "pool_idle", "gauge", "Resources that are open and not lent."),
    _Row("pool", "waiting", "pool_pending_requests", "gauge", "Callers in line."),
    _Row("pool", "timed_out", "pool_timeouts", "counter", "Callers who waited for too long."),
    _Row("pool", "leaks", "pool_leaked", "gauge", "Lent to tasks or scopes that have ended."),
    _Row("pool", "closed", "pool_closed", "counter", "Resources that were closed.", "reason"),
    _Row("pool", "wait", "pool_wait_seconds", "histogram", "How long callers were in line."),
    _Row("pool", "use", "pool_use_seconds", "histogram", "How long resources were lent."),
)

_WORKERS: Final = (
    _Row("workers", "workers", "workers_limit", "gauge", "Jobs that may be under way."),
    _Row("workers", "running", "workers_running", "gauge", "Jobs that are under way."),
    _Row("workers", "queued", "workers_queued", "gauge", "Jobs in line."),
    _Row("workers", "overrunning", "workers_overrunning", "gauge", "Functions nobody waits for."),
    _Row("workers", "succeeded", "workers_succeeded", "counter", "Jobs that returned."),
    _Row("workers", "failed", "workers_failed", "counter", "Jobs that raised or ran out of time."),
    _Row("workers", "died", "workers_died", "counter", "Worker processes that died."),
    _Row("workers", "wait", "workers_wait_seconds", "histogram", "How long jobs were in line."),
    _Row("workers", "run", "workers_run_seconds", "histogram", "How long jobs were under way."),
)

_ROWS: Final[dict[str, list[_Row]]] = {}
for _row in (
    *_POLICY,
    *_BREAKERS,
    *_ROOMS,
    *_ADMISSION,
    *_RATES,
    *_TRIES,
    *_POOLS,
    *_WORKERS,
):
    _ROWS.setdefault(_row.kind, []).append(_row)


def put_guards(page: Page, readings: Iterable[tuple[Guard, GuardReading]]) -> None:
    """Put how the guards are doing."""
    oldest, at = 0.0, now()
    breathe = breather()
    for number, (guard, reading) in enumerate(readings):
        if not number % _STRIDE:
            breathe()
        oldest = max(oldest, at - reading.at)
        figures = reading.figures
        for row in _ROWS.get(guard.kind, ()):
            _put(page, row, guard.name, getattr(reading.record, row.field, None), figures)
        if guard.kind == "policy":
            _put_calls(page, guard.name, figures)
        else:
            page.counter(
                "backstay_guard_rejections",
                "Calls that a guard refused, or would have in shadow mode.",
                guard.rejected,
                kind=guard.kind,
                guard=guard.name,
            )
        if guard.kind == "breaker":
            for state in _BREAKER_STATES:
                page.gauge(
                    "backstay_breaker_state",
                    "1 for the state in which a breaker is, 0 for the others.",
                    int(figures.get("state") == state),
                    breaker=guard.name,
                    state=state,
                )
    page.gauge(
        "backstay_guard_reading_age_seconds",
        "Age of the oldest figures of a guard: they are old while its loop is blocked.",
        oldest,
    )


def _put_calls(page: Page, name: str, figures: Mapping[str, Any]) -> None:
    refused: dict[str, float] = figures.get("rejected") or {}
    outcomes = {
        "ok": figures.get("ok"),
        "fail": figures.get("failed"),
        "neutral": figures.get("neutral"),
        "rejected": sum(refused.values()),
    }
    for outcome, value in outcomes.items():
        page.counter(
            "backstay_policy_calls",
            "Calls by how they ended.",
            value,
            policy=name,
            outcome=outcome,
        )


def _put(page: Page, row: _Row, guard: str, value: object, figures: Mapping[str, Any]) -> None:
    name = f"backstay_{row.name}"
    labels: dict[str, object] = {_NAMED.get(row.kind, row.kind): guard}
    if isinstance(value, Spread):
        page.histogram(name, row.help, value, SPREAD_EDGES, **labels)
    elif row.label:
        counted = cast("dict[str, float]", figures.get(row.field) or {})
        for key, count in counted.items():
            page.counter(name, row.help, count, None, **labels, **{row.label: key})
    elif isinstance(value, int | float):
        if row.type == "counter":
            page.counter(name, row.help, value, None, **labels)
        else:
            page.gauge(name, row.help, value, most=False, **labels)


#: The label that names a guard, where it is not its kind.
_NAMED: Final = {"gate": "bulkhead", "shared rate": "rate", "keyed rate": "rate"}
