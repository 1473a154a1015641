"""The requests that a diagnosis names: where to look them up, and what their spans say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from html import escape
from typing import Final

from backstay.errors import UsageError
from backstay.observe.diagnose._diagnosis import Diagnosis
from backstay.observe.spans import Bar, SpanRecord, waterfall, waterfall_to_text

__all__ = ["check_trace_url", "link_to", "waterfalls_html", "waterfalls_text", "with_requests"]

_PLACE: Final = "{trace_id}"
_MOST: Final = 3  # requests that are shown span by span
_ROWS: Final = 60  # spans of each


def check_trace_url(template: str) -> str:
    """Return the template of an address at which a tracing backend shows a request.

    Raises:
        UsageError: it is no address, or has no place for the trace id.
    """
    if not template.startswith(("http://", "https://")) or template.count(_PLACE) != 1:
        raise UsageError(
            f"{template[:80]!r} is not the address of a request: expected http(s)://… with {_PLACE} once, "
            f"as http://localhost:16686/trace/{_PLACE}"
        )
    if not template.isprintable() or " " in template:
        raise UsageError(f"{template[:80]!r} holds a blank or a control character")
    return template


def link_to(trace_url: str, trace_id: str) -> str:
    """Return the address of a request; "" without a template."""
    return trace_url.replace(_PLACE, trace_id) if trace_url else ""


def with_requests(
    diagnosis: Diagnosis, *, trace_url: str = "", spans: Iterable[SpanRecord] | None = None
) -> Diagnosis:
    """Return the diagnosis with links to the requests that it names, and with the spans of the first three.

    Args:
        diagnosis: names requests, worst finding first.
        trace_url: checked by `check_trace_url`; "" for no links.
        spans: of any requests; None when there are no spans to look at.
    """
    told = replace(diagnosis, trace_url=trace_url)
    if spans is None:
        return told
    named = dict.fromkeys(one for cause in diagnosis.causes for one in cause.trace_ids)
    mine = [span for span in spans if span.trace_id in named]
    have = {span.trace_id for span in mine}
    shown = [one for one in named if one in have][:_MOST]
    doubts = diagnosis.doubts
    if named and not shown:
        doubts = (
            *doubts,
            "the files hold no span of the requests that are named: they have not ended, "
            "or were not sampled",
        )
    return replace(
        told, doubts=doubts, requests=tuple(tuple(waterfall(mine, one)) for one in shown)
    )


def waterfalls_text(diagnosis: Diagnosis, width: int) -> list[str]:
    """Return each request as a block of lines."""
    return [waterfall_to_text(bars[:_ROWS], width).rstrip() for bars in diagnosis.requests]


def waterfalls_html(diagnosis: Diagnosis) -> str:
    """Return the requests as tables of bars; a dark bar kept the request by itself."""
    if not diagnosis.requests:
        return ""
    return (
        "<section><h2>What these requests did</h2>"
        + "".join(
            _request(bars, link_to(diagnosis.trace_url, bars[0].span.trace_id))
            for bars in diagnosis.requests
        )
        + "</section>"
    )


def _request(bars: Sequence[Bar], link: str) -> str:
    whole = max((bar.end_s for bar in bars), default=0.0) or 1e-9
    name = f"<code>{escape(bars[0].span.trace_id)}</code>"
    if link:
        name = f'<a rel="noreferrer" href="{escape(link)}">{name}</a>'
    rows = "".join(_row(bar, whole) for bar in bars[:_ROWS])
    more = len(bars) - _ROWS
    rest = f"<p>and {more} more spans</p>" if more > 0 else ""
    return (
        f'<div class="panel scroll falls"><p>{name}, {len(bars)} spans, {whole * 1e3:.1f} ms</p>'
        f"<table><tbody>{rows}</tbody></table>{rest}</div>"
    )


def _row(bar: Bar, whole: float) -> str:
    span = bar.span
    kind = "own" if bar.own_s > 0.05 * whole else "through"
    error = f' <b class="found">! {escape(span.error)}</b>' if span.error else ""
    left = 100 * bar.begin_s / whole
    width = max(0.4, 100 * (bar.end_s - bar.begin_s) / whole)
    return (
        f'<tr><th style="padding-left:{0.6 + bar.depth:g}rem">{escape(span.service)}: '
        f"{escape(span.name)}{error}</th><td>{(bar.end_s - bar.begin_s) * 1e3:.1f} ms</td>"
        f'<td class="fall"><i class="{kind}" style="margin-left:{left:.2f}%;width:{width:.2f}%"></i></td></tr>'
    )
