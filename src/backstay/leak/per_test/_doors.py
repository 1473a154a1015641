"""The doors through which event loops come and go, watched while tests run.

Each loop that is born gets a task factory; before a loop is closed by its runner, which would
cancel whatever is left, somebody may look; and a loop that is told of a task that was collected
while pending tells it on. Three classes are wrapped for that, all public: `asyncio.BaseEventLoop`
(stock loops and those derived from them) and `uvloop.Loop` where it is loaded (`__init__` and
`call_exception_handler`), and `asyncio.Runner` (`get_loop`, `run`, `close`), which also `asyncio.run`,
unittest, pytest-asyncio and anyio use. Policies stay as they are, and all is put back by `unwatch`.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any, Protocol, cast
from weakref import WeakKeyDictionary, WeakSet

from backstay._base import now
from backstay.leak.per_test._checked import Checked, current, owners
from backstay.tasks._owner import current_owner
from backstay.tasks._spawn_site import Machinery
from backstay.tasks._tracked_task import TrackedTask, set_card

__all__ = ["begin", "end", "leave", "loops", "unwatch", "visit", "watch"]

Loop = asyncio.AbstractEventLoop
AnyTask = asyncio.Task[Any]


class Watcher(Protocol):
    """Who wants to know what happens at the doors while a test runs."""

    test: Checked

    def on_close(self, loop: Loop) -> None:
        """Look at a loop that its runner is about to close; called in its thread."""

    def on_lost(self, loop: Loop, task: AnyTask) -> None:
        """Note a task that is being collected while pending; it must not be kept."""


_DESTROYED = "Task was destroyed"  # what asyncio says of a pending task that is collected

_guard = threading.RLock()
_watchers = 0
_replaced: list[tuple[type, str, Any]] = []
_machinery = Machinery()

loops: WeakSet[Loop] = WeakSet()
"""Loops whose tasks are stamped."""

_visits: WeakKeyDictionary[Loop, int] = WeakKeyDictionary()
_running: dict[Checked, Watcher] = {}  # tests under way, the newest last


def watch() -> None:
    """Wrap the doors; each call wants one `unwatch`."""
    global _watchers
    with _guard:
        _watchers += 1
        if _watchers > 1:
            return
        _watch_class(asyncio.BaseEventLoop)
        for name, wrapper in (("get_loop", _got), ("run", _run), ("close", _close)):
            _replace(asyncio.Runner, name, wrapper)
        _watch_uvloop()


def unwatch() -> None:
    """Put the doors back as they were once nobody watches any more."""
    global _watchers
    with _guard:
        _watchers -= 1
        if _watchers:
            return
        while _replaced:
            owner, name, original = _replaced.pop()
            if original is None:
                delattr(owner, name)
            else:
                setattr(owner, name, original)


def begin(watcher: Watcher) -> None:
    """Take loops that are born from now on for those of its test, whatever thread makes them."""
    with _guard:
        _watch_uvloop()
        _running[watcher.test] = watcher


def end(test: Checked) -> None:
    """No longer."""
    with _guard:
        test.ended = True
        _running.pop(test, None)


# -- the wrappers ------------------------------------------------------------------


def _replace(owner: type, name: str, wrapper: Callable[..., Any]) -> None:
    original = owner.__dict__.get(name)
    inherited = getattr(owner, name)

    @functools.wraps(inherited)
    def watched(self: Any, *args: Any, **options: Any) -> Any:
        return wrapper(inherited, self, *args, **options)

    _replaced.append((owner, name, original))
    setattr(owner, name, watched)


def _watch_uvloop() -> None:
    module = sys.modules.get("uvloop")
    kind = getattr(module, "Loop", None)
    if _watchers and kind is not None and all(owner is not kind for owner, _, _ in _replaced):
        _watch_class(kind)


def _watch_class(kind: type) -> None:
    _replace(kind, "__init__", _born)
    _replace(kind, "call_exception_handler", _told)


def _told(original: Any, loop: Any, context: dict[str, Any]) -> None:
    task: Any = context.get("task")
    lost = str(context.get("message")).startswith(_DESTROYED)
    if lost and issubclass(type(task), asyncio.Task):
        for watcher in list(_running.values()):
            watcher.on_lost(loop, task)
    original(loop, context)


def _born(original: Any, loop: Any, *args: Any, **options: Any) -> None:
    original(loop, *args, **options)
    _stamp(loop)


def _got(original: Any, runner: Any) -> Loop:
    loop: Loop = original(runner)
    _stamp(loop)
    return loop


def _run(original: Any, runner: Any, coro: Any, *, context: Context | None = None) -> Any:
    test = current.get()
    if test is not None and asyncio._get_running_loop() is None:
        _stamp(runner.get_loop())
        own = context is None
        inside: Context = runner._context if context is None else context
        before = inside.get(current)
        if before is not test and (own or before is None or before.ended):
            # What a runner of a wider fixture remembers is the context of its own birth.
            inside.run(current.set, test)
    return original(runner, coro, context=context)


def _close(original: Any, runner: Any) -> None:
    loop: Loop | None = getattr(runner, "_loop", None)
    try:
        # Whoever is told to exit amid its tasks is to be taken down and not run on.
        exits = isinstance(sys.exc_info()[1], SystemExit | KeyboardInterrupt | GeneratorExit)
        usable = loop is not None and not loop.is_closed() and asyncio._get_running_loop() is None
        for watcher in list(_running.values()) if usable and not exits else ():
            watcher.on_close(cast("Loop", loop))
    finally:
        original(runner)


# -- the factory ---------------------------------------------------------------------


def visit(loop: Loop) -> None:
    """Stamp the tasks of a loop that was there before, until as many have called `leave`."""
    with _guard:
        _visits[loop] = _visits.get(loop, 0) + (loop not in loops or loop in _visits)
        if not _visits[loop]:
            del _visits[loop]  # it was born while we watched, and is stamped for good
        _stamp(loop, born=False)


def leave(loop: Loop) -> None:
    """Put back the factory that a visited loop had, unless somebody has chained upon ours since."""
    with _guard:
        if loop not in _visits:
            return
        _visits[loop] -= 1
        if _visits[loop]:
            return
        del _visits[loop]
        loops.discard(loop)
        factory: Any = loop.get_task_factory()
        if getattr(factory, "__qualname__", "") == _STAMPED:
            loop.set_task_factory(factory.before)


def _stamp(loop: Loop, *, born: bool = True) -> None:
    if loop in loops:
        return
    loops.add(loop)
    test = current.get() or next(reversed(list(_running)), None)
    if test is not None and born:
        test.loops.add(loop)
    loop.set_task_factory(cast("Any", _factory(loop.get_task_factory())))


def _factory(previous: Any) -> Callable[..., asyncio.Task[Any]]:
    def stamped(loop: Loop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        if previous is not None:
            task: asyncio.Task[Any] = previous(loop, coro, **options)
        else:
            # uvloop hands through what nobody asked for, and not every Python knows it.
            asked = {name: value for name, value in options.items() if value is not None}
            task = TrackedTask(coro, loop=loop, **asked)
        owners[task] = test = current.get()
        if test is not None:
            test.tasks.add(task)
        frame = _machinery.caller(sys._getframe(1))
        site, lasti = (None, -1) if frame is None else (frame.f_code, frame.f_lasti)
        set_card(task, (site, lasti, current_owner.get(), now()))
        return task

    setattr(stamped, "before", previous)
    return stamped


_STAMPED = f"{_factory.__qualname__}.<locals>.stamped"
