"""Merge what the services say about their leaks, and look the guilty line up in the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from backstay.lab.compare._records import RootCause, SourceLine

__all__ = ["merge_findings", "read_source", "relative_site"]

_MAX_TRACES = 5
# How damning a verdict is when two sites hold the same number of tasks.
_WEIGHT = {"LOST": 6, "ORPHAN": 5, "UNDEAD": 4, "LEAKED": 4, "STUCK": 3, "GROWING": 2, "OVERDUE": 1}


def merge_findings(
    reports: Mapping[str, Mapping[str, object]], cwd: Path, marker: str
) -> tuple[RootCause, ...]:
    """Merge the leak reports of several services into one list, most tasks first.

    Args:
        reports: service name to the document of its GET /v1/leaks.
        cwd: sites inside it are written relative to it.
        marker: comment that marks a guilty line in the source.

    Returns:
        One entry per spawn site. A site that got several verdicts keeps the most
        damning one, and the largest count: both count the same tasks.
    """
    by_site: dict[str, RootCause] = {}
    for service, report in reports.items():
        for finding in _findings(report):
            found = _cause(service, finding, cwd)
            known = by_site.get(found.site)
            by_site[found.site] = found if known is None else _join(known, found)
    ranked = sorted(by_site.values(), key=_rank)
    return tuple(_with_source(cause, cwd, marker) for cause in ranked)


def relative_site(site: str, cwd: Path) -> str:
    """Return "path:line" relative to `cwd` when the path is inside it."""
    path, colon, line = site.rpartition(":")
    if not colon:
        return site
    try:
        return f"{Path(path).resolve().relative_to(cwd.resolve())}:{line}"
    except (ValueError, OSError):
        return site


def read_source(site: str, cwd: Path, marker: str, around: int = 1) -> SourceLine | None:
    """Read the line that a site names, and its neighbours.

    Args:
        site: "path:line".
        cwd: what relative paths start from.
        marker: comment that marks a guilty line; on the line itself or alone on the one above.
        around: lines before and after.

    Returns:
        None when there is no such line.
    """
    path, _, number = site.rpartition(":")
    try:
        lines = (cwd / path).read_text(encoding="utf-8").splitlines()
        guilty = int(number)
    except (OSError, ValueError):
        return None
    if not 1 <= guilty <= len(lines):
        return None
    marked: bool | None = None
    if any(marker in line for line in lines):
        above = lines[guilty - 2].strip() if guilty > 1 else ""
        marked = marker in lines[guilty - 1] or above.startswith(marker)
    first, last = max(1, guilty - around), min(len(lines), guilty + around)
    return SourceLine(tuple((at, lines[at - 1]) for at in range(first, last + 1)), guilty, marked)


def _findings(report: Mapping[str, object]) -> list[Mapping[str, object]]:
    findings = report.get("findings")
    if not isinstance(findings, list):
        return []
    entries = cast("list[object]", findings)
    return [cast("Mapping[str, object]", entry) for entry in entries if isinstance(entry, dict)]


def _cause(service: str, finding: Mapping[str, object], cwd: Path) -> RootCause:
    traces = finding.get("trace_ids")
    count = finding.get("count")
    return RootCause(
        site=relative_site(_word(finding, "site"), cwd),
        function=_word(finding, "function"),
        verdict=_word(finding, "verdict"),
        count=count if isinstance(count, int) else 0,
        blocked_on=_word(finding, "blocked_on"),
        owner=_word(finding, "owner"),
        trace_ids=_words(traces)[:_MAX_TRACES],
        services=(service,),
        # Paths in sentences are as long as the sentence; people know where they are.
        advice=_word(finding, "advice").replace(f"{cwd.resolve()}/", ""),
    )


def _word(finding: Mapping[str, object], key: str) -> str:
    value = finding.get(key)
    if isinstance(value, dict):  # a label with parts: its text is what people read
        parts = cast("Mapping[str, object]", value)
        value = parts.get("label") or parts.get("kind")
    return "" if value is None else str(value)


def _words(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        return ()
    return tuple(str(item) for item in cast("Sequence[object]", value))


def _join(known: RootCause, found: RootCause) -> RootCause:
    same_service = set(found.services) <= set(known.services)
    lead, other = (
        (known, found)
        if _WEIGHT.get(known.verdict, 0) >= _WEIGHT.get(found.verdict, 0)
        else (found, known)
    )
    return RootCause(
        site=lead.site,
        function=lead.function,
        verdict=lead.verdict,
        count=max(known.count, found.count) if same_service else known.count + found.count,
        blocked_on=lead.blocked_on or other.blocked_on,
        owner=lead.owner or other.owner,
        trace_ids=tuple(dict.fromkeys(lead.trace_ids + other.trace_ids))[:_MAX_TRACES],
        services=tuple(dict.fromkeys(known.services + found.services)),
        advice=lead.advice or other.advice,
    )


def _rank(cause: RootCause) -> tuple[int, int, str]:
    return (-cause.count, -_WEIGHT.get(cause.verdict, 0), cause.site)


def _with_source(cause: RootCause, cwd: Path, marker: str) -> RootCause:
    return replace(cause, source=read_source(cause.site, cwd, marker))
