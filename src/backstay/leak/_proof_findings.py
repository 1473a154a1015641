"""From a proof to findings: one for each spawn site, joined with what else is known of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from backstay.leak._advice import cure_of_wait
from backstay.leak._finding import Finding, Verdict
from backstay.leak._proof import Proof, Proved

__all__ = ["join_proof"]

_AT = "At the await site"


def join_proof(findings: Iterable[Finding], proof: Proof, alive: dict[str, int]) -> list[Finding]:
    """Add what was proved to what was found otherwise.

    A site that grows and is proved keeps GROWING, which says more of the next hour; the proof
    becomes part of its evidence. In all other cases the proof leads: it is the stronger word.

    Args:
        findings: of the census, at most one for each site.
        proof: what was proved.
        alive: living tasks by spawn site.
    """
    sites: dict[str, list[Proved]] = {}
    for one in proof.proved:
        sites.setdefault(one.site, []).append(one)
    joined: list[Finding] = []
    for finding in findings:
        proved = sites.pop(finding.site, None) if finding.verdict != "LOST" else None
        joined.append(finding if proved is None else _both(finding, proved, proof))
    joined += [_alone(proved, proof, alive) for proved in sites.values()]
    return joined


def _alone(proved: list[Proved], proof: Proof, alive: dict[str, int]) -> Finding:
    typical = proved[0]
    return Finding(
        verdict=_lead(proved),
        count=len(proved),
        alive=max(len(proved), alive.get(typical.site, 0)),
        task_name=typical.task_name,
        site=typical.site,
        function=typical.function,
        owner=typical.owner,
        age=max((one.age for one in proved if one.age is not None), default=None),
        blocked_on=typical.blocked_on,
        held_by=_holder(proved),
        trace_ids=_traces(proved),
        advice=_advice(typical),
        impact=float(len(proved)),
        slope_per_s=None,
        detail=_evidence(proved, proof),
    )


def _both(finding: Finding, proved: list[Proved], proof: Proof) -> Finding:
    detail = (*_evidence(proved, proof), *finding.detail)
    traces = tuple(dict.fromkeys((*finding.trace_ids, *_traces(proved))))[:5]
    if finding.verdict == "GROWING":
        return replace(
            finding,
            held_by=_holder(proved),
            trace_ids=traces,
            detail=detail,
            advice=f"{finding.advice} {_advice(proved[0], at=_AT not in finding.advice)}",
        )
    alone = _alone(proved, proof, {finding.site: finding.alive})
    return replace(
        alone,
        count=max(alone.count, finding.count),
        trace_ids=traces,
        impact=max(alone.impact, finding.impact),
        detail=detail,
    )


def _lead(proved: list[Proved]) -> Verdict:
    stuck = sum(one.verdict == "STUCK" for one in proved)
    return "STUCK" if 2 * stuck >= len(proved) else "LEAKED"


def _holder(proved: list[Proved]) -> str | None:
    return next((one.held_by for one in proved if one.held_by), None)


def _traces(proved: list[Proved]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(trace for one in proved for trace in one.trace_ids))[:5]


def _evidence(proved: list[Proved], proof: Proof) -> tuple[str, ...]:
    stuck = sum(one.verdict == "STUCK" for one in proved)
    lines: list[str] = []
    for verdict, count, what in (
        ("STUCK", stuck, "nothing alive can resolve what they wait for; only a cancel ends them"),
        (
            "LEAKED",
            len(proved) - stuck,
            "nothing alive can wake them, and nothing alive holds them",
        ),
    ):
        if count:
            lines.append(f"{verdict}: {count} proved, of {proof.asked} tasks asked: {what}")
    lines.append("calls: " + " > ".join(proved[0].chain[-4:]))
    return tuple(lines)


def _advice(typical: Proved, *, at: bool = True) -> str:
    """Say what to do; `at` tells whether the await site is still to be told about."""
    name = typical.task_name.rpartition(".")[2] or "fn"
    who = (
        f"They are kept by {typical.held_by}, which can only cancel them."
        if typical.held_by
        else "Nothing keeps them that could cancel them."
        if typical.verdict == "LEAKED"
        else "Somebody holds them, who could only cancel them."
    )
    cure = cure_of_wait(typical.wait_kind)
    there = f" {_AT}: {cure}." if cure and at else ""
    return (
        f"Tasks started at {typical.site} wait for {typical.blocked_on or 'something'}, and whoever could "
        f"wake them is gone. {who}{there} Start them with `scope.go({name}, ...)`, so that they end with "
        f"whoever feeds them; if one is to wait until it is cancelled, let it say so: `await backstay.forever()`."
    )
