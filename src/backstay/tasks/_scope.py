"""`Scope`: the owner of tasks.

The promise is one sentence: when the block is left, everything started with
`go` inside it has ended. What makes that hard is not the happy path but the
order in which four things can strike: a child fails, the deadline passes,
somebody cancels from outside, the body ends. The rules, which a property test
checks against a small model under every order:

* The first *cut* wins. A cut (child error, deadline, `cancel()`, outer cancel)
  cancels the body and all children once; later ones change nothing. Children
  get one `CancelledError` and not two, so that their clean-up is not torn.
* The block waits for every child, whatever strikes while it waits.
* A cancel from outside is never lost: it leaves the block as `CancelledError`,
  or, when errors leave instead, strikes again at the next await.
* The block's own cancel never leaks out of it, not even when the body ended
  before it was delivered (see `_interrupt`).

Prior art: trio's nursery and cancel scope (one object here, since an owner
without a deadline is half an owner), and `asyncio.TaskGroup`, whose treatment
of a parent cancelled twice we follow.
"""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop as running_loop  # None in a thread that runs no loop
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, Token
from types import TracebackType
from typing import Any, Literal, NoReturn, ParamSpec, TypeVar, cast

from backstay import _base
from backstay import context as ambient
from backstay._base import deadline_hit, now, scope_ended
from backstay.errors import Cancelled, DeadlineExceeded, ScopeMisuse
from backstay.tasks import _refusals as refusals
from backstay.tasks._child_context import child_context
from backstay.tasks._coroutine import as_coroutine
from backstay.tasks._interrupt import Interrupt
from backstay.tasks._outcome import Outcome, decide
from backstay.tasks._owner import current_owner
from backstay.tasks._places import NO_LIMIT, Places
from backstay.tasks._scope_record import ScopeOptions, ScopeStatistics, State, Timer
from backstay.tasks._tracked_task import TrackedTask, card_of, set_owner, stamp_cancel

__all__ = ["Scope", "current_scope"]

P = ParamSpec("P")
T = TypeVar("T")

# Paths are for people; deeper nesting than this is recursion, and shown by its end.
_PATH_DEPTH = 16
_OUTSIDE = "cancelled from outside"


def current_scope() -> Scope | None:
    """Return the scope that surrounds the caller, or None."""
    return cast("Scope | None", current_owner.get())


class Scope:
    """Owns the tasks started inside it, until when they may run, and how they end.

    ::

        async with Scope("checkout", timeout=2.0) as scope:
            stock = scope.go(reserve, order)
            money = scope.go(charge, order)
        return stock.result(), money.result()

    Errors: an error of the body alone leaves as itself. Errors of children leave
    together as an `ExceptionGroup` (with `unwrap=True` a single one leaves as
    itself). A passed deadline leaves as `DeadlineExceeded`, which says whose
    deadline it was. After `cancel()` the block is left quietly and `cause` says why.

    Cancelled: the block cancels its children, waits for all of them, and lets the
    cancellation go on. Nothing started inside is alive afterwards.

    Cost: a child costs about 1.8 times one of `asyncio.TaskGroup`; ``benchmarks/spawn.py``.

    Attributes:
        name: as given; shown wherever a task's owner is shown.
        kind: a word for people: "scope", "request", "consumer", "job", "test" or "app".
        path: the names from the root scope down to this one.
        trace_id: the trace that the scope serves, inherited from its parent.
        cause: `DeadlineExceeded`, `Cancelled` or None: why it was cut short.
        state: "new", "open", "closing" (body over, children still running) or "ended".
        deadline: seconds on the clock of `now()`, or None.
        deadline_setter: the name of the scope that had set this deadline.
        opened_at: when it was entered, seconds on the clock of `now()`; None before.
        ended_at: when its last child had ended; None before.
        raw_spawned: tasks started inside by other means than `go`.
    """

    __slots__ = (
        "__weakref__",
        "_accepts",
        "_cause",
        "_children",
        "_context_token",
        "_cut",
        "_errors",
        "_failed",
        "_fatal",
        "_host",
        "_idle",
        "_interrupt",
        "_loop",
        "_options",
        "_parent",
        "_places",
        "_scope_token",
        "_spawned",
        "_timer",
        "deadline",
        "deadline_setter",
        "ended_at",
        "kind",
        "name",
        "opened_at",
        "path",
        "raw_spawned",
        "state",
        "trace_id",
    )

    def __init__(
        self,
        name: str,
        *,
        timeout: float | None = None,
        deadline: float | None = None,
        max_tasks: int | None = None,
        on_exit: Literal["wait", "cancel"] = "wait",
        on_error: Literal["cancel", "collect"] = "cancel",
        unwrap: bool = False,
        trace_id: str | None = None,
        kind: str = "scope",
        detached: bool = False,
    ) -> None:
        """Describe the scope; nothing happens before it is entered.

        Args:
            name: what the work is, for people: ``"checkout"``.
            timeout: seconds after entry at which the block is cut short, >= 0.
            deadline: the same as an absolute time on the clock of `now()`; with
                both given the earlier one counts, and an earlier ambient one beats both.
            max_tasks: how many children may be alive at once, >= 1.
            on_exit: "wait" for the children when the body ends, or "cancel" them.
            on_error: when a child fails, "cancel" everything at once, or let the
                others finish and "collect" the errors.
            unwrap: let a single error leave as itself and not as a group of one.
            trace_id: the trace served, where it differs from the surrounding one.
            kind: a word for people, see the class.
            detached: for work that outlives its caller on purpose: drops the
                ambient deadline, keeps values and trace.

        Raises:
            ValueError: a number is out of range or a word is not one of those above.
        """
        options = ScopeOptions(
            name, timeout, deadline, max_tasks, on_exit, on_error, unwrap, detached
        )
        self._set_up(name, options, kind, trace_id)

    def _set_up(self, name: str, options: ScopeOptions, kind: str, trace_id: str | None) -> None:
        self._options = options
        self.name = name
        self.kind = kind
        self._places = NO_LIMIT if options.max_tasks is None else Places(options.max_tasks)
        self.trace_id = trace_id
        self.path: tuple[str, ...] = (name,)
        self.state: State = "new"
        self.deadline: float | None = None
        self.deadline_setter: str | None = None
        self.opened_at: float | None = None
        self.ended_at: float | None = None
        self.raw_spawned = 0
        self._parent: Scope | None = None
        self._children: set[asyncio.Task[Any]] = set()
        self._errors: list[Exception] = []
        self._fatal: BaseException | None = None  # KeyboardInterrupt or SystemExit of a child
        self._cause: DeadlineExceeded | Cancelled | None = None
        self._accepts = False  # whether go() may start something: entered, not cut, not ended
        self._cut = False  # invariant: once True, every child has been cancelled
        self._idle: asyncio.Future[None] | None = None  # set while the exit waits for children
        self._timer: Timer | None = None
        self._spawned = 0
        self._failed = 0
        self._context_token: Token[ambient.Context] | None = None

    # -- what people ask -------------------------------------------------

    @property
    def cause(self) -> DeadlineExceeded | Cancelled | None:
        """Why the scope was cut short, or None."""
        return self._cause

    @property
    def parent(self) -> Scope | None:
        """The nearest scope around this one that has not ended."""
        # Links to ended scopes are shortened, or a task that re-spawns itself in a
        # new scope each time would hold every scope it ever had.
        parent = self._parent
        while parent is not None and parent.state == "ended":
            parent = parent._parent
        self._parent = parent
        return parent

    @property
    def max_tasks(self) -> int | None:
        """How many children may be alive at once; None for no limit."""
        return self._places.limit

    @property
    def tasks(self) -> frozenset[asyncio.Task[Any]]:
        """The children started with `go` that are alive."""
        return frozenset(self._children)

    def statistics(self) -> ScopeStatistics:
        """Return how the scope is doing."""
        at = now()
        return ScopeStatistics(
            name=self.name,
            path=self.path,
            kind=self.kind,
            state=self.state,
            alive=len(self._children),
            waiting=self._places.waiting,
            spawned=self._spawned,
            failed=self._failed,
            raw_spawned=self.raw_spawned,
            max_tasks=self.max_tasks,
            age_s=0.0 if self.opened_at is None else (self.ended_at or at) - self.opened_at,
            remaining_s=None if self.deadline is None else self.deadline - at,
            cause=None if self._cause is None else str(self._cause),
        )

    def __repr__(self) -> str:
        """Show path, state, and how many children are alive."""
        limit = "" if self.max_tasks is None else f"/{self.max_tasks}"
        return f"<Scope {'/'.join(self.path)} {self.state} tasks={len(self._children)}{limit}>"

    # -- entering ----------------------------------------------------------

    async def __aenter__(self) -> Scope:
        """Open the scope: it now owns what is spawned, and its deadline runs.

        Raises:
            ScopeMisuse: it has been entered before, or no task is running.
        """
        if self.state != "new":
            raise refusals.used_twice(self.name, self.state)
        host = asyncio.current_task()
        if host is None:
            raise ScopeMisuse(f"scope {self.name!r} needs a running task to live in")
        self._host = host
        self._loop = host.get_loop()
        self._interrupt = Interrupt(host)
        self._join_parent(current_scope())
        self._scope_token = current_owner.set(self)
        self.opened_at = now()
        self.state = "open"
        self._accepts = True
        self._start_deadline(self.opened_at)
        if self._cause is not None:  # cancelled before it was entered
            self._cut_short(self._cause)
        return self

    def _join_parent(self, parent: Scope | None) -> None:
        while parent is not None and parent.state == "ended":
            parent = parent.parent
        self._parent = parent
        if parent is not None:
            self.path = (*parent.path, self.name)[-_PATH_DEPTH:]
        if self.trace_id is None:
            self.trace_id = ambient.TRACE.get() or (None if parent is None else parent.trace_id)

    def _start_deadline(self, opened_at: float) -> None:
        inherited = ambient.current()
        context = self._options.narrow(inherited, opened_at)
        if self.trace_id is not None and ambient.TRACE.get() != self.trace_id:
            context = context.with_value(ambient.TRACE, self.trace_id)
        if context is not inherited:
            self._context_token = ambient.enter(context)
        self.deadline, self.deadline_setter = context.deadline, context.deadline_setter
        parent, deadline = self._parent, context.deadline
        if deadline is not None and not (parent and parent._watches(self._host, deadline)):
            delay = max(0.0, deadline - opened_at)
            # An empty context: a cancelled timer stays in the loop's heap for a while, and
            # would keep the caller's values, this scope among them, as long.
            self._timer = self._loop.call_later(
                delay, self._on_deadline, context.timeout, context=Context()
            )

    def _strikes(self) -> bool:
        """Whether something will cut this scope at its deadline."""
        return self._timer is not None

    def _watches(self, host: asyncio.Task[Any], deadline: float) -> bool:
        """Whether this scope, which has not ended, will cut `host` at `deadline`."""
        return (
            self.deadline == deadline
            and not self._cut  # no second cut: the clean-up after the first has to watch for itself
            and self._strikes()
            and (self._host is host or host in self._children)
        )

    # -- spawning ----------------------------------------------------------

    def go(
        self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Task[T]:
        """Start `fn(*args)` as a task of this scope and return it at once.

        May be called from any task of the same loop while the scope is open,
        also by its own children. The child sees the caller's values, and this
        scope as its owner and its deadline.

        Returns:
            The task; `await` it, or ask `.result()` after the block.

        Raises:
            FullError: `max_tasks` children are alive; `go_wait` waits instead.
            ScopeClosed: the scope has ended or is being cut short.
            TypeError: `fn` is not a function that returns an awaitable.
        """
        if not self._accepts or running_loop() is not self._loop:
            self._refuse()
        if self._places.limit is not None and not self._places.free(len(self._children)):
            raise refusals.full(self.name, len(self._children), self.max_tasks)
        return self._spawn(as_coroutine(fn, *args, **kwargs))

    async def go_wait(
        self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Task[T]:
        """Start `fn(*args)` as `go` does, waiting for a place while the scope is full.

        Places are given in order of arrival, and a `go` cannot take one that is
        already promised.

        Raises:
            ScopeClosed: the scope ended or was cut short before a place was free.
            TypeError: `fn` is not a function that returns an awaitable.

        Cancelled: nothing was started, and the place goes to the next in line.
        """
        self._check_can_spawn()
        await self._places.wait(len(self._children), self._loop)
        try:
            self._check_can_spawn()
            return self._spawn(as_coroutine(fn, *args, **kwargs))
        finally:
            self._places.offer(len(self._children))  # when nothing was started after all

    def _check_can_spawn(self) -> None:
        if not self._accepts or running_loop() is not self._loop:
            self._refuse()

    def _refuse(self) -> NoReturn:
        raise refusals.cannot_start(self.name, self.state, self._accepts, self._cause)

    def _spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        surrounding = current_owner.get()
        until = ambient.deadline()
        hurried = until is not None and (self.deadline is None or until < self.deadline)
        outside = surrounding is not self or hurried  # hurried: by a timeout() in our block
        where = child_context(self, self.deadline, self.deadline_setter) if outside else None
        if where is None and self._places.limit is None:
            task = self._loop.create_task(coroutine)
        else:
            with self._places.held():  # an eager task runs before it is counted
                task = self._loop.create_task(coroutine, context=where)
        if type(task) is TrackedTask:  # made by our factory, which counted it as a raw one
            task._owner = self
            counted = True
        else:
            counted = card_of(task) is not None
            set_owner(task, self)
        if counted and surrounding is not None:
            surrounding.raw_spawned -= 1
        self._spawned += 1
        if task.done():  # an eager task that needed no second step
            self._on_child_done(task)
        else:
            self._children.add(task)
            # Not in the context of a caller elsewhere, which would live as long as the task.
            if where is None:
                task.add_done_callback(self._on_child_done)
            else:
                task.add_done_callback(self._on_child_done, context=where)
            if self._cut and task.cancel():  # it was cut while the eager first step ran
                stamp_cancel(task, f"scope {self.name!r}: {self._cause}")
        return task

    # -- being cut short -------------------------------------------------------

    def cancel(self, reason: str) -> None:
        """End the scope early: cancel the body and all children, once.

        The block is then left without an error of its own, and `cause` keeps the
        reason. Before the scope is entered it strikes on entering; on an ended
        scope it does nothing.

        Args:
            reason: why, in words that help at 3 a.m.

        Raises:
            ScopeMisuse: called in another thread than the one that runs the scope.
        """
        if self.state == "new":
            self._cause = Cancelled(reason)
        elif self.state != "ended":
            if running_loop() is not self._loop and self._loop.is_running():
                raise refusals.cancelled_elsewhere(self.name)
            self._cut_short(Cancelled(reason))

    def _on_deadline(self, timeout: float | None) -> None:
        self._timer = None
        if self.state == "ended" or self._cut:
            return
        setter = self.deadline_setter or self.name
        if deadline_hit:
            deadline_hit.emit(_base.DeadlineHit(self.path, setter, timeout, self.trace_id))
        self._cut_short(DeadlineExceeded(setter, timeout))

    def _cut_short(self, cause: DeadlineExceeded | Cancelled) -> None:
        if self._cut:
            return
        self._accepts = False
        self._cut = True
        self._cause = cause
        why = f"scope {self.name!r}: {cause}"
        self._cancel_children(why)
        if self.state == "open":  # once the body is over, there is nothing of the host's to cancel
            self._interrupt.ask(why)
        self._places.dismiss()

    def _cancel_children(self, why: str) -> None:
        for child in list(self._children):
            if child.cancel():
                stamp_cancel(child, why)

    def _on_child_done(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            error = task.exception()
            if error is not None:
                self._on_child_error(task, error)
        self._forget(task)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._children.discard(task)
        if self._places.waiting:
            self._places.offer(len(self._children))
        if self._idle is not None and not self._children and not self._idle.done():
            self._idle.set_result(None)

    def _on_child_error(self, task: asyncio.Task[Any], error: BaseException) -> None:
        self._failed += 1
        if self.state == "ended":  # only after the block was torn down without waiting
            self._loop.call_exception_handler(refusals.late_failure(self.name, task, error))
            return
        if isinstance(error, Exception):
            self._errors.append(error)
        elif self._fatal is None:
            self._fatal = error
        if self._options.on_error == "cancel" or self._fatal is not None:
            self._cut_short(Cancelled(f"task {task.get_name()!r} failed: {error!r}"))

    # -- leaving ---------------------------------------------------------------

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Leave the scope once every child has ended; see the class for what is raised."""
        if isinstance(error, GeneratorExit) or asyncio.current_task() is not self._host:
            self._abandon(error)
            return False
        self.state = "closing"
        ended_by_itself: Cancelled | None = None
        if error is not None and not self._cut:
            outside = self._interrupt.outer
            ended_by_itself = Cancelled(_OUTSIDE if outside else f"body left with {error!r}")
            self._cut_short(ended_by_itself)
        elif self._options.on_exit == "cancel" and not self._cut:
            self._accepts = False
            self._cut = True  # a cut without a cause: the body came to its end
            self._cancel_children(f"scope {self.name!r}: its body ended")
        consumed = await self._wait_for_children() or isinstance(error, asyncio.CancelledError)
        self._end()
        if self._interrupt.asked or isinstance(error, asyncio.CancelledError):
            consumed = await self._interrupt.swallow_pending() or consumed
        # One that has not struck yet will do so by itself; unless a child that the body awaited
        # took it, and answered with its error.
        stands = self._interrupt.outer
        outer = self._interrupt.outer_error(error) if stands and consumed else None
        rearm = stands and (consumed or bool(self._errors))
        self._interrupt.settle()
        outcome = decide(
            scope=self.name,
            body=error,
            children=self._errors,
            fatal=self._fatal,
            cause=None if self._cause is ended_by_itself else self._cause,
            outer=outer,
            unwrap=self._options.unwrap,
        )
        try:
            return self._leave(outcome, error, rearm=rearm)
        finally:  # what is raised holds this frame by its traceback: hold nothing back
            del outcome, error, outer
            self._errors = []
            self._fatal = None
            self._release()

    def _leave(self, outcome: Outcome, error: BaseException | None, *, rearm: bool) -> bool:
        if outcome.raises is None:
            return outcome.absorbs
        if rearm and not isinstance(outcome.raises, asyncio.CancelledError):
            self._interrupt.rearm()
        if outcome.raises is error:
            return False
        try:
            raise outcome.raises from (error if outcome.chain else None)
        finally:
            del outcome, error

    async def _wait_for_children(self) -> bool:
        """Wait until no child is left; return whether a cancel struck meanwhile."""
        struck = False
        while self._children:
            self._idle = self._loop.create_future()
            try:
                await self._idle
            except asyncio.CancelledError as received:
                struck = True
                self._interrupt.note(received)
                self._cut_short(Cancelled(_OUTSIDE))
            finally:
                self._idle = None
        return struck

    def _release(self) -> None:
        # Orphans hold their ended owner; it must hold neither the task that ran the
        # block nor, by the token's memory, the scope around it.
        del self._host, self._interrupt, self._scope_token

    def _end(self) -> None:
        self.state = "ended"
        self._accepts = False
        self.ended_at = now()
        if self._parent is not None:  # what we leave behind is for it to answer
            self._parent.raw_spawned += self.raw_spawned
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._places.dismiss()
        if self._context_token is not None:
            ambient.leave(self._context_token)
            self._context_token = None
        try:
            current_owner.reset(self._scope_token)
        except ValueError:
            pass  # left in another context: the variable there was never ours
        if scope_ended:
            scope_ended.emit(self._ended_event())

    def _ended_event(self) -> _base.ScopeEnded:
        return _base.ScopeEnded(
            path=self.path,
            kind=self.kind,
            lived_s=(self.ended_at or 0.0) - (self.opened_at or 0.0),
            spawned=self._spawned,
            failed=self._failed,
            cause=None if self._cause is None else str(self._cause),
            trace_id=self.trace_id,
        )

    def _abandon(self, error: BaseException | None) -> None:
        """End without waiting, because waiting is impossible here.

        A coroutine that is being closed may not await, and a block left in
        another task must not make that task wait for children of a stranger.
        """
        elsewhere = not isinstance(error, GeneratorExit)
        why = "left in another task" if elsewhere else "its coroutine was closed"
        self.state = "closing"
        if not self._loop.is_closed():  # else its tasks will never run again, not even to end
            self._cut_short(Cancelled(why))
        self._end()
        self._interrupt.settle()
        misuse = refusals.left_elsewhere(self.name, self._host.get_name(), len(self._children))
        self._release()
        if elsewhere:
            if error is None or isinstance(error, Exception):
                raise misuse from error
            self._loop.call_exception_handler({"message": str(misuse), "exception": misuse})
