"""From a census and its past to findings: who is accused, of what, how badly.

ORPHAN   the owner has ended and the task is still there after a grace period,
         which is for clean-up that is about to end.
OVERDUE  the owner's deadline has passed and the task is still there.
UNDEAD   it was asked to end, heard it, and is still there after a grace.
GROWING  the growth rule says that the site keeps gaining tasks that never leave.

Never accused: tasks started by Backstay itself, the main task (nobody owns it,
and one task does not grow), and tasks that are merely old.

Ranking is by impact: the tasks that will be held one hour from now if nothing
changes. For GROWING that is the tasks held now plus the lower end of the
slope's 99 % interval times 3600 s; for the others, those held now. So the one
pool reader that outlives the request it was born in is listed at the end, with
words that say what it may be, and a growing site is never below it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from backstay.leak._advice import advice
from backstay.leak._census import Census, Site, SiteCensus, Witness, trace_ids
from backstay.leak._finding import Finding, Verdict
from backstay.leak._growth_rule import Backing, Growth
from backstay.leak._places import relative
from backstay.leak._sampler import Sampler

__all__ = ["backing_of", "find", "place_of", "ranked"]

_HORIZON_S = 3600.0
_TYPICAL_BYTES = 2_000  # of a task whose memory is not known
_ELDERS = 16  # the oldest of a site speak for those who stay
# Of equal impact leads who says more about the cause.
_TIE_ORDER: dict[Verdict, int] = {
    "LEAKED": 6,
    "STUCK": 5,
    "GROWING": 4,
    "LOST": 3,
    "UNDEAD": 2,
    "ORPHAN": 1,
    "OVERDUE": 0,
}


def find(census: Census, sampler: Sampler | None) -> tuple[list[Finding], dict[Site, Growth]]:
    """Accuse whoever deserves it.

    Args:
        census: the present.
        sampler: the past, or None when nobody kept it; GROWING needs it.

    Returns:
        The findings, greatest impact first, and what the growth rule said of each site.
    """
    suspects = [site for site in census.sites if not site.site.ours]
    backings: dict[Site, Backing] = {
        site.site: backing_of(site.witnesses[:_ELDERS]) for site in suspects
    }
    growths = sampler.judge(backings) if sampler is not None else {}
    findings: list[Finding] = []
    for site in suspects:
        finding = _finding(site, growths.get(site.site), backings[site.site])
        if finding is not None:
            findings.append(finding)
    return ranked(findings), growths


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Order findings by the memory that will be held in an hour if nothing changes.

    A task that merely outlives somebody may be a keeper, and may hold a cache: these come last,
    however much they hold. Of equal impact, who says more about the cause comes first.
    """

    def rank(one: Finding) -> tuple[bool, float, int, str]:
        each = one.bytes_each or _TYPICAL_BYTES
        mild = one.verdict in ("ORPHAN", "OVERDUE")
        return mild, -one.impact * each, -_TIE_ORDER[one.verdict], one.site

    return sorted(findings, key=rank)


def backing_of(elders: Iterable[Witness]) -> Backing:
    """Tell who answers for the oldest tasks of a site; see the growth rule."""
    elders = list(elders)
    if 2 * sum(witness.owner_state == "ended" for witness in elders) > len(elders):
        return "ended"
    owners = Counter(witness.owner_number for witness in elders)
    unowned = owners.pop(0, 0)
    largest = max(owners.values(), default=0)
    return "shared" if 2 * (unowned + largest) > len(elders) or len(elders) == 1 else "own"


def place_of(site: Site) -> str:
    """The site as "path:line", relative to the working directory when inside it."""
    return relative(str(site))


def _finding(site: SiteCensus, growth: Growth | None, backing: Backing) -> Finding | None:
    growing = growth is not None and growth.movement == "growing"
    impacts: dict[Verdict, float] = {}
    if growth is not None and growing:
        impacts["GROWING"] = growth.stayers + max(0.0, growth.slope_low) * _HORIZON_S
    if site.orphans:
        impacts["ORPHAN"] = site.orphans
    if site.overdue:
        impacts["OVERDUE"] = site.overdue
    if site.undead:
        impacts["UNDEAD"] = site.undead
    if not impacts:
        return None
    lead = max(impacts, key=lambda verdict: (impacts[verdict], _TIE_ORDER[verdict]))
    accused = _accused(site, lead, growth)
    typical = _typical(accused)
    counts = {
        "ORPHAN": site.orphans,
        "OVERDUE": site.overdue,
        "UNDEAD": site.undead,
        "GROWING": growth.stayers if growth else 0,
    }
    place = place_of(site.site)
    return Finding(
        verdict=lead,
        count=max(counts[verdict] for verdict in impacts),
        alive=site.alive,
        task_name=typical.task_name,
        site=place,
        function=site.site.function,
        owner=typical.owner,
        age=max((one.age for one in accused if one.age is not None), default=None),
        blocked_on=_blocked_on(typical),
        held_by=None,
        trace_ids=trace_ids(accused),
        advice=advice(lead, typical, place, growing=growing, backing=backing),
        impact=round(max(impacts.values()), 1),
        slope_per_s=growth.slope_per_s if growth is not None and growing else None,
        detail=tuple(_evidence(site, lead, growth, accused)),
    )


def _accused(site: SiteCensus, lead: Verdict, growth: Growth | None) -> list[Witness]:
    """The witnesses that the leading verdict is about, oldest first; never empty."""
    if lead == "ORPHAN":
        chosen = [one for one in site.witnesses if one.orphan_for is not None]
    elif lead == "OVERDUE":
        chosen = [one for one in site.witnesses if one.overdue_for is not None]
    elif lead == "UNDEAD":
        chosen = [one for one in site.witnesses if one.undead_for is not None]
    else:
        least = growth.older_than_s if growth is not None else 0.0
        chosen = [one for one in site.witnesses if (one.age or 0.0) >= least]
    return chosen or list(site.witnesses)


def _typical(accused: list[Witness]) -> Witness:
    """The oldest of the largest group that waits for the same thing."""
    waits = Counter((one.waits_for, one.await_site) for one in accused)
    commonest = waits.most_common(1)[0][0]
    found = next(one for one in accused if (one.waits_for, one.await_site) == commonest)
    return replace(found, await_site=relative(found.await_site))


def _blocked_on(witness: Witness) -> str:
    if not witness.waits_for:
        return ""
    detail = f" ({witness.wait_detail})" if witness.wait_detail else ""
    return f"{witness.waits_for}{detail} at {witness.await_site}"


def _evidence(
    site: SiteCensus, lead: Verdict, growth: Growth | None, accused: list[Witness]
) -> list[str]:
    lines: list[str] = []
    growing = growth is not None and growth.movement == "growing"
    if growth is not None and growing:
        lines.append(
            f"GROWING: {growth.reason}; p = {growth.p_value:.1g}, oldest age grows "
            f"{growth.age_rate:.2f} s a second, share of old tasks {growth.share_before:.0%} -> "
            f"{growth.share_after:.0%}, {growth.samples} samples over {growth.span_s:.0f} s"
        )
    if site.orphans:
        longest = max((one.orphan_for or 0.0 for one in site.witnesses), default=0.0)
        lines.append(
            f"ORPHAN: {site.orphans} of {site.alive} alive outlived their owner, the oldest by {longest:.0f} s"
        )
    if site.overdue:
        longest = max((one.overdue_for or 0.0 for one in site.witnesses), default=0.0)
        lines.append(
            f"OVERDUE: {site.overdue} of {site.alive} alive are past their owner's deadline, by up to {longest:.0f} s"
        )
    if site.undead:
        deaf = [one for one in site.witnesses if one.undead_for is not None]
        longest = max((one.undead_for or 0.0 for one in deaf), default=0.0)
        askers = ", ".join(dict.fromkeys(one.cancel_by or "?" for one in deaf[:3]))
        lines.append(
            f"UNDEAD: {site.undead} of {site.alive} alive were asked to end up to {longest:.0f} s ago "
            f"and did not, by {askers}"
        )
    if not growing:
        lines.append(_why_not_growing(site, growth))
    if not site.site.started_here:
        lines.append(
            "no line of yours started it (a callback of the loop did): shown is where it is defined"
        )
    waits = Counter(one.waits_for or "nothing (ready to run)" for one in accused)
    if len(waits) > 1:
        shares = ", ".join(f"{count} {wait}" for wait, count in waits.most_common(4))
        lines.append(f"of {len(accused)} asked, waiting for: {shares}")
    return lines


def _why_not_growing(site: SiteCensus, growth: Growth | None) -> str:
    if growth is None:
        return "whether it grows is not known: no sampler is running"
    if growth.movement == "unsure":
        return f"whether it grows is not known yet: {growth.reason}"
    few = site.orphans and site.orphans <= 16 and growth.movement in ("steady", "falling")
    kept = (
        "; a few that stay are often keepers of a library's connections, and harmless"
        if few
        else ""
    )
    return f"not growing: {growth.reason}{kept}"
