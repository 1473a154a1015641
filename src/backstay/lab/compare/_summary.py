"""From the raw samples of a run to its figures; arithmetic only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

from backstay.lab.compare._growth import growth_pct_per_min
from backstay.lab.compare._records import Sample, VariantResult, VariantRun
from backstay.lab.scenario import Scenario

__all__ = ["memory_window", "summarise"]

_MB = 1024 * 1024
_FEW = 0.005  # a second in which a smaller share failed is a good one


def memory_window(scenario: Scenario) -> tuple[float, float]:
    """Return the seconds of load over which memory growth is judged.

    It begins when memory has had time to find its level under the fault, and
    ends with the fault: what grows before is warm-up, what shrinks after is relief.
    """
    load = scenario.load
    begin = min((fault.at_s for fault in scenario.faults), default=0.0)
    end = max(
        (fault.until_s or load.duration_s for fault in scenario.faults), default=load.duration_s
    )
    return (
        max(load.warmup_s, begin + scenario.thresholds.rss_settle_s),
        min(end, load.duration_s),
    )


def summarise(run: VariantRun, scenario: Scenario) -> VariantResult | None:
    """Return the figures of a run over the judged window; None when the run broke off."""
    if run.load is None:
        return None
    judged = _between(run.samples, scenario.load.warmup_s, scenario.load.duration_s)
    memory = [
        (sample.t, float(sample.rss))
        for sample in _between(run.samples, *memory_window(scenario))
        if sample.rss is not None
    ]
    tasks = [sample.tasks for sample in judged if sample.tasks is not None]
    missed = sum(sample.tasks is None for sample in judged)
    overall, unaffected = run.load.overall, run.load.unaffected
    return VariantResult(
        name=run.name,
        tasks_mean=sum(tasks) / len(tasks) if tasks else 0.0,
        tasks_peak=max(tasks, default=0),
        p50_ms=overall.latency.p50_s * 1e3,
        p90_ms=overall.latency.p90_s * 1e3,
        p99_ms=overall.latency.p99_s * 1e3,
        success_rate=overall.success_rate,
        requests=overall.requests,
        errors=overall.errors,
        unaffected_success_rate=unaffected.success_rate,
        unaffected_requests=unaffected.requests,
        rss_growth_pct_per_min=growth_pct_per_min(memory),
        rss_peak_mb=max((s.rss for s in judged if s.rss is not None), default=0) / _MB,
        lag_p99_ms=run.load.lag.p99_s * 1e3,
        load_valid=run.load.valid,
        load_reasons=run.load.reasons,
        failed_share=_failed_share(run, scenario),
        recovered_s=_recovered_s(run, scenario),
        missed_polls=missed / len(judged) if judged else 1.0,
        schedule=run.load.schedule,
        exit_codes=run.exit_codes,
        tasks_peak_by_service=_peaks(sample.tasks_by_service for sample in judged),
        rss_peak_mb_by_service={
            name: peak / _MB
            for name, peak in _peaks(sample.rss_by_service for sample in judged).items()
        },
    )


def _failed_share(run: VariantRun, scenario: Scenario) -> float | None:
    """Return which share of the requests failed that ended while any fault lasted."""
    load = scenario.load
    during = [
        second
        for second in run.seconds
        if any(
            fault.at_s <= second.second and second.second + 1 <= (fault.until_s or load.duration_s)
            for fault in scenario.faults
        )
    ]
    done = sum(second.done for second in during)
    return sum(second.failed for second in during) / done if done else None


def _recovered_s(run: VariantRun, scenario: Scenario) -> float | None:
    """Return how long after the last fault the last second was over in which requests failed.

    Infinite when the load ended before two whole seconds without failures.
    """
    ends = [fault.until_s for fault in scenario.faults]
    if not ends or None in ends:
        return None
    end = max(until for until in ends if until is not None)
    after = [s for s in run.seconds if end <= s.second < scenario.load.duration_s and s.done]
    bad = [s.second for s in after if s.failed > _FEW * s.done]
    if not after or (bad and bad[-1] >= after[-1].second - 1):
        return inf
    return bad[-1] + 1 - end if bad else 0.0


def _between(samples: Iterable[Sample], begin: float, end: float) -> list[Sample]:
    return [sample for sample in samples if begin <= sample.t <= end]


def _peaks(looks: Iterable[Mapping[str, int]]) -> dict[str, int]:
    peaks: dict[str, int] = {}
    for look in looks:
        for name, value in look.items():
            peaks[name] = max(value, peaks.get(name, value))
    return peaks
