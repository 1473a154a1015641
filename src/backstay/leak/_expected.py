"""Tasks that wait on purpose: said once, in one place, with a reason.

A detector that cries at every listener that waits for the end of the program is switched off
within a week. So what is deliberate is declared, by the function that runs, by the line that
starts it or by its owner, and the reason stands beside it. Everything else is accused as ever.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from backstay.leak._places import in_words, relative, site_of
from backstay.tasks import info
from backstay.tasks._tracked_task import card_of

__all__ = ["Expectation", "expect", "expected", "unexpected"]


@dataclass(frozen=True, eq=False, slots=True)
class Expectation:
    """Tasks that are to stay; see `expect`.

    Attributes:
        why: the reason, shown where somebody asks.
        function: pattern of the qualified name of what the task runs.
        site: pattern of "path:line" that started it, relative to the working directory.
        owner: pattern of "kind name".
    """

    why: str
    function: str = "*"
    site: str = "*"
    owner: str = "*"

    def forget(self) -> None:
        """Expect them no more; once is enough, more do no harm."""
        with _lock:
            _known[:] = [one for one in _known if one is not self]

    def __enter__(self) -> Expectation:
        """Expect them within a block, for example of a test."""
        return self

    def __exit__(self, *_: object) -> None:
        """Forget it."""
        self.forget()

    def covers(self, function: str, site: str, owner: str) -> bool:
        """Tell whether a task with these names is meant; each is a shell pattern, case matters."""
        return (
            fnmatchcase(function, self.function)
            and fnmatchcase(site, self.site)
            and fnmatchcase(owner, self.owner)
        )


_lock = threading.Lock()
_known: list[Expectation] = []


def expect(*, why: str, function: str = "*", site: str = "*", owner: str = "*") -> Expectation:
    """Declare that some tasks wait on purpose, so that no verdict is ever told of them.

    ::

        leak.expect(function="*.listen", why="ends with the process")
        with leak.expect(site="tests/conftest.py:*", why="the server of the session"):
            ...

    A task that only a cancel is to end needs none of this when it waits by `backstay.forever()`.

    Args:
        why: the reason, for those who come later.
        function: what runs, as the qualified name of its coroutine function.
        site: the line that starts it, "path:line", relative to the working directory.
        owner: whose it is, "kind name" such as "scope mail"; "" means nobody's.

    Returns:
        The declaration; `forget()` takes it back, and so does the end of a `with` block.

    Raises:
        ValueError: no reason is given, or no pattern, which would silence everything.
    """
    if not why.strip():
        raise ValueError("expect() wants a reason: why='ends with the process', for example")
    if (function, site, owner) == ("*", "*", "*"):
        raise ValueError(
            "expect() saw no pattern, which would silence every verdict: give function=, site= or owner="
        )
    found = Expectation(why, function, site, owner)
    with _lock:
        _known.append(found)
    return found


def expected(task: asyncio.Task[Any]) -> bool:
    """Tell whether `task` waits on purpose."""
    return not unexpected([task])


def unexpected(tasks: list[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    """Leave out those that wait on purpose; nothing of them is kept.

    Cost: one truth test when nothing was declared; else about a microsecond a task, and some more
        for each kind of them.
    """
    if not _known:
        return tasks
    known, answers = [*_known], dict[object, bool]()
    found: list[asyncio.Task[Any]] = []
    for task in tasks:
        code, lasti, owner, _ = card_of(task) or (None, -1, None, 0.0)
        body = getattr(task.get_coro(), "cr_code", None)
        key = id(code), lasti, id(body), id(owner)  # the task holds all of them
        answer = answers.get(key)
        if answer is None:
            answer = answers[key] = _is_covered(task, known)
        if not answer:
            found.append(task)
    return found


def _is_covered(task: asyncio.Task[Any], known: list[Expectation]) -> bool:
    card = info(task)
    site = site_of(card)
    owner = in_words(card.owner)
    return any(one.covers(card.coroutine, relative(site), owner) for one in known)
