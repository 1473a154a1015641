"""What a load run found: frozen records with their JSON, and nothing that computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from backstay.lab.load._options import LoadOptions
from backstay.lab.load._priority import Priority

__all__ = ["ERROR_KINDS", "GroupSummary", "LatencySummary", "LoadResult", "SecondRecord"]

ERROR_KINDS = ("timeout", "refused", "reset", "503", "5xx", "unexpected")
"""How a request can fail: no reply within the user's patience; the connection was refused;
it broke before the reply was complete; the service shed it; another 5xx; or a reply that the
workload did not accept."""


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Durations of a group of requests in seconds, read from an HdrHistogram of three digits.

    All are 0.0 when `count` is 0.
    """

    count: int
    mean_s: float
    p50_s: float
    p90_s: float
    p99_s: float
    p999_s: float
    max_s: float

    def to_json(self) -> dict[str, Any]:
        """Return the values in milliseconds, as people read them."""
        return {
            "count": self.count,
            "mean": round(self.mean_s * 1e3, 3),
            "p50": round(self.p50_s * 1e3, 3),
            "p90": round(self.p90_s * 1e3, 3),
            "p99": round(self.p99_s * 1e3, 3),
            "p999": round(self.p999_s * 1e3, 3),
            "max": round(self.max_s * 1e3, 3),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> LatencySummary:
        """Rebuild a summary from `to_json`'s document."""
        names = ("mean", "p50", "p90", "p99", "p999", "max")
        return cls(document["count"], *(document[name] / 1e3 for name in names))


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """How a group of requests fared; only requests intended to start after the warm-up are in it.

    Attributes:
        requests: how many were due.
        ok: how many ended in a success for their user.
        failed: how many did not; `requests` = `ok` + `failed`.
        success_rate: ok / requests, or 1.0 when nothing was due.
        errors: failures by kind, see `ERROR_KINDS`; kinds that did not occur are absent.
        latency: of all requests, from the intended start to the reply or the giving up.
        latency_ok: of the successes alone.
    """

    requests: int
    ok: int
    failed: int
    success_rate: float
    errors: Mapping[str, int]
    latency: LatencySummary
    latency_ok: LatencySummary

    def to_json(self) -> dict[str, Any]:
        """Return a document that `from_json` reads back."""
        return {
            "requests": self.requests,
            "ok": self.ok,
            "failed": self.failed,
            "success_rate": self.success_rate,
            "errors": dict(self.errors),
            "latency_ms": self.latency.to_json(),
            "latency_ok_ms": self.latency_ok.to_json(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> GroupSummary:
        """Rebuild a summary from `to_json`'s document."""
        return cls(
            document["requests"],
            document["ok"],
            document["failed"],
            document["success_rate"],
            document["errors"],
            LatencySummary.from_json(document["latency_ms"]),
            LatencySummary.from_json(document["latency_ok_ms"]),
        )


@dataclass(frozen=True, slots=True)
class SecondRecord:
    """One second of the run, for curves and live progress; warm-up seconds are here too.

    Attributes:
        second: 0 for the first second of load; those after the last arrival only drain.
        sent: requests whose intended start lies in this second.
        done: requests that ended in this second, well or not.
        ok: of those, the successes.
        failed: of those, the failures.
        p50_s: median latency of those that ended in this second, None when none did.
        p99_s: 99th percentile of the same.
        outstanding: requests that had started and not ended when the second was over.
    """

    second: int
    sent: int
    done: int
    ok: int
    failed: int
    p50_s: float | None
    p99_s: float | None
    outstanding: int

    def to_json(self) -> dict[str, Any]:
        """Return a document that `from_json` reads back; durations stay in seconds."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SecondRecord:
        """Rebuild a record from `to_json`'s document."""
        return cls(**document)


@dataclass(frozen=True, slots=True)
class LoadResult:
    """The whole outcome of a load run.

    Attributes:
        options: what was asked for.
        schedule: fingerprint of the intended starts; equal fingerprints mean equal arrivals.
        started_at: when the load began, on the machine's monotonic clock in seconds (the scale
            of `now()` in every process of this machine), to lay other curves beside it.
        started_wall: the same in unix seconds.
        planned: arrivals in the schedule, warm-up included.
        offered_rps: judged arrivals per judged second.
        achieved_rps: successes that arrived inside the judged seconds, per second.
        overall: all judged requests.
        kinds: the same by `Request.kind`.
        unaffected: those that do not need the faulted dependency.
        windows: the same by `LoadOptions.windows` (not cut by the warm-up).
        seconds: the time series.
        lag: how late the generator itself began requests (waiting for a connection not included).
        connection_waits: requests that found all connections busy and had to wait for one.
        connections_opened: how often a connection was made.
        cpu_s_per_request: CPU seconds the generator used per request.
        loop: the event loop it ran on.
        valid: False when the run may not be used for a verdict (the lab says INCONCLUSIVE).
        reasons: why it is not valid, one sentence each.
        notes: what a reader should know although the run is valid.
        histogram: all judged latencies in microseconds, as HdrHistogram encodes them (base64).
        priority: what the worker was granted: "realtime", "nice" or "normal".
    """

    options: LoadOptions
    schedule: str
    started_at: float
    started_wall: float
    planned: int
    offered_rps: float
    achieved_rps: float
    overall: GroupSummary
    kinds: Mapping[str, GroupSummary]
    unaffected: GroupSummary
    windows: Mapping[str, GroupSummary]
    seconds: tuple[SecondRecord, ...]
    lag: LatencySummary
    connection_waits: int
    connections_opened: int
    cpu_s_per_request: float
    loop: str
    valid: bool
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    histogram: str
    priority: Priority = "normal"

    def to_json(self) -> dict[str, Any]:
        """Return a document that `from_json` reads back; latencies are in milliseconds."""
        return {
            "options": self.options.to_json(),
            "schedule": self.schedule,
            "started_at": self.started_at,
            "started_wall": self.started_wall,
            "planned": self.planned,
            "offered_rps": self.offered_rps,
            "achieved_rps": self.achieved_rps,
            "overall": self.overall.to_json(),
            "kinds": {name: group.to_json() for name, group in self.kinds.items()},
            "unaffected": self.unaffected.to_json(),
            "windows": {name: group.to_json() for name, group in self.windows.items()},
            "seconds": [second.to_json() for second in self.seconds],
            "lag_ms": self.lag.to_json(),
            "connection_waits": self.connection_waits,
            "connections_opened": self.connections_opened,
            "cpu_s_per_request": self.cpu_s_per_request,
            "loop": self.loop,
            "valid": self.valid,
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            "histogram": self.histogram,
            "priority": self.priority,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> LoadResult:
        """Rebuild a result from `to_json`'s document."""
        return cls(
            options=LoadOptions.from_json(document["options"]),
            schedule=document["schedule"],
            started_at=document["started_at"],
            started_wall=document["started_wall"],
            planned=document["planned"],
            offered_rps=document["offered_rps"],
            achieved_rps=document["achieved_rps"],
            overall=GroupSummary.from_json(document["overall"]),
            kinds={
                name: GroupSummary.from_json(group) for name, group in document["kinds"].items()
            },
            unaffected=GroupSummary.from_json(document["unaffected"]),
            windows={
                name: GroupSummary.from_json(group) for name, group in document["windows"].items()
            },
            seconds=tuple(SecondRecord.from_json(second) for second in document["seconds"]),
            lag=LatencySummary.from_json(document["lag_ms"]),
            connection_waits=document["connection_waits"],
            connections_opened=document["connections_opened"],
            cpu_s_per_request=document["cpu_s_per_request"],
            loop=document["loop"],
            valid=document["valid"],
            reasons=tuple(document["reasons"]),
            notes=tuple(document["notes"]),
            histogram=document["histogram"],
            priority=document["priority"],
        )
