"""`Admission`: a server takes in what its event loop can finish in time, and refuses the rest at once.

The signal is the loop's own lag (`rules.lag_cap`), so it works whatever the handlers
do and whatever is behind them. Who is refused first follows from criticality
(`rules.criticality`).

The heartbeat that measures the lag is a timer of the loop. It beats while something
is in flight and for one beat after, so that an idle process can sleep. It belongs to
no task and needs none; with the loop it is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from dataclasses import dataclass
from types import TracebackType
from typing import ParamSpec, TypeVar, cast

from backstay._base import CallRejected, GuardMoved, call_rejected, guard_moved, random
from backstay.errors import GuardMisuse, ShedError
from backstay.guard._call_around import call_around
from backstay.guard._guard import Guard, Mode
from backstay.guard.rules.criticality import SHARES, check_shares, limit_of
from backstay.guard.rules.lag_cap import HEARTBEAT_S, START, TARGET_S, LagCap
from backstay.sync._home import READY, read_clock

__all__ = ["Admission", "AdmissionPermit", "AdmissionStatistics"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AdmissionStatistics:
    """How an admission is doing.

    Attributes:
        name: its name.
        limit: how much may be in flight now.
        in_flight: how much is.
        admitted: how much was let in.
        rejected: how much was refused, or would have been in shadow mode.
        shed: the same by criticality.
        lag_s: how late the last heartbeat came, seconds.
        longest_lag_s: the latest that one ever came.
        raised: how often the limit went up.
        cut: how often it went down.
    """

    name: str
    limit: int
    in_flight: int
    admitted: int
    rejected: int
    shed: Mapping[str, int]
    lag_s: float
    longest_lag_s: float
    raised: int
    cut: int


class Admission(Guard):
    """Lets in as much as this event loop can finish in time.

    ::

        door = Admission()

        app = guard(app, admission=door)                  # an ASGI application

        door.admit("sheddable")                           # or by hand: ShedError when it is too much
        try: ...
        finally: door.leave()

        async with door.permit("background"): ...

    For the server side: one for each event loop, as far out as possible. For what the service
    calls, see `Bulkhead`.

    Cost: see ``benchmarks/guard_bulkhead.py``.
    """

    __slots__ = (
        "_admitted",
        "_beating",
        "_context",
        "_cut",
        "_ended",
        "_in_flight",
        "_lag",
        "_limits",
        "_longest",
        "_peak",
        "_raised",
        "_refused",
        "_retry_after",
        "_rule",
        "_shares",
        "_shed",
    )

    kind = "admission"
    _kind = "admission"

    def __init__(
        self,
        target: float = TARGET_S,
        start: int = START,
        *,
        levels: Mapping[str, float] | None = None,
        retry_after: float = 1.0,
        name: str = "admission",
        mode: Mode = "enforce",
    ) -> None:
        """Start with nothing in flight; the heartbeat starts with the first one.

        Args:
            target: seconds that the loop may be late.
            start: how much may be in flight at first, >= 1.
            levels: which share of the limit each criticality may use, above 0 and at most 1;
                "default" has to be among them. `rules.criticality.SHARES` when omitted.
            retry_after: seconds that who is refused is told to wait, give or take a half,
                so that not all of them come back at once.
            name: for people.
            mode: "shadow" counts what it would refuse, and lets everything in.

        Raises:
            ValueError: a number is out of range.
        """
        super().__init__(name, mode)
        self._rule = LagCap(target, float(start))
        self._shares = SHARES if levels is None else check_shares(levels)
        self._retry_after = _check_retry_after(retry_after)
        self._limits: dict[str, int] = {}  # by level
        self._set_limits()
        self._in_flight = 0
        self._ended = 0  # in this turn of the loop, while the rule wants that counted
        self._beating = False  # whether a heartbeat is set, in `_loop`
        self._context = (
            Context()
        )  # of heartbeats: an empty one, or they would hold somebody's values
        self._peak = self._refused = 0  # since the last decision
        self._lag = self._longest = 0.0
        self._admitted = self._raised = self._cut = 0
        self._shed = dict.fromkeys(self._shares, 0)

    # -- letting in --------------------------------------------------------------------

    @property
    def limit(self) -> int:
        """How much may be in flight now."""
        return self._rule.limit

    @property
    def in_flight(self) -> int:
        """How much is in flight."""
        return self._in_flight

    @property
    def levels(self) -> Mapping[str, float]:
        """Which share of the limit each criticality may use."""
        return self._shares

    def take(self, criticality: str = "default") -> bool:
        """Let one more in, or count it as refused; tell which. `leave` has to follow when it is in.

        Raises:
            GuardMisuse: there is no such criticality.
            SyncMisuse: it is in use in another event loop.
            RuntimeError: no event loop is running.
        """
        # First, since it may find that what was in flight went down with its loop.
        if not self._beating or cast("asyncio.AbstractEventLoop", self._loop).is_closed():
            self._begin_to_beat()
        try:
            limit = self._limits[criticality]
        except KeyError:
            raise GuardMisuse(
                f"{self._title()} knows no criticality {criticality!r}: "
                f"expected one of {', '.join(self._shares)}"
            ) from None
        crowd = self._in_flight + self._ended
        if crowd >= limit and not self._let_in_all_the_same(criticality):
            return False
        self._admitted += 1
        self._in_flight += 1
        if crowd >= self._peak:
            self._peak = crowd + 1
        return True

    def is_full(self, criticality: str = "default") -> bool:
        """Tell whether `take` would refuse one now; nothing is counted, and in shadow mode never.

        Raises:
            KeyError: there is no such criticality.
        """
        full = self._in_flight + self._ended >= self._limits[criticality]
        return full and self._beating and not self._shadow

    def admit(self, criticality: str = "default") -> None:
        """Let one more in; `leave` has to follow.

        Raises:
            ShedError: it would be more than this process can finish in time.
            GuardMisuse: there is no such criticality.
        """
        if not self.take(criticality):
            raise self.refusal(criticality)

    def leave(self) -> None:
        """One that was let in has ended.

        Raises:
            GuardMisuse: more than were let in.
        """
        if not self._in_flight:
            raise GuardMisuse(
                f"{self._title()}: leave() was called, and nothing is in flight. "
                f"Call it once for each that was let in"
            )
        self._in_flight -= 1
        if self._rule.tight:
            self._count_until_the_turn_is_over()

    def refusal(self, criticality: str) -> ShedError:
        """Return the error for one that `take` refused."""
        return ShedError(
            f"{self._title()} has {self._in_flight} in flight, and a call of criticality "
            f"{criticality!r} is let in below {self._limits[criticality]}: this process is asked for "
            f"more than it can finish in time (its event loop was {self._lag * 1e3:.0f} ms late, "
            f"target {self._rule.target * 1e3:g} ms)",
            policy=self.name,
            retry_after=self.retry_after(),
        )

    def retry_after(self) -> float:
        """Return the seconds that one who is refused now is told to wait; each gets its own."""
        return self._retry_after * (0.5 + random())

    def _let_in_all_the_same(self, criticality: str) -> bool:
        """Count a refusal; True in shadow mode, which refuses nothing."""
        self._refused += 1
        self._rejected = self.rejected + 1
        self._shed[criticality] += 1
        if call_rejected:
            call_rejected.emit(
                CallRejected(self.name, self.kind, "shed", self._retry_after, self._shadow)
            )
        return self._shadow

    # -- the heartbeat -------------------------------------------------------------------

    def _begin_to_beat(self) -> None:
        self._move_in()
        self._beating = True
        now = read_clock.read()
        self._decide(now)  # the last interval may have ended while nothing was in flight
        self._beat_at(now + HEARTBEAT_S)

    def _beat_at(self, due: float) -> None:
        assert self._loop is not None
        # Not `call_at`: uvloop's clock stands still between two turns of the loop.
        self._loop.call_later(HEARTBEAT_S, self._beat, due, context=self._context)

    def _beat(self, due: float) -> None:
        now = read_clock.read()
        lag = max(0.0, now - due)  # a timer may come early by the loop's resolution
        self._lag = lag
        if lag > self._longest:
            self._longest = lag
        self._rule.hear(lag)
        self._decide(now)
        if self._in_flight:
            self._beat_at(now + HEARTBEAT_S)
        else:
            self._beating = False

    def _decide(self, now: float) -> None:
        rule = self._rule
        before = rule.cap
        if not rule.decide(now, self._peak, self._refused):
            return
        self._peak, self._refused = self._in_flight, 0
        if rule.cap != before:
            if rule.cap > before:
                self._raised += 1
            else:
                self._cut += 1
            self._set_limits()

    def _set_limits(self) -> None:
        cap = self._rule.limit
        self._limits = {level: limit_of(share, cap) for level, share in self._shares.items()}

    def _count_until_the_turn_is_over(self) -> None:
        loop = self._loop
        if self._ended:
            self._ended += 1
        elif loop is not None and not loop.is_closed():
            self._ended = 1
            loop.call_soon(self._end_turn, context=self._context)

    def _end_turn(self) -> None:
        self._ended = 0

    # -- around a block or a call ----------------------------------------------------------

    def permit(self, criticality: str = "default") -> AdmissionPermit:
        """Return a block that is let in, or raises `ShedError`."""
        return AdmissionPermit(self, criticality)

    def __call__(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Let each call of an async function in with criticality "default", or refuse it."""
        return call_around(self.call, fn)

    async def call(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `fn` if it is let in.

        Raises:
            ShedError: it is not.
        """
        self.admit()
        try:
            return await fn(*args, **kwargs)
        finally:
            self.leave()

    # -- looking after it --------------------------------------------------------------------

    def update(
        self,
        *,
        target: float | None = None,
        levels: Mapping[str, float] | None = None,
        retry_after: float | None = None,
        mode: Mode | None = None,
    ) -> None:
        """Change settings while it works.

        Raises:
            ValueError: a number is out of range; nothing has changed.
        """
        new_target = self._rule.target if target is None else target
        LagCap(new_target)  # looks at it
        shares = self._shares if levels is None else check_shares(levels)
        pause = self._retry_after if retry_after is None else _check_retry_after(retry_after)
        super().update(mode=mode)
        before = self._settings()
        self._rule.target, self._shares, self._retry_after = new_target, shares, pause
        self._shed = {level: self._shed.get(level, 0) for level in shares}
        self._set_limits()
        if guard_moved and (after := self._settings()) != before:
            guard_moved.emit(GuardMoved(self.name, self.kind, before, after, "update()"))

    def _settings(self) -> str:
        shares = " ".join(f"{level}={share:g}" for level, share in self._shares.items())
        return f"target={self._rule.target:g} {shares} mode={self.mode}"

    def statistics(self) -> AdmissionStatistics:
        """Return how it is doing."""
        return AdmissionStatistics(
            name=self.name,
            limit=self._rule.limit,
            in_flight=self._in_flight,
            admitted=self._admitted,
            rejected=self.rejected,
            shed=dict(self._shed),
            lag_s=self._lag,
            longest_lag_s=self._longest,
            raised=self._raised,
            cut=self._cut,
        )

    def __repr__(self) -> str:
        """Show the name, how much is in flight, and the limit."""
        return f"<Admission {self.name!r} {self._in_flight} of {self._rule.limit}>"

    def _in_use(self) -> bool:
        return self._in_flight > 0

    def _reset(self) -> None:
        self._in_flight = self._ended = 0
        self._beating = False


class AdmissionPermit:
    """A block that is let in; made by `Admission.permit`."""

    __slots__ = ("_admission", "_criticality")

    def __init__(self, admission: Admission, criticality: str) -> None:
        """Remember of what; nothing is let in yet."""
        self._admission = admission
        self._criticality = criticality

    def __aenter__(self) -> Awaitable[None]:
        """Be let in.

        Raises:
            ShedError: it would be too much.
        """
        self._admission.admit(self._criticality)
        return READY

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Awaitable[None]:
        """Leave."""
        self._admission.leave()
        return READY


def _check_retry_after(seconds: float) -> float:
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"retry_after is at least 0 seconds, not {seconds!r}")
    return seconds
