"""The heap profile, a ladder: numbers that cost nothing, a census by type, a window of traced allocations.

`heap` counts the objects that are there, by type, in a forked child: it needs nothing to have been
switched on. `heap?seconds=N` traces what is allocated in N seconds and still there at their end, by
the line that allocated it; that makes the program 3 to 4 times slower for that time (with five
frames 8 to 10 times), so it is bounded to a minute.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from types import CodeType, FunctionType, ModuleType
from typing import Any

from backstay._base import wall
from backstay.observe.profile._asked import Asked, Refused, Wait
from backstay.observe.profile._forked import in_child
from backstay.observe.profile._main_thread import in_main_thread
from backstay.observe.profile._profile import Frame, Profile, Table, add, diff, gathered
from backstay.tasks import info, installed_loops, live_tasks

__all__ = ["HEAP_KINDS", "heap_profile"]

HEAP_KINDS = (("inuse_objects", "count"), ("inuse_space", "bytes"))

# Seconds after which the child is killed; 700,000 objects take about one.
_DEADLINE_S = 30.0
_MOST_TYPES = 2_000
_MOST_TRACES = 20_000
_SITES = 5  # spawn sites named among the counters

_Rows = list[tuple[Any, int, int]]

_window = threading.Lock()  # tracemalloc is the process's only one


def heap_profile(asked: Asked, wait: Wait) -> Profile:
    """Count memory by type, or by the line that allocated it when `asked.seconds` is given.

    Args:
        asked: `gc` collects garbage first, `frames` is the depth of traced stacks.
        wait: how to wait; may be cut short.

    Returns:
        Objects and bytes; the counters of the process are among the comments.

    Raises:
        Refused: the process cannot be forked, or the child did not finish.

    Cost: the process pauses for the fork, 2 to 15 ms; see above for `seconds`.
    """
    if asked.seconds is None:
        comments = _collected(asked.gc)
        rows, paused = in_child(_census, _DEADLINE_S)
        return _profile(_by_type(rows), paused, comments)
    return _traced(asked, asked.seconds, wait)


def _traced(asked: Asked, seconds: float, wait: Wait) -> Profile:
    import tracemalloc

    if not _window.acquire(blocking=False):
        raise Refused(409, "memory is being traced already: try again soon")
    ours = not tracemalloc.is_tracing()
    began = wall()
    try:
        before = None if ours else _traces(())
        if ours:
            tracemalloc.start(asked.frames)
        wait(seconds)
        after = _traces(_collected(asked.gc))
    finally:
        if ours:
            tracemalloc.stop()
        _window.release()
    found = after if before is None else diff(after, before)
    return Profile(
        found.kinds,
        found.samples,
        found.period_kind,
        found.period,
        taken_at=began,
        duration_s=wall() - began,
        comments=(f"allocated within {seconds:g} s and still there at their end", *after.comments),
        default=found.default,
    )


def _traces(comments: tuple[str, ...]) -> Profile:
    rows, paused = in_child(_trace_rows, _DEADLINE_S)
    table: Table = {}
    for stack, objects, size in rows:
        add(table, (tuple(Frame(*step) for step in stack), ()), (objects, size))
    return _profile(table, paused, comments)


def _by_type(rows: _Rows) -> Table:
    return {((Frame(name, "", 0),), ()): (objects, size) for name, objects, size in rows}


def _profile(table: Table, paused: float, comments: Iterable[str]) -> Profile:
    told = (*comments, f"the process paused for {paused * 1e3:.1f} ms", *_counters())
    return Profile(
        HEAP_KINDS,
        gathered(table),
        HEAP_KINDS[1],
        1,
        taken_at=wall(),
        comments=told,
        default="inuse_space",
    )


def _collected(wanted: bool) -> tuple[str, ...]:
    """Collect garbage in the main thread, where finalizers are used to run."""
    if not wanted:
        return ()
    if in_main_thread(lambda: void(gc.collect())):
        return ("after a garbage collection",)
    return ("garbage was not collected: the main thread did not come round",)


def void(_: object) -> None:
    """Return nothing, whatever was found."""


# -- L0: numbers that are there anyway ---------------------------------------------------


def _counters() -> tuple[str, ...]:
    """Tell the numbers of the process that cost nothing to keep."""
    sites: Counter[str] = Counter()
    for loop in installed_loops():
        for task in live_tasks(loop):
            known = info(task)
            sites[str(known.site) if known.site is not None else known.definition] += 1
    told = [f"tasks = {sites.total()}"]
    told += [f"tasks from {site} = {count}" for site, count in sites.most_common(_SITES)]
    rss = _rss_bytes()
    if rss is not None:
        told.append(f"rss_bytes = {rss}")
    told.append(f"allocated_blocks = {sys.getallocatedblocks()}")
    told.append(f"gc_counts = {gc.get_count()}")
    told += [
        f"gc generation {number}: collections = {one['collections']}, collected = {one['collected']}, "
        f"uncollectable = {one['uncollectable']}"
        for number, one in enumerate(gc.get_stats())
    ]
    return tuple(told)


def _rss_bytes() -> int | None:
    import os

    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return None  # not Linux


# -- in the child --------------------------------------------------------------------------

_module_of: Any = type.__dict__["__module__"].__get__  # past what a metaclass may make of it
_name_of: Any = type.__dict__["__qualname__"].__get__


def _census() -> _Rows:
    """Count all objects by type: those the collector knows, and what these refer to."""
    objects: Counter[type] = Counter()
    sizes: Counter[type] = Counter()
    seen: set[int] = set()
    kind_of: Any = type
    for one in gc.get_objects():
        kind = kind_of(one)
        objects[kind] += 1
        sizes[kind] += _size(one)
        # Of a module the namespace is an object of its own, and the rest may be memory that was freed:
        # what `_asyncio` of Python 3.12 shows of its free list is freed once more when we let go of it.
        if issubclass(kind, ModuleType):
            continue
        for inner in gc.get_referents(one):
            # Strings, bytes and numbers are not known to the collector, only to those who hold them.
            if not gc.is_tracked(inner) and id(inner) not in seen:
                seen.add(id(inner))
                kind = kind_of(inner)
                objects[kind] += 1
                sizes[kind] += _size(inner)
    rows: _Rows = [(_type_name(kind), objects[kind], size) for kind, size in sizes.most_common()]
    rest = rows[_MOST_TYPES:]
    if rest:
        others = sum(row[1] for row in rest), sum(row[2] for row in rest)
        return [*rows[:_MOST_TYPES], (f"{len(rest)} more types", *others)]
    return rows


def _size(one: object) -> int:
    try:
        return sys.getsizeof(one, 0)
    except Exception:  # somebody's own __sizeof__
        return 0


def _type_name(kind: type) -> str:
    try:
        module = _module_of(kind)
        name = str(_name_of(kind))
    except Exception:
        return "?"
    return name if module == "builtins" else f"{module}.{name}"


def _trace_rows() -> _Rows:
    """Count what is traced by stack, and find the functions that the lines are in."""
    import _tracemalloc  # the public snapshot hashes each frame anew: seconds instead of a moment
    import tracemalloc

    traces: Any = getattr(_tracemalloc, "_get_traces")()  # noqa: B009 - in no stub
    tracemalloc.stop()
    stacks: dict[int, Any] = {}
    objects: Counter[int] = Counter()
    sizes: Counter[int] = Counter()
    for _, size, stack, *_ in traces:
        key = id(stack)  # stacks are interned
        stacks[key] = stack
        objects[key] += 1
        sizes[key] += size
    kept = sizes.most_common(_MOST_TRACES)
    lines = {(file, line) for key, _ in kept for file, line in stacks[key]}
    names = _functions_at(lines)
    return [
        (
            [(names.get(place, "?"), *place) for place in stacks[key]],
            objects[key],
            size,
        )
        for key, size in kept
    ]


def _functions_at(lines: set[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """Find the functions that some lines belong to, among the code that is loaded."""
    files = {file for file, _ in lines}
    found: dict[tuple[str, int], str] = {}
    seen: set[int] = set()
    waiting = [one.__code__ for one in gc.get_objects() if type(one) is FunctionType]
    while waiting:
        code = waiting.pop()
        if id(code) in seen or code.co_filename not in files:
            continue
        seen.add(id(code))
        waiting += [one for one in code.co_consts if type(one) is CodeType]
        for _, _, line in code.co_lines():
            place = code.co_filename, line or 0
            # A comprehension's line is its function's, too: the longer name is the inner one.
            if place in lines and len(code.co_qualname) > len(found.get(place, "")):
                found[place] = code.co_qualname
    for file, line in lines - found.keys():
        found[file, line] = f"<module> {file.rpartition('/')[2]}"
    return found
