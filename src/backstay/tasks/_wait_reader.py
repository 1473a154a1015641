"""What very many tasks wait for: the same answers as `blocked_on`, a few times cheaper.

Ten thousand tasks are in a handful of chains of calls. What such a chain means (the label, the
call whose line is the await site) follows from the code in it alone, so it is judged once; of
each further task only its calls are followed, and one line number is read. The numbers behind a
wait ("3 getters", "4.2 s left") are each task's own, and are left to `blocked_on`.

The three rules of `_await_chain` hold here as well. A reader holds code objects, and so it is
made for one look at the tasks and dropped.
"""

from __future__ import annotations

import asyncio
from opcode import opmap
from types import AsyncGeneratorType, CodeType, CoroutineType, GeneratorType
from typing import Any, cast

from backstay.tasks._await_chain import (
    WRAPPERS,
    code_names,
    coroutine_of,
    future_of,
    is_future,
    is_running,
    kind_of,
    line_of,
    unwrapped,
)
from backstay.tasks._blocked_on import BlockedOn
from backstay.tasks._spawn_site import resolve_site
from backstay.tasks._wait_judge import (
    Shape,
    inside_wait_for,
    judge_from,
    label_of_future,
    shape_of,
)

__all__ = ["WaitReader"]

# Longer chains are rare, and are cut in the middle; the judge does that.
_LONGEST = 48
# Programs that generate code have chains without end; what is remembered of them is bounded.
_MOST_CHAINS = 4_096

# The instruction at each place where a call goes on; its argument is 0 at the beginning of one.
_RESUME = opmap["RESUME"]

_Answer = tuple[BlockedOn, bool]  # with whether the site lies in the user's own code


class _Known:
    """A chain of code that was met before, and the lines at which tasks wait in it."""

    __slots__ = ("_lines", "_only", "answers", "codes", "shape")

    def __init__(self, shape: Shape, codes: list[CodeType]) -> None:
        self.shape = shape
        self.codes = codes  # kept, so that their addresses stay theirs
        self.answers: dict[tuple[int, str, str], _Answer] = {}  # by line, kind and label
        self._lines: dict[int, int] = {}  # by instruction
        self._only = only_wait(codes[shape.place])

    def line(self, links: list[Any]) -> int:
        """Return the line of the await site, for a task that is in this chain."""
        at = self._only
        if at is None:
            link = links[self.shape.place]
            frame = link.cr_frame if kind_of(link) is CoroutineType else None
            if frame is None:
                return line_of(link)
            at = frame.f_lasti
        line = self._lines.get(at)
        if line is None:  # to find it is linear in the code
            site = resolve_site(self.codes[self.shape.place], at)
            line = self._lines[at] = 0 if site is None else site.line
        return line


class WaitReader:
    """Tells what tasks wait for, one after the other; for one look, in one thread."""

    __slots__ = ("_ends", "_known", "_records")

    def __init__(self) -> None:
        """Have met no task yet."""
        self._known: dict[tuple[int, ...], _Known] = {}
        self._records: dict[tuple[str, str, str], BlockedOn] = {}
        self._ends: dict[type[Any], bool | None] = {}

    def read(self, task: asyncio.Task[Any]) -> BlockedOn | None:
        """Return what `blocked_on` would, without the numbers; one object for the same words.

        Cost: 2 to 4 microseconds for a task in a chain of calls that was met before.
        """
        try:
            found = self._read(task, 0)
        except Exception:  # the task moved on while we looked; then it does not wait
            return None
        return None if found is None else found[0]

    def _read(self, task: asyncio.Task[Any], hops: int) -> _Answer | None:
        coroutine = here = coroutine_of(task)
        links: list[Any] = []
        codes: list[int] = []  # their addresses
        # Written out, and not with the functions of `_await_chain`: it runs for every call of every task.
        for _ in range(_LONGEST):
            kind = kind_of(here)
            if kind is CoroutineType:
                links.append(here)
                codes.append(id(here.cr_code))
                here = here.cr_await
            elif here is None:
                break
            elif kind is GeneratorType:
                links.append(here)
                codes.append(id(here.gi_code))
                here = here.gi_yieldfrom
            elif kind is AsyncGeneratorType:
                links.append(here)
                codes.append(id(here.ag_code))
                here = here.ag_await
            else:
                end = self._ends[kind] if kind in self._ends else self._end(here)
                if end:
                    break
                if end is None:
                    return self._judged(task, hops)
                here = unwrapped(here)
        else:
            return self._judged(task, hops)
        future = future_of(task)
        if future is None:
            # Nobody is to wake it: it is ready, or what it awaits is none of asyncio's futures.
            return None if here is None or _is_done(here) else self._judged(task, hops)
        if not links or getattr(future, "_state", "PENDING") != "PENDING":
            return None
        if coroutine.cr_running if kind_of(coroutine) is CoroutineType else is_running(coroutine):
            return None
        key = tuple(codes)  # of a list, which has a length: a tuple of the right size at once
        known = self._known.get(key)
        if known is None:
            known = self._learn(links, key)
        return self._answer(known, links, future, hops)

    def _end(self, here: Any) -> bool | None:
        """Tell whether a thing of this type ends a chain; None where only the judge knows the way on."""
        kind = kind_of(here)
        name = kind.__name__.lstrip("_")
        end: bool | None = None
        if name in WRAPPERS:
            end = name == "FutureIter"
        elif is_future(here):
            end = True
        self._ends[kind] = end
        return end

    def _learn(self, links: list[Any], key: tuple[int, ...]) -> _Known:
        if len(self._known) >= _MOST_CHAINS:
            self._known.clear()
        codes = [_code_of(link) for link in links]
        known = self._known[key] = _Known(shape_of([code_names(link) for link in links]), codes)
        return known

    def _answer(self, known: _Known, links: list[Any], future: Any, hops: int) -> _Answer:
        shape = known.shape
        if shape.rule is not None:
            kind, label = shape.rule.kind, shape.label
        else:
            inside = inside_wait_for(links, future, hops) if shape.waits_for else future
            is_inner = inside is not future and issubclass(kind_of(inside), asyncio.Task)
            inner = self._read(inside, hops + 1) if is_inner else None
            if inner is not None:
                if inner[1]:
                    return inner
                kind, label = inner[0].kind, inner[0].label
            else:
                kind, label = label_of_future(inside)
        line = known.line(links)
        answer = known.answers.get((line, kind, label))
        if answer is None:
            what = self._record(kind, label, f"{shape.names[shape.place][0]}:{line}")
            answer = known.answers[line, kind, label] = what, shape.own_code
        return answer

    def _judged(self, task: asyncio.Task[Any], hops: int) -> _Answer | None:
        found = judge_from(task, hops)
        if found is None:
            return None
        kind, label, _, site = found.what
        return self._record(kind, label, site), found.own_code

    def _record(self, kind: str, label: str, site: str) -> BlockedOn:
        key = (kind, label, site)
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = BlockedOn(kind, label, "", site)
        return record


def only_wait(code: CodeType) -> int | None:
    """Find the instruction at which whoever waits in `code` waits; None where there are several.

    Where it is the only one, the call's frame need not be asked: a frame that was asked for once
    is an object that stays with its call, and of very many tasks these are many megabytes.
    """
    made = code.co_code
    found = [at for at in range(0, len(made), 2) if made[at] == _RESUME and made[at + 1] & 3]
    return found[0] if len(found) == 1 else None


def _code_of(link: Any) -> CodeType:
    kind = kind_of(link)
    name = {CoroutineType: "cr_code", GeneratorType: "gi_code"}.get(kind, "ag_code")
    return cast("CodeType", getattr(link, name))


def _is_done(here: Any) -> bool:
    """Tell whether the end of a chain is a future that has ended."""
    future = here if is_future(here) else unwrapped(here)
    return getattr(future, "_state", "PENDING") != "PENDING"
