"""The diagnosis as one HTML file: nothing is fetched, so it can be mailed, archived and opened anywhere.

No script either: what a process says of itself may hold text that a stranger has sent, and a page
that runs nothing cannot be made to run that.
"""

from __future__ import annotations

import time
from html import escape
from pathlib import Path

from backstay.errors import UsageError
from backstay.observe.diagnose._cause import Cause
from backstay.observe.diagnose._diagnosis import Diagnosis
from backstay.observe.diagnose._figures import amount, change, facts_of, size, span, verdict_line
from backstay.observe.diagnose._requests import link_to, waterfalls_html
from backstay.observe.diagnose._style import CSS

__all__ = ["page", "write_page"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def write_page(diagnosis: Diagnosis, path: Path) -> Path:
    """Write the page and return its path.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        path.write_text(page(diagnosis), encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(
            f"cannot write {path} ({error.strerror}): name another file with -o"
        ) from error
    return path


def page(diagnosis: Diagnosis) -> str:
    """Return the whole report as HTML."""
    found = len(diagnosis.causes)
    mark = "fine" if not found else "found"
    badge = "NOTHING FOUND" if not found else f"{found} FINDING{'S' if found > 1 else ''}"
    taken = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(diagnosis.taken_at))
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escape(f'{badge}: {diagnosis.target}')}</title>",
            f"<style>{CSS}</style></head><body><main>",
            f'<p class="badge {mark}" role="status">{badge}</p>',
            f"<h1>{escape(_first_up(verdict_line(diagnosis)))}</h1>",
            f'<p class="lead">Process {diagnosis.pid}, named <code>{escape(diagnosis.target)}</code>, watched for '
            f"{span(diagnosis.window_s)} until {taken}.</p>",
            _alert(diagnosis),
            _doubts(diagnosis),
            *(
                _cause(rank, cause, diagnosis.trace_url)
                for rank, cause in enumerate(diagnosis.causes, 1)
            ),
            waterfalls_html(diagnosis),
            _facts(diagnosis),
            _moves(diagnosis),
            _memory(diagnosis),
            f"<footer>Made by backstay diagnose; the process ran Backstay {escape(diagnosis.version)}.</footer>",
            "</main></body></html>\n",
        ]
    )


def _first_up(text: str) -> str:
    return text[:1].upper() + text[1:]


def _alert(diagnosis: Diagnosis) -> str:
    if not diagnosis.alert:
        return ""
    listed = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in diagnosis.alert
    )
    return f'<section><h2>The alert that asked</h2><dl class="panel">{listed}</dl></section>'


def _doubts(diagnosis: Diagnosis) -> str:
    if not diagnosis.doubts:
        return ""
    listed = "".join(f"<li>{escape(doubt)}</li>" for doubt in diagnosis.doubts)
    return f'<section><h2>What could not be told</h2><ul class="panel">{listed}</ul></section>'


def _cause(rank: int, cause: Cause, trace_url: str) -> str:
    place = f"<code>{escape(cause.site)}</code>" if cause.site else ""
    if cause.function:
        place += f" in <code>{escape(cause.function)}()</code>"
    facts = "".join(
        f"<dt>{label}</dt><dd>{_requests(cause, trace_url) if label == 'requests' else escape(text)}</dd>"
        for label, text in facts_of(cause)
    )
    why = "".join(f"<li>{escape(text)}</li>" for text in cause.evidence)
    return (
        f'<section class="panel cause"><h2><span class="rank">{rank}</span> {escape(cause.verdict)} '
        f'<small>{escape(cause.kind)}</small></h2><p class="place">{place}</p>'
        f"<p>{escape(_first_up(cause.headline))}.</p>"
        f'<div class="bar" role="img" aria-label="score {cause.score:g} of 100">'
        f'<i style="width:{cause.score:g}%"></i></div>'
        f'<dl>{facts}</dl><p class="do"><b>Do:</b> {_with_code(cause.advice)}</p>'
        f"<details><summary>Why this is accused</summary><ul>{why}</ul></details>"
        f'<p class="read">Read <code>{escape(cause.page)}</code></p></section>'
    )


def _with_code(text: str) -> str:
    """Show what stands between backticks as code."""
    parts = [escape(part) for part in text.split("`")]
    if len(parts) % 2 == 0:
        return escape(text)  # one of them has no partner
    parts[1::2] = [f"<code>{part}</code>" for part in parts[1::2]]
    return "".join(parts)


def _requests(cause: Cause, trace_url: str) -> str:
    named = [(f"<code>{escape(one)}</code>", link_to(trace_url, one)) for one in cause.trace_ids]
    return " ".join(
        f'<a rel="noreferrer" href="{escape(link)}">{name}</a>' if link else name
        for name, link in named
    )


def _facts(diagnosis: Diagnosis) -> str:
    if not diagnosis.facts:
        return ""
    body = "".join(
        f"<tr><th>{escape(fact.name)}</th><td>{amount(fact.before, fact.unit)}</td>"
        f"<td>{amount(fact.after, fact.unit)}</td><td>{change(fact)}</td></tr>"
        for fact in diagnosis.facts
    )
    return _table("The process", ("", "before", "after", "change"), body)


def _moves(diagnosis: Diagnosis) -> str:
    shown = [move for move in diagnosis.moves if move.worth_a_row]
    if not shown:
        return ""
    body = "".join(
        f"<tr><th><code>{escape(move.site)}</code> {escape(move.function)}</th><td>{move.before:,}</td>"
        f"<td>{move.after:,}</td><td>{move.change:+,}</td><td>"
        f"{'' if move.oldest_s is None else span(move.oldest_s)}</td>"
        f'<td class="waits">'
        + "<br>".join(f"{count:,} {escape(what)}" for what, count in move.waits)
        + "</td></tr>"
        for move in shown
    )
    heads = ("started at", "before", "after", "change", "oldest", "waits for")
    return _table("Tasks by the line that started them; a change alone accuses nobody", heads, body)


def _memory(diagnosis: Diagnosis) -> str:
    if not diagnosis.memory:
        return ""
    body = "".join(
        f"<tr><th><code>{escape(one.site)}</code></th><td>{size(one.bytes)}</td><td>{one.objects:,}</td></tr>"
        for one in diagnosis.memory
    )
    heads = ("allocated at", "memory", "blocks")
    return _table("Memory allocated meanwhile and still there; this accuses nobody", heads, body)


def _table(title: str, heads: tuple[str, ...], body: str) -> str:
    top = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return (
        f'<section><h2>{title}</h2><div class="panel scroll"><table><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></section>"
    )
