"""A scope around work that a server runs in a task of its own making.

It is a `Scope` in every way; what differs comes from living in a stranger's task:

* The task belongs to the request while it serves it, so that a list of tasks
  shows the request and not the server's machinery.
* What surrounds it may be stale. A server that starts the next request of a
  connection from within the last one (pipelining), or resumes reading in it,
  hands down the `contextvars` of a request that is over, deadline and all
  (https://github.com/python/cpython/issues/140947). Such an inheritance is refused.
* There are thousands, and nearly all end before their deadline: it stands on a
  shared wheel, and the quiet way out takes no detour.
* Its end can be held back for the length of a commit, see `_shield`.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import get_running_loop
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, cast

from backstay import context as ambient
from backstay._base import now, scope_ended
from backstay.context import new_trace_id

# The variable itself: `enter` and `leave` around it are one call too many for every request.
from backstay.context._context import _current as current_context
from backstay.errors import Cancelled, DeadlineExceeded, ScopeMisuse
from backstay.tasks._deadline_wheel import DeadlineWheel
from backstay.tasks._interrupt import Interrupt
from backstay.tasks._owner import Owner, current_owner
from backstay.tasks._places import NO_LIMIT
from backstay.tasks._scope import Scope, current_scope
from backstay.tasks._scope_record import ScopeOptions
from backstay.tasks._tracked_task import TrackedTask

__all__ = ["ServedScope", "inside", "running_task", "served_scope"]

# Until 3.12 `asyncio.current_task` is a Python function around this one lookup.
running_task: Callable[[asyncio.AbstractEventLoop], asyncio.Task[Any] | None] = (
    asyncio.current_task
    if sys.version_info >= (3, 12)
    else cast("Any", asyncio.tasks)._current_tasks.get
)
_EMPTY = ambient.Context()
_OPTIONS = ScopeOptions("request", None, None, None, "wait", "cancel", False, False)


class _RequestContext(ambient.Context):
    """The ambient context of a request: a view of its scope, made at the price of one slot.

    Everything called or spawned within the request holds this very record, so that
    all of it learns when the reply is out and the deadline falls away. A context
    derived from it (a nested timeout, a bound value) is an ordinary one.
    """

    __slots__ = ("_scope",)

    _scope: ServedScope

    @property
    def deadline(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride] - a view
        return self._scope.deadline

    @property
    def deadline_setter(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride] - a view
        return self._scope.deadline_setter

    @property
    def timeout(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride] - a view
        return self._scope.timeout

    @property
    def values(self) -> Mapping[Any, object]:  # pyright: ignore[reportIncompatibleVariableOverride] - a view
        return self._scope.ambient_values()

    def with_deadline(
        self, deadline: float, setter: str, timeout: float | None = None
    ) -> ambient.Context:
        return self._plain().with_deadline(deadline, setter, timeout)

    def without_deadline(self) -> ambient.Context:
        return self._plain().without_deadline()

    def with_value(self, key: object, value: object) -> ambient.Context:
        return self._plain().with_value(key, value)

    def _plain(self) -> ambient.Context:
        return ambient.Context(self.deadline, self.deadline_setter, self.timeout, self.values)


# Both past Python code that would run for every request.
_new_context = cast("Callable[[type[_RequestContext]], _RequestContext]", object.__new__)
_set_scope = cast(
    "Callable[[_RequestContext, ServedScope], None]", _RequestContext.__dict__["_scope"].__set__
)


class ServedScope(Scope):
    """The scope of one request, call or connection that a server handed to us.

    Servers enter it by `open` and leave it by `leave`, or by `__aexit__` when
    that says that there is something to wait for or to decide.

    Written for the request that nothing befalls: what only some need (a trace id of
    our own making, the account of cancels) is made when first asked for.

    Attributes:
        timeout: seconds asked for, or inherited with the deadline; None without.
        held: how many shields are open; while any is, the end is put off.
    """

    __slots__ = (
        "_lent_by",
        "_own_interrupt",
        "_own_trace_id",
        "_postponed",
        "_surroundings",
        "_values",
        "_wheel",
        "held",
        "timeout",
    )

    _surroundings: ambient.Context

    def __init__(
        self,
        name: str,
        wheel: DeadlineWheel,
        *,
        timeout: float | None = None,
        values: Mapping[Any, object] | None = None,
        trace_id: str | None = None,
        kind: str = "request",
    ) -> None:
        """Describe it; the arguments are the server side's own and are not checked again.

        Args:
            name: bounded in length and variety, for people.
            wheel: where the deadline is watched.
            timeout: seconds after entry, or None.
            values: ambient values to bind, by key.
            trace_id: the trace served; a new one is made when it is first asked for.
            kind: a word for people.
        """
        # Not by calling Scope.__init__, nor by a `__getattr__` for what is rarely needed: a
        # call more costs as much as ten assignments, and a class with `__getattr__` pays for
        # it at every attribute it has. A test compares these slots with those of Scope.
        self._options = _OPTIONS
        self.name = name
        self.kind = kind
        self._places = NO_LIMIT
        self._own_trace_id = trace_id
        self.path = (name,)
        self.state = "new"
        self.deadline = None
        self.deadline_setter = None
        self.opened_at = None
        self.ended_at = None
        self.raw_spawned = 0
        self._parent = None
        self._children = set()
        self._errors = []
        self._fatal = None
        self._cause = None
        self._accepts = False
        self._cut = False
        self._idle = None
        self._timer = None
        self._spawned = 0
        self._failed = 0
        self._context_token = None
        self._own_interrupt: Interrupt | None = None
        self._lent_by: Owner | None = None
        self._postponed: DeadlineExceeded | Cancelled | None = None
        self._values = values
        self._wheel = wheel
        self.held = 0
        self.timeout = timeout

    @property
    def trace_id(self) -> str | None:
        """The trace served: the caller's, or one of our own making."""
        if self._own_trace_id is None:
            self._own_trace_id = new_trace_id()
        return self._own_trace_id

    @trace_id.setter
    def trace_id(self, trace_id: str | None) -> None:
        """Serve the trace of a caller that names one."""
        self._own_trace_id = trace_id

    @property
    def _interrupt(self) -> Interrupt:
        if self._own_interrupt is None:
            self._own_interrupt = Interrupt(self._host)
            self._own_interrupt._baseline = 0  # as it was when we entered, see `open`
        return self._own_interrupt

    @_interrupt.setter
    def _interrupt(self, interrupt: Interrupt) -> None:
        self._own_interrupt = interrupt

    @_interrupt.deleter
    def _interrupt(self) -> None:
        self._own_interrupt = None

    def ambient_values(self) -> Mapping[Any, object]:
        """Return the values that the request's ambient context shows."""
        own: dict[Any, object] = {ambient.TRACE: self.trace_id, **(self._values or {})}
        outer = self._surroundings.values
        return {**outer, **own} if outer else own

    def open(self, *, watch_deadline: bool = True) -> None:
        """Enter the scope in the running task, which belongs to it from now on.

        Args:
            watch_deadline: False leaves it to the caller to call `watch_deadline`
                in time; most requests end before that.

        Raises:
            ScopeMisuse: it has been entered before, or no task is running.
        """
        loop = get_running_loop()
        host = running_task(loop)
        if host is None or self.state != "new":
            raise ScopeMisuse(
                f"served scope {self.name!r} needs a running task, and each a new one"
            )
        self._host = host
        self._loop = loop
        if host.cancelling():
            self._own_interrupt = Interrupt(host)
        surroundings = current_context.get()
        parent = current_owner.get()
        if parent is not None:
            surroundings = self._join(cast("Scope", parent), surroundings)
        self._surroundings = surroundings
        self._scope_token = current_owner.set(self)
        context = _new_context(_RequestContext)
        _set_scope(context, self)
        self._context_token = current_context.set(context)
        self.opened_at = opened_at = now()
        self.state = "open"
        self._accepts = True
        if type(host) is TrackedTask:
            lender = host._owner
            self._lent_by = None if lender is parent and surroundings is _EMPTY else lender
            host._owner = self
        if self.timeout is not None:
            self.deadline = opened_at + self.timeout
            self.deadline_setter = self.name
        outer = surroundings.deadline
        if outer is not None and (self.deadline is None or outer < self.deadline):
            self.deadline = outer
            self.deadline_setter = surroundings.deadline_setter
            self.timeout = surroundings.timeout
        if watch_deadline:
            self.watch_deadline()

    def _join(self, parent: Scope, surroundings: ambient.Context) -> ambient.Context:
        if _is_stale(parent, self._host):
            return _EMPTY
        self._join_parent(parent)
        return surroundings

    async def __aenter__(self) -> ServedScope:
        """Open the scope in the server's task; see `Scope`."""
        self.open()
        return self

    def watch_deadline(self) -> None:
        """See to it that the deadline strikes; harmless when there is none or it is watched."""
        if self.deadline is not None and self._timer is None and self.state != "ended":
            self._timer = self._wheel.add(self, self.deadline)

    def _strikes(self) -> bool:
        return self.deadline is not None  # on the wheel, or soon to be

    def leave(self) -> bool:
        """Leave the scope at once if nothing struck and nobody is left in it.

        Returns:
            False when there is something to wait for or to decide: then leave by
            ``await scope.__aexit__(None, None, None)``.
        """
        if self._cut or self._children or self._errors:
            return False
        self._end()
        del self._host, self._scope_token  # whoever holds us must not hold them by us
        return True

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Leave the scope; see `Scope`."""
        if error is None and self.leave():
            return False
        return await super().__aexit__(kind, error, trace)

    def drop_deadline(self) -> None:
        """Let the rest of the block run without the deadline.

        For the moment at which the reply is out: what follows is background work,
        which nobody waits for. The ambient context of the request loses it as well.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.deadline = None

    def strike_deadline(self) -> None:
        """Cut the block short now, because its deadline has passed."""
        self._on_deadline(self.timeout)

    def release_hold(self) -> bool:
        """Close one shield; return whether the end that was put off strikes now."""
        self.held -= 1
        if self.held or self._postponed is None:
            return False
        cause, self._postponed = self._postponed, None
        if self._cut:
            return False
        self._cut_short(cause)
        return True

    # A shield holds back the two ends that a request comes to by itself, its deadline and a
    # client that left (the guard cancels). A child's error or a cancel from outside strikes.

    def cancel(self, reason: str) -> None:
        """End the scope early, as `Scope.cancel` does; put off while a shield is open."""
        if not self._hold_back(Cancelled(reason)):
            super().cancel(reason)

    def _on_deadline(self, timeout: float | None) -> None:
        setter = self.deadline_setter or self.name
        if not self._hold_back(DeadlineExceeded(setter, timeout)):
            super()._on_deadline(timeout)

    def _hold_back(self, cause: DeadlineExceeded | Cancelled) -> bool:
        if not self.held or self._cut:
            return False
        self._postponed = self._postponed or cause
        return True

    def _end(self) -> None:
        # As Scope._end, but for what a served scope never has.
        self.state = "ended"
        self._accepts = False
        self.ended_at = now()
        host = self._host
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            if self._context_token is not None:
                current_context.reset(self._context_token)
                self._context_token = None
            current_owner.reset(self._scope_token)
        except ValueError:
            pass  # left in another context: the variable there was never ours
        if type(host) is TrackedTask and host._owner is self:
            host._owner = self._lent_by
        # Not to be kept: on a kept-alive connection it is the request before us, which would
        # keep the one before that, and so on to the first.
        self._lent_by = None
        if self._parent is not None:
            self._parent.raw_spawned += self.raw_spawned
        if scope_ended:
            scope_ended.emit(self._ended_event())


def _is_stale(around: Scope, host: asyncio.Task[Any]) -> bool:
    """Whether the surrounding scope is another request's, or one that is over.

    A request inside a request is fine where both run in one task (a guard within
    a guard, an application called in process); another task means that the
    server was run inside somebody's request, and took its context along.
    """
    scope: Scope | None = around
    while scope is not None:
        if scope.state == "ended":
            return True
        if isinstance(scope, ServedScope):
            return scope._host is not host
        scope = scope._parent
    return False


def served_scope() -> ServedScope | None:
    """Return the served scope around the caller, however many scopes lie between."""
    scope = current_scope()
    while scope is not None and not isinstance(scope, ServedScope):
        scope = scope.parent
    return scope


@contextmanager
def inside(scope: Scope) -> Generator[None]:
    """Make `scope`, which is open in another task, the surrounding one of a block.

    For code that a server runs in its own task and that belongs to a scope held
    open elsewhere: what it spawns is owned by `scope`. The block itself is
    neither bounded by it nor cancelled with it.
    """
    token = current_owner.set(scope)
    try:
        yield
    finally:
        current_owner.reset(token)
