"""`Gate`: what a pool of somebody else's lacks: a fair and bounded line, figures, and who holds what.

Most pools let callers wait in an unbounded line, some serve it unfairly, and few can say who has
had a connection for a minute. A gate stands in front of one and has as many places as the pool
has connections: whoever got through finds one free, so the pool's own line is never used. The
line is that of a `Bulkhead`; what is held is noted as a `Pool` notes it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

from backstay.guard._bulkhead import Bulkhead, BulkheadStatistics
from backstay.guard._guard import Mode
from backstay.guard._lending import Lending
from backstay.guard._pool_records import Item
from backstay.guard.rules.queue_delay import INTERVAL_S, TARGET_S
from backstay.sync._durations import Durations, Spread
from backstay.sync._home import read_clock, task_in

__all__ = ["Gate", "GateHold", "GateStatistics"]


@dataclass(frozen=True, slots=True)
class GateStatistics(BulkheadStatistics):
    """How a gate is doing; `wait.count` and `wait.total_s` are Go's WaitCount and WaitDuration.

    Attributes:
        use: how long places were held.
        leaks: held by tasks or scopes that have ended.
    """

    use: Spread
    leaks: int


class Gate(Bulkhead, Lending):
    """Stands in front of a pool of somebody else's.

    ::

        database = Gate(20, name="orders-db")      # as many as the pool has

        async with database.hold():
            async with pool.acquire() as connection: ...

    `backstay.integrations.gates.gate(pool)` does this for the pools of asyncpg, psycopg, SQLAlchemy,
    redis-py, httpx and aiohttp.

    Cancelled: a caller that is cancelled while it waits has taken nothing; a place that it had
    just been given goes to the next in line.
    """

    __slots__ = ("_held", "_looked_at", "_used")

    kind = "gate"
    _kind = "gate"

    def __init__(
        self,
        n: int,
        queue: int | None = None,
        *,
        name: str = "",
        target: float | None = TARGET_S,
        interval: float = INTERVAL_S,
        max_wait: float | None = None,
        mode: Mode = "enforce",
    ) -> None:
        """Start with all places free.

        Args:
            n: how many the pool has, >= 1.
            queue: callers that may wait, >= 0; as many as `n` when omitted.
            name: of what the pool leads to, for people; the line that makes it when omitted.
            target: as for `Bulkhead`.
            interval: as for `Bulkhead`.
            max_wait: as for `Bulkhead`.
            mode: as for `Bulkhead`.

        Raises:
            ValueError: a number is out of range.
        """
        super().__init__(
            n, queue, name=name, target=target, interval=interval, max_wait=max_wait, mode=mode
        )
        self._held: dict[int, Item[Any]] = {}  # by the item's identity
        self._used = Durations()
        self._looked_at = float("-inf")

    def hold(self, what: object = None) -> GateHold:
        """Return a block that holds a place.

        Args:
            what: shown in `holdings()` and in messages; the gate's name when omitted.

        Raises:
            FullError: from `async with`: the line is full, or the wait was too long.
            ExpiredError: the deadline of the caller has passed.
        """
        return GateHold(self, what)

    async def take_out(self, frame: FrameType, what: object = None) -> Item[Any]:
        """Take a place and note who does; for who wraps a pool. `give_in` must follow.

        Args:
            frame: of the caller, where it takes something out.
            what: see `hold`.

        Raises:
            FullError: the line is full, or the wait was too long.
            ExpiredError: the deadline of the caller has passed.

        Cancelled: nothing is taken.
        """
        loop = self._move_in()  # first: it may refuse
        if not self.take():
            self._look_for_leaks(read_clock.read())
            await self.acquire()
        now = read_clock.read()
        value = _Named(self.name) if what is None else what
        item: Item[Any] = Item(value, now, float("inf"), loop)
        item.lend(now, task_in(loop), frame)
        self._held[id(item)] = item
        return item

    def give_in(self, item: Item[Any]) -> None:
        """Give a place back; doing it twice does nothing."""
        if self._held.pop(id(item), None) is not None:
            self._used.record(read_clock.read() - item.held_since)
            self.release()

    # -- looking after it ------------------------------------------------------------

    def statistics(self) -> GateStatistics:
        """Return how it is doing."""
        plain = super().statistics()
        return GateStatistics(
            **{name: getattr(plain, name) for name in plain.__slots__},
            use=self._used.spread(),
            leaks=len(self.leaks()),
        )


class GateHold:
    """A place in a gate, as a block; made by `Gate.hold`.

    Attributes:
        item: what is noted of it while it is held.
    """

    __slots__ = ("_gate", "_what", "item")

    def __init__(self, gate: Gate, what: object) -> None:
        """Remember of what; nothing is taken yet."""
        self._gate = gate
        self._what = what
        self.item: Item[Any] | None = None

    async def __aenter__(self) -> None:
        """Take the place."""
        self.item = await self._gate.take_out(sys._getframe(1), self._what)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it back."""
        item, self.item = self.item, None
        if item is not None:
            self._gate.give_in(item)


class _Named:
    """Something of which only the name is known."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"a place at {self._name!r}"
