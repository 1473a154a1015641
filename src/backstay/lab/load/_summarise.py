"""From columns to a result: every grouping of a finished run. Pure, and in no hurry."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from backstay.lab.load._latencies import Latencies
from backstay.lab.load._options import LoadOptions
from backstay.lab.load._recorder import OK, PENDING, Recorder
from backstay.lab.load._result import ERROR_KINDS, GroupSummary, LoadResult, SecondRecord
from backstay.lab.load._soundness import notes_on, reasons_against

__all__ = ["RunFacts", "summarise"]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the recorder cannot know about a run.

    Attributes:
        started_at: start of the load on the machine's monotonic clock, seconds.
        started_wall: the same in unix seconds.
        seconds: the time series.
        cpu_s: CPU seconds of the generator while it ran.
        connections_opened: how often a connection was made.
        loop: name of the event loop.
    """

    started_at: float
    started_wall: float
    seconds: tuple[SecondRecord, ...]
    cpu_s: float
    connections_opened: int
    loop: str


def summarise(options: LoadOptions, recorder: Recorder, facts: RunFacts) -> LoadResult:
    """Group the rows of a run and say whether it is sound."""
    starts = recorder.schedule.starts
    judged = range(bisect_left(starts, options.warmup_s), len(starts))
    judged_s = options.duration_s - options.warmup_s
    overall = _group(recorder, judged)
    lag = Latencies(recorder.lag_s).summary()
    reasons = reasons_against(
        lag, max_lag_p99_s=options.max_lag_p99_s, begun=recorder.begun, planned=len(starts)
    )
    notes = notes_on(
        overall,
        connection_waits=recorder.connection_waits,
        planned=len(starts),
        connections=options.connections,
    )
    return LoadResult(
        options=options,
        schedule=recorder.schedule.fingerprint,
        started_at=facts.started_at,
        started_wall=facts.started_wall,
        planned=len(starts),
        offered_rps=len(judged) / judged_s,
        achieved_rps=_arrived_within(recorder, options.warmup_s, options.duration_s) / judged_s,
        overall=overall,
        kinds={
            name: _group(recorder, (row for row in judged if recorder.kind[row] == code))
            for code, name in sorted(enumerate(recorder.kinds), key=lambda pair: pair[1])
        },
        unaffected=_group(recorder, (row for row in judged if recorder.unaffected[row])),
        windows={
            window.name: _group(
                recorder,
                range(bisect_left(starts, window.start_s), bisect_left(starts, window.end_s)),
            )
            for window in options.windows
        },
        seconds=facts.seconds,
        lag=lag,
        connection_waits=recorder.connection_waits,
        connections_opened=facts.connections_opened,
        cpu_s_per_request=facts.cpu_s / recorder.begun if recorder.begun else 0.0,
        loop=facts.loop,
        valid=not reasons,
        reasons=tuple(reasons),
        notes=tuple(notes),
        histogram=Latencies(
            recorder.latency_s[row] for row in judged if recorder.outcome[row] != PENDING
        ).encode(),
    )


def _group(recorder: Recorder, rows: Iterable[int]) -> GroupSummary:
    """Summarise some rows; a row that never ended (the run was cut short) is left out."""
    every = Latencies()
    successes = Latencies()
    errors: Counter[str] = Counter()
    requests = ok = 0
    for row in rows:
        outcome = recorder.outcome[row]
        if outcome == PENDING:
            continue
        requests += 1
        latency_s = recorder.latency_s[row]
        every.record(latency_s)
        if outcome == OK:
            ok += 1
            successes.record(latency_s)
        else:
            errors[ERROR_KINDS[outcome]] += 1
    return GroupSummary(
        requests=requests,
        ok=ok,
        failed=requests - ok,
        success_rate=ok / requests if requests else 1.0,
        errors=dict(errors.most_common()),
        latency=every.summary(),
        latency_ok=successes.summary(),
    )


def _arrived_within(recorder: Recorder, begin_s: float, end_s: float) -> int:
    """Count successes whose reply came inside the given seconds of the run."""
    starts, latency_s, outcome = recorder.schedule.starts, recorder.latency_s, recorder.outcome
    return sum(
        1
        for row in range(len(starts))
        if outcome[row] == OK and begin_s <= starts[row] + latency_s[row] < end_s
    )
