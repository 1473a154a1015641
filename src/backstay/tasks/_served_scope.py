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
from asyncio import current_task
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from backstay import context as ambient
from backstay._base import now
from backstay.errors import Cancelled, DeadlineExceeded, ScopeMisuse
from backstay.tasks._deadline_wheel import DeadlineWheel
from backstay.tasks._interrupt import Interrupt
from backstay.tasks._owner import Owner, current_owner
from backstay.tasks._scope import Scope, current_scope
from backstay.tasks._scope_record import ScopeOptions
from backstay.tasks._tracked_task import TrackedTask

__all__ = ["ServedScope", "inside", "served_scope"]

_OPTIONS = ScopeOptions("request", None, None, None, "wait", "cancel", False, False)
_EMPTY = ambient.Context()
_set = object.__setattr__  # a Context is frozen; see _RequestContext


class _RequestContext(ambient.Context):
    """The ambient context that a served scope makes: cheaper to build, and its deadline can be lifted.

    It may change in one way only: `lift_deadline`, when the reply is out. Everything
    that was called or spawned within the request holds this very record, and so
    learns that nobody waits any more.
    """

    __slots__ = ()

    def __init__(
        self,
        deadline: float | None,
        deadline_setter: str | None,
        timeout: float | None,
        values: Mapping[Any, object],
    ) -> None:
        """Fill the slots directly: half the price of what dataclass generates for a frozen one."""
        _set(self, "deadline", deadline)
        _set(self, "deadline_setter", deadline_setter)
        _set(self, "timeout", timeout)
        _set(self, "values", values)

    def lift_deadline(self) -> None:
        """Bound by nothing from now on."""
        _set(self, "deadline", None)


class ServedScope(Scope):
    """The scope of one request, call or connection that a server handed to us.

    Servers enter it by `open` and leave it by `leave`, or by `__aexit__` when
    that says that there is something to wait for or to decide.

    Attributes:
        held: how many shields are open; while any is, the end is put off.
    """

    __slots__ = ("_context", "_lent_by", "_postponed", "_timeout", "_values", "_wheel", "held")

    _context: _RequestContext

    def __init__(
        self,
        name: str,
        *,
        wheel: DeadlineWheel,
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
            trace_id: the trace served.
            kind: a word for people.
        """
        # Not Scope.__init__, whose checks cost as much as everything else here together.
        self._set_up(name, _OPTIONS, kind, trace_id)
        self.held = 0
        self._timeout = timeout
        self._values = values
        self._wheel = wheel
        self._postponed: DeadlineExceeded | Cancelled | None = None
        self._lent_by: Owner | None = None

    def open(self, *, watch_deadline: bool = True) -> None:
        """Enter the scope in the running task, which belongs to it from now on.

        Args:
            watch_deadline: False leaves it to the caller to call `watch_deadline`
                in time; most requests end before that.

        Raises:
            ScopeMisuse: it has been entered before, or no task is running.
        """
        host = current_task()
        if host is None or self.state != "new":
            raise ScopeMisuse(
                f"served scope {self.name!r} needs a running task, and each a new one"
            )
        self._host = host
        self._loop = host.get_loop()
        self._interrupt = Interrupt(host)
        surroundings = ambient.current()
        parent = current_scope()
        if parent is not None:
            if _is_stale(parent, host):
                surroundings = _EMPTY
            else:
                self._join_parent(parent)
        self._scope_token = current_owner.set(self)
        self.opened_at = now()
        self.state = "open"
        self._accepts = True
        if type(host) is TrackedTask:
            self._lent_by = host._owner
            host._owner = self
        self._enter_context(surroundings, self.opened_at)
        if watch_deadline:
            self.watch_deadline()

    async def __aenter__(self) -> ServedScope:
        """Open the scope in the server's task; see `Scope`."""
        self.open()
        return self

    def _enter_context(self, surroundings: ambient.Context, opened_at: float) -> None:
        at, setter, timeout = surroundings.deadline, surroundings.deadline_setter, None
        if self._timeout is not None and (at is None or opened_at + self._timeout < at):
            timeout = self._timeout
            at, setter = opened_at + timeout, self.name
        elif at is not None:
            timeout = surroundings.timeout
        values = surroundings.values
        if self._values is not None:
            values = {**values, **self._values} if values else self._values
        self._context = context = _RequestContext(at, setter, timeout, values)
        self._context_token = ambient.enter(context)
        self._timeout = timeout
        self.deadline, self.deadline_setter = at, setter

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
        if self._cut or self._children or self._errors or self.held:
            return False
        self._end()
        self._release()
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
        self._context.lift_deadline()

    def strike_deadline(self) -> None:
        """Cut the block short now, because its deadline has passed."""
        self._on_deadline(self._timeout)

    def release_hold(self) -> bool:
        """Close one shield; return whether the end that was put off strikes now."""
        self.held -= 1
        if self.held or self._postponed is None:
            return False
        cause, self._postponed = self._postponed, None
        super()._cut_short(cause)
        return True

    def _cut_short(self, cause: DeadlineExceeded | Cancelled) -> None:
        if self.held and not self._cut:
            self._postponed = self._postponed or cause
            return
        super()._cut_short(cause)

    def _end(self) -> None:
        super()._end()
        host = self._host
        if type(host) is TrackedTask and host._owner is self:
            lender = self._lent_by
            ended = isinstance(lender, Scope) and lender.state == "ended"
            host._owner = None if ended else lender
        self._lent_by = None


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
