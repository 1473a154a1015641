"""The screen as lines: from figures and what was chosen to see, without a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from backstay._base import wall
from backstay.observe.top._cells import (
    Line,
    Span,
    age,
    clean,
    fit,
    memory,
    per_second,
    share,
    short_time,
    signed,
    width_of,
)
from backstay.observe.top._figures import Figures, GuardRow, LoopRow
from backstay.observe.top._looks import Look
from backstay.observe.top._table import Columns
from backstay.observe.top._view import HELP, View

__all__ = ["Scene", "draw", "sheet"]

#: Lines for loops, guards and verdicts above the table; what is more is told as a number.
_MOST_LOOPS: Final = 4
_MOST_GUARDS: Final = 3
_MOST_LEAKS: Final = 3
#: A question that has waited for so long is told.
_SLOW_S: Final = 2.0
#: What tasks wait for is told to be older than the counts from so many seconds on.
_OLD_S: Final = 3.0

_DOT: Final = Span(" · ", "soft")


@dataclass(slots=True)
class Scene:
    """What is known at this moment.

    Attributes:
        look: the last one; None before the first.
        trouble: why there is none newer; "" when all is well.
        waited_s: seconds for which the question under way has waited; 0 when none is.
    """

    look: Look | None = None
    trouble: str = ""
    waited_s: float = 0.0


def draw(scene: Scene, view: View, width: int, height: int) -> list[Line]:
    """Return the lines of a screen, at most `height` of them, each at most `width` wide.

    Args:
        scene: what is known.
        view: what is chosen; it learns how many rows fit.
        width: cells in a line.
        height: lines.
    """
    foot = _cut(_foot(view), width)
    room = height - 1
    body: list[Line]
    if view.page == "help":
        view.height = max(1, room)
        body = list(_scrolled(list(_help()), view))
    elif scene.look is None:
        body = [(Span(clean(scene.trouble) or "asking …", "bad" if scene.trouble else "soft"),)]
    else:
        details = view.page == "site"
        head = (_status if details else _head)(scene, view, scene.look.figures)
        # However small the screen is, half of it is for the rows; trouble stands in the second line.
        head = head[: max(1, min(len(head), room // 2))]
        view.height = max(1, room - len(head) - 1)
        if details:
            body = [*head, *_scrolled(list(_site(scene.look, view, width)), view)]
        else:
            body = [*head, *_table(scene.look.figures, view, width)]
    lines = [_cut(line, width) for line in body[:room]]
    lines += [()] * (room - len(lines))
    return [*lines, foot][:height]


def sheet(look: Look, view: View, *, rows: int | None, width: int) -> list[Line]:
    """Return the same as a page without end, for a file or a pipe.

    Args:
        look: what was seen.
        view: order and filter.
        rows: of the table at most; None for all.
        width: cells in a line; 0 for as many as it takes.
    """
    figures = look.figures
    chosen = view.rows(figures.groups)
    shown = chosen if rows is None else chosen[:rows]
    columns = Columns(shown, width)
    lines = [
        *_head(Scene(look), view, figures, whole=True),
        (),
        columns.heading(view.order, reverse=view.reverse),
        *(columns.row(one) for one in shown),
    ]
    if len(chosen) > len(shown):
        lines.append((Span(f"… and {len(chosen) - len(shown):,} more spawn sites", "soft"),))
    return [_cut(line, width) if width else line for line in lines]


# -- above the table ----------------------------------------------------------------


def _status(scene: Scene, view: View, figures: Figures, *, live: bool = True) -> list[Line]:
    """Say what is looked at, and what is wrong with the looking."""
    told = figures.told
    lines = [_title(view, told, live=live)]
    if scene.trouble:
        lines.append((Span(f"no figures since: {clean(scene.trouble)}", "bad"),))
    elif scene.waited_s >= _SLOW_S:
        lines.append((Span(f"the process has not answered for {scene.waited_s:.0f} s", "open"),))
    elif figures.restarted:
        lines.append((Span(f"another process answers now: pid {told['pid']}", "open"),))
    return lines


def _head(scene: Scene, view: View, figures: Figures, *, whole: bool = False) -> list[Line]:
    told = figures.told
    lines = _status(scene, view, figures, live=not whole)
    lines += [_tasks(figures), _resources(figures)]
    lines += _some(figures.loops, None if whole else _MOST_LOOPS, _loop, "loops")
    if told["loops_left_out"]:
        lines.append((Span(f"… and {told['loops_left_out']:,} loops that are not told", "soft"),))
    lines += [_multiloop(one) for one in told["multiloops"][:_MOST_LOOPS]]
    blocked = told["blocked"]
    if blocked is not None:
        where = clean(f"{blocked['function']} at {blocked['site']}")
        lines.append((Span(f"BLOCKED for {short_time(blocked['duration_s'])} by {where}", "bad"),))
    lines += _some(figures.guards, None if whole else _MOST_GUARDS, _guard, "guards")
    lines += _some(figures.leaks, None if whole else _MOST_LEAKS, _leak, "verdicts")
    return lines


def _some(rows: Sequence[Any], most: int | None, spell: Any, what: str) -> Iterator[Line]:
    shown = rows if most is None or len(rows) <= most else rows[: most - 1]
    yield from (spell(row) for row in shown)
    if len(rows) > len(shown):
        yield (Span(f"… and {len(rows) - len(shown):,} more {what}", "soft"),)


def _title(view: View, told: Mapping[str, Any], *, live: bool) -> Line:
    spans = [Span("backstay top", "strong"), _DOT, Span(f"{told['pid']} {clean(told['program'])}")]
    if told["started_at"] is not None:
        spans += [_DOT, Span(f"up {age(max(0.0, wall() - told['started_at']))}")]
    spans += [_DOT, Span(f"Python {clean(told['python'])}")]
    if live:
        spans += [_DOT, Span(f"every {view.interval:g} s, by {view.order}")]
    if view.paused:
        spans += [_DOT, Span("PAUSED", "open")]
    if view.filter:
        spans += [_DOT, Span(f"filter {clean(view.filter)!r}", "open")]
    return tuple(spans)


def _tasks(figures: Figures) -> Line:
    told = figures.told
    states = sorted(told["states"].items(), key=lambda item: -item[1])
    spans = [
        Span(f"{told['tasks']:,} tasks", "strong"),
        Span(
            f"  +{per_second(figures.born_per_s)}/s −{per_second(figures.ended_per_s)}/s"
            if figures.span_s is not None
            else ""
        ),
    ]
    if states:
        spans += [_DOT, Span(", ".join(f"{count:,} {clean(state)}" for state, count in states))]
    if told["looked_s"] >= _OLD_S:
        spans.append(Span(f" {age(told['looked_s'])} ago", "soft"))
    return tuple(spans)


def _resources(figures: Figures) -> Line:
    told = figures.told
    moved = figures.rss_per_s
    files = "-" if told["fds"] is None else f"{told['fds']:,}"
    if told["max_fds"] is not None:
        files += f"/{told['max_fds']:,}"
    parts = [
        f"cpu {share(figures.cpu)}",
        f"memory {memory(told['rss_bytes'])}" + (f" {signed(moved)}/s" if moved else ""),
        f"files {files}",
        f"threads {told['threads']:,}",
    ]
    if figures.gc_per_s:
        parts.append("gc " + " ".join(f"{per_second(one)}/s" for one in figures.gc_per_s))
    return _joined(parts)


def _loop(row: LoopRow) -> Line:
    spans = [Span(f"loop {clean(row.name)} {clean(row.kind)}")]
    if not row.running:
        spans += [_DOT, Span("stopped", "open")]
    if row.lag_s is not None:
        spans += [_DOT, Span(f"lag {short_time(row.lag_s)}", "bad" if row.lag_s >= 0.1 else "")]
    if row.free is not None:
        look = "bad" if row.free < 0.1 else "open" if row.free < 0.3 else ""
        ready = f"{short_time(row.ready_p50_s)} p99 {short_time(row.ready_p99_s)}"
        for text in (
            f"free {share(row.free)}",
            f"ready p50 {ready}",
            f"step p99 {short_time(row.step_p99_s)}",
            f"{per_second(row.steps_per_s)} steps/s",
        ):
            spans += [_DOT, Span(text, look if text.startswith("free") else "")]
    return (*spans, _DOT, Span(f"{row.tasks:,} tasks"))


def _multiloop(told: Mapping[str, Any]) -> Line:
    return _joined(
        [
            f"multiloop {clean(str(told.get('name', '')))}".rstrip(),
            f"{told['procs']} loops",
            f"{told['running']:,} jobs under way",
            f"{told['waiting'] + told['queued']:,} in line",
        ]
    )


def _guard(row: GuardRow) -> Line:
    look = "" if row.state in ("", "closed", "free", "passing") else "open"
    spans = [Span(f"{clean(row.kind)} {clean(row.name)}"), Span(f" {clean(row.state)}", look)]
    if row.room is not None:
        spans.append(Span(f" {row.used:,}/{row.room:,}"))
    if row.waiting:
        spans.append(Span(f", {row.waiting:,} in line"))
    spans.append(Span(f", {row.rejected:,} refused"))
    if row.rejected_per_s:
        spans.append(Span(f" +{per_second(row.rejected_per_s)}/s", "bad"))
    return tuple(spans)


def _leak(row: Any) -> Line:
    return (
        Span(clean(row.verdict), "bad"),
        Span(f" {row.count:,} {'task' if row.count == 1 else 'tasks'} from {clean(row.site)}"),
        Span(f" · {clean(row.advice)}" if row.advice else "", "soft"),
    )


# -- the table, and what it leads to ------------------------------------------------


def _table(figures: Figures, view: View, width: int) -> Iterator[Line]:
    rows = view.rows(figures.groups)
    place = view.place(rows)
    first = max(0, min(place - view.height // 2, len(rows) - view.height))
    shown = rows[first : first + view.height]
    columns = Columns(shown, width)
    yield columns.heading(view.order, reverse=view.reverse)
    for at, one in enumerate(shown, first):
        yield columns.row(one, picked=at == place)
    if not rows:
        yield (Span("no spawn site has these words" if view.filter else "no tasks", "soft"),)


def _site(look: Look, view: View, width: int) -> Iterator[Line]:
    group = next((one for one in look.figures.groups if one.site == view.site), None)
    yield (Span("site  ", "soft"), Span(clean(view.site), "strong"))
    if group is not None:
        yield _joined(
            [
                f"{group.alive:,} alive",
                f"+{per_second(group.born_per_s)}/s −{per_second(group.ended_per_s)}/s",
                f"oldest {age(group.oldest_s)}",
                clean(f"{group.function} starts {group.coroutine}"),
            ]
        )
    for leak in look.figures.leaks:
        if leak.site == view.site:
            told = textwrap.wrap(clean(leak.advice), max(20, width - 9), break_on_hyphens=False)
            yield (Span(f"{clean(leak.verdict):7}  ", "bad"), Span(told[0] if told else ""))
            yield from ((Span(f"{'':9}{more}"),) for more in told[1:])
    detail = look.detail if look.site == view.site else None
    if detail is None:
        asked = look.site == view.site
        yield (Span("none of its tasks is alive" if asked else "asking …", "soft"),)
        return
    yield ()
    yield (Span(f"{'TASKS':>8}  {'STATE':10}  {'AGE':>15}  BLOCKED ON  ·  OWNER", "head"),)
    yield from (_family(one) for one in detail["families"])
    if detail["families_left_out"]:
        yield (Span(f"… and {detail['families_left_out']:,} more groups", "soft"),)
    if detail["stack"]:
        yield ()
        yield (Span("one of them waits here, the innermost call last", "head"),)
        yield from (
            (
                Span(f"  {clean(one['function'])}"),
                Span(f"  {clean(one['place'])}", "soft"),
            )
            for one in detail["stack"]
        )
    yield ()
    yield (Span(f"{'AGE':>8}  TASK", "head"),)
    yield from (_member(one) for one in detail["members"])


def _family(one: Mapping[str, Any]) -> Line:
    ages = f"{age(one['age_min_s'])}..{age(one['age_max_s'])}"
    blocked = clean(one["blocked_on"] or "-")
    return (
        Span(f"{one['count']:>8,}  {fit(clean(one['state']), 10)}  {ages:>15}  {blocked}"),
        Span(f"  ·  {clean(one['owner'] or 'nobody')}", "soft"),
    )


def _member(one: Mapping[str, Any]) -> Line:
    trace = f"  trace {clean(one['trace_id'])}" if one["trace_id"] else ""
    blocked = f"  {clean(one['blocked_on'])}" if one["blocked_on"] else ""
    return (
        Span(f"{age(one['age_s']):>8}  {clean(one['name'])}"),
        Span(f"{blocked}{trace}", "soft"),
    )


def _help() -> Iterator[Line]:
    yield (
        Span("backstay top", "strong"),
        Span(": the tasks of a process by the line that started them"),
    )
    yield ()
    for key, meaning in HELP:
        yield (Span(f"  {fit(key, 38)}", "strong"), Span(meaning))
    yield ()
    yield (
        Span(
            "+/s and −/s count tasks that one look meets and the other does not: whoever comes and"
        ),
    )
    yield (
        Span("goes between two looks is in neither. ready, step and free need the flight recorder"),
    )
    yield (Span("('backstay run --record'); percentiles are known to a factor of two."),)


def _foot(view: View) -> Line:
    if view.typing is not None:
        return (Span("filter: ", "strong"), Span(clean(view.typing)), Span(" ", "picked"))
    if view.page != "table":
        return (Span("Esc back  up/down scroll  p pause  h help", "soft"),)
    return (
        Span(
            "q quit  s sort  r reverse  f filter  p pause  Enter details  +/− interval  h help",
            "soft",
        ),
    )


def _scrolled(lines: list[Line], view: View) -> Iterable[Line]:
    view.offset = max(0, min(view.offset, len(lines) - view.height))
    return lines[view.offset : view.offset + view.height + 1]


def _joined(parts: Sequence[str]) -> Line:
    spans: list[Span] = []
    for part in parts:
        spans += [_DOT, Span(part)]
    return tuple(spans[1:])


def _cut(line: Line, width: int) -> Line:
    """Cut a line at the edge of the screen."""
    kept: list[Span] = []
    free = width
    for span in line:
        size = width_of(span.text)
        if size > free:
            kept.append(Span(fit(span.text, free), span.look) if free > 0 else Span(""))
            break
        kept.append(span)
        free -= size
    return tuple(kept)
