"""`Multiloop`: many event loops, one thread each, and jobs that find a free one.

Where the work goes is decided by whoever starts it:

========================  =====================================================
``scope.go(fn)``          on this loop; may use everything that lives here
``pool.go(fn)``           on any loop of the pool; may move until it has started
``await block(fn)``       a plain function, in a thread
========================  =====================================================

Who owns it is decided as always: the scope around the caller.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from inspect import iscoroutine
from types import TracebackType
from typing import Any, Literal, ParamSpec, TypeVar, cast
from weakref import WeakKeyDictionary, WeakSet

from backstay import context as ambient
from backstay.errors import NoOwner, ScopeMisuse
from backstay.multiloop._door import Door
from backstay.multiloop._foreign import refuse_foreign
from backstay.multiloop._job import Job
from backstay.multiloop._loop_thread import LoopFactory, LoopThread
from backstay.multiloop._mailbox import Mailbox
from backstay.multiloop._scheduler import Scheduler
from backstay.multiloop._shutdown_protocol import shut_down, wait_firmly
from backstay.multiloop._statistics import MultiloopStatistics
from backstay.multiloop._trip import fetch
from backstay.tasks import Scope, current_scope

__all__ = ["Multiloop", "running_multiloops"]

P = ParamSpec("P")
T = TypeVar("T")

_MOST_PROCS = 256  # as many threads; more is a slip

_open_guard = threading.Lock()
_open: WeakSet[Multiloop] = WeakSet()


def running_multiloops() -> list[Multiloop]:
    """Return the multiloops of this process that are entered; callable from any thread."""
    with _open_guard:
        return list(_open)


class Multiloop:
    """Runs async functions on several event loops, each with a thread and a queue.

    ::

        async with Multiloop("render", procs=4) as pool:
            pages = [pool.go(render, page) for page in book]
        return [page.result() for page in pages]

    A job that has not started waits in a queue. A loop that runs dry takes half of
    the queue of another, and the whole queue of a loop that is blocked by a
    synchronous call is handed to the others. Once started a job stays on its loop.

    The multiloop is a scope too: jobs started directly in its block are waited for
    at its end, and their errors leave it as those of a `Scope` do. Jobs started in
    a scope inside (a request, say) belong to that scope.

    *Provisional.* With the interpreter's lock (the GIL) loops share one processor
    for Python code: this is for calls that block or compute without the lock, and it
    costs latency elsewhere. Read "Loops and the GIL" before using it.

    Cancelled: as for `Scope`; jobs that have not started never do, those that have
    are cancelled where they run and waited for, also when they block.

    Cost: about 30 microseconds of processor time, fifteen to twenty times a bare task;
    see ``benchmarks/multiloop.py``.
    """

    __crosses_loops__ = True  # a job may be handed the multiloop that runs it

    def __init__(
        self,
        name: str,
        *,
        procs: int,
        on_exit: Literal["wait", "cancel"] = "wait",
        on_error: Literal["cancel", "collect"] = "cancel",
        hand_off_after: float = 0.02,
        loop_factory: LoopFactory | None = None,
    ) -> None:
        """Describe it; threads are started when it is entered.

        Args:
            name: what it is for; loops and threads are called ``name/0``, ``name/1``, …
            procs: how many loops, 1 to 256.
            on_exit: as for `Scope`: "wait" for jobs when the body ends, or "cancel" them.
            on_error: as for `Scope`: when a job fails, "cancel" all, or "collect".
            hand_off_after: seconds after which a loop that does not come round loses
                its queue to the others.
            loop_factory: makes the loops, for example ``uvloop.new_event_loop``.

        Raises:
            ValueError: a number is out of range or a word is unknown.
        """
        _check_procs(name, procs)
        self.name = name
        self._first_procs = procs
        self._scope = Scope(name, kind="multiloop", on_exit=on_exit, on_error=on_error)
        self._scheduler = Scheduler(name, loop_factory, hand_off_after)
        self._door = Door(name)
        self._guard = threading.Lock()
        self._ways: WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = WeakKeyDictionary()
        self._resizing = False
        self._dropped = 0  # written on callers' loops: guarded

    # -- life --------------------------------------------------------------------------

    async def __aenter__(self) -> Multiloop:
        """Start the loops, and open the scope.

        Raises:
            ScopeMisuse: it was entered before.
        """
        if self._door.state != "new":
            raise ScopeMisuse(
                f"multiloop {self.name!r} was entered before (it is {self._door.state}): "
                f"it is used once; make a new Multiloop for each block"
            )
        self._home = self._way_to(asyncio.get_running_loop())
        self._door.open()
        try:
            await self._grow(self._first_procs)
            await self._scope.__aenter__()
        except BaseException:
            await shut_down(self._scheduler, self._door, self._home, cancel=True)
            raise
        self._scheduler.sysmon.start()
        with _open_guard:
            _open.add(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """End as `_shutdown_protocol` says; errors leave as those of a `Scope` do."""
        cancel = error is not None
        try:
            return await self._scope.__aexit__(kind, error, trace)
        except BaseException:
            cancel = True
            raise
        finally:
            if isinstance(error, GeneratorExit):
                self._abandon()
            else:
                await shut_down(self._scheduler, self._door, self._home, cancel=cancel)
            with _open_guard:
                _open.discard(self)

    def _abandon(self) -> None:
        """End without waiting: a coroutine that is being closed may not wait."""
        self._door.drain(lambda: None)
        self._scheduler.sysmon.stop()
        for who in self._scheduler.threads:
            who.mailbox.post(who.stop)

    # -- starting ----------------------------------------------------------------------

    def go(
        self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Task[T]:
        """Start `fn(*args)` on any loop of the pool, and return a task that ends as it does.

        The task lives on the caller's loop and belongs to the scope around the
        caller; await it for the result, cancel it to cancel the job. The function
        is called on the loop that runs it and sees the caller's context: deadline,
        values, trace and, as its owner's path, the caller's scope.

        Called on a loop of the pool (by a job), it queues there first, so that what
        belongs together tends to stay together.

        Raises:
            NoOwner: no scope is open around the caller.
            ScopeClosed: the multiloop is not entered yet, or ends.
            ScopeMisuse: an argument belongs to an event loop.
            TypeError: `fn` is a call and not a function.
        """
        if iscoroutine(fn):
            cast("Any", fn).close()
            raise TypeError(
                f"go() takes the function and its arguments, not a call: "
                f"write go({fn.__name__}, ...) instead of go({fn.__name__}(...))"
            )
        name = getattr(fn, "__qualname__", None) or repr(fn)
        scope = current_scope()
        if scope is None:
            raise NoOwner(
                f"go({name}) was called where no scope is open, so nobody would own the job: "
                f"put it inside 'async with Scope(...)'"
            )
        refuse_foreign(self.name, name, fn, args, kwargs)
        loop = asyncio.get_running_loop()
        job = Job(fn, args, kwargs, name=name, context=copy_context(), home=self._way_to(loop))
        job.owner_path = scope.path
        job.trace_id = scope.trace_id or ambient.TRACE.get()
        around = ambient.current()
        job.deadline, job.deadline_setter = around.deadline, around.deadline_setter
        self._door.enter(job, from_inside=self._scheduler.by_loop(loop) is not None)
        try:
            proxy = scope.go(fetch, job, self._scheduler.send)
        except BaseException:
            self._door.leave(job)
            raise
        proxy.add_done_callback(lambda _: self._on_home(job))
        return cast("asyncio.Task[T]", proxy)

    def _on_home(self, job: Job) -> None:
        if job.runner is None:
            with self._guard:
                self._dropped += 1
        self._door.leave(job)

    def _way_to(self, loop: asyncio.AbstractEventLoop) -> Mailbox:
        with self._guard:
            way = self._ways.get(loop)
            if way is None:
                way = self._ways[loop] = Mailbox(loop)
            return way

    # -- size --------------------------------------------------------------------------

    async def set_procs(self, procs: int) -> None:
        """Change how many loops take work.

        More: returns when they are ready. Fewer: those that leave hand over what has
        not started at once, finish what has, and end by themselves.

        Raises:
            ValueError: the number is out of range.
            ScopeMisuse: called on another loop than the one that entered the multiloop,
                or while another call is at work.
        """
        _check_procs(self.name, procs)
        if asyncio.get_running_loop() is not self._scheduler_home() or self._resizing:
            raise ScopeMisuse(
                f"multiloop {self.name!r}: set_procs() is called on the loop that entered it, "
                f"one call at a time, while it is open"
            )
        self._resizing = True
        try:
            have = len(self._scheduler.procs)
            if procs > have:
                await self._grow(procs - have)
            for _ in range(have - procs):
                self._scheduler.retire_one()
        finally:
            self._resizing = False

    def _scheduler_home(self) -> asyncio.AbstractEventLoop | None:
        return self._home.loop if self._door.state == "open" else None

    async def _grow(self, count: int) -> None:
        ready = asyncio.get_running_loop().create_future()
        new = [self._scheduler.make() for _ in range(count)]
        waiting = {who.name for who in new}

        def arrived(who: LoopThread) -> None:  # on the home loop
            waiting.discard(who.name)
            if not waiting and not ready.done():
                ready.set_result(None)

        def on_ready(who: LoopThread) -> Callable[[], object]:
            return lambda: self._home.post(arrived, who)

        for who in new:
            who.start(on_ready(who))
        struck = await wait_firmly(ready, lambda: None)
        for who in new:
            if who.error is None:
                self._scheduler.add(who)
        failed = next((who.error for who in new if who.error is not None), None)
        try:
            if failed is not None:
                raise failed
            if struck is not None:
                raise struck
        finally:
            del failed, struck

    # -- asking ------------------------------------------------------------------------

    @property
    def procs(self) -> int:
        """How many loops take work."""
        return len(self._scheduler.procs)

    @property
    def loops(self) -> tuple[asyncio.AbstractEventLoop, ...]:
        """Its event loops, those that retire included."""
        return tuple(who.loop for who in self._scheduler.threads if who.loop is not None)

    def statistics(self) -> MultiloopStatistics:
        """Return how it is doing; callable from any thread."""
        all_loops = [who.statistics() for who in self._scheduler.all()]
        alive = {who.name for who in self._scheduler.threads}
        return MultiloopStatistics(
            name=self.name,
            state=self._door.state,
            procs=self.procs,
            waiting=self._scheduler.waiting,
            queued=sum(one.queued for one in all_loops),
            running=sum(one.running for one in all_loops),
            alive=len(self._door),
            started=sum(one.started for one in all_loops),
            dropped=self._dropped,
            steals=sum(one.steals for one in all_loops),
            stolen=sum(one.stolen for one in all_loops),
            hand_offs=sum(one.hand_offs for one in all_loops),
            handed_off=sum(one.handed_off for one in all_loops),
            parks=sum(one.parks for one in all_loops),
            loops=tuple(one for one in all_loops if one.name in alive),
        )

    def __repr__(self) -> str:
        """Show name, state, loops and how many calls are alive."""
        return (
            f"<Multiloop {self.name} {self._door.state} procs={self.procs} alive={len(self._door)}>"
        )


def _check_procs(name: str, procs: int) -> None:
    if not 1 <= procs <= _MOST_PROCS:
        raise ValueError(f"multiloop {name!r}: procs must be 1 to {_MOST_PROCS}, not {procs!r}")
