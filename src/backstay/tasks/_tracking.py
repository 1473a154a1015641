"""Tracking: a task factory that stamps every task of a loop at birth.

It sees every task, also those of third parties, because `loop.create_task` is
the one door through which asyncio tasks come to life. Being polite at that door
means three things: hand through whatever keywords the caller and the Python
version use, chain with a factory that was there before, and leave the loop as
it was found.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, cast
from weakref import WeakKeyDictionary, ref

from backstay import _base
from backstay._base import Accelerator, accelerated, loop_tracked, now
from backstay.tasks._lost import LostAndFound, LostTasks
from backstay.tasks._owner import current_owner
from backstay.tasks._spawn_site import Machinery
from backstay.tasks._tracked_task import TrackedTask, set_card

__all__ = ["install", "installed_loops", "live_tasks", "lost_tasks", "uninstall"]

Loop = asyncio.AbstractEventLoop
Factory = Callable[..., "asyncio.Task[Any]"]

# Ages are told to this precision. Reading the clock for each task would cost
# more than the rest of the stamp, and a float of its own 24 bytes per task.
_TICK_S = 1.0

# The admin plane lists loops from its own thread; re-entrant, since a loop that is collected
# as garbage while the lock is held may come by as well.
_guard = threading.RLock()
# A weak reference, since the timer of a `Tracking` holds the loop: a loop that was closed
# without uninstall() would be kept for ever. The loop holds it, by its factory and the timer.
_installed: WeakKeyDictionary[Loop, ref[Tracking]] = WeakKeyDictionary()


class Tracking:
    """The factory on one loop, and the slow clock that ages are read from."""

    def __init__(self, loop: Loop, *, exact: bool) -> None:
        """Prepare; `attach` puts it to work."""
        self._previous = cast("Factory | None", loop.get_task_factory())
        self._exact = exact
        self._timer: asyncio.TimerHandle | None = None
        self.machinery = Machinery()
        self.lost_and_found = LostAndFound(loop)
        self.tick = [
            now()
        ]  # a cell shared with the factory: one load instead of an attribute chain
        self.factory = self._make_factory(loop)
        setattr(self.factory, "_tracking", self)  # as long as the factory is in use, so are we

    def _make_factory(self, loop: Loop) -> Factory:
        if self._previous is None and not self._exact:
            accelerator, depth = accelerated(), _frames_to_caller(loop)
            if accelerator is not None:
                return _accelerated_factory(accelerator, self.machinery, self.tick, depth)
            return _fast_factory(self.machinery, self.tick, depth)
        return _general_factory(self.machinery, _maker(self._previous))

    def attach(self, loop: Loop) -> None:
        """Put the factory on the loop and start the slow clock."""
        loop.set_task_factory(cast("Any", self.factory))
        self.lost_and_found.attach(loop)
        if not self._exact:
            self._schedule(loop)

    def _schedule(self, loop: Loop) -> None:
        # An empty context: the caller's values (of a first request, say) would live with the loop.
        self._timer = loop.call_later(_TICK_S, self._on_tick, loop, context=Context())

    def _on_tick(self, loop: Loop) -> None:
        self.tick[0] = now()
        self._schedule(loop)

    def detach(self, loop: Loop) -> None:
        """Restore what was there before, unless somebody has chained upon us since."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if loop.get_task_factory() is self.factory:
            loop.set_task_factory(cast("Any", self._previous))
        self.lost_and_found.detach(loop)


def _frames_to_caller(loop: Loop) -> int:
    # On a loop written in Python the factory is called by BaseEventLoop.create_task;
    # not even looking at that frame saves the making of a frame object.
    return 2 if type(loop).create_task is asyncio.BaseEventLoop.create_task else 1


def _fast_factory(machinery: Machinery, tick: list[float], depth: int) -> Factory:
    """Make the factory for a loop that had none, with everything in one frame.

    It runs for every task of the program, so it is written for the interpreter:
    closure cells instead of attributes, no call that is not needed, and no
    keyword unpacking when there are no keywords.
    """
    make = TrackedTask
    getframe = sys._getframe
    user, skip, floor = machinery.user, machinery.skip, machinery.floor
    learn = machinery.learn
    # An integer above 256 is 32 bytes of its own on every task; spawn sites are few, so the
    # integers are shared. Offsets beyond the table belong to functions of 2,000 instructions.
    offsets: list[int | None] = [None] * 4096
    owner_now = current_owner.get

    def tracked(
        loop: Loop,
        coro: Coroutine[Any, Any, Any],
        context: Any = None,
        eager_start: bool | None = None,
        **options: Any,
    ) -> TrackedTask:
        # Keywords come and go with Python and loop versions; uvloop sends these two, mostly as None.
        if context is None and not eager_start and not options:
            task = make(coro, loop=loop)
        else:
            task = _make_with_options(loop, coro, context, eager_start, **options)
        frame: Any = getframe(depth)
        while (module := id(frame.f_globals)) not in user:
            if module not in skip and learn(frame.f_globals):
                continue  # met for the first time, and user code: look at it again
            frame = frame.f_back
            if frame is None or module in floor:
                task._site, task._lasti = None, -1
                break
        else:
            task._site = frame.f_code
            lasti: int = frame.f_lasti
            try:
                shared = offsets[lasti]
                if shared is None:
                    offsets[lasti] = shared = lasti
            except IndexError:
                shared = lasti
            task._lasti = shared
        task._born = tick[0]
        task._owner = owner = owner_now()
        if owner is not None:
            owner.raw_spawned += 1
        return task

    return tracked


def _accelerated_factory(
    accelerator: Accelerator, machinery: Machinery, tick: list[float], depth: int
) -> Factory:
    """Make the same factory as `_fast_factory` in C (native/task_factory.c)."""
    return accelerator.task_factory(
        make=TrackedTask,
        uncommon=_make_with_options,
        user=machinery.user,
        skip=machinery.skip,
        floor=machinery.floor,
        learn=machinery.learn,
        tick=tick,
        owner=current_owner,
        skip_caller=depth > 1,  # the factory has no frame of its own here
    )


def _make_with_options(
    loop: Loop,
    coro: Coroutine[Any, Any, Any],
    context: Any = None,
    eager_start: bool | None = None,
    **options: Any,
) -> TrackedTask:
    if context is not None:
        options["context"] = context
    if eager_start is not None:
        options["eager_start"] = eager_start
    return TrackedTask(coro, loop=loop, **options)


def _general_factory(machinery: Machinery, make: Factory) -> Factory:
    """Make the factory that chains upon another one, or that reads the exact time."""

    def tracked(loop: Loop, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        task = make(loop, coro, **options)
        frame = machinery.caller(sys._getframe(1))
        owner = current_owner.get()
        site, lasti = (None, -1) if frame is None else (frame.f_code, frame.f_lasti)
        set_card(task, (site, lasti, owner, now()))
        if owner is not None:
            owner.raw_spawned += 1
        return task

    return tracked


def _maker(previous: Factory | None) -> Factory:
    if previous is None:
        return _plain_task
    if previous is getattr(asyncio, "eager_task_factory", None):
        return _eager_task
    return previous


def _plain_task(loop: Loop, coro: Coroutine[Any, Any, Any], **options: Any) -> TrackedTask:
    return TrackedTask(coro, loop=loop, **options)


def _eager_task(loop: Loop, coro: Coroutine[Any, Any, Any], **options: Any) -> TrackedTask:
    if options.get("eager_start") is None:  # uvloop hands None through where nothing was asked
        options["eager_start"] = True
    return TrackedTask(coro, loop=loop, **options)


def install(loop: Loop | None = None, *, exact: bool = False) -> None:
    """Track every task that the loop starts from now on; idempotent.

    Args:
        loop: which loop; the running one when omitted.
        exact: read the clock for each task instead of once a second; for tests
            on a virtual clock, where no timer of ours may keep the loop busy.

    Raises:
        RuntimeError: no loop was given and none is running.

    Cost: about half a microsecond and 60 bytes a task; see ``benchmarks/spawn.py``.
    """
    loop = loop or asyncio.get_running_loop()
    with _guard:
        if _tracking_of(loop) is not None:
            return
        tracking = Tracking(loop, exact=exact)
        _installed[loop] = ref(tracking)
    tracking.attach(loop)
    if loop_tracked:
        loop_tracked.emit(_base.LoopTracked(loop))


def _tracking_of(loop: Loop) -> Tracking | None:
    held = _installed.get(loop)
    return None if held is None else held()


def uninstall(loop: Loop | None = None) -> None:
    """Stop tracking and leave the loop as it was found; tasks alive keep their stamps."""
    loop = loop or asyncio.get_running_loop()
    with _guard:
        tracking = _tracking_of(loop)
        _installed.pop(loop, None)
    if tracking is not None:
        tracking.detach(loop)


def installed_loops() -> list[Loop]:
    """Return the loops that are tracked and not closed; callable from any thread."""
    with _guard:
        loops = [loop for loop, tracking in _installed.items() if tracking() is not None]
    return [loop for loop in loops if not loop.is_closed()]


def live_tasks(loop: Loop) -> list[asyncio.Task[Any]]:
    """Return the tasks of `loop` that have not ended; callable from any thread.

    The set behind it changes while another thread reads it; the read is simply
    repeated then, and after many failures the answer is empty rather than wrong.
    """
    for _ in range(100):
        try:
            return list(asyncio.all_tasks(loop))
        except RuntimeError:  # "Set changed size during iteration"
            continue
    return []


def lost_tasks(loop: Loop) -> list[LostTasks]:
    """Return the tasks of `loop` that were collected while pending, by the line that started them.

    Empty for a loop that is not tracked. Callable from any thread.
    """
    with _guard:
        tracking = _tracking_of(loop)
    return [] if tracking is None else tracking.lost_and_found.lost()
