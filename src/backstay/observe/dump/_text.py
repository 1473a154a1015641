"""The dump as text for a terminal: a table, a tree of owners, or the stacks.

It works on the JSON document and not on the snapshot, because the process that
prints is usually not the one that is looked at.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["to_text"]

Document = Mapping[str, Any]

# Rows of the table; a terminal shows some forty, and the rest has few tasks each.
_ROWS = 40
_THREADS = 10
_JOBS = 10  # functions of an executor
_HEADINGS = ("COUNT", "AGE", "WAITS FOR", "STARTED AT", "OWNER")


def to_text(document: Document, *, width: int | None = None) -> str:
    """Render a dump for people.

    Args:
        document: what `document()` returned here or in another process. With a
            tree in it the tree is shown, with stacks in it the stacks, else the table.
            The admin plane adds the statistics of multiloops, which are shown above.
        width: columns of the terminal; found out when omitted. The table needs
            about 100, and turns into short paragraphs in less.

    Returns:
        The text, ending in a newline.
    """
    width = width or shutil.get_terminal_size((100, 24)).columns
    groups: list[Document] = list(document["groups"])
    shown = groups
    body: list[str]
    if "tree" in document:
        body = list(_tree(document["tree"], 0))
    elif any(group.get("examples") for group in groups):
        body = [line for group in groups for line in _stacks(group)]
    else:
        shown = groups[:_ROWS]
        body = _table(shown, width)
    lines = [
        *(line for one in document.get("deadlocks", ()) for line in _deadlock(one)),
        _summary(document),
        *(line for pool in document.get("multiloops", ()) for line in _multiloop(pool)),
        "",
        *body,
        *_left_out(document, groups[len(shown) :]),
        *_workers(document.get("executors", ())),
        *_threads(document),
    ]
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"


def _summary(document: Document) -> str:
    tasks, groups = document["tasks"], len(document["groups"]) + document.get("groups_left_out", 0)
    if not tasks:
        return f"no tasks in process {document['pid']}"
    return f"{_count(tasks, 'task')} in {_count(groups, 'group')}, process {document['pid']}"


def _left_out(document: Document, cut: Sequence[Document]) -> list[str]:
    number = len(cut) + document.get("groups_left_out", 0)
    if not number:
        return []
    tasks = sum(group["count"] for group in cut) + document.get("tasks_left_out", 0)
    return ["", f"… and {_count(number, 'more group')} with {_count(tasks, 'task')}"]


# -- deadlocks ---------------------------------------------------------------------


def _deadlock(one: Document) -> Iterator[str]:
    """Say who waits for whom, before anything else: it will not go away, and it explains the rest."""
    first, *others = one["detail"]
    yield f"DEADLOCK  {first.removeprefix('deadlock: ')}"
    yield from (f"  {sentence}" for sentence in others)
    yield ""


# -- multiloops --------------------------------------------------------------------


def _multiloop(pool: Document) -> Iterator[str]:
    """Show the queues of a scheduler, and what moved between them since its start."""
    yield (
        f"multiloop {pool['name']}  {pool['state']}, {_count(pool['procs'], 'loop')}, "
        f"{pool['waiting']:,} for any loop, {pool['queued']:,} queued, {pool['running']:,} running, "
        f"{pool['started']:,} started"
    )
    yield (
        f"  {_count(pool['steals'], 'steal')} of {_count(pool['stolen'], 'job')}, "
        f"{_count(pool['hand_offs'], 'hand-off')} of {_count(pool['handed_off'], 'job')}, "
        f"{_count(pool['parks'], 'park')}"
    )
    for one in pool["loops"]:
        yield (
            f"  {one['name']}  {one['state']}, {one['queued']:,} queued, {one['running']:,} running, "
            f"{one['started']:,} started"
        )


# -- table -------------------------------------------------------------------------


def _table(groups: Sequence[Document], width: int) -> list[str]:
    if not groups:
        return []
    rows = [_HEADINGS, *(_row(group) for group in groups)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    if sum(widths) + 2 * (len(widths) - 1) > width:
        return [line for group in groups for line in _paragraph(group, width)]
    return ["  ".join([row[0].rjust(widths[0]), *_padded(row[1:], widths[1:])]) for row in rows]


def _padded(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    return (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))


def _row(group: Document) -> tuple[str, ...]:
    waits = group["waits"]
    what = f"{waits['label']} at {_short(waits['site'])}" if waits else _idle(group)
    if group["state"] == "cancelling":
        what = f"{what} (cancelling)"
    return f"{group['count']:,}", _ages(group), what, _started(group), _owner(group)


def _paragraph(group: Document, width: int) -> Iterator[str]:
    """Show a group in three or four short lines, for terminals too narrow for the table."""
    waits = group["waits"]
    state = "" if group["state"] == "waiting" else f"{group['state']}, "
    yield f"{group['count']:,} × {state}{waits['label'] if waits else group['coroutine']}, {_ages(group)}"
    if waits:
        yield from _folded("waits at", _short(waits["site"]), width)
    elif group["running_at"]:
        yield from _folded("running at", _short(group["running_at"]), width)
    yield from _folded("started at", _started(group), width)
    yield from _folded("for", _owner(group), width)
    yield ""


def _folded(heading: str, value: str, width: int) -> Iterator[str]:
    line = f"    {heading:<10}  {value}"
    if len(line) <= width:
        yield line
    else:  # a place is never cut: it is what one came for
        yield f"    {heading}"
        yield f"      {value}"


# -- tree --------------------------------------------------------------------------


def _tree(nodes: Sequence[Document], depth: int) -> Iterator[str]:
    pad = "  " * depth
    for node in nodes:
        if "owners" in node:
            yield f"{pad}… and {_count(node['owners'], 'more owner')} with {_count(node['tasks'], 'task')}"
            continue
        name = "(no owner)" if node["name"] is None else node["name"]
        kind = f"{node['kind']} " if node["kind"] not in ("", "scope") else ""
        yield f"{pad}{kind}{name}  {_count(node['tasks'], 'task')}"
        for group in node["groups"]:
            count, ages, what, started, _ = _row(group)
            yield f"{pad}  {count} × {what}, {ages}, started at {started}"
        if node["groups_left_out"]:
            yield f"{pad}  … and {_count(node['groups_left_out'], 'more group')}"
        yield from _tree(node["children"], depth + 1)


# -- stacks ------------------------------------------------------------------------


def _stacks(group: Document) -> Iterator[str]:
    """Show the oldest tasks of a group one by one, call by call."""
    for member in group.get("examples", ()):
        age = "" if member["age_s"] is None else f", {_age(member['age_s'])}"
        trace = f"  trace {member['trace_id']}" if member["trace_id"] else ""
        yield f"task {member['name']!r} [{group['state']}{age}]  owner {_owner(group)}{trace}"
        yield from (f"    {_step(step)}" for step in member["stack"])
        if member["blocked_on"]:
            yield f"  blocked on  {member['blocked_on']}"
        if member["cancel_by"]:
            yield f"  cancelled by  {member['cancel_by']}"
        if group["site"]:
            yield f"  spawned at  {group['site']} in {group['function']}"
        elif group["definition"]:
            yield f"  defined at  {group['definition']}"
        yield ""
    more = group["count"] - len(group.get("examples", ()))
    if more > 0:
        yield f"… and {more:,} more like {'it' if len(group.get('examples', ())) == 1 else 'these'}"
        yield ""


# -- threads -----------------------------------------------------------------------


def _workers(executors: Sequence[Document]) -> Iterator[str]:
    """Show the executors that have something to do, with their jobs by function."""
    for pool in executors:
        if not pool["busy"] and not pool["queued"]:
            continue
        most = f" of {pool['max_threads']}" if pool["max_threads"] else ""
        name = "default executor" if pool["default"] else f"executor {pool['name']}"
        waiting = f", {_count(pool['queued'], 'job')} queued" if pool["queued"] else ""
        yield ""
        yield f"{name}  {pool['busy']}{most} threads busy{waiting}"
        for job in pool["jobs"][:_JOBS]:
            age = "" if job["age_s"] is None else f" for {_age(job['age_s'])}"
            site = f" at {_short(job['site'])}" if job["site"] else ""
            yield f"  {job['count']:,} × {job['function']}, {job['state']}{age}{site}"
        if len(pool["jobs"]) > _JOBS:
            yield f"  … and {_count(len(pool['jobs']) - _JOBS, 'more function')}"


def _threads(document: Document) -> Iterator[str]:
    """Show each thread where it stands; with stacks every frame, else one line and no workers."""
    # Our own thread that took the dump tells nothing.
    threads: Sequence[Document] = [
        one for one in document.get("threads", ()) if not (one["own"] and one["current"])
    ]
    if any("stack" in one for one in threads):
        for alike in _alike(threads):
            one, more = alike[0], len(alike) - 1
            yield ""
            yield f"thread {one['name']!r} [{', '.join(_about(one))}]"
            yield from (f"    {_step(step)}" for step in one.get("stack", ()))
            if more:
                yield f"… and {more:,} more like it"
    else:
        telling = [one for one in threads if not one["own"] and one["executor"] is None]
        if len(telling) > 1:
            yield ""
            for one in telling[:_THREADS]:
                yield f"thread {one['name']!r} [{', '.join(_about(one))}] at {_short(one['site'])}"
            if len(telling) > _THREADS:
                yield f"… and {_count(len(telling) - _THREADS, 'more thread')}"
    if document.get("threads_left_out"):
        yield f"… and {_count(document['threads_left_out'], 'thread')} not looked at"


def _alike(threads: Sequence[Document]) -> Iterator[list[Document]]:
    """Put the workers of an executor together that stand at the same place; they are many."""
    groups: dict[object, list[Document]] = {}
    for place, one in enumerate(threads):
        steps = tuple((step["file"], step["line"]) for step in one.get("stack", ()))
        key = (one["executor"], one["job"], steps) if one["executor"] is not None else place
        groups.setdefault(key, []).append(one)
    return iter(groups.values())


def _about(thread: Document) -> Iterator[str]:
    loop = thread["loop"]
    if loop is not None:
        kind = loop["kind"] or "an event loop"
        tasks = f" with {_count(loop['tasks'], 'task')}" if loop["kind"] else ""
        yield f"runs {kind}{tasks}"
    if thread["executor"] is not None:
        yield f"worker of {thread['executor']}"
        yield f"runs {thread['job']}" if thread["job"] else "idle"
    if thread["own"]:
        yield "Backstay's own"
    if thread["daemon"]:
        yield "daemon"
    if thread["native_id"]:
        yield f"native {thread['native_id']}"


def _step(step: Document) -> str:
    return (
        f"{step['function']}  {step['file']}:{step['line']}" if step["file"] else step["function"]
    )


# -- words -------------------------------------------------------------------------


def _owner(group: Document) -> str:
    path = group["owner_path"]
    if not path:
        return "-"
    kind = group["kind"]
    above = [name for name in path[:-1] if name != "main"]  # the root scope goes without saying
    last = f"{kind} {path[-1]}" if kind not in ("", "scope") else path[-1]
    return " > ".join([*above, last])


def _idle(group: Document) -> str:
    at = group["running_at"]
    return f"{group['state']} at {_short(at)}" if at else group["state"]


def _started(group: Document) -> str:
    if group["site"]:
        return _short(group["site"])
    return f"? ({group['coroutine']})"


def _ages(group: Document) -> str:
    low, high = group["age_min_s"], group["age_max_s"]
    if low is None or high is None:
        return "?"
    young, old = _age(low), _age(high)
    return young if young == old else f"{young}-{old}"


def _age(seconds: float) -> str:
    if seconds < 1:
        return "<1s"
    if seconds < 120:
        return f"{seconds:.0f}s"
    if seconds < 7200:
        return f"{seconds / 60:.0f}m"
    return f"{seconds / 3600:.0f}h" if seconds < 172_800 else f"{seconds / 86_400:.0f}d"


def _short(place: str) -> str:
    """Shorten the place of a library, which anybody finds by its package."""
    for marker in ("/site-packages/", "/dist-packages/"):
        _, found, tail = place.rpartition(marker)
        if found:
            return tail
    for marker in ("/asyncio/", "/backstay/"):
        head, found, tail = place.rpartition(marker)
        # Only where these names are the packages, and not some folder of the user's.
        if found and ("/lib/python3" in head or head.endswith("/src")):
            return marker[1:] + tail
    return place


def _count(number: int, one: str) -> str:
    return f"{number:,} {one}" if number == 1 else f"{number:,} {one}s"
