"""From the verdicts of the leak report to causes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from backstay.observe.diagnose._cause import Cause
from backstay.observe.diagnose._look import Document, rows, words

__all__ = ["leak_causes"]

#: How sure each verdict is. A task that outlives its owner may be the keeper of a connection.
CERTAINTY: Final = {
    "LEAKED": 1.0,
    "STUCK": 1.0,
    "GROWING": 0.95,
    "LOST": 0.9,
    "UNDEAD": 0.9,
    "OVERDUE": 0.8,
    "ORPHAN": 0.5,
}
_UNKNOWN = 0.5
_PROOFS = ("LEAKED:", "STUCK:")
#: Tasks held in an hour at which the harm is half of the most.
_HALF_TASKS = 100.0
#: What nothing can ever wake is a defect however few there are of it.
_PROVED_HARM = 0.6


def leak_causes(reports: Iterable[Document]) -> list[Cause]:
    """Return a cause for each site that a leak report accuses.

    Growth is accused by the rule of the report alone, never because there are more
    tasks than before: a swing of the load raises their number as well.

    Args:
        reports: of one process, judged by samples of different reach; a site that several accuse is
            told once, by the verdict that weighs most.
    """
    best: dict[tuple[str, str, str], Cause] = {}
    for report in reports:
        for finding in rows(report, "findings"):
            made = _cause(finding)
            # What piles up has no task and may share its line with tasks that leak.
            shape = made.page if made.page.endswith("piles.md") else ""
            key = made.site, made.function, shape
            known = best.get(key)
            if known is None or (made.score, made.count) > (known.score, known.count):
                best[key] = made
    return list(best.values())


def _cause(finding: Document) -> Cause:
    verdict = str(finding.get("verdict", ""))
    count = int(finding.get("count") or 0)
    impact = max(float(finding.get("impact") or 0.0), float(count))
    evidence = words(finding.get("detail"))
    # A site is led by one verdict, and may be proved by another.
    proved = any(one.startswith(_PROOFS) for one in evidence)
    certainty = 1.0 if proved else CERTAINTY.get(verdict, _UNKNOWN)
    harm = impact / (impact + _HALF_TASKS)
    pace = finding.get("slope_per_s")
    return Cause(
        kind="leak",
        verdict=verdict,
        headline=_headline(finding, verdict, count),
        site=str(finding.get("site") or ""),
        function=str(finding.get("function") or ""),
        count=count,
        per_s=None if pace is None else float(pace),
        blocked_on=str(finding.get("blocked_on") or ""),
        held_by=str(finding.get("held_by") or ""),
        owner=str(finding.get("owner") or ""),
        trace_ids=words(finding.get("trace_ids")),
        bytes_held=finding.get("bytes_held"),
        evidence=evidence,
        certainty=certainty,
        harm=max(harm, _PROVED_HARM) if certainty >= 1 else harm,
        advice=str(finding.get("advice") or ""),
        page=str(finding.get("page") or ""),
    )


def _headline(finding: Document, verdict: str, count: int) -> str:
    page = str(finding.get("page") or "")
    if page.endswith("piles.md"):
        return f"{count:,} {finding.get('task_name') or 'callbacks'} have piled up"
    tasks = f"{count:,} task" + ("" if count == 1 else "s")
    has, does, was = ("has", "does", "was") if count == 1 else ("have", "do", "were")
    return {
        "GROWING": f"{tasks} started here {does} not end, and more keep coming",
        "LEAKED": f"{tasks} started here wait{'s' if count == 1 else ''} for what can never happen",
        "STUCK": f"{tasks} started here can never go on",
        "LOST": f"{tasks} started here {was} lost before the end",
        "UNDEAD": f"{tasks} started here {was} cancelled and live{'s' if count == 1 else ''} on",
        "OVERDUE": f"{tasks} started here {has} outlived the deadline",
        "ORPHAN": f"{tasks} started here {has} outlived the owner",
    }.get(verdict, f"{tasks} started here: {verdict}")
