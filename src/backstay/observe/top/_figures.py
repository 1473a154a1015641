"""The figures of a process between two looks, as plain values. Arithmetic on documents, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

__all__ = ["Figures", "Group", "GuardRow", "LeakRow", "LoopRow", "compare"]

Document = Mapping[str, Any]

_FORMAT: Final = 1
#: States in which a guard lets not all through.
_TIGHT: Final = frozenset(
    {
        "down",
        "forced_open",
        "full",
        "half_open",
        "open",
        "overloaded",
        "refusing",
        "stale",
        "store down",
    }
)
#: Room and use of what can be full, and who stands in line, by the fields of statistics.
_ROOM: Final = (("limit", "in_flight"), ("max_open", "in_use"), ("limit", "running"))
_LINE: Final = ("queued", "waiting", "pending_requests")
#: What is told on as it is.
_TOTALS: Final = (
    *("pid", "program", "python", "started_at", "tasks", "states", "rss_bytes", "cpu_s"),
    *("threads", "fds", "max_fds", "gc", "loop_lag_s", "blocked"),
)


@dataclass(frozen=True, slots=True)
class LoopRow:
    """One loop. What the flight recorder counts is None where it is off, and at the first look.

    Attributes:
        name: a number, or the place in a multiloop.
        kind: "asyncio", "uvloop", ...
        running: whether it runs.
        tasks: alive on it.
        lag_s: seconds that it takes, or has taken so far, to come round; None of a multiloop.
        steps_per_s: callbacks run.
        ready_p50_s: median of the time from being scheduled to being run, to a factor of two.
        ready_p99_s: its 99th percentile.
        step_p99_s: the 99th percentile of how long a callback holds the loop.
        free: share of the time in which no callback held it.
    """

    name: str
    kind: str
    running: bool
    tasks: int
    lag_s: float | None
    steps_per_s: float | None = None
    ready_p50_s: float | None = None
    ready_p99_s: float | None = None
    step_p99_s: float | None = None
    free: float | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """The tasks of one spawn site.

    Attributes:
        site: "path:line"; "other" for all that have no row of their own.
        function: that holds the line.
        coroutine: what most of them run.
        alive: tasks.
        born_per_s: tasks seen for the first time, each second; None at the first look.
        ended_per_s: tasks gone, each second.
        oldest_s: age of the oldest.
        blocked_on: what most of them wait for.
        blocked_share: how many of them do.
        owner: whose most of them are.
        owners: how many owners they have.
        states: tasks by state.
        verdict: what the leak detector says of them; "" when it does not accuse.
    """

    site: str
    function: str
    coroutine: str
    alive: int
    born_per_s: float | None
    ended_per_s: float | None
    oldest_s: float
    blocked_on: str
    blocked_share: float
    owner: str
    owners: int
    states: Mapping[str, int]
    verdict: str = ""

    @property
    def grows_per_s(self) -> float:
        """Tasks gained each second."""
        return (self.born_per_s or 0.0) - (self.ended_per_s or 0.0)


@dataclass(frozen=True, slots=True)
class GuardRow:
    """A guard that does not let all through.

    Attributes:
        kind: of guard.
        name: of the guard.
        state: in a word.
        rejected: refused so far.
        rejected_per_s: refused each second; None at the first look.
        used: of its room; None where it has none.
        room: how many fit.
        waiting: callers in line.
    """

    kind: str
    name: str
    state: str
    rejected: int
    rejected_per_s: float | None
    used: int | None
    room: int | None
    waiting: int


@dataclass(frozen=True, slots=True)
class LeakRow:
    """A verdict of the leak detector, as in `leak.Finding`."""

    verdict: str
    site: str
    count: int
    advice: str


@dataclass(frozen=True, slots=True)
class Figures:
    """How a process is, and how it has moved since the look before.

    Attributes:
        told: the document of ``/v1/top``, with the totals.
        guards_told: the document of ``/v1/guards``.
        span_s: seconds between the looks; None at the first, and then there are no rates.
        restarted: whether another process answers than before.
        born_per_s: tasks seen for the first time, each second. Who comes and goes between two looks is not
            in it, nor among the ended.
        ended_per_s: tasks gone, each second.
        cpu: processor time for each second.
        rss_per_s: bytes of resident memory gained each second.
        gc_per_s: collections each second, by generation.
        loops: each loop.
        groups: each spawn site, most tasks first.
        guards: those that do not let all through.
        guards_in_all: how many there are.
        leaks: verdicts, the worst first.
    """

    told: Document
    guards_told: Document
    span_s: float | None
    restarted: bool
    born_per_s: float | None
    ended_per_s: float | None
    cpu: float | None
    rss_per_s: float | None
    gc_per_s: tuple[float, ...]
    loops: tuple[LoopRow, ...]
    groups: tuple[Group, ...]
    guards: tuple[GuardRow, ...]
    guards_in_all: int
    leaks: tuple[LeakRow, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values, for ``backstay top --json``."""
        return {
            "format": _FORMAT,
            **{name: self.told[name] for name in _TOTALS},
            "multiloops": self.told["multiloops"],
            "span_s": self.span_s,
            "restarted": self.restarted,
            "born_per_s": self.born_per_s,
            "ended_per_s": self.ended_per_s,
            "cpu": self.cpu,
            "rss_bytes_per_s": self.rss_per_s,
            "gc_per_s": list(self.gc_per_s),
            "loops": [asdict(row) for row in self.loops],
            "groups": [asdict(row) for row in self.groups],
            "guards": [asdict(row) for row in self.guards],
            "guards_in_all": self.guards_in_all,
            "leaks": [asdict(row) for row in self.leaks],
        }


def compare(
    before: Figures | None, told: Document, guards: Document, leaks: Sequence[Document]
) -> Figures:
    """Return the figures of a look.

    Args:
        before: the look before; None when this is the first.
        told: the document of ``/v1/top``.
        guards: the document of ``/v1/guards``.
        leaks: the findings of ``/v1/leaks``.
    """
    restarted = before is not None and _is_another(told, before.told)
    last = None if before is None or restarted else before.told
    span = None if last is None else max(1e-3, told["at_s"] - last["at_s"])
    accused = {one["site"]: str(one["verdict"]) for one in reversed(leaks)}
    born = _rate(last, told, "seen", span)
    grown = _rate(last, told, "tasks", span)
    return Figures(
        told=told,
        guards_told=guards,
        span_s=None if span is None else round(span, 3),
        restarted=restarted,
        born_per_s=None if born is None else max(0.0, born),
        ended_per_s=None if born is None or grown is None else max(0.0, max(0.0, born) - grown),
        cpu=_rate(last, told, "cpu_s", span),
        rss_per_s=_rate(last, told, "rss_bytes", span),
        gc_per_s=_collections(last, told, span),
        loops=tuple(_loops(last, told, span)),
        groups=tuple(_groups(last, told, span, accused)),
        guards=tuple(_guards(None if last is None or before is None else before, guards, span)),
        guards_in_all=len(guards["guards"]) + guards["left_out"],
        leaks=tuple(
            LeakRow(str(one["verdict"]), str(one["site"]), one["count"], str(one["advice"]))
            for one in leaks
        ),
    )


def _is_another(told: Document, last: Document) -> bool:
    if told["pid"] != last["pid"]:
        return True
    # As the system tells it, the start of one process varies by hundredths of a second.
    begun, was = told["started_at"], last["started_at"]
    return begun is not None and was is not None and abs(begun - was) > 1.0


def _rate(last: Document | None, told: Document, name: str, span: float | None) -> float | None:
    if last is None or span is None or told[name] is None or last[name] is None:
        return None
    return round(float(told[name] - last[name]) / span, 3)


def _collections(last: Document | None, told: Document, span: float | None) -> tuple[float, ...]:
    if last is None or span is None:
        return ()
    return tuple(
        round(max(0, one["collections"] - was["collections"]) / span, 3)
        for one, was in zip(told["gc"], last["gc"], strict=False)
    )


def _groups(
    last: Document | None, told: Document, span: float | None, accused: Mapping[str, str]
) -> Iterable[Group]:
    known = {} if last is None else {one["site"]: one for one in last["groups"]}
    for one in told["groups"]:
        was = known.get(one["site"], {"seen": 0, "alive": 0})
        born = ended = None
        if span is not None:
            new = max(0, one["seen"] - was["seen"])
            born = round(new / span, 3)
            ended = round(max(0, was["alive"] + new - one["alive"]) / span, 3)
        kept = (
            "site",
            "function",
            "coroutine",
            "alive",
            "oldest_s",
            "blocked_on",
            "blocked_share",
            "owner",
        )
        yield Group(
            **{name: one[name] for name in kept},
            owners=one["owners"],
            states=one["states"],
            born_per_s=born,
            ended_per_s=ended,
            verdict=accused.get(one["site"], ""),
        )


# -- loops --------------------------------------------------------------------------


def _loops(last: Document | None, told: Document, span: float | None) -> Iterable[LoopRow]:
    known: dict[str, Document | None] = (
        {} if last is None else {one["name"]: one["steps"] for one in last["loops"]}
    )
    for one in told["loops"]:
        row = LoopRow(one["name"], one["kind"], one["running"], one["tasks"], one["lag_s"])
        steps: Document | None = one["steps"]
        was: Document | None = known.get(one["name"])
        if steps is None or span is None:
            yield row
            continue
        if was is None or was["count"] > steps["count"]:  # the recorder has begun since
            was = {"count": 0, "step_s": 0.0, "ready": (), "step": ()}
        ready = _since(was["ready"], steps["ready"])
        yield LoopRow(
            one["name"],
            one["kind"],
            one["running"],
            one["tasks"],
            one["lag_s"],
            steps_per_s=round((steps["count"] - was["count"]) / span, 1),
            ready_p50_s=_quantile(ready, 0.5),
            ready_p99_s=_quantile(ready, 0.99),
            step_p99_s=_quantile(_since(was["step"], steps["step"]), 0.99),
            free=round(min(1.0, max(0.0, 1 - (steps["step_s"] - was["step_s"]) / span)), 4),
        )


def _since(was: Sequence[int], counts: Sequence[int]) -> list[int]:
    padded = [*was, *[0] * (len(counts) - len(was))]
    return [max(0, count - before) for count, before in zip(counts, padded, strict=False)]


def _quantile(counts: Sequence[int], share: float) -> float | None:
    """Return the upper edge of the bucket in which the quantile lies; bucket n ends at 2**(n+1) ns."""
    rank = share * sum(counts)
    if not rank:
        return None
    for bits, count in enumerate(counts):
        rank -= count
        if count and rank <= 0:
            return float(2 ** (bits + 1) / 1e9)
    return None


# -- guards -------------------------------------------------------------------------


def _guards(before: Figures | None, told: Document, span: float | None) -> Iterable[GuardRow]:
    rows = _numbered(told)
    known = (
        {}
        if before is None
        else {key: row["rejected"] for key, row in _numbered(before.guards_told)}
    )
    for key, row in rows:
        rate = None
        if span is not None:
            rate = round(max(0, row["rejected"] - known.get(key, row["rejected"])) / span, 3)
        statistics: Document = row["statistics"] or {}
        waiting = sum(_whole(statistics.get(name)) for name in _LINE)
        if not (row["state"] in _TIGHT or rate or waiting):
            continue
        used, room = _use(statistics)
        yield GuardRow(
            row["kind"], row["name"], row["state"], row["rejected"], rate, used, room, waiting
        )


def _numbered(told: Document) -> list[tuple[tuple[str, str, int], Document]]:
    """Return the guards with kind, name and number: two may have one name."""
    counted: dict[tuple[str, str], int] = {}
    found: list[tuple[tuple[str, str, int], Document]] = []
    for row in cast("Sequence[Document]", told["guards"]):
        name = row["kind"], row["name"]
        counted[name] = counted.get(name, 0) + 1
        found.append(((*name, counted[name]), row))
    return found


def _use(statistics: Document) -> tuple[int | None, int | None]:
    for room, used in _ROOM:
        if isinstance(statistics.get(room), int) and isinstance(statistics.get(used), int):
            return statistics[used], statistics[room]
    return None, None


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
