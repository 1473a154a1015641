"""The broker: topics, groups and waiting pulls over a Store.

Rows live in the database only; memory holds one small record per group. What a killed process
leaves is therefore exactly what was committed.

Waiting. Pulls of one group stand in line (`turn`), so each is served in its order and only the
first one watches. `maybe` is set by whoever may have made a row ready *after* that is committed,
and cleared by the watcher *before* it looks: no wake-up is lost.

Pace. An idle group's pull is answered the moment a message arrives. Right after a delivery the
next one waits out `gather_s`, unless there is a backlog: at 150 messages a second this makes
fifty deliveries instead of 150, and costs 20 ms that nobody notices on a queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from shop.bus import _rows as rows
from shop.bus._delivery import Delivery
from shop.bus._errors import BusFull
from shop.bus._statistics import (
    BrokerStatistics,
    Counters,
    DeadLetter,
    GroupStatistics,
    read_dead_letters,
    read_depths,
)
from shop.storage import Store, StoreError

# How long leases of an earlier life keep running after a restart; see rows.restart.
RESTART_GRACE_S = 2.0
# Unclaimed rows are trimmed when this many have come since the last time.
TRIM_EVERY = 1_000


@dataclass(slots=True, eq=False)
class _Group:
    """What the broker remembers of a consumer group between pulls."""

    id: int
    topic: str
    name: str
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    maybe: asyncio.Event = field(default_factory=asyncio.Event)
    next_due: float | None = None  # when the next lease or delay ends; None = no such row
    quiet_until: float = 0.0  # pace: no delivery before this
    pulls: int = 0


class Broker:
    """The bus without its wire.

    Args:
        store: an open store whose schema includes `shop.bus.SCHEMA`.
        max_attempts: deliveries before a message is dead-lettered.
        dedup_window_s: how long a dedup id is remembered; covers a publisher's restart and retries.
        gather_s: least time between two deliveries to one group without backlog.
        max_messages: messages held over all groups before publishers hear BusFull.
        now: monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        *,
        max_attempts: int = 5,
        dedup_window_s: float = 120.0,
        gather_s: float = 0.02,
        max_messages: int = 1_000_000,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._max_attempts = max_attempts
        self._window_s = dedup_window_s
        self._gather_s = gather_s
        self._max_messages = max_messages
        self._now = now
        self._groups: dict[tuple[str, str], _Group] = {}
        self._by_id: dict[int, _Group] = {}
        self._counters = Counters()
        self._depth = 0
        self._unclaimed = 0
        self._closing = False

    async def open(self) -> None:
        """Take over what an earlier broker left in the store.

        Raises:
            StoreError: the store failed.
        """
        now = self._now()
        left = await self._store.write(lambda db: rows.restart(db, now, RESTART_GRACE_S))
        self._depth = left.depth
        for number, topic, name in left.groups:
            self._remember(number, topic, name)

    def close(self) -> None:
        """Answer every waiting pull with nothing, and from now on each new one as well."""
        self._closing = True
        for group in self._by_id.values():
            group.maybe.set()

    async def publish(self, topic: str, messages: Sequence[tuple[str, bytes]]) -> rows.Stored:
        """Store `messages`, (dedup id, payload) each, for every group of the topic.

        Raises:
            BusFull: too many messages wait already; nothing was stored.
            StoreError: nothing was stored.
        Cancelled: the messages may be stored; publishing them again is harmless.
        """
        if self._depth >= self._max_messages:
            raise BusFull(
                f"{self._depth} messages wait, the limit is {self._max_messages}: is a group's consumer gone?"
            )
        now = self._now()
        try:
            outcome = await self._store.write(
                lambda db: rows.publish(db, topic, messages, now, self._window_s)
            )
        except asyncio.CancelledError:  # it may have been stored all the same
            self._wake(group.id for group in self._by_id.values() if group.topic == topic)
            raise
        self._wake(outcome.groups)
        self._counters.published += outcome.stored
        self._counters.duplicates += outcome.duplicates
        self._depth += outcome.stored * len(outcome.groups)
        if outcome.unclaimed:
            await self._trim_unclaimed(outcome)
        return outcome

    async def pull(
        self, topic: str, group: str, *, max_messages: int, wait_s: float, lease_s: float
    ) -> list[Delivery]:
        """Lease up to `max_messages` for `lease_s`; waits up to `wait_s` for the first one.

        Raises:
            StoreError: nothing was leased.
        Cancelled: nothing stays leased.
        """
        until = self._now() + wait_s
        queue = await self._group(topic, group)
        queue.pulls += 1
        try:
            if not await _acquire_within(queue.turn, wait_s):
                return []
            try:
                return await self._watch(queue, max_messages, until, lease_s)
            finally:
                queue.turn.release()
        finally:
            queue.pulls -= 1

    async def ack(self, ids: Sequence[int]) -> int:
        """Forget these deliveries, the work is done; how many were still known.

        Raises:
            StoreError: none was forgotten; they will be redelivered.
        """
        settled = await self._store.write(lambda db: rows.ack(db, ids))
        self._counters.acknowledged += settled
        self._depth -= settled
        return settled

    async def nak(
        self,
        claims: Sequence[tuple[int, int]],
        *,
        delay_s: float,
        refund_attempt: bool,
        dead_reason: str = "",
    ) -> rows.Returned:
        """Give deliveries, (id, attempt) each, back to be redelivered after `delay_s`.

        Those whose attempts are used up go to the dead letters, unless `refund_attempt`; with a
        `dead_reason` all of them do.

        Raises:
            StoreError: none was given back; their leases run on.
        """
        due = self._now() + delay_s if delay_s > 0 else 0.0
        outcome = await self._store.write(
            lambda db: rows.nak(
                db, claims, due, self._max_attempts, refund=refund_attempt, dead_reason=dead_reason
            )
        )
        self._wake(outcome.groups)
        self._counters.returned += outcome.returned
        self._depth -= outcome.dead
        return outcome

    async def extend(self, claims: Sequence[tuple[int, int]], *, lease_s: float) -> int:
        """Begin the leases of these, (id, attempt) each, anew; how many were still held.

        Raises:
            StoreError: their leases run on as they were.
        """
        due = self._now() + lease_s
        return await self._store.write(lambda db: rows.extend(db, claims, due))

    async def dead_letters(self, topic: str = "", limit: int = 100) -> list[DeadLetter]:
        """The newest dead letters of `topic` ("" = of all), newest first."""
        return await self._store.read(lambda db: read_dead_letters(db, topic, limit))

    async def statistics(self) -> BrokerStatistics:
        """Counters since the start, and every queue as it is now. Cost: one scan of the queues."""
        depths, dead = await self._store.read(read_depths)
        groups = (
            GroupStatistics(group.topic, group.name, *depths.get(group.id, (0, 0, 0)), group.pulls)
            for group in self._by_id.values()
        )
        return BrokerStatistics(replace(self._counters), dead, tuple(groups))

    async def _group(self, topic: str, name: str) -> _Group:
        known = self._groups.get((topic, name))
        if known is not None:
            return known
        number = await self._store.write(lambda db: rows.add_group(db, topic, name))
        return self._remember(number, topic, name)

    def _remember(self, number: int, topic: str, name: str) -> _Group:
        group = self._groups.get((topic, name))
        if group is None:
            group = self._groups[topic, name] = self._by_id[number] = _Group(number, topic, name)
            group.maybe.set()  # nobody has looked yet
        return group

    def _wake(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            if number in self._by_id:
                self._by_id[number].maybe.set()

    async def _watch(
        self, group: _Group, limit: int, until: float, lease_s: float
    ) -> list[Delivery]:
        """Look, and wait for a reason to look again. The caller holds the group's turn."""
        while not self._closing:
            now = self._now()
            if group.maybe.is_set() or (group.next_due is not None and group.next_due <= now):
                if (pause := min(group.quiet_until, until) - now) > 0:
                    await asyncio.sleep(pause)
                group.maybe.clear()
                if found := await self._take(group, limit, lease_s):
                    return found
            left = until - self._now()
            if left <= 0:
                break
            if group.next_due is not None:
                left = min(left, max(0.0, group.next_due - self._now()))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await group.maybe.wait()
        return []

    async def _take(self, group: _Group, limit: int, lease_s: float) -> list[Delivery]:
        taken = rows.Taken()
        now = self._now()
        try:
            await self._store.write(
                lambda db: rows.take(db, group.id, limit, now, lease_s, self._max_attempts, taken)
            )
        except BaseException:
            # The job may still run, or have run: a second job right behind it gives everything back,
            # before whoever looks next.
            with contextlib.suppress(StoreError):
                self._store.write_behind(lambda db: rows.untake(db, taken))
            group.maybe.set()
            raise
        group.next_due = taken.next_due
        if taken.more:  # a backlog: let the next one look at once
            group.maybe.set()
            group.quiet_until = 0.0
        else:
            group.quiet_until = now + self._gather_s
        self._counters.delivered += len(taken.deliveries)
        self._counters.redelivered += sum(delivery.attempt > 1 for delivery in taken.deliveries)
        self._counters.expired_leases += taken.expired
        self._depth -= taken.dead
        return taken.deliveries

    async def _trim_unclaimed(self, outcome: rows.Stored) -> None:
        self._unclaimed += outcome.stored
        if self._unclaimed >= TRIM_EVERY:
            self._unclaimed = 0
            (number,) = outcome.groups
            self._depth -= await self._store.write(
                lambda db: rows.trim(db, number, rows.UNCLAIMED_KEPT)
            )


async def _acquire_within(lock: asyncio.Lock, seconds: float) -> bool:
    """Whether `lock` was acquired in time. A free lock is acquired even in no time."""
    try:
        async with asyncio.timeout(seconds):
            return await lock.acquire()
    except TimeoutError:
        return False
