"""Results made by hand, for tests of what is done with them."""

from __future__ import annotations

from dataclasses import replace

from backstay.lab.load import GroupSummary, Latencies, LoadOptions, LoadResult


def group(requests: int, *, failed: int = 0, latency_s: float = 0.01) -> GroupSummary:
    """Return a group in which every request took the same time."""
    latency = Latencies([latency_s] * min(requests, 100)).summary()
    latency = replace(latency, count=requests)
    return GroupSummary(
        requests=requests,
        ok=requests - failed,
        failed=failed,
        success_rate=(requests - failed) / requests if requests else 1.0,
        errors={"503": failed} if failed else {},
        latency=latency,
        latency_ok=latency,
    )


def result(
    *,
    rate: float = 100.0,
    overall: GroupSummary | None = None,
    achieved_rps: float | None = None,
    lag_s: float = 0.001,
    reasons: tuple[str, ...] = (),
) -> LoadResult:
    """Return the result of a run of ten seconds."""
    overall = overall or group(round(rate * 10))
    return LoadResult(
        options=LoadOptions("http://127.0.0.1:8000", rate=rate, duration_s=10.0),
        schedule="0123456789abcdef",
        started_at=1000.0,
        started_wall=1.7e9,
        planned=overall.requests,
        offered_rps=overall.requests / 10,
        achieved_rps=overall.ok / 10 if achieved_rps is None else achieved_rps,
        overall=overall,
        kinds={},
        unaffected=overall,
        windows={},
        seconds=(),
        lag=Latencies([lag_s] * 10).summary(),
        connection_waits=0,
        connections_opened=4,
        cpu_s_per_request=0.0001,
        loop="asyncio",
        valid=not reasons,
        reasons=reasons,
        notes=(),
        histogram="",
    )
