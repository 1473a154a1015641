"""Documents as a target answers them, made up for tests."""

from __future__ import annotations

from typing import Any

from backstay.observe.diagnose import Look

BEGIN, END = 1_000.0, 1_030.0  # unix seconds: a window of 30 s


def look(
    at: float = BEGIN,
    *,
    groups: list[dict[str, Any]] | None = None,
    guards: list[dict[str, Any]] | None = None,
    blocked: dict[str, Any] | None = None,
    **statistics: Any,
) -> Look:
    """Return what a process says of itself at one moment."""
    return Look(
        tasks={"pid": 7, "taken_at": at, "groups": groups or []},
        statistics={
            "pid": 7,
            "version": "1.0",
            "uptime_s": at - 900.0,
            "tasks": sum(one["count"] for one in groups or []),
            "rss_bytes": 50_000_000,
            "blocked": blocked or {"count": 0, "now": None, "recent": []},
            **statistics,
        },
        guards={"guards": guards or []},
    )


def group(site: str, count: int, **more: Any) -> dict[str, Any]:
    """Return a row of ``/v1/ps``."""
    return {
        "site": site,
        "function": "start",
        "count": count,
        "state": "waiting",
        "blocked_on": "event wait at app.py:9",
        "age_max_s": 5.0,
        "trace_ids": [],
        **more,
    }


def report(*findings: dict[str, Any], growth: str = "judged", **more: Any) -> dict[str, Any]:
    """Return the answer of ``/v1/leaks``."""
    return {"findings": list(findings), "growth": growth, "proof": "not asked for", **more}


def finding(verdict: str, site: str = "app.py:5", **more: Any) -> dict[str, Any]:
    """Return one of its findings."""
    return {
        "verdict": verdict,
        "count": 40,
        "alive": 40,
        "task_name": "fetch",
        "site": site,
        "function": "start",
        "owner": "request GET /",
        "blocked_on": "event wait at app.py:9",
        "held_by": None,
        "trace_ids": ["a" * 32],
        "advice": "give it a deadline",
        "impact": 40.0,
        "slope_per_s": None,
        "bytes_held": None,
        "detail": ["it does not end"],
        "page": f"docs/reference/verdicts/{verdict.lower()}.md",
        **more,
    }


def block(seconds: float, began: float = BEGIN + 5, **more: Any) -> dict[str, Any]:
    """Return one block that the watch over the loops remembers."""
    return {
        "site": "app.py:20",
        "function": "render",
        "duration_s": seconds,
        "started_at": began,
        "ended": True,
        "task": "Task-3",
        "owner_path": ["service", "request GET /"],
        "trace_id": "b" * 32,
        **more,
    }


def guard(kind: str = "pool", **more: Any) -> dict[str, Any]:
    """Return a row of ``/v1/guards``."""
    return {
        "name": "db",
        "kind": kind,
        "mode": "enforce",
        "state": "free",
        "rejected": 0,
        "age_s": 0.1,
        "statistics": {"max_open": 10, "in_use": 4, "waiting": 0},
        **more,
    }
