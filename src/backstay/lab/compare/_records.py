"""What was seen in each run and what came of it, as frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

from backstay.lab.load import LoadResult, SecondRecord
from backstay.lab.scenario import Scenario

__all__ = [
    "Check",
    "Comparison",
    "Machine",
    "RootCause",
    "Sample",
    "SourceLine",
    "VariantResult",
    "VariantRun",
]


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at all services of a variant.

    A service that did not answer in time is missing from the mappings, and then
    the sums are None: a sum without it would flatter.
    """

    t: float  # seconds since the load began
    tasks_by_service: Mapping[str, int]
    rss_by_service: Mapping[str, int]  # bytes
    expected: int  # how many services were asked

    @property
    def tasks(self) -> int | None:
        """Live tasks of all services."""
        whole = len(self.tasks_by_service) == self.expected
        return sum(self.tasks_by_service.values()) if whole else None

    @property
    def rss(self) -> int | None:
        """Resident bytes of all services."""
        whole = len(self.rss_by_service) == self.expected
        return sum(self.rss_by_service.values()) if whole else None


@dataclass(frozen=True, slots=True)
class SourceLine:
    """The guilty line with its neighbours, as (number, text)."""

    lines: tuple[tuple[int, str], ...]
    guilty: int
    marked: bool | None  # carries the scenario's marker; None when the file has no marker at all


@dataclass(frozen=True, slots=True, kw_only=True)
class RootCause:
    """A leak, merged over all services that reported the same spawn site."""

    site: str  # "path:line", relative to the working directory when inside it
    function: str
    verdict: str
    count: int
    blocked_on: str
    owner: str
    trace_ids: tuple[str, ...]
    services: tuple[str, ...]
    advice: str = ""
    source: SourceLine | None = None

    def to_json(self) -> dict[str, object]:
        """Return the document that stands in result.json."""
        return {
            "site": self.site,
            "function": self.function,
            "verdict": self.verdict,
            "count": self.count,
            "blocked_on": self.blocked_on,
            "owner": self.owner,
            "trace_ids": list(self.trace_ids),
            "services": list(self.services),
            "advice": self.advice,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRun:
    """Everything that was read from one run of one variant."""

    name: str
    title: str
    samples: tuple[Sample, ...]
    load: LoadResult | None  # None when the run broke off
    seconds: tuple[SecondRecord, ...]
    root_causes: tuple[RootCause, ...] = ()
    exit_codes: Mapping[str, int | None] = field(default_factory=dict[str, "int | None"])
    unclean_exits: tuple[str, ...] = ()
    failures: tuple[
        str, ...
    ] = ()  # processes that ended by themselves, faults that could not be set
    fell: bool = False  # a process ended by itself after the load had begun
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantResult:
    """The figures of one variant over the judged window."""

    name: str
    tasks_mean: float
    tasks_peak: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    success_rate: float
    requests: int
    errors: Mapping[str, int]
    unaffected_success_rate: float
    unaffected_requests: int
    rss_growth_pct_per_min: float | None
    rss_peak_mb: float
    lag_p99_ms: float
    load_valid: bool
    load_reasons: tuple[str, ...]
    failed_share: float | None  # of requests that ended while a fault lasted; None without a fault
    recovered_s: float | None  # after the last fault, until all succeeded; None: it never ended
    missed_polls: float  # share of looks at which some service did not answer, 0 to 1
    schedule: str  # fingerprint of the arrivals
    exit_codes: Mapping[str, int | None]
    tasks_peak_by_service: Mapping[str, int]
    rss_peak_mb_by_service: Mapping[str, float]

    def to_json(self) -> dict[str, object]:
        """Return the document that stands in result.json."""
        growth = self.rss_growth_pct_per_min
        return {
            "tasks_mean": round(self.tasks_mean, 1),
            "tasks_peak": self.tasks_peak,
            "latency_ms": {
                "p50": round(self.p50_ms, 2),
                "p90": round(self.p90_ms, 2),
                "p99": round(self.p99_ms, 2),
            },
            "success_rate": round(self.success_rate, 6),
            "requests": self.requests,
            "rss_growth_pct_per_min": None if growth is None else round(growth, 3),
            "rss_peak_mb": round(self.rss_peak_mb, 1),
            "fault": {
                "failed_share": None if self.failed_share is None else round(self.failed_share, 6),
                "recovered_s": (
                    self.recovered_s
                    if self.recovered_s is None or isfinite(self.recovered_s)
                    else "never"
                ),
            },
            "errors": dict(self.errors),
            "unaffected": {
                "requests": self.unaffected_requests,
                "success_rate": round(self.unaffected_success_rate, 6),
            },
            "generator_lag_p99_ms": round(self.lag_p99_ms, 3),
            "missed_polls": round(self.missed_polls, 4),
            "arrivals": self.schedule,
            "exit_codes": dict(self.exit_codes),
            "services": {
                name: {
                    "tasks_peak": peak,
                    "rss_peak_mb": round(self.rss_peak_mb_by_service.get(name, 0.0), 1),
                }
                for name, peak in self.tasks_peak_by_service.items()
            },
        }


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was asked of the run, and whether it was given.

    `status` "goal met" and "goal missed" are reported and decide nothing;
    "unknown" means that the run cannot tell.
    """

    name: str
    status: Literal["met", "missed", "unknown", "goal met", "goal missed"]
    sentence: str


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it ran, since figures without it mean nothing."""

    cpu: str
    cores: int
    memory_mb: int
    system: str
    python: str
    load_average: float  # of the last minute, when the comparison began


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The whole outcome: what result.json, the table and the report are made from."""

    scenario: Scenario
    seed: int
    offered_rps: float
    rate_note: str  # why the offered rate is what it is
    duration_s: float
    runs: tuple[VariantRun, ...]
    results: Mapping[str, VariantResult]
    root_cause: tuple[RootCause, ...]
    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE"]
    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    machine: Machine
    started_at: float  # unix seconds
    took_s: float

    @property
    def reasons(self) -> list[str]:
        """Why the verdict is what it is, the decisive ones first."""
        order = {"missed": 0, "unknown": 1, "met": 2, "goal missed": 3, "goal met": 4}
        ranked = sorted(self.checks, key=lambda check: order[check.status])
        return [check.sentence for check in ranked]

    def to_json(self) -> dict[str, object]:
        """Return the document of result.json."""
        return {
            "scenario": self.scenario.name,
            "seed": self.seed,
            "offered_rps": round(self.offered_rps, 1),
            "duration_s": self.duration_s,
            "variants": {name: result.to_json() for name, result in self.results.items()},
            "root_cause": [cause.to_json() for cause in self.root_cause],
            "verdict": self.verdict,
            "reasons": self.reasons,
            "rate_note": self.rate_note,
            "notes": list(self.notes),
            "checks": [
                {"name": check.name, "status": check.status, "sentence": check.sentence}
                for check in self.checks
            ],
            "machine": {
                "cpu": self.machine.cpu,
                "cores": self.machine.cores,
                "memory_mb": self.machine.memory_mb,
                "system": self.machine.system,
                "python": self.machine.python,
                "load_average": self.machine.load_average,
            },
            "took_s": round(self.took_s, 1),
        }
