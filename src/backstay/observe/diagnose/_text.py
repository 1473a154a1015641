"""The diagnosis as a page for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from backstay.observe.diagnose._cause import Cause
from backstay.observe.diagnose._diagnosis import Diagnosis
from backstay.observe.diagnose._figures import amount, change, facts_of, size, span, verdict_line
from backstay.observe.diagnose._requests import link_to, waterfalls_text

__all__ = ["to_text"]

_WIDTH = 100
_MOVES = 5


def to_text(diagnosis: Diagnosis) -> str:
    """Return it as text, worst finding first, ending in a newline."""
    found = len(diagnosis.causes)
    count = "nothing found" if not found else f"{found} finding" + ("s" if found > 1 else "")
    head = f"backstay diagnose · process {diagnosis.pid} · {span(diagnosis.window_s)} · {count}"
    blocks = [_printable(head)]
    if diagnosis.alert:
        blocks.append(
            _wrapped(", ".join(f"{name}={text}" for name, text in diagnosis.alert), "alert: ")
        )
    if not found:
        blocks.append(_wrapped(verdict_line(diagnosis), ""))
    blocks += [
        _block(rank, cause, diagnosis.trace_url) for rank, cause in enumerate(diagnosis.causes, 1)
    ]
    blocks += waterfalls_text(diagnosis, _WIDTH)
    tables = _facts(diagnosis), _moves(diagnosis), _memory(diagnosis)
    blocks += ["\n".join(lines) for lines in tables]
    blocks += [_wrapped(doubt, "Note: ") for doubt in diagnosis.doubts]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _block(rank: int, cause: Cause, trace_url: str) -> str:
    place = f"{cause.site}  in {cause.function}()" if cause.function else cause.site
    lines = [_printable(f"{rank}. {cause.verdict}  {place}"), _wrapped(cause.headline, "   ")]
    lines += [_wrapped(text, f"   {label:<11}") for label, text in facts_of(cause)]
    links = [link_to(trace_url, one) for one in cause.trace_ids] if trace_url else []
    lines += [f"   {'' if index else 'see':<11}{link}" for index, link in enumerate(links)]
    lines += [
        _wrapped(text, f"   {'' if index else 'why':<11}")
        for index, text in enumerate(cause.evidence)
    ]
    if cause.advice:
        lines.append(_wrapped(cause.advice, f"   {'do':<11}"))
    if cause.page:
        lines.append(f"   {'read':<11}{_printable(cause.page)}")
    return "\n".join(lines)


def _facts(diagnosis: Diagnosis) -> Iterator[str]:
    for fact in diagnosis.facts:
        before, after = amount(fact.before, fact.unit), amount(fact.after, fact.unit)
        yield f"{fact.name:<20} {before:>12} -> {after:<12} {change(fact)}"


def _moves(diagnosis: Diagnosis) -> Iterator[str]:
    shown = [move for move in diagnosis.moves if move.worth_a_row]
    if not shown:
        return
    yield "Tasks by the line that started them (a change alone accuses nobody):"
    for move in shown[:_MOVES]:
        waits = f"  {move.waits[0][0]}" if move.waits else ""
        yield _printable(
            f"  {move.before:>8,} -> {move.after:<8,} {move.change:>+8,}  {move.site}  {move.function}{waits}"
        )


def _memory(diagnosis: Diagnosis) -> Iterator[str]:
    if not diagnosis.memory:
        return
    yield "Memory by the line that allocated it meanwhile, and that is still there (accuses nobody):"
    for one in diagnosis.memory[:_MOVES]:
        yield _printable(f"  {size(one.bytes):>10} in {one.objects:>8,} blocks  {one.site}")


def _wrapped(text: str, label: str) -> str:
    return textwrap.fill(
        _printable(text),
        width=_WIDTH,
        initial_indent=label,
        subsequent_indent=" " * len(label),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _printable(text: str) -> str:
    """Keep a name that somebody has sent from moving the cursor of a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)
