"""`SingleFlight`: those who ask for the same thing at the same time share one call.

The leader is whoever came first, and runs the call in its own task; the others
follow. A leader that is cancelled was only the first who happened to come: the
next follower makes the call over, so one impatient client cannot fail the
others. An *error* of the call is shared, because it says something about what
was asked for. (Go: golang.org/x/sync/singleflight, where the leader cannot be cancelled.)
"""

from __future__ import annotations

from asyncio import Task
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar, cast

from backstay.errors import SyncMisuse
from backstay.sync._home import Home, task_in
from backstay.sync._wake_queue import Waiter, WaitLine, was_given

__all__ = ["Shared", "SingleFlight", "SingleFlightStatistics"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class SingleFlightStatistics:
    """How a single-flight group is doing.

    Attributes:
        name: its name.
        in_flight: how many calls are being made.
        following: how many tasks wait for the result of another task's call.
        calls: how many calls were begun.
        spared: how many were not made because a result was shared.
        taken_over: how many were made over after their leader was cancelled.
    """

    name: str
    in_flight: int
    following: int
    calls: int
    spared: int
    taken_over: int


class Shared(NamedTuple, Generic[V]):
    """A result, and whether more than one caller got it."""

    value: V
    shared: bool


class _Flight(Generic[V]):
    """One call under way. Invariant: exactly one task leads, or was just woken to."""

    __slots__ = ("leader", "line", "outcome", "passengers")

    def __init__(self, leader: Task[Any] | None) -> None:
        self.leader = leader
        self.passengers = 0  # followers who were given the result, or will be
        self.line: WaitLine[Waiter] = WaitLine()
        self.outcome: tuple[V, None] | tuple[None, Exception] | None = None


class SingleFlight(Home, Generic[K, V]):
    """Makes one call for all who ask for the same key at the same time.

    ::

        flights: SingleFlight[str, Price] = SingleFlight("prices")

        price = await flights.do(symbol, fetch_price, symbol)

    It is no cache: when the call has ended, the next to ask makes a new one.

    Cancelled: a follower just leaves. When the leader is cancelled, the first
    follower makes the call over, with its own arguments.
    """

    __slots__ = ("_calls", "_flights", "_spared", "_taken_over")

    _kind = "single flight"

    def __init__(self, name: str = "") -> None:
        """Make a group with nothing in flight.

        Args:
            name: what is asked for, for people; the line that makes it when omitted.
        """
        super().__init__(name)
        self._flights: dict[K, _Flight[V]] = {}
        self._calls = 0
        self._spared = 0
        self._taken_over = 0

    async def do(self, key: K, fn: Callable[..., Awaitable[V]], /, *args: object) -> V:
        """Return what `fn(*args)` returns, or what somebody else's call for `key` does.

        Raises:
            Exception: what the call raised, also to those who followed.
            SyncMisuse: the call asks for its own key.
        """
        return (await self.do2(key, fn, *args)).value

    async def do2(self, key: K, fn: Callable[..., Awaitable[V]], /, *args: object) -> Shared[V]:
        """As `do`, and tell also whether more than one caller got the result."""
        me = task_in(self._move_in())
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(me)
            return await self._lead(key, flight, fn, args)
        if flight.leader is me:
            raise SyncMisuse(
                f"{self._title()}: the call for {key!r} asks for {key!r} itself and would wait for itself"
            )
        if await self._follow(key, flight):
            flight.leader = me
            self._taken_over += 1
            return await self._lead(key, flight, fn, args)
        self._spared += 1
        assert flight.outcome is not None  # that is what we were woken for
        value, error = flight.outcome
        if error is not None:
            raise error
        return Shared(cast("V", value), True)

    def forget(self, key: K) -> None:
        """Let the next to ask for `key` make a call of its own, though one is under way.

        Those who follow the present call still get its result.
        """
        self._flights.pop(key, None)

    async def _lead(
        self, key: K, flight: _Flight[V], fn: Callable[..., Awaitable[V]], args: tuple[object, ...]
    ) -> Shared[V]:
        self._calls += 1
        try:
            value = await fn(*args)
        except Exception as error:
            flight.outcome = None, error
            self._land(key, flight)
            raise
        except BaseException:
            self._next_leader(key, flight)
            raise
        flight.outcome = value, None
        self._land(key, flight)
        return Shared(value, flight.passengers > 0)

    async def _follow(self, key: K, flight: _Flight[V]) -> bool:
        """Wait for the result (False), or for our turn to make the call over (True)."""
        waiter = self._waiter()
        flight.line.append(waiter)
        try:
            return cast("bool", await waiter)
        except BaseException:
            if not was_given(waiter):
                flight.line.discard(waiter)
            elif waiter.result():
                self._next_leader(key, flight)
            raise

    def _land(self, key: K, flight: _Flight[V]) -> None:
        self._leave(key, flight)
        if flight.line and self._can_wake("a call"):
            flight.passengers = self._queue.wake_all(flight.line, False)

    def _next_leader(self, key: K, flight: _Flight[V]) -> None:
        flight.leader = None
        if not (
            flight.line and self._can_wake("a call") and self._queue.wake_one(flight.line, True)
        ):
            self._leave(key, flight)

    def _leave(self, key: K, flight: _Flight[V]) -> None:
        if self._flights.get(key) is flight:  # it may have been forgotten
            del self._flights[key]

    def statistics(self) -> SingleFlightStatistics:
        """Return how it is doing."""
        flights = list(self._flights.values())
        return SingleFlightStatistics(
            name=self.name,
            in_flight=len(flights),
            following=sum(flight.line.waiting for flight in flights),
            calls=self._calls,
            spared=self._spared,
            taken_over=self._taken_over,
        )

    def __repr__(self) -> str:
        """Show the name and how many calls are under way."""
        return f"<SingleFlight {self.name!r} in_flight={len(self._flights)}>"

    def _in_use(self) -> bool:
        return bool(self._flights)

    def _reset(self) -> None:
        self._flights.clear()
