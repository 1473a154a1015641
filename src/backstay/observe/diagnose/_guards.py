"""From the readings of the guards to causes: who is full, open or refuses.

A guard that says no is seldom the root: it stands before what is slow. So its certainty is
lower than that of a line that leaks or blocks, and it is told below these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from backstay.observe.diagnose._cause import Cause
from backstay.observe.diagnose._look import Document, Look, rows

__all__ = ["guard_causes"]

#: Calls refused within the window that are worth a word.
LEAST_REFUSED: Final = 5
#: Left out are rate limits, whose work it is to refuse, and policies, which count what their parts refuse.
_KINDS: Final = frozenset(
    {"admission", "breaker", "bulkhead", "gate", "pool", "throttle", "workers"}
)
_CERTAINTY = 0.6
# Calls refused a second at which the harm is half of the most.
_HALF_PER_S = 5.0
_LEAST_HARM = 0.3


def guard_causes(before: Look, after: Look) -> list[Cause]:
    """Return a cause for each guard that was full at both looks, is open, or has refused calls.

    Args:
        before: at the begin of the window.
        after: at its end.
    """
    seconds = max(after.at - before.at, 0.0)
    known = {_key(row): row for row in rows(before.guards, "guards")}
    causes = [
        _cause(row, known.get(_key(row), {}), seconds) for row in rows(after.guards, "guards")
    ]
    return [cause for cause in causes if cause is not None]


def _key(row: Document) -> tuple[str, str]:
    return str(row.get("kind")), str(row.get("name"))


def _cause(row: Document, earlier: Document, seconds: float) -> Cause | None:
    kind, name = _key(row)
    if kind not in _KINDS:
        return None
    refused = max(0, int(row.get("rejected") or 0) - int(earlier.get("rejected") or 0))
    figures = _figures(row)
    waiting = int(figures.get("waiting") or 0)
    full = row.get("state") == "full" and earlier.get("state") == "full"
    verdict = (
        "OPEN"
        if row.get("state") == "open"
        else "FULL"
        if full and (waiting or refused)
        else "REFUSING"
        if refused >= LEAST_REFUSED
        else None
    )
    if verdict is None:
        return None
    per_s = refused / seconds if seconds else 0.0
    shadow = row.get("mode") == "shadow"
    return Cause(
        kind="saturated guard",
        verdict=verdict,
        headline=_headline(kind, name, verdict, refused, shadow=shadow),
        site=name,
        count=refused,
        per_s=round(per_s, 3),
        blocked_on=f"{waiting:,} callers in line" if waiting else "",
        evidence=tuple(_evidence(row, figures, refused, seconds)),
        certainty=_CERTAINTY / 2 if shadow else _CERTAINTY,
        harm=max(_LEAST_HARM, per_s / (per_s + _HALF_PER_S)),
        advice=_ADVICE[verdict],
        page=_PAGES.get(kind, "docs/how-to/guard-a-dependency.md"),
    )


_ADVICE: Final = {
    "OPEN": (
        "What is behind it has failed: look at that dependency first. If it is well, its calls take longer than "
        "their deadline, or the thresholds of the breaker are too tight."
    ),
    "FULL": (
        "Its places are taken and do not come back fast enough: look for a line above that holds them, then at "
        "how long the calls behind it take. A higher limit helps only when what is behind has room."
    ),
    "REFUSING": (
        "More is asked for than it lets through: find out whether callers retry too much, whether what is behind "
        "has become slower, or whether more capacity is due."
    ),
}

_PAGES: Final = {
    "breaker": "docs/reference/breaker.md",
    "bulkhead": "docs/reference/bulkhead.md",
    "pool": "docs/reference/pool.md",
    "admission": "docs/reference/admission.md",
    "workers": "docs/reference/workers.md",
    "gate": "docs/reference/gate.md",
}


def _headline(kind: str, name: str, verdict: str, refused: int, *, shadow: bool) -> str:
    calls = f"{refused:,} call" + ("" if refused == 1 else "s")
    would = "would have refused" if shadow else "has refused"
    return {
        "OPEN": f"the {kind} {name} is open: it lets no call through",
        "FULL": f"the {kind} {name} is full and stays full",
    }.get(verdict, f"the {kind} {name} {would} {calls}")


def _evidence(row: Document, figures: Document, refused: int, seconds: float) -> list[str]:
    told = [f"refused {refused:,} calls within {seconds:.0f} s; state {row.get('state') or 'none'}"]
    room = figures.get("limit") or figures.get("max_open") or figures.get("workers")
    used = figures.get("in_flight") or figures.get("in_use") or figures.get("running")
    if room is not None and used is not None:
        told.append(f"{used:,.4g} of {room:,.4g} places taken")
    age = row.get("age_s")
    if isinstance(age, int | float) and age > 1:
        told.append(f"its loop has not answered for {age:.0f} s: these figures are so old")
    return told


def _figures(row: Document) -> Document:
    found = row.get("statistics")
    return cast("Mapping[str, Any]", found) if isinstance(found, Mapping) else {}
