"""A deadline around one call, for guards that set one for every call.

What `timeout()` does, at a fifth of the price:

* One object is everything: the limit, the ambient context inside it, and what
  stands on the wheel.
* Most calls are over long before their deadline, so a call is first put into a
  set, and whoever is still there at the next tick moves to the wheel.
* The account of cancels is opened only when the deadline strikes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import Context, Token
from typing import TYPE_CHECKING, Any, cast

from backstay import context as ambient
from backstay.context._context import _current as current_context
from backstay.errors import DeadlineExceeded, ScopeMisuse
from backstay.tasks._deadline_wheel import DeadlineWheel, WheelTimer
from backstay.tasks._interrupt import Interrupt
from backstay.tasks._served_scope import running_task
from backstay.tasks._timeout import is_watched

__all__ = ["Limits", "TimeLimit", "limits_of"]

_TICK_S = 0.050
# Limits shorter than this get a timer of their own: they may be over before the next tick,
# and the wheel's ten milliseconds would be too coarse for them.
_PRECISE_S = 0.1


class Limits:
    """The limits of the calls that are under way in one loop; get it with `limits_of`.

    Invariant: `ticking` is true whenever `fresh` is not empty.

    Attributes:
        loop: whose calls they are.
        fresh: those that have met no tick yet.
        ticking: whether a tick is due.
    """

    __slots__ = ("_wheel", "fresh", "loop", "ticking")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start with no call under way."""
        self.loop = loop
        self.fresh: set[TimeLimit] = set()
        self.ticking = False
        self._wheel = DeadlineWheel(loop)

    def start_ticking(self) -> None:
        """See to it that who is fresh now will be watched."""
        self.ticking = True
        # An empty context, or the timer would hold the values of whoever came first.
        self.loop.call_later(_TICK_S, self._tick, context=Context())

    def begin(self, setter: str, seconds: float, at: float) -> TimeLimit:
        """Start the clock of a call in the running task.

        Args:
            setter: the guard's name.
            seconds: how long the call may take.
            at: now, in seconds on the clock of `now()`.

        Raises:
            ScopeMisuse: no task is running in this loop.
        """
        limit = self.try_begin(setter, seconds, at)
        if limit is None:
            raise ScopeMisuse(f"the deadline of {setter!r} needs a running task: call it in one")
        return limit

    def try_begin(self, setter: str, seconds: float, at: float) -> TimeLimit | None:
        """Start the clock as `begin` does; return None when no task is running in this loop."""
        host = running_task(self.loop)
        if host is None:
            return None
        limit = TimeLimit()
        limit._host = host
        limit._interrupt = Interrupt(host) if host.cancelling() else None
        limit.fired = None
        limit.deadline = deadline = at + seconds
        limit.deadline_setter = setter
        limit.timeout = seconds
        outside = current_context.get()
        outer = outside.deadline
        limit.surroundings = outside.surroundings if type(outside) is TimeLimit else outside
        if outer is None or deadline < outer:
            limit._token = current_context.set(limit)
            if seconds >= _PRECISE_S:
                limit._watch = fresh = self.fresh
                fresh.add(limit)
                if not self.ticking:
                    self.start_ticking()
                return limit
        else:
            limit._token = None
            limit.deadline = deadline = outer
            limit.deadline_setter = outside.deadline_setter or setter
            limit.timeout = outside.timeout
            if _is_enforced(host, outside):
                limit._watch = None
                return limit
        limit._watch = self.loop.call_at(deadline, limit.strike_deadline, context=Context())
        return limit

    def _tick(self) -> None:
        self.ticking = False
        fresh, self.fresh = self.fresh, set()
        for limit in fresh:
            limit.watch_on(self._wheel)


class TimeLimit(ambient.Context):
    """Ends one call at its deadline.

    For guards, which write it out around the call, since a block would cost as much again::

        limit = limits_of(loop).begin("payments", 2.0, now())
        try:
            result = await fn()
        except BaseException as error:
            if limit.close():
                await limit.settle(error)
            raise
        if limit.close():
            await limit.settle(None)

    It is the ambient context of the call, too; unlike other contexts it is not equal to
    another with the same deadline.

    Attributes:
        deadline: seconds on the clock of `now()`; only ever sooner than outside.
        deadline_setter: who is named by `DeadlineExceeded.scope`: the guard, or the block
            around it that had set an earlier deadline.
        timeout: seconds that were asked for.
        fired: the error with which the call ends, once the deadline has struck.
        surroundings: the ambient context outside; never another limit, so that tasks which
            start each other from within calls hold no chain of them.
    """

    # Slots on top of those of a frozen record, which are not to be guarded here: each would
    # cost a call of Python code to set.
    __slots__ = ("_host", "_interrupt", "_token", "_watch", "fired", "surroundings")
    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__  # the two are one slot of the type: both, or neither is quick
    __hash__ = object.__hash__
    __eq__ = object.__eq__  # pyright: ignore[reportAssignmentType] - typeshed names the parameters

    deadline: float
    deadline_setter: str | None
    timeout: float | None
    fired: DeadlineExceeded | None
    surroundings: ambient.Context
    _host: asyncio.Task[Any] | None
    _interrupt: Interrupt | None
    # Who watches it: those who are fresh, it among them; then a timer. None: a limit around it.
    _watch: set[TimeLimit] | asyncio.TimerHandle | WheelTimer | None
    _token: Token[ambient.Context] | None

    if TYPE_CHECKING:

        def __init__(self) -> None: ...

    else:
        __init__ = object.__init__  # `Limits` sets the slots: a constructor costs a frame more

    @property
    def values(self) -> Mapping[Any, object]:  # pyright: ignore[reportIncompatibleVariableOverride] - a view
        """What is bound outside: a limit binds nothing."""
        return self.surroundings.values

    def _plain(self) -> ambient.Context:
        return ambient.Context(self.deadline, self.deadline_setter, self.timeout, self.values)

    def with_deadline(
        self, deadline: float, setter: str, timeout: float | None = None
    ) -> ambient.Context:
        """Return a plain context; see `Context`."""
        return self._plain().with_deadline(deadline, setter, timeout)

    def without_deadline(self) -> ambient.Context:
        """Return a plain context; see `Context`."""
        return self._plain().without_deadline()

    def with_value(self, key: object, value: object) -> ambient.Context:
        """Return a plain context; see `Context`."""
        return self._plain().with_value(key, value)

    def watch_on(self, wheel: DeadlineWheel) -> None:
        """Let a wheel strike it, from a tick on."""
        self._watch = wheel.add(self, self.deadline)

    def strike_deadline(self) -> None:
        """The deadline has come: cancel the call."""
        host = self._host
        if host is None:
            return  # closed in this very turn
        self.fired = DeadlineExceeded(self.deadline_setter or "", self.timeout)
        if self._interrupt is None:
            self._interrupt = Interrupt(host)
            self._interrupt.enter_clean()
        self._interrupt.ask(str(self.fired))

    def close(self) -> bool:
        """Stop the clock; return whether it has struck, so that `settle` must follow."""
        watch: Any = self._watch
        if type(watch) is set:
            watch.discard(self)
        elif watch is not None:
            watch.cancel()
            self._watch = None
        if self._token is not None:
            try:
                current_context.reset(self._token)
            except ValueError:
                pass  # left in another context: the variable there was never ours
            self._token = None
        self._host = None  # a task that was started inside may hold us, and must not hold it
        return self.fired is not None

    async def settle(self, error: BaseException | None) -> None:
        """Take the cancel of the deadline off the task's account.

        Args:
            error: what the call ended with; None when it returned in spite of the strike.

        Raises:
            DeadlineExceeded: the deadline is what cut the call.
            CancelledError: somebody else cancels the task, too.
        """
        assert self._interrupt is not None
        assert self.fired is not None
        await self._interrupt.conclude(self.fired, error)


def _is_enforced(host: asyncio.Task[Any], outside: ambient.Context) -> bool:
    """Whether somebody around the call will cut `host` at the ambient deadline."""
    if type(outside) is TimeLimit and outside._host is host:
        return outside.fired is None
    return is_watched(host, cast("float", outside.deadline))


def limits_of(loop: asyncio.AbstractEventLoop) -> Limits:
    """Return the limits of a loop, made at the first call."""
    limits: Limits | None = getattr(loop, "_backstay_limits", None)
    if limits is None:
        limits = Limits(loop)
        try:
            setattr(loop, "_backstay_limits", limits)
        except AttributeError:
            pass  # a loop without room for it: each guard gets limits of its own
    return limits
