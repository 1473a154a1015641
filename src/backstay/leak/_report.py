"""`report()`: the question and its answer, for people and for machines."""

from __future__ import annotations

import asyncio
import textwrap
from dataclasses import asdict, dataclass, replace

from backstay._base import now, wall
from backstay.errors import UsageError
from backstay.leak._census import Census, Site, take_census
from backstay.leak._deadlock import deadlocks
from backstay.leak._finding import Finding
from backstay.leak._generators import AbandonedGenerators
from backstay.leak._growth_rule import Growth
from backstay.leak._looks import looks_of
from backstay.leak._losses import lost_findings
from backstay.leak._memory import memory_by_site
from backstay.leak._proof import Proof
from backstay.leak._proof_findings import join_proof
from backstay.leak._sampler import Sampler, SamplerStatistics
from backstay.leak._verdicts import find, place_of, ranked
from backstay.tasks import installed_loops, lost_tasks

__all__ = ["Report", "report"]

Busy = tuple[str, str, int, str]
"""A site, its function, how many are alive, and how it moves."""

_FORMAT = 1  # raised when a field of the JSON document changes its meaning
_WIDTH = 100
_SHOWN = 10  # kinds of abandoned generators
_WEIGHED = 20  # findings whose memory is estimated
_AWAKE = "nothing: it is ready to run"
_GONE = "nothing: it is gone"


@dataclass(frozen=True, slots=True)
class Report:
    """What is leaking in one loop, and how much of that question could be answered."""

    findings: tuple[Finding, ...]  # greatest impact first
    tasks: int  # alive when the report was made
    samples: int  # looks that growth was judged by
    span_s: float  # how far back they reach
    interval_s: float | None  # between two looks; None without a sampler
    started_at: float | None  # when sampling began, unix seconds; None without a sampler
    taken_at: float  # when the report was made, unix seconds
    cost_s: float  # processor time of the census
    growth: str  # "judged", or in one sentence why it cannot be judged yet
    growth_needs_s: float  # about how many seconds until it can; 0.0 when judged
    busiest: tuple[Busy, ...]  # the sites with most tasks
    generators: tuple[AbandonedGenerators, ...] = ()  # begun, and in no task's hands; evidence only
    proof: str = "not asked for"  # what was proved and of how many, or why nothing could be

    def to_json(self) -> dict[str, object]:
        """Return the report as a document of plain values."""
        return {
            "format": _FORMAT,
            "findings": [finding.to_json() for finding in self.findings],
            "tasks": self.tasks,
            "samples": self.samples,
            "span_s": round(self.span_s, 3),
            "interval_s": self.interval_s,
            "started_at": self.started_at,
            "taken_at": self.taken_at,
            "cost_s": round(self.cost_s, 6),
            "growth": self.growth,
            "growth_needs_s": round(self.growth_needs_s, 1),
            "proof": self.proof,
            "generators": [asdict(one) for one in self.generators],
            "busiest": [
                {"site": site, "function": function, "alive": alive, "movement": movement}
                for site, function, alive, movement in self.busiest
            ],
        }

    def to_text(self) -> str:
        """Return the report as a page for a terminal."""
        head = f"{self.tasks:,} tasks alive · {self.samples} samples over {_span(self.span_s)}"
        blocks = [f"backstay leaks · {head} · {_count(len(self.findings))}"]
        if self.findings:
            blocks.append("\n".join(_table(self.findings)))
            blocks += [_block(rank, one) for rank, one in enumerate(self.findings, 1)]
        else:
            blocks.append(_innocent(self))
        if self.generators:
            blocks.append(_standing(self.generators))
        if self.growth != "judged":
            blocks.append(_wrapped(f"Growth cannot be judged yet: {self.growth}.", ""))
        if self.proof != "not asked for":
            blocks.append(_wrapped(f"Proof: {self.proof}.", ""))
        return "\n\n".join(blocks) + "\n"


def report(
    sampler: Sampler | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
    *,
    proof: Proof | None = None,
    orphan_grace: float = 5.0,
    overdue_grace: float = 1.0,
    undead_grace: float = 5.0,
) -> Report:
    """Say what leaks in a loop; callable from any thread, also while the loop is blocked.

    Args:
        sampler: the past of the loop; without it GROWING cannot be judged, and the report says so.
        loop: which loop; the sampler's, else the running one, else the only tracked one.
        proof: what `prove()` or a `Prover` has found in the same loop; without it nothing is LEAKED
            or STUCK.
        orphan_grace: seconds that a task may outlive its owner unaccused, for clean-up.
        overdue_grace: seconds that a task may outlive its deadline unaccused.
        undead_grace: seconds that a task may outlive a cancel unaccused, for its clean-up.

    Raises:
        UsageError: it is not clear which loop is meant, or tracking is on nowhere.

    Cost: a census (2 to 3 microseconds a task and some milliseconds a site), and a few milliseconds
        of arithmetic for each suspect site, and again for the memory of the worst of them.
    """
    loop = loop or (sampler.loop if sampler is not None else _only_loop())
    census = take_census(
        loop,
        orphan_grace=orphan_grace,
        overdue_grace=overdue_grace,
        undead_grace=undead_grace,
    )
    findings, growths = find(census, sampler)
    findings = [*findings, *deadlocks(loop)]
    if proof is not None:
        findings = join_proof(findings, proof, _alive(census))
    looks = looks_of(loop)
    looks.take(loop, census.taken_at)
    findings = _weighed([*findings, *lost_findings(lost_tasks(loop), census)], loop)
    findings = ranked([*findings, *looks.piles, *looks.stranded])
    known = sampler.statistics() if sampler is not None else None
    why, needs = _growth_state(known, growths)
    began = sampler.started_at if sampler is not None else None
    return Report(
        findings=tuple(findings),
        tasks=census.tasks,
        samples=known.samples if known else 0,
        span_s=known.span_s if known else 0.0,
        interval_s=known.interval_s if known else None,
        started_at=None if began is None else wall() - (now() - began),
        taken_at=wall(),
        cost_s=census.cost_s,
        growth=why,
        growth_needs_s=needs,
        busiest=_busiest(census, growths),
        generators=looks.generators,
        proof=_proof_state(proof),
    )


def _weighed(findings: list[Finding], loop: asyncio.AbstractEventLoop) -> list[Finding]:
    """Add what the tasks of the worst sites hold in memory."""
    living = [one for one in ranked(findings) if one.verdict != "LOST"][:_WEIGHED]
    held = memory_by_site(loop, {one.site for one in living})
    return [
        replace(one, bytes_each=held[one.site].bytes_each)
        if one.site in held and one.verdict != "LOST"
        else one
        for one in findings
    ]


def _alive(census: Census) -> dict[str, int]:
    counts: dict[str, int] = {}
    for site in census.sites:
        counts[place_of(site.site)] = counts.get(place_of(site.site), 0) + site.alive
    return counts


def _proof_state(proof: Proof | None) -> str:
    if proof is None:
        return "not asked for"
    if proof.refused:
        return f"refused: {proof.refused}"
    seen = (
        f"{len(proof.proved)} proved of {proof.asked} tasks asked, in {1e3 * proof.cost_s:.1f} ms"
    )
    if proof.spared:
        seen += f"; {proof.spared} will be ended by a timer"
    if proof.unconfirmed:
        seen += f"; {proof.unconfirmed} not confirmed yet: ask again in some seconds"
    return seen


def _only_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        loops = installed_loops()
    if len(loops) == 1:
        return loops[0]
    raise UsageError(
        f"report() saw {len(loops)} tracked loops and expected one: "
        + (
            "pass loop= to say which"
            if loops
            else "call backstay.install() in the running loop first"
        )
    )


def _growth_state(
    known: SamplerStatistics | None, growths: dict[Site, Growth]
) -> tuple[str, float]:
    """Say whether growth could be judged anywhere, and if not, why and for how long."""
    if known is None:
        return "no sampler is running, so there is no past to compare with", 0.0
    if not known.samples:
        failed = f"; the last look failed: {known.last_error}" if known.last_error else ""
        return f"no sample has been taken yet{failed}", 0.0
    if not growths or any(growth.movement != "unsure" for growth in growths.values()):
        return "judged", 0.0
    first = min(growths.values(), key=lambda growth: growth.needs_s)
    wait = f"; about {_span(first.needs_s)} more" if first.needs_s else ""
    return first.reason + wait, first.needs_s


def _busiest(census: Census, growths: dict[Site, Growth]) -> tuple[Busy, ...]:
    return tuple(
        (
            place_of(site.site),
            site.site.function,
            site.alive,
            growths[site.site].movement if site.site in growths else "unsure",
        )
        for site in census.sites[:10]
    )


# -- for the terminal ----------------------------------------------------------


def _table(findings: tuple[Finding, ...]) -> list[str]:
    wide = min(60, max(len(one.site) for one in findings))
    rows = [
        f"{'#':>2}  {'verdict':8} {'tasks':>8} {'memory':>8} {'growth':>10} {'oldest':>8}  "
        f"{'started at':{wide}}  waits for"
    ]
    for rank, one in enumerate(findings, 1):
        pace = "" if one.slope_per_s is None else _pace(one.slope_per_s)
        age = "" if one.age is None else _span(one.age)
        waits = one.blocked_on.partition(" at ")[0] or "-"
        rows.append(
            f"{rank:>2}  {one.verdict:8} {one.count:>8,} {_size(one.bytes_held):>8} {pace:>10} {age:>8}  "
            f"{_tail(one.site, wide):{wide}}  {waits}"
        )
    return rows


def _block(rank: int, one: Finding) -> str:
    lines = [f"{rank}. {one.verdict}  {one.site}  in {one.function}()"]
    heap = one.page.endswith("piles.md")  # of callbacks: no task is accused
    facts = [
        ("what" if heap else "task", _who(one)),
        (
            "waits for",
            "" if heap else one.blocked_on or (_GONE if one.verdict == "LOST" else _AWAKE),
        ),
        ("owner", "" if heap else one.owner or "none"),
        ("held by", one.held_by or ""),
        ("memory", _memory(one)),
        ("traces", "" if heap else ", ".join(one.trace_ids) or "none known"),
    ]
    lines += [_wrapped(text, f"   {label:<10} ") for label, text in facts if text]
    lines += [
        _wrapped(text, f"   {'why' if not index else '':<10} ")
        for index, text in enumerate(one.detail)
    ]
    lines.append(_wrapped(one.advice, f"   {'do':<10} "))
    lines.append(f"   {'read':<10} {one.page}")
    return "\n".join(lines)


def _memory(one: Finding) -> str:
    if one.bytes_each is None:
        return ""
    return f"{_size(one.bytes_each)} each, {_size(one.bytes_held)} in all, at least"


def _size(count: int | None) -> str:
    if count is None:
        return ""
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= step:
            return f"{count / step:.1f} {unit}"
    return f"{count} B"


def _who(one: Finding) -> str:
    if one.verdict == "LOST":
        return f"{one.task_name}, {one.count:,} lost; {one.alive:,} alive"
    if one.page.endswith("piles.md"):
        return f"{one.count:,} {one.task_name}"
    return f"{one.task_name}, {one.count:,} accused of {one.alive:,} alive"


def _innocent(report: Report) -> str:
    lines = [
        "Nothing to accuse: no task outlives its owner, its deadline or a cancel, and no site is seen to leak."
    ]
    if report.busiest:
        lines.append("Most tasks come from:")
        lines += [
            f"  {alive:>8,}  {site}  in {function}()"
            + ("" if movement == "unsure" else f"  [{movement}]")
            for site, function, alive, movement in report.busiest[:5]
        ]
    return "\n".join(lines)


def _standing(generators: tuple[AbandonedGenerators, ...]) -> str:
    lines = ["Async generators that were begun, and that no task has in hand:"]
    lines += [
        _wrapped(
            f"{one.count:,} × {one.function} ({one.definition}) at the yield in {one.suspended_at}, for "
            f"{_span(one.seen_for_s)} or more",
            "  ",
        )
        for one in generators[:_SHOWN]
    ]
    if len(generators) > _SHOWN:
        lines.append(f"  … and {len(generators) - _SHOWN} more kinds")
    return "\n".join(lines)


def _wrapped(text: str, label: str) -> str:
    return textwrap.fill(
        text,
        width=_WIDTH,
        initial_indent=label,
        subsequent_indent=" " * len(label),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _count(findings: int) -> str:
    return "no findings" if not findings else f"{findings} finding" + ("s" if findings > 1 else "")


def _tail(text: str, width: int) -> str:
    return text if len(text) <= width else "…" + text[-(width - 1) :]


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _pace(per_second: float) -> str:
    return f"{per_second:+.1f}/s" if abs(per_second) >= 0.1 else f"{per_second * 3600:+.1f}/h"
