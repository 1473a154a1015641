"""What a subscription must do, whatever broker it is of, for a `Consumer` to lose nothing.

Time passes by `asyncio.sleep`: on a virtual loop for `MemoryQueue`, on a real one for real brokers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from backstay._base import now
from backstay.lifecycle import Delivery, Subscription

# A reason is an error's text: of several lines, in any language, with anything in it.
_REASON = "cannot be read: \N{SNOWMAN}\r\n100 % of: it"

__all__ = ["SubscriptionBench", "SubscriptionCase", "SubscriptionKit"]


class SubscriptionBench(Protocol):
    """A broker with one empty queue, and two subscriptions that share its messages.

    Attributes:
        one: a subscription.
        other: another one of the same group, as another process would have it.
    """

    one: Subscription
    other: Subscription

    async def publish(self, payload: bytes, message_id: str, headers: Mapping[str, str]) -> None:
        """Have the broker keep a message, for the group of the two."""
        ...

    async def dead(self) -> list[tuple[str, str]]:
        """Return message id and reason of each dead letter."""
        ...


@dataclass(frozen=True, slots=True)
class SubscriptionCase:
    """One thing that a subscription must do.

    Attributes:
        name: what it is about; `str(case)`, fit for a test id.
        run: drives a bench; raises AssertionError when it does not hold.
    """

    name: str
    run: Callable[[], Awaitable[None]]

    def __str__(self) -> str:
        """Return the name."""
        return self.name


@dataclass(frozen=True, slots=True)
class SubscriptionKit:
    """Says how to open a bench; `cases` does the rest.

    Attributes:
        bench: opens an empty one, with the ack wait that it is given, in seconds.
        ack_wait: seconds; the shortest that the broker can keep, twice over, where time is real.
        slack: seconds by which the broker may be late; 0 where time is virtual.
    """

    bench: Callable[[float], AbstractAsyncContextManager[SubscriptionBench]]
    ack_wait: float = 1.0
    slack: float = 0.5

    def cases(self) -> tuple[SubscriptionCase, ...]:
        """Return everything that must hold."""
        return tuple(
            SubscriptionCase(check.__name__.strip("_"), self._with_bench(check))
            for check in (
                self._delivers_all_in_order,
                self._an_empty_pull_ends_in_time,
                self._a_waiting_pull_is_answered_at_once,
                self._what_is_acked_is_gone,
                self._what_is_not_settled_comes_again,
                self._what_is_given_back_comes_after_its_delay,
                self._in_progress_keeps_a_message,
                self._a_dead_letter_is_kept,
                self._two_never_have_the_same,
                self._settling_twice_is_harmless,
                self._a_late_ack_is_harmless,
                self._a_cancelled_pull_loses_nothing,
            )
        )

    def _with_bench(
        self, check: Callable[[SubscriptionBench], Awaitable[None]]
    ) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            async with self.bench(self.ack_wait) as bench:
                await check(bench)

        return run

    async def _delivers_all_in_order(self, bench: SubscriptionBench) -> None:
        for number in range(5):
            await bench.publish(b"%d" % number, f"m{number}", {"x-request-id": f"r{number}"})
        found = await _pull_all(bench.one, 5)
        assert [one.payload for one in found] == [b"0", b"1", b"2", b"3", b"4"]
        assert [one.message_id for one in found] == ["m0", "m1", "m2", "m3", "m4"]
        assert [one.headers["x-request-id"] for one in found] == ["r0", "r1", "r2", "r3", "r4"]
        assert {one.attempt for one in found} == {1}
        assert len({one.id for one in found}) == 5

    async def _an_empty_pull_ends_in_time(self, bench: SubscriptionBench) -> None:
        began = now()
        assert list(await bench.one.pull(10, 0.3)) == []
        assert 0.2 <= now() - began <= 0.3 + self.slack

    async def _a_waiting_pull_is_answered_at_once(self, bench: SubscriptionBench) -> None:
        waiting = asyncio.get_running_loop().create_task(_timed(bench.one.pull(10, 3.0)))
        await asyncio.sleep(0.2)
        published = now()
        await bench.publish(b"x", "m", {})
        found, at = await waiting
        assert [one.message_id for one in found] == ["m"]
        assert at - published <= 0.1 + self.slack

    async def _what_is_acked_is_gone(self, bench: SubscriptionBench) -> None:
        for number in range(3):
            await bench.publish(b"x", f"m{number}", {})
        for one in await _pull_all(bench.one, 3):
            await bench.one.ack(one)
        await asyncio.sleep(self.ack_wait)
        assert list(await bench.other.pull(10, self.slack + 0.1)) == []

    async def _what_is_not_settled_comes_again(self, bench: SubscriptionBench) -> None:
        await bench.publish(b"x", "m", {})
        (first,) = await _pull_all(bench.one, 1)
        began = now()
        (again,) = await _pull_all(bench.other, 1, self.ack_wait + 1 + self.slack)
        assert (again.id, again.message_id, again.attempt) == (first.id, "m", 2)
        assert now() - began >= 0.7 * self.ack_wait
        await bench.other.ack(again)

    async def _what_is_given_back_comes_after_its_delay(self, bench: SubscriptionBench) -> None:
        await bench.publish(b"x", "m", {})
        delay = self.ack_wait / 2
        (first,) = await _pull_all(bench.one, 1)
        began = now()
        await bench.one.nak(first, delay)
        (again,) = await _pull_all(bench.other, 1, self.ack_wait + 1 + self.slack)
        assert 0.9 * delay <= now() - began <= delay + self.slack
        assert (again.id, again.attempt) == (first.id, 2)
        await bench.other.nak(again, 0.0)
        (third,) = await _pull_all(bench.one, 1, self.slack + 0.1)
        assert third.attempt == 3

    async def _in_progress_keeps_a_message(self, bench: SubscriptionBench) -> None:
        await bench.publish(b"x", "m", {})
        (ours,) = await _pull_all(bench.one, 1)
        for _ in range(5):
            await asyncio.sleep(0.4 * self.ack_wait)
            await bench.one.in_progress([ours])
            assert list(await bench.other.pull(1, 0.05)) == []
        await bench.one.ack(ours)

    async def _a_dead_letter_is_kept(self, bench: SubscriptionBench) -> None:
        await bench.publish(b"poison", "m", {})
        (ours,) = await _pull_all(bench.one, 1)
        await bench.one.dead_letter(ours, _REASON)
        await asyncio.sleep(self.ack_wait)
        assert list(await bench.other.pull(10, self.slack + 0.1)) == []
        assert await bench.dead() == [("m", _REASON)]

    async def _two_never_have_the_same(self, bench: SubscriptionBench) -> None:
        for number in range(20):
            await bench.publish(b"x", f"m{number}", {})
        seen: list[str] = []
        while len(seen) < 20:
            found = await asyncio.gather(bench.one.pull(3, 0.2), bench.other.pull(3, 0.2))
            assert any(found), f"only {len(seen)} of 20 came"
            for part, subscription in zip(found, (bench.one, bench.other), strict=True):
                for one in part:
                    seen.append(one.message_id)
                    await subscription.ack(one)
        assert len(set(seen)) == 20

    async def _settling_twice_is_harmless(self, bench: SubscriptionBench) -> None:
        await bench.publish(b"x", "m", {})
        (ours,) = await _pull_all(bench.one, 1)
        await bench.one.ack(ours)
        await bench.one.ack(ours)
        await bench.one.nak(ours, 0.0)
        await bench.one.in_progress([ours])
        assert list(await bench.other.pull(10, self.slack + 0.1)) == []

    async def _a_late_ack_is_harmless(self, bench: SubscriptionBench) -> None:
        await bench.publish(b"x", "m", {})
        (late,) = await _pull_all(bench.one, 1)
        (again,) = await _pull_all(bench.other, 1, self.ack_wait + 1 + self.slack)
        await bench.one.ack(late)
        await bench.other.ack(again)
        await asyncio.sleep(self.ack_wait)
        assert list(await bench.other.pull(10, self.slack + 0.1)) == []

    async def _a_cancelled_pull_loses_nothing(self, bench: SubscriptionBench) -> None:
        loop = asyncio.get_running_loop()
        for number in range(6):
            pull = loop.create_task(_timed(bench.one.pull(1, 5.0)))
            await asyncio.sleep(0.02)
            await bench.publish(b"x", f"m{number}", {})
            if number % 2:
                await asyncio.sleep(0)
            pull.cancel()
            await asyncio.gather(pull, return_exceptions=True)
        seen: set[str] = set()
        until = now() + 3 * self.ack_wait + 2 * self.slack + 2
        while len(seen) < 6:
            assert now() < until, f"only {sorted(seen)} of 6 came"
            for one in await bench.other.pull(10, 0.2):
                seen.add(one.message_id)
                await bench.other.ack(one)


async def _pull_all(subscription: Subscription, count: int, within: float = 3.0) -> list[Delivery]:
    """Pull until there are `count`; a broker may bring them in several parts."""
    found: list[Delivery] = []
    until = now() + within
    while len(found) < count and (left := until - now()) > 0:
        found += await subscription.pull(count - len(found), min(left, 0.5))
    assert len(found) == count, f"{len(found)} of {count} messages came within {within:g} s"
    return found


async def _timed(pull: Awaitable[Sequence[Delivery]]) -> tuple[Sequence[Delivery], float]:
    found = await pull
    return found, now()
