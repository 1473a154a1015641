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

__all__ = ["Wait", "judge"]

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
    found = _judge(task, 0)
    return found and found.what


class _Found(NamedTuple):
    what: Wait
    own_code: bool  # the site lies in the user's code


def _judge(task: asyncio.Task[Any], hops: int) -> _Found | None:
    links, _, leaf = walk(task)
    if leaf is None or not links or is_running(links[0]):
        return None
    if getattr(leaf, "_state", "PENDING") != "PENDING":
        return None  # woken, and about to run
    names = [code_names(link) for link in links]
    inner = _first_library(names)
    operation = _operation(names, inner)
    place, own_code = _place(names, inner, operation)
    site = f"{names[place][0]}:{line_of(links[place])}"
    loop = task.get_loop()
    limit = _time_limit(names, links, place, loop)
    if operation is not None:
        index, rule = operation
        label = _refined(rule, names[index + 1 :])
        numbers = _joined(_ask(rule, links[index:], leaf, loop), limit)
        return _Found(Wait(rule.kind, label, numbers, site), own_code)
    hop = _inside_wait_for(names, links, leaf, hops)
    if isinstance(hop, _Found):
        what = hop.what
        where = (what.site, True) if hop.own_code else (site, own_code)
        return _Found(Wait(what.kind, what.label, _joined(what.detail, limit), where[0]), where[1])
    kind, label, numbers = _of_future(leaf if hop is None else hop)
    package = names[inner][1].partition(".")[0] if inner < len(names) else ""
    inside = f"inside {package}" if package not in {"", "asyncio", "backstay"} else ""
    return _Found(Wait(kind, label, _joined(inside, numbers, limit), site), own_code)


def _time_limit(
    names: list[tuple[str, str, str]], links: list[Any], place: int, loop: asyncio.AbstractEventLoop
) -> str:
    """Tell the nearest time-out at or below the await site."""
    for index in range(len(links) - 1, max(place, len(links) - _LIMIT_DEPTH) - 1, -1):
        timers = names[index][1:] == _WAIT_FOR
        found = detail.timeout_left(links[index], loop, timers)
        if found:
            return found
    return ""


def _first_library(names: list[tuple[str, str, str]]) -> int:
    """Return the index from which on to the leaf all code is of libraries."""
    index = len(names)
    while index and names[index - 1][1]:
        index -= 1
    return index


def _operation(names: list[tuple[str, str, str]], inner: int) -> tuple[int, Rule] | None:
    """Find the outermost call with a rule in the library part of the chain."""
    for index in range(inner, len(names)):
        _, module, function = names[index]
        rule = _rule(module, function)
        if rule is None or rule.transparent or (rule.innermost and index != len(names) - 1):
            continue
        return index, rule
    return None


def _place(
    names: list[tuple[str, str, str]], inner: int, operation: tuple[int, Rule] | None
) -> tuple[int, bool]:
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


def _refined(rule: Rule, inner_names: list[tuple[str, str, str]]) -> str:
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


def _inside_wait_for(
    names: list[tuple[str, str, str]], links: list[Any], leaf: Any, hops: int
) -> Any:
    """On Python 3.11, find what a `wait_for` really waits for, beside the future that it sleeps on.

    Returns:
        What the inner task waits for (`_Found`), or the inner future, or None.
    """
    if names[-1][1:] != _WAIT_FOR or hops >= _MAX_HOPS:
        return None
    for thing in gc.get_referents(links[-1]):
        if thing is leaf or not issubclass(kind_of(thing), asyncio.Future):
            continue
        if issubclass(kind_of(thing), asyncio.Task):
            return _judge(thing, hops + 1) or thing
        return thing
    return None


def _of_future(leaf: Any) -> tuple[str, str, str]:
    """Classify by the future alone: kind, label, detail."""
    kind = kind_of(leaf)
    if issubclass(kind, asyncio.Task):
        return "task", "task", detail.task_name(leaf)
    if issubclass(kind, asyncio.tasks._GatheringFuture):  # type: ignore[attr-defined]  # no public name
        return "task", "gather", detail.children_left(None, leaf, leaf.get_loop())
    if kind.__module__ == "uvloop.loop":  # its low-level socket calls, when made from compiled code
        if kind.__name__ == "_SyncSocketReaderFuture":
            return "socket", "socket recv", ""
        if kind.__name__ == "_SyncSocketWriterFuture":
            return "socket", "socket send", ""
    if not issubclass(kind, asyncio.Future):
        return "future", "awaitable", kind.__qualname__
    inner = detail.shielded(leaf)
    if inner is not None:
        return "task", "shield", detail.task_name(inner)
    return _of_chained(leaf)


def _of_chained(leaf: Any) -> tuple[str, str, str]:
    source = detail.chained_source(leaf)
    if source is None:
        return "future", "future", ""
    # `run_coroutine_threadsafe` builds the same bridge from a task of another loop; its near side
    # can be cancelled from here, which is what this callback is for.
    callbacks = [getattr(callback, "__qualname__", "") for callback in source._done_callbacks[:8]]
    if any(name.endswith("_call_check_cancel") for name in callbacks):
        return "future", "task of another loop", ""
    return "executor", "thread", detail.executor_state(None, leaf, leaf.get_loop())


def _joined(*parts: str) -> str:
    return ", ".join(filter(None, parts))
