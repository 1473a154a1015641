"""What a task waits for, judged by the calls that it is in.

The chain of calls always ends in a future, and a future says nothing: a
thousand tasks "pending on <Future>" is what every other tool shows. What a
person wants to hear is the name of the operation they wrote. So the chain is
read from its inner end outwards, as long as the code belongs to a library, and
the *outermost* call that the rules know gives the label: an anyio `receive` is
"channel recv", although an `Event.wait` is inside it, and a query of asyncpg is
"asyncpg query", although it ends in a bare future. The first call of the
user's own code is the await site. Only when no library call is there does the
future itself have to tell (a task, a gather, a thread of an executor).
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from backstay.tasks import _wait_details as detail
from backstay.tasks._await_chain import code_names, is_running, kind_of, line_of, walk
from backstay.tasks._wait_rules import ASYNCIO_RULES, Rule
from backstay.tasks._wait_rules_data import DATA_RULES
from backstay.tasks._wait_rules_web import WEB_RULES

__all__ = [
    "Found",
    "Names",
    "Shape",
    "Wait",
    "inside_wait_for",
    "judge",
    "judge_from",
    "label_of_future",
    "shape_of",
]

Names = tuple[str, str, str]
"""File, module and qualified name of a call."""

_RULES: Mapping[str, Mapping[str, Rule]] = {**ASYNCIO_RULES, **WEB_RULES, **DATA_RULES}
# A wait_for of Python 3.11 runs what it wraps in a task of its own; more than this many inside
# each other are not worth following.
_MAX_HOPS = 8
_WAIT_FOR = ("asyncio.tasks", "wait_for")
# Time-outs are looked for in this many calls above the leaf; the nearest is the one that matters.
_LIMIT_DEPTH = 8


class Wait(NamedTuple):
    """What one task waits for; `BlockedOn` says what each field means."""

    kind: str
    label: str
    detail: str
    site: str


def judge(task: asyncio.Task[Any]) -> Wait | None:
    """Tell what a task waits for, or None when it does not wait."""
    found = judge_from(task, 0)
    return found and found.what


class Found(NamedTuple):
    """An answer, and whether another may improve on its site."""

    what: Wait
    own_code: bool  # the site lies in the user's code


class Shape(NamedTuple):
    """What a chain of calls means, whichever objects are in it; so it may be kept for all tasks alike."""

    names: list[Names]
    place: int  # whose line is the await site
    own_code: bool  # it is the user's
    operation: int  # whose rule gives the label; -1 where the future has to tell
    rule: Rule | None
    label: str
    inside: str  # "inside asyncpg", where a library that no rule knows waits
    waits_for: bool  # ends in a `wait_for`, and on Python 3.11 what that waits for is beside it


def shape_of(names: list[Names]) -> Shape:
    """Judge a chain by the names of its calls, outermost first."""
    inner = _first_library(names)
    operation = _operation(names, inner)
    place, own_code = _place(names, inner, operation)
    index, rule = operation or (-1, None)
    label = _refined(rule, names[index + 1 :]) if rule is not None else ""
    package = names[inner][1].partition(".")[0] if inner < len(names) else ""
    inside = f"inside {package}" if package not in {"", "asyncio", "backstay"} else ""
    waits_for = names[-1][1:] == _WAIT_FOR
    return Shape(names, place, own_code, index, rule, label, inside, waits_for)


def judge_from(task: asyncio.Task[Any], hops: int) -> Found | None:
    """Tell it with the side that the site is on, after so many `wait_for` (of Python 3.11) around it."""
    links, _, leaf = walk(task)
    if leaf is None or not links or is_running(links[0]):
        return None
    if getattr(leaf, "_state", "PENDING") != "PENDING":
        return None  # woken, and about to run
    shape = shape_of([code_names(link) for link in links])
    place, own_code = shape.place, shape.own_code
    site = f"{shape.names[place][0]}:{line_of(links[place])}"
    loop = task.get_loop()
    limit = _time_limit(shape.names, links, place, loop)
    if shape.rule is not None:
        numbers = _joined(_ask(shape.rule, links[shape.operation :], leaf, loop), limit)
        return Found(Wait(shape.rule.kind, shape.label, numbers, site), own_code)
    future = inside_wait_for(links, leaf, hops) if shape.waits_for else leaf
    is_inner = future is not leaf and issubclass(kind_of(future), asyncio.Task)
    found = judge_from(future, hops + 1) if is_inner else None
    if found is not None:
        what = found.what
        where = (what.site, True) if found.own_code else (site, own_code)
        return Found(Wait(what.kind, what.label, _joined(what.detail, limit), where[0]), where[1])
    kind, label = label_of_future(future)
    numbers = _joined(shape.inside, _detail_of_future(future, label), limit)
    return Found(Wait(kind, label, numbers, site), own_code)


def _time_limit(
    names: list[Names], links: list[Any], place: int, loop: asyncio.AbstractEventLoop
) -> str:
    """Tell the nearest time-out at or below the await site."""
    for index in range(len(links) - 1, max(place, len(links) - _LIMIT_DEPTH) - 1, -1):
        timers = names[index][1:] == _WAIT_FOR
        found = detail.timeout_left(links[index], loop, timers)
        if found:
            return found
    return ""


def _first_library(names: list[Names]) -> int:
    """Return the index from which on to the leaf all code is of libraries."""
    index = len(names)
    while index and names[index - 1][1]:
        index -= 1
    return index


def _operation(names: list[Names], inner: int) -> tuple[int, Rule] | None:
    """Find the outermost call with a rule in the library part of the chain."""
    for index in range(inner, len(names)):
        _, module, function = names[index]
        rule = _rule(module, function)
        if rule is None or rule.transparent or (rule.innermost and index != len(names) - 1):
            continue
        return index, rule
    return None


def _place(names: list[Names], inner: int, operation: tuple[int, Rule] | None) -> tuple[int, bool]:
    """Choose the link whose line is the await site, and tell whether it is the user's."""
    if inner > 0:
        return inner - 1, True
    # Libraries all the way (a server's own loop, say): whoever called the operation.
    return (max(0, operation[0] - 1) if operation else len(names) - 1), False


@lru_cache(maxsize=4096)
def _rule(module: str, function: str) -> Rule | None:
    """Look a call up, the most exact entry first."""
    table = _RULES.get(module)
    while table is None and module:
        module = module.rpartition(".")[0]
        table = _RULES.get(f"{module}.*")
    if table is None:
        return None
    owner = function.partition(".")[0]
    return table.get(function) or table.get(f"{owner}.*") or table.get("*")


def _refined(rule: Rule, inner_names: list[Names]) -> str:
    if rule.phases:
        for _, module, function in reversed(inner_names):
            phase = rule.phases.get(f"{module}:{function}")
            if phase:
                return f"{rule.label}: {phase}"
    return rule.label


def _ask(rule: Rule, links: list[Any], leaf: Any, loop: asyncio.AbstractEventLoop) -> str:
    if rule.detail is None:
        return ""
    try:
        return next(
            filter(None, (rule.detail(link, leaf, loop) for link in links[: rule.detail_depth])), ""
        )
    except Exception:  # a library changed its attributes: the label is right all the same
        return ""


def inside_wait_for(links: list[Any], leaf: Any, hops: int) -> Any:
    """On Python 3.11, find what a `wait_for` really waits for, beside the future that it sleeps on.

    Args:
        links: a chain that ends in the `wait_for`.
        leaf: the future it sleeps on.
        hops: how many of them we went through already.

    Returns:
        A task, or another future; the leaf when there is none.
    """
    if hops >= _MAX_HOPS:
        return leaf
    for thing in gc.get_referents(links[-1]):
        if thing is not leaf and issubclass(kind_of(thing), asyncio.Future):
            return thing
    return leaf


def label_of_future(leaf: Any) -> tuple[str, str]:
    """Classify by the future alone: kind and label."""
    kind = kind_of(leaf)
    if issubclass(kind, asyncio.Task):
        return "task", "task"
    if issubclass(kind, asyncio.tasks._GatheringFuture):  # type: ignore[attr-defined]  # no public name
        return "task", "gather"
    if kind.__module__ == "uvloop.loop":  # its low-level socket calls, when made from compiled code
        if kind.__name__ == "_SyncSocketReaderFuture":
            return "socket", "socket recv"
        if kind.__name__ == "_SyncSocketWriterFuture":
            return "socket", "socket send"
    if not issubclass(kind, asyncio.Future):
        return "future", "awaitable"
    return ("task", "shield") if detail.shielded(leaf) is not None else _label_of_chained(leaf)


def _label_of_chained(leaf: Any) -> tuple[str, str]:
    source = detail.chained_source(leaf)
    if source is None:
        return "future", "future"
    # `run_coroutine_threadsafe` builds the same bridge from a task of another loop; its near side
    # can be cancelled from here, which is what this callback is for.
    callbacks = [getattr(callback, "__qualname__", "") for callback in source._done_callbacks[:8]]
    if any(name.endswith("_call_check_cancel") for name in callbacks):
        return "future", "task of another loop"
    return "executor", "thread"


def _detail_of_future(leaf: Any, label: str) -> str:
    """Read the numbers behind a wait that `label_of_future` has labelled."""
    if label == "task":
        return detail.task_name(leaf)
    if label == "gather":
        return detail.children_left(None, leaf, leaf.get_loop())
    if label == "awaitable":
        return kind_of(leaf).__qualname__
    if label == "shield":
        return detail.task_name(detail.shielded(leaf))
    return detail.executor_state(None, leaf, leaf.get_loop()) if label == "thread" else ""


def _joined(*parts: str) -> str:
    return ", ".join(filter(None, parts))
