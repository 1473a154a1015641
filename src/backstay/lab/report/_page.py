"""The report as one HTML file: nothing is fetched, so it can be mailed and archived."""

from __future__ import annotations

import json
import time
from html import escape
from pathlib import Path

from backstay.errors import UsageError
from backstay.lab.compare import Check, Comparison, RootCause, VariantResult, memory_window, ratio
from backstay.lab.report._chart import draw
from backstay.lab.report._charts import charts_of
from backstay.lab.report._figures import count, duration_ms, growth, seconds, share, times
from backstay.lab.report._series import raw_data
from backstay.lab.report._style import CHART_CSS, PAGE_CSS, PALETTE_CSS, SCRIPT
from backstay.lab.report._table import pair, rows

__all__ = ["page", "write_page"]

_MARKS = {"met": "✓", "missed": "✗", "unknown": "?", "goal met": "★", "goal missed": "☆"}


def write_page(comparison: Comparison, out: Path) -> Path:
    """Write report.html and return its path.

    Raises:
        UsageError: the folder cannot be written.
    """
    path = out / "report.html"
    try:
        path.write_text(page(comparison), encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}; choose another folder with --out"
        ) from error
    return path


def page(comparison: Comparison) -> str:
    """Return the whole report as HTML."""
    title = f"{comparison.verdict}: {comparison.scenario.title}"
    # "</script" inside a string would end the element early; JSON may escape the slash.
    data = json.dumps(raw_data(comparison), separators=(",", ":")).replace("</", "<\\/")
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escape(title)}</title>",
            f"<style>{PALETTE_CSS}{PAGE_CSS}{CHART_CSS}</style></head><body><main>",
            _head(comparison),
            _cards(comparison),
            _charts(comparison),
            _leak(comparison),
            _table(comparison),
            _checks(comparison),
            _fairness(comparison),
            _raw(),
            "</main>",
            f'<script type="application/json" id="data">{data}</script>',
            f"<script>{SCRIPT}</script></body></html>\n",
        ]
    )


def _head(comparison: Comparison) -> str:
    verdict = comparison.verdict
    mark = {"PASS": "✓", "FAIL": "✗", "INCONCLUSIVE": "?"}[verdict]
    names = " and ".join(f"<b>{escape(run.name)}</b>" for run in comparison.runs)
    return (
        f'<div class="badge {verdict}" role="status"><span>{mark}</span>{verdict}</div>'
        f"<h1>{escape(comparison.scenario.title)}</h1>"
        f'<p class="lead">{names}, one after the other, under the same '
        f"{comparison.offered_rps:,.0f} requests a second and the same fault, for "
        f"{comparison.duration_s:g} seconds each. Every number was read from the running processes.</p>"
    )


def _cards(comparison: Comparison) -> str:
    baseline, candidate = pair(comparison)
    if baseline is None or candidate is None:
        return ""

    def card(what: str, big: str, how: str) -> str:
        return (
            f'<div class="card"><div class="what">{what}</div>'
            f'<div class="big">{big}</div><div class="how">{how}</div></div>'
        )

    def change(before: str, after: str) -> str:
        return f'<span class="a-ink">{before}</span> → <span class="b-ink">{after}</span>'

    cards = {
        "failed": lambda: card(
            "Fewer failed requests",
            times(ratio(baseline.failed_share or 0.0, candidate.failed_share or 0.0)),
            change(share(baseline.failed_share or 0.0), share(candidate.failed_share or 0.0))
            + " under the fault",
        ),
        "tasks": lambda: card(
            "Fewer tasks at the peak",
            times(ratio(baseline.tasks_peak, candidate.tasks_peak)),
            change(count(baseline.tasks_peak), count(candidate.tasks_peak)),
        ),
        "p99": lambda: card(
            "Lower p99 latency",
            times(ratio(baseline.p99_ms, candidate.p99_ms)),
            change(duration_ms(baseline.p99_ms), duration_ms(candidate.p99_ms)),
        ),
        "memory": lambda: card(
            f"Memory growth of {escape(candidate.name)}",
            growth(candidate.rss_growth_pct_per_min),
            change(
                growth(baseline.rss_growth_pct_per_min), growth(candidate.rss_growth_pct_per_min)
            ),
        ),
        "unaffected": lambda: card(
            "Success outside the fault",
            share(candidate.unaffected_success_rate),
            change(
                share(baseline.unaffected_success_rate), share(candidate.unaffected_success_rate)
            ),
        ),
        "recovery": lambda: card(
            "Back to normal after",
            seconds(candidate.recovered_s),
            change(seconds(baseline.recovered_s), seconds(candidate.recovered_s)),
        ),
    }
    judged = comparison.scenario.thresholds.judged
    return f'<div class="cards">{"".join(cards[key]() for key in cards if key in judged)}</div>'


def _leak(comparison: Comparison) -> str:
    if not comparison.root_cause:
        return ""
    first, others = comparison.root_cause[0], comparison.root_cause[1:6]
    parts = ["<h2>The line that leaks</h2>", '<div class="panel">', _cause(first)]
    if others:
        parts.append('<p class="also">Also found:</p><ul>')
        parts += [
            f"<li><code>{escape(other.site)}</code> {escape(other.function)}: "
            f"{count(other.count)} tasks, {escape(other.verdict)}</li>"
            for other in others
        ]
        parts.append("</ul>")
    return "".join([*parts, "</div>"])


def _cause(cause: RootCause) -> str:
    source = ""
    if cause.source is not None:
        lines = "".join(
            f'<div class="{"guilty" if number == cause.source.guilty else ""}">'
            f'<span class="number">{number}</span>{escape(text)}</div>'
            for number, text in cause.source.lines
        )
        source = f'<div class="source mono">{lines}</div>'
    facts = [
        ("what", f"<b>{count(cause.count)} tasks</b>, verdict <b>{escape(cause.verdict)}</b>"),
        ("blocked on", escape(cause.blocked_on)),
        ("owner", escape(cause.owner)),
        ("seen in", escape(", ".join(cause.services))),
        ("trace ids", " ".join(f"<code>{escape(trace)}</code>" for trace in cause.trace_ids[:3])),
        ("advice", escape(cause.advice)),
    ]
    rows_ = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts if text)
    return (
        f"<p><code><b>{escape(cause.site)}</b></code> in <code>{escape(cause.function)}</code></p>"
        f"{source}<dl>{rows_}</dl>"
    )


def _charts(comparison: Comparison) -> str:
    drawn = "".join(f'<div class="panel">{draw(chart)}</div>' for chart in charts_of(comparison))
    hint = "Point at a chart to read all four at one moment."
    return (
        f'<h2>What happened, second by second</h2><div class="charts">{drawn}</div>'
        f'<div class="readout" id="readout">{hint}</div>'
    )


def _table(comparison: Comparison) -> str:
    names = [variant.name for variant in comparison.scenario.variants]
    body = "".join(
        f'<tr class="{row.key}"><td>{row.label}</td><td>{row.baseline}</td>'
        f"<td>{row.candidate}</td><td>{row.change}</td></tr>"
        for row in rows(comparison)
    )
    return (
        '<h2>The figures</h2><div class="panel flush scroll"><table><thead><tr><th></th>'
        f'<th class="a-ink">{escape(names[0])}</th><th class="b-ink">{escape(names[-1])}</th>'
        f"<th>{escape(names[-1])} has</th></tr></thead><tbody>{body}</tbody></table></div>"
    )


def _checks(comparison: Comparison) -> str:
    return (
        f"<h2>Why {comparison.verdict}</h2>"
        f'<div class="panel"><ul class="checks">{"".join(map(_check, comparison.checks))}</ul></div>'
    )


def _check(check: Check) -> str:
    css = check.status.split()[0]
    first, _, rest = check.sentence.partition("\n")
    log = f"<pre>{escape(rest)}</pre>" if rest else ""
    return (
        f'<li class="{css}"><span class="mark">{_MARKS[check.status]}</span>'
        f"<span>{escape(first)}{log}</span></li>"
    )


def _fairness(comparison: Comparison) -> str:
    scenario, machine = comparison.scenario, comparison.machine
    begin, end = memory_window(scenario)
    arrivals = sorted({result.schedule for result in comparison.results.values()})
    same = "the same in all variants" if len(arrivals) == 1 else "NOT the same"
    started = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(comparison.started_at))
    facts = [
        (
            "Variants",
            "; ".join(_variant(comparison, run.name, run.title) for run in comparison.runs),
        ),
        ("Load", f"{scenario.load.arrivals} arrivals, {escape(comparison.rate_note)}"),
        (
            "Arrivals",
            f"seed {comparison.seed}, fingerprint <code>{escape(', '.join(arrivals))}</code>: {same}",
        ),
        ("Fault", "; ".join(_fault_words(comparison)) or "none"),
        (
            "Latency",
            (
                "from the moment a request was due, not from when it could be sent, so that a stalled "
                f"service cannot hide its queue; a user gives up after {scenario.load.client_timeout_s:g} s "
                "and that wait counts; failed requests count as well"
            ),
        ),
        (
            "Judged",
            f"from second {scenario.load.warmup_s:.4g} to {comparison.duration_s:g} of the load",
        ),
        (
            "Memory growth",
            f"Theil–Sen slope from second {begin:.4g} to {end:.4g}, in percent of its level at second {begin:.4g}",
        ),
        (
            "Tracking",
            (
                "switched on in all variants alike, since tasks are counted by it: what differs is the "
                "code of the services, not the way they are watched"
            ),
        ),
        ("Generator", _generator(comparison)),
        (
            "Machine",
            (
                f"{escape(machine.cpu)}, {machine.cores} cores, {machine.memory_mb:,} MB; "
                f"{escape(machine.system)}; {escape(machine.python)}; load average "
                f"{machine.load_average:g} at the start"
            ),
        ),
        ("When", f"{started}, {comparison.took_s:.0f} s in all"),
        *(("Note", escape(note)) for note in comparison.notes),
    ]
    body = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts)
    return f'<h2>What is compared, and why it is fair</h2><div class="panel"><dl>{body}</dl></div>'


def _variant(comparison: Comparison, name: str, title: str) -> str:
    css = "a-ink" if name == comparison.scenario.variants[0].name else "b-ink"
    said = f" ({escape(title)})" if title else ""
    return f'<b class="{css}">{escape(name)}</b>{said}'


def _fault_words(comparison: Comparison) -> list[str]:
    duration = comparison.duration_s
    return [
        f"{escape(fault.label)}, from second {fault.at_s:.4g} to "
        f"{min(fault.until_s or duration, duration):.4g}: "
        f"<code>{'SIGSTOP' if fault.signal else escape(json.dumps(dict(fault.body)))}</code> "
        f"to {escape(fault.process)}"
        for fault in comparison.scenario.faults
    ]


def _generator(comparison: Comparison) -> str:
    limit = comparison.scenario.thresholds.lag_p99_max_ms
    seen = ", ".join(
        f"{escape(result.name)} {_lag(result)}" for result in comparison.results.values()
    )
    return f"its own lateness at p99: {seen or 'unknown'}; above {limit:g} ms nothing is concluded"


def _lag(result: VariantResult) -> str:
    return f"{result.lag_p99_ms:.2f} ms"


def _raw() -> str:
    return (
        '<p class="foot"><button id="save" type="button">Save the raw data (JSON)</button></p>'
        '<p class="foot">Made by <code>backstay lab compare</code>. The same figures are in '
        "<code>result.json</code> beside this file, the logs of every process in the "
        "<code>run-…</code> folders.</p>"
    )
