"""Documents as an admin plane answers them, for tests of `backstay top`."""

from __future__ import annotations

from typing import Any

from backstay.errors import TargetGone, UsageError


def group(site: str, alive: int, seen: int, **more: Any) -> dict[str, Any]:
    return {
        "site": site,
        "function": "handler",
        "coroutine": "call_bank",
        "alive": alive,
        "seen": seen,
        "oldest_s": 12.0,
        "states": {"waiting": alive} if alive else {},
        "blocked_on": "event wait at app.py:7",
        "blocked_share": 1.0,
        "owner": "request POST /orders",
        "owner_share": 1.0,
        "owners": 1,
        **more,
    }


def steps(count: int, ready: dict[int, int], step: dict[int, int], step_s: float) -> dict[str, Any]:
    return {
        "count": count,
        "ready": [ready.get(bits, 0) for bits in range(64)],
        "step": [step.get(bits, 0) for bits in range(64)],
        "ready_s": 0.1,
        "step_s": step_s,
    }


def loop(name: str = "0", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "asyncio",
        "running": True,
        "tasks": 12,
        "lag_s": 0.0001,
        "steps": None,
        **more,
    }


def top(at: float, groups: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "pid": 4711,
        "loop_lag_s": 0.0001,
        "blocked": None,
        "tasks": sum(one["alive"] for one in groups),
        "states": {"waiting": sum(one["alive"] for one in groups)},
        "rss_bytes": 50_000_000,
        "gc": [{"collections": int(at) * 10, "uncollectable": 0}] * 3,
        "gc_objects": [1, 2, 3],
        "fds": 13,
        "max_fds": 1024,
        "at_s": at,
        "program": "demo.py",
        "python": "3.11.7",
        "started_at": 1000.0,
        "cpu_s": at / 10,
        "threads": 4,
        "seen": sum(one["seen"] for one in groups),
        "looked_s": 0.1,
        "loops": [loop()],
        "loops_left_out": 0,
        "multiloops": [],
        "groups": groups,
        **more,
    }


def guard(name: str, state: str, rejected: int, **statistics: Any) -> dict[str, Any]:
    return {
        "kind": "bulkhead",
        "name": name,
        "mode": "enforce",
        "state": state,
        "rejected": rejected,
        "age_s": 0.0,
        "statistics": statistics or None,
    }


def guards(*rows: dict[str, Any], left_out: int = 0) -> dict[str, Any]:
    return {"pid": 4711, "guards": list(rows), "left_out": left_out}


def finding(site: str, verdict: str = "ORPHAN", advice: str = "Await it.") -> dict[str, Any]:
    return {"verdict": verdict, "site": site, "count": 3, "advice": advice}


class Process:
    """Answers like an admin plane; counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.at = 0.0
        self.pid = 4711
        self.groups = [group("app.py:9", 10, 10)]
        self.findings: list[dict[str, Any]] = []
        self.details: dict[str, Any] | None = None
        self.gone = ""

    def get(self, path: str) -> dict[str, Any]:
        self.asked.append(path)
        if self.gone:
            raise TargetGone(self.gone)
        if path == "/v1/top":
            self.at += 1.0
            return top(self.at, self.groups, pid=self.pid)
        if path == "/v1/guards":
            return guards()
        if path == "/v1/leaks":
            return {"findings": self.findings}
        if path.startswith("/v1/top?site=") and self.details is not None:
            return self.details
        raise UsageError(f"refuses {path}: this spawn site has ended")
