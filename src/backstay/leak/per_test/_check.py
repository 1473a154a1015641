"""The check around one test: who belongs to it, and what of that is left at its end."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from backstay.errors import UsageError
from backstay.leak._keepers_of_loop import loop_keepers
from backstay.leak.per_test import _doors
from backstay.leak.per_test._checked import Checked, current, owners
from backstay.leak.per_test._expectations import Pattern, without
from backstay.leak.per_test._extras import (
    EXTRAS,
    Before,
    generators_on,
    threads_since,
    timers_on,
)
from backstay.leak.per_test._left import Left, told
from backstay.leak.per_test._remains import remains, remains_inside
from backstay.leak.per_test._words import describe_lost, is_machinery

__all__ = ["LeakCheck", "LeaksLeft"]


class LeaksLeft(AssertionError):
    """A test has left something alive.

    Attributes:
        left: what.
    """

    def __init__(self, left: Iterable[Left]) -> None:
        self.left = tuple(left)
        super().__init__(f"{counted(self.left)} outlived {self.left[0].owner}\n\n{told(self.left)}")


def counted(left: Iterable[Left]) -> str:
    """Say how many of what: "3 tasks, 1 timer"."""
    words = {"TIMER": "timer", "THREAD": "thread", "GENERATOR": "async generator"}
    kinds = Counter(words.get(one.verdict, "task") for one in left)
    return ", ".join(f"{count} {kind}{'s' * (count != 1)}" for kind, count in kinds.items())


class LeakCheck:
    """Accuses whatever a block of code has started and left alive.

    ::

        async with LeakCheck("a client ends with its connection"):
            await use_the_client()

        with LeakCheck("main"):
            asyncio.run(main())

    A task belongs to the block in whose context it was started, so that blocks may overlap in one loop. Tasks
    that `asyncio.run` would cancel at its end count: they outlived `main`. What `leak.expect` declares is left out.

    Raises: `LeaksLeft` when the block ends without an error and has left something. An error of the
        block leaves as it is, with the report as a note.

    Cancelled: while it waits for what is left; then nothing is judged.

    Cost: about 50 microseconds when nothing is left, else up to 0.43 s, in which the loop runs on.

    Attributes:
        left: what was found so far, without what may be left.
    """

    def __init__(self, name: str, *, allow: Iterable[str] = (), also: Iterable[str] = ()) -> None:
        """Prepare; nothing is watched before it is entered.

        Args:
            name: of the test, for people.
            allow: patterns of what may be left, see `Pattern.parse`.
            also: what to tell besides tasks: "timers", "threads", "generators".

        Raises:
            ValueError: a pattern or a word cannot be read.
        """
        self.test = Checked(name)
        self.allow = [Pattern.parse(one) for one in ([allow] if isinstance(allow, str) else allow)]
        self.also = frozenset([also] if isinstance(also, str) else also)
        unknown = self.also - set(EXTRAS)
        if unknown:
            raise ValueError(f"also= knows {', '.join(EXTRAS)}, not {', '.join(sorted(unknown))}")
        self._found: list[Left] = []
        self._threads: set[int] = set()
        self._timers: dict[int, Before] = {}
        self._outer: Checked | None = None
        self._inside: asyncio.AbstractEventLoop | None = None

    @property
    def left(self) -> list[Left]:
        """What was found so far, without what may be left."""
        return without(self._found, self.allow)

    def begin(self) -> None:
        """Take what starts from now on in this context for the test's."""
        if self.test.ended:
            raise UsageError(
                f"the check of {self.test} is over: make a new LeakCheck for each block"
            )
        _doors.watch()
        _doors.begin(self)
        self._outer = current.get()
        current.set(self.test)
        self._inside = asyncio._get_running_loop()
        if self._inside is not None:
            _doors.visit(self._inside)
        if "threads" in self.also:
            self._threads = {one.ident or 0 for one in threading.enumerate()}
        if "timers" in self.also:
            self._timers = {id(loop): _timers_now(loop) for loop in list(_doors.loops)}

    def end(self) -> list[Left]:
        """Judge, outside of any running loop, and stop watching; return `left`."""
        try:
            for loop in list(_doors.loops):
                if loop not in self.test.looked_at:
                    self._look_at(loop)
            if "threads" in self.also:
                self._found += threads_since(self.test, self._threads)
        finally:
            self._over()
        return self.left

    async def end_inside(self) -> list[Left]:
        """Judge from a task of the loop itself; otherwise as `end`."""
        loop = asyncio.get_running_loop()
        try:
            self._found += await remains_inside(self.test, loop)
            self._look_for_extras(loop)
        finally:
            self._over()
        return self.left

    def _over(self) -> None:
        if self._inside is not None:
            _doors.leave(self._inside)
            self._inside = None
        _doors.end(self.test)
        _doors.unwatch()
        current.set(self._outer)

    def on_close(self, loop: asyncio.AbstractEventLoop) -> None:
        """Judge a loop before its runner cancels what is left on it; for the doors."""
        if loop not in self.test.looked_at:
            self._look_at(loop)
            self.test.looked_at.add(loop)

    def on_lost(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        """Note a task that is collected while pending; for the doors."""
        mine = owners.get(task, self.test if loop in self.test.loops else None) is self.test
        if mine and loop not in self.test.looked_at and not is_machinery(task):
            self._found.append(describe_lost(task, self.test))

    def _look_at(self, loop: asyncio.AbstractEventLoop) -> None:
        self._found += remains(self.test, loop)
        self._look_for_extras(loop)

    def _look_for_extras(self, loop: asyncio.AbstractEventLoop) -> None:
        mine = loop in self.test.loops
        if not self.also or loop.is_closed() or (loop.is_running() and mine):
            return
        if "timers" in self.also:
            self._found += timers_on(self.test, loop, self._timers.get(id(loop), Counter()))
        if "generators" in self.also and mine:
            self._found += generators_on(self.test, loop)

    def _settle(self, error: BaseException | None, left: list[Left]) -> None:
        if not left:
            return
        if error is None:
            raise LeaksLeft(left)
        error.add_note(f"{counted(left)} outlived {self.test}, too\n\n{told(left)}")

    def __enter__(self) -> LeakCheck:
        """Begin, where no loop runs."""
        if asyncio._get_running_loop() is not None:
            raise UsageError("inside a running loop use `async with LeakCheck(...)`")
        self.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Judge."""
        self._settle(error, self.end())

    async def __aenter__(self) -> LeakCheck:
        """Begin, in the running task."""
        self.begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Judge."""
        if isinstance(error, asyncio.CancelledError):
            self._over()  # whoever is cancelled is not to wait
            return
        self._settle(error, await self.end_inside())


def _timers_now(loop: asyncio.AbstractEventLoop) -> Before:
    if loop.is_closed():
        return Counter()
    return Counter(
        {(one.name, one.site): one.count for one in loop_keepers(loop) if one.kind == "timer"}
    )
