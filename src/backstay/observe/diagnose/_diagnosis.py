"""Two looks and the verdicts of the leak report, as one ranked answer. Pure: no clock, no socket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backstay.observe.diagnose._blocks import block_causes
from backstay.observe.diagnose._cause import Cause
from backstay.observe.diagnose._guards import guard_causes
from backstay.observe.diagnose._leaks import leak_causes
from backstay.observe.diagnose._look import Document, Look
from backstay.observe.diagnose._memory import Allocation
from backstay.observe.diagnose._moves import Move, moves
from backstay.observe.spans import Bar

__all__ = ["Diagnosis", "Fact", "judge"]

_FORMAT = 1  # raised when a field of the JSON document changes its meaning


@dataclass(frozen=True, slots=True)
class Fact:
    """A figure of the process at both ends of the window; it accuses nobody."""

    name: str
    unit: str  # "bytes", "s" or ""
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong with a process, worst first, and what was seen beside it.

    Attributes:
        target: as it was named.
        pid: of the process.
        version: of Backstay in it.
        taken_at: end of the window, unix seconds.
        window_s: its length.
        causes: what is wrong, highest score first.
        moves: spawn sites whose tasks have become more or less.
        facts: figures of the process at both ends.
        doubts: what could not be judged, and why.
        alert: labels and annotations of the alert that asked for it; empty without one.
        memory: lines by what they have allocated and not freed; empty when that was not traced.
        trace_url: the address of a request at a tracing backend, with "{trace_id}" in it; "" for none.
        requests: some of the requests that findings name, span by span; empty without spans.
    """

    target: str
    pid: int
    version: str
    taken_at: float
    window_s: float
    causes: tuple[Cause, ...]
    moves: tuple[Move, ...]
    facts: tuple[Fact, ...]
    doubts: tuple[str, ...]
    alert: tuple[tuple[str, str], ...] = ()
    memory: tuple[Allocation, ...] = ()
    trace_url: str = ""
    requests: tuple[tuple[Bar, ...], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the diagnosis as a document of plain values."""
        return {
            "format": _FORMAT,
            "target": self.target,
            "pid": self.pid,
            "version": self.version,
            "taken_at": round(self.taken_at, 3),
            "window_s": round(self.window_s, 3),
            "findings": [cause.to_json() for cause in self.causes],
            "moves": [move.to_json() for move in self.moves],
            "facts": {
                fact.name: {"before": fact.before, "after": fact.after, "unit": fact.unit}
                for fact in self.facts
            },
            "memory": [one.to_json() for one in self.memory],
            "doubts": list(self.doubts),
            "alert": dict(self.alert),
            "trace_url": self.trace_url,
            "requests": [[bar.to_json() for bar in bars] for bars in self.requests],
        }


def judge(
    before: Look,
    after: Look,
    reports: Sequence[Document] = (),
    *,
    target: str = "",
    alert: tuple[tuple[str, str], ...] = (),
) -> Diagnosis:
    """Say what is wrong with a process.

    Args:
        before: the look at the begin of the window.
        after: the look at its end.
        reports: leak reports made at its end.
        target: how the process was named.
        alert: labels and annotations of the alert that asks.

    Cost: arithmetic on the documents; nothing is asked of the process.
    """
    causes = leak_causes(reports) + block_causes(before, after) + guard_causes(before, after)
    causes.sort(key=lambda cause: (-cause.score, cause.kind, cause.site, cause.verdict))
    return Diagnosis(
        target=target,
        pid=int(after.statistics.get("pid") or after.tasks.get("pid") or 0),
        version=str(after.statistics.get("version") or ""),
        taken_at=after.at,
        window_s=max(0.0, after.at - before.at),
        causes=tuple(causes),
        moves=tuple(moves(before, after)),
        facts=tuple(_facts(before, after)),
        doubts=tuple(_doubts(before, after, reports)),
        alert=alert,
    )


def _facts(before: Look, after: Look) -> list[Fact]:
    found: list[Fact] = []
    for name, key, unit in (
        ("tasks", "tasks", ""),
        ("resident memory", "rss_bytes", "bytes"),
        ("threads", "threads", ""),
        ("loop lag", "loop_lag_s", "s"),
    ):
        pair = before.statistics.get(key), after.statistics.get(key)
        if all(isinstance(one, int | float) for one in pair):
            found.append(Fact(name, unit, float(pair[0] or 0), float(pair[1] or 0)))
    found += [
        Fact(name, "", before.figures[name], after.figures[name])
        for name in before.figures
        if name in after.figures
    ]
    return found


def _doubts(before: Look, after: Look, reports: Sequence[Document]) -> list[str]:
    told: list[str] = []
    growth = [str(report.get("growth") or "") for report in reports]
    if reports and "judged" not in growth:
        told.append(f"growth could not be judged: {growth[-1]}; look for longer with --seconds")
    for report in reports:
        proof = str(report.get("proof") or "")
        if proof.startswith("refused"):
            told.append(f"no proof: {proof}")
    if not after.blocked:
        told.append("nobody watches the loops for blocks in this process")
    uptimes = [float(look.statistics.get("uptime_s") or 0.0) for look in (before, after)]
    if uptimes[1] < uptimes[0]:
        told.append("the process was restarted within the window: the figures compare two lives")
    left_out = int(after.tasks.get("groups_left_out") or 0)
    if left_out:
        told.append(f"{left_out:,} smaller groups of tasks were left out")
    return list(dict.fromkeys(told))
