"""The broker's rules on a real store: order, groups, leases, dedup, dead letters, waiting pulls."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from shop.bus import SCHEMA, Broker, BusFull, Delivery
from shop.bus import _broker as broker_room
from shop.bus import _rows as rows
from shop.storage import Store

pytestmark = pytest.mark.real_loop

TOPIC, GROUP = "order.paid", "fulfilment"


class Hand:
    """A clock moved by hand, seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def running(path: Path, **options) -> AsyncIterator[Broker]:
    """A broker on a store in `path`."""
    async with Store(path / "bus.db", SCHEMA) as store:
        broker = Broker(store, **options)
        await broker.open()
        yield broker
        broker.close()


def batch(*names: str) -> list[tuple[str, bytes]]:
    """Messages whose payload repeats their id."""
    return [(name, name.encode()) for name in names]


async def pull(
    broker: Broker, limit: int = 100, *, wait: float = 0.0, lease: float = 10.0, group: str = GROUP
):
    """A pull with the usual arguments."""
    return await broker.pull(TOPIC, group, max_messages=limit, wait_s=wait, lease_s=lease)


def ids(deliveries: Sequence[Delivery]) -> list[str]:
    """The dedup ids, in order."""
    return [delivery.dedup_id for delivery in deliveries]


async def give_back(
    broker: Broker, deliveries: Sequence[Delivery], delay: float = 0.0, *, refund: bool = False
):
    """Nak deliveries."""
    claims = [(delivery.id, delivery.attempt) for delivery in deliveries]
    return await broker.nak(claims, delay_s=delay, refund_attempt=refund)


async def test_in_order_and_gone_after_ack(tmp_path: Path):
    """Messages come in the order of their publishing, once, and an ack removes them."""
    async with running(tmp_path) as broker:
        await broker.publish(TOPIC, batch("a", "b"))
        await broker.publish(TOPIC, batch("c"))
        got = await pull(broker, 2)
        assert ids(got) == ["a", "b"]
        assert [(one.payload, one.attempt) for one in got] == [(b"a", 1), (b"b", 1)]
        assert ids(await pull(broker)) == ["c"]
        assert await pull(broker) == []
        assert await broker.ack([one.id for one in got]) == 2
        assert await broker.ack([one.id for one in got]) == 0
        (group,) = (await broker.statistics()).groups
        assert (group.ready, group.leased, group.delayed) == (0, 1, 0)


async def test_repeated_publish_is_dropped_within_the_window(tmp_path: Path):
    """A dedup id counts once within the window, also after its message is gone, per topic."""
    clock = Hand()
    async with running(tmp_path, now=clock, dedup_window_s=60) as broker:
        await pull(broker)
        assert (await broker.publish(TOPIC, batch("a", "a", "b"))).duplicates == 1
        await broker.ack([one.id for one in await pull(broker)])
        clock.now += 59
        assert (await broker.publish(TOPIC, batch("a"))).stored == 0
        assert (await broker.publish("other", batch("a"))).stored == 1
        clock.now += 2
        assert (await broker.publish(TOPIC, batch("a"))).stored == 1
        assert (await broker.statistics()).counters.duplicates == 2


async def test_each_group_gets_a_copy(tmp_path: Path):
    """Groups are independent; within one group a message goes to one consumer."""
    async with running(tmp_path) as broker:
        assert await pull(broker, group="one") == await pull(broker, group="two") == []
        await broker.publish(TOPIC, batch("a", "b"))
        first = await pull(broker, 1, group="one")
        assert ids(first) + ids(await pull(broker, group="one")) == ["a", "b"]
        await broker.ack([first[0].id])
        assert ids(await pull(broker, group="two")) == ["a", "b"]


async def test_first_group_takes_over_what_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Messages before any group wait for the first one, bounded, and not for later ones."""
    monkeypatch.setattr(rows, "UNCLAIMED_KEPT", 5)
    monkeypatch.setattr(broker_room, "TRIM_EVERY", 4)
    async with running(tmp_path) as broker:
        for number in range(16):
            await broker.publish(TOPIC, batch(f"m{number:02}"))
        assert ids(await pull(broker)) == ["m11", "m12", "m13", "m14", "m15"]
        assert await pull(broker, group="late") == []
        await broker.publish(TOPIC, batch("new"))
        assert ids(await pull(broker)) == ids(await pull(broker, group="late")) == ["new"]


async def test_lease_ends_and_late_ack_counts(tmp_path: Path):
    """An unanswered message comes again with its attempt counted; the first consumer's ack still settles it."""
    clock = Hand()
    async with running(tmp_path, now=clock) as broker:
        await broker.publish(TOPIC, batch("a"))
        (first,) = await pull(broker, lease=10)
        clock.now += 9.9
        assert await pull(broker) == []
        clock.now += 0.2
        (second,) = await pull(broker, lease=10)
        assert (second.id, second.attempt) == (first.id, 2)
        assert (await give_back(broker, [first])).returned == 0, "the lease is somebody else's"
        assert await broker.ack([first.id]) == 1
        clock.now += 100
        assert await pull(broker) == []
        counters = (await broker.statistics()).counters
        assert (counters.delivered, counters.redelivered, counters.expired_leases) == (2, 1, 1)


async def test_nak_delays_and_keeps_the_place(tmp_path: Path):
    """A message given back comes when due, before younger ones; a refunded attempt is not counted."""
    clock = Hand()
    async with running(tmp_path, now=clock) as broker:
        await broker.publish(TOPIC, batch("a", "b", "c"))
        first = await pull(broker, 1)
        assert (await give_back(broker, first, delay=5)).returned == 1
        assert (await broker.statistics()).groups[0].delayed == 1
        assert ids(await pull(broker, 1)) == ["b"]
        clock.now += 5
        again = await pull(broker, 2)
        assert [(one.dedup_id, one.attempt) for one in again] == [("a", 2), ("c", 1)]
        await give_back(broker, again, refund=True)
        assert [(one.dedup_id, one.attempt) for one in await pull(broker)] == [("a", 2), ("c", 1)]


async def test_dead_letter_after_the_last_attempt(tmp_path: Path):
    """A poison message is given up after its attempts, by nak or by silence; others flow; a refund spares it."""
    clock = Hand()
    async with running(tmp_path, now=clock, max_attempts=2) as broker:
        await broker.publish(TOPIC, batch("poison", "silent", "spared"))
        for _ in range(2):
            poison, silent, spared = await pull(broker, 3, lease=10)
            await give_back(broker, [poison])
            await give_back(broker, [spared], refund=True)
            clock.now += 10
        await broker.publish(TOPIC, batch("healthy"))
        rest = await pull(broker)
        assert ids(rest) == ["spared", "healthy"]
        letters = {letter.dedup_id: letter for letter in await broker.dead_letters()}
        assert letters["poison"].reason == "given back by its consumer, attempt 2 of 2"
        assert letters["silent"].reason == "the lease ended without an answer, attempt 2 of 2"
        assert (letters["silent"].id, letters["silent"].payload) == (silent.id, b"silent")
        assert (letters["poison"].group, letters["poison"].attempts) == (GROUP, 2)
        assert await broker.dead_letters("other") == []
        assert len(await broker.dead_letters(TOPIC, limit=1)) == 1
        assert (await broker.statistics()).dead_letters == 2


async def test_dead_letters_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Only the newest dead letters are kept."""
    monkeypatch.setattr(rows, "DEAD_KEPT", 3)
    async with running(tmp_path, max_attempts=1) as broker:
        await broker.publish(TOPIC, batch(*"abcdef"))
        await give_back(broker, await pull(broker))
        assert [letter.dedup_id for letter in await broker.dead_letters()] == ["f", "e", "d"]


async def test_waiting_pull_is_answered_at_once(tmp_path: Path):
    """A long poll ends with the first message, and with nothing when its time is over."""
    async with running(tmp_path) as broker:
        waiting = asyncio.create_task(pull(broker, wait=30))
        await asyncio.sleep(0.02)
        async with asyncio.timeout(5):
            await broker.publish(TOPIC, batch("a"))
            assert ids(await waiting) == ["a"]
            assert await pull(broker, wait=0.02) == []


async def test_waiting_pull_sees_a_lease_end(tmp_path: Path):
    """A long poll wakes when a lease or a delay ends, without any publish."""
    async with running(tmp_path) as broker:
        await broker.publish(TOPIC, batch("a", "b"))
        a, b = await pull(broker, lease=0.05)
        await give_back(broker, [b], delay=0.08)
        async with asyncio.timeout(5):
            assert ids(await pull(broker, 1, wait=30)) == ["a"]
            assert ids(await pull(broker, 1, wait=30)) == ["b"]
        assert a.attempt == 1


async def test_next_delivery_gathers(tmp_path: Path):
    """Right after a delivery the next one waits a moment for company."""
    async with running(tmp_path, gather_s=0.2) as broker:
        await broker.publish(TOPIC, batch("a"))
        assert ids(await pull(broker, wait=5)) == ["a"]
        await broker.publish(TOPIC, batch("b"))
        later = asyncio.create_task(pull(broker, wait=5))
        await asyncio.sleep(0.02)
        await broker.publish(TOPIC, batch("c", "d", "e"))
        assert ids(await later) == ["b", "c", "d", "e"]


async def test_backlog_and_impatient_pulls_do_not_gather(tmp_path: Path):
    """Nobody waits for company when there is a backlog, or when the consumer does not wait at all."""
    async with running(tmp_path, gather_s=60) as broker:
        async with asyncio.timeout(10):
            await broker.publish(TOPIC, batch("a"))
            assert ids(await pull(broker, wait=60)) == ["a"]
            await broker.publish(TOPIC, batch("b", "c", "d"))
            assert ids(await pull(broker, 2, wait=0)) == ["b", "c"]
            assert ids(await pull(broker, 2, wait=60)) == ["d"]


async def test_waiting_pulls_are_served_in_turn(tmp_path: Path):
    """Each message wakes one of several waiting consumers, the one that waited longest."""
    async with running(tmp_path, gather_s=0) as broker:
        waiting = [asyncio.create_task(pull(broker, 1, wait=10)) for _ in range(3)]
        await asyncio.sleep(0.02)
        assert (await broker.statistics()).groups[0].waiting_pulls == 3
        for number, task in enumerate(waiting):
            await broker.publish(TOPIC, batch(f"m{number}"))
            assert ids(await task) == [f"m{number}"]


async def test_cancelled_waiter_passes_its_turn(tmp_path: Path):
    """When the first waiting consumer goes away, the message goes to the second at once."""
    async with running(tmp_path) as broker:
        first = asyncio.create_task(pull(broker, wait=30))
        second = asyncio.create_task(pull(broker, wait=30))
        await asyncio.sleep(0.02)
        first.cancel()
        async with asyncio.timeout(5):
            await broker.publish(TOPIC, batch("a"))
            assert ids(await second) == ["a"]


@pytest.mark.parametrize("steps", range(12))
async def test_cancelled_pull_leaves_nothing_leased(tmp_path: Path, steps: int):
    """Wherever a pull is cancelled, its messages are there for the next one, attempt not counted."""
    async with running(tmp_path) as broker:
        await pull(broker)
        await broker.publish(TOPIC, batch("a", "b"))
        task = asyncio.create_task(pull(broker, wait=5))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        done = (await asyncio.gather(task, return_exceptions=True))[0]
        got = done if isinstance(done, list) else await pull(broker)
        assert [(one.dedup_id, one.attempt) for one in got] == [("a", 1), ("b", 1)]


async def test_close_answers_waiting_pulls(tmp_path: Path):
    """Closing ends every long poll with nothing, and leases nothing any more."""
    async with running(tmp_path) as broker:
        waiting = [asyncio.create_task(pull(broker, wait=30)) for _ in range(3)]
        await asyncio.sleep(0.02)
        broker.close()
        async with asyncio.timeout(5):
            assert await asyncio.gather(*waiting) == [[], [], []]
        await broker.publish(TOPIC, batch("a"))
        assert await pull(broker, wait=30) == []


async def test_next_broker_inherits(tmp_path: Path):
    """A new broker on the same file knows messages, groups and dedup ids; old leases get a short grace."""
    async with running(tmp_path) as broker:
        await pull(broker)
        await broker.publish(TOPIC, batch("held", "acked", "waiting"))
        held, acked = await pull(broker, 2, lease=1000)
        await broker.ack([acked.id])
    clock = Hand()
    async with running(tmp_path, now=clock) as broker:
        assert (await broker.publish(TOPIC, batch("held", "waiting"))).stored == 0
        assert ids(await pull(broker, lease=1000)) == ["waiting"]
        clock.now += broker_room.RESTART_GRACE_S
        (again,) = await pull(broker)
        assert (again.id, again.attempt) == (held.id, 2)


async def test_full_broker_refuses(tmp_path: Path):
    """A broker that holds its limit refuses more, and takes more once messages are acked."""
    async with running(tmp_path, max_messages=3) as broker:
        await broker.publish(TOPIC, batch("a", "b", "c"))
        with pytest.raises(BusFull, match="3 messages wait, the limit is 3"):
            await broker.publish(TOPIC, batch("d"))
        await broker.ack([one.id for one in await pull(broker, 1)])
        await broker.publish(TOPIC, batch("d"))
        assert ids(await pull(broker)) == ["b", "c", "d"]


async def test_size_stays_flat(tmp_path: Path):
    """A stream that is consumed leaves no rows behind but the dedup window, and the file stops growing."""
    clock = Hand()
    pages: list[int] = []
    async with Store(tmp_path / "bus.db", SCHEMA) as store:
        broker = Broker(store, now=clock, dedup_window_s=10)
        await broker.open()
        for round_ in range(60):
            await broker.publish(TOPIC, batch(*(f"{round_}-{number}" for number in range(50))))
            await broker.ack([one.id for one in await pull(broker)])
            clock.now += 1
            pages.append(await store.read(lambda db: db.execute("PRAGMA page_count").fetchone()[0]))
        kept = await store.read(lambda db: db.execute("SELECT count(*) FROM seen").fetchone()[0])
        left = await store.read(lambda db: db.execute("SELECT count(*) FROM message").fetchone()[0])
    assert kept <= 50 * 12
    assert left == 0
    assert pages[59] <= pages[20] + 2


@pytest.mark.parametrize("seed", range(5))
async def test_no_message_is_lost_or_held_twice(tmp_path: Path, seed: int):
    """Under random publishes, pulls, acks, naks, silence and restarts every message ends acked or dead, once."""
    dice, clock = random.Random(seed), Hand()
    acked: list[str] = []
    held: dict[str, tuple[Delivery, float]] = {}
    async with Store(tmp_path / "bus.db", SCHEMA) as store:
        broker = Broker(store, max_attempts=3, now=clock)
        await broker.open()
        published = 0
        for _ in range(200):
            match dice.choice(["publish", "pull", "pull", "ack", "nak", "time", "restart"]):
                case "publish":
                    await broker.publish(TOPIC, batch(f"m{published}", f"m{max(0, published - 1)}"))
                    published += 1
                case "pull":
                    for one in await pull(broker, dice.randint(1, 5), lease=5):
                        assert one.dedup_id not in held or held[one.dedup_id][1] <= clock.now
                        held[one.dedup_id] = (one, clock.now + 5)
                case "ack" if held:
                    name = dice.choice(sorted(held))
                    one, _ = held.pop(name)
                    acked += [name] * await broker.ack([one.id])
                case "nak" if held:
                    one, _ = held.pop(dice.choice(sorted(held)))
                    await give_back(
                        broker, [one], delay=dice.choice([0, 3]), refund=dice.random() < 0.3
                    )
                case "time":
                    clock.now += dice.uniform(0, 4)
                case "restart":
                    broker = Broker(store, max_attempts=3, now=clock)
                    await broker.open()
                    grace = clock.now + broker_room.RESTART_GRACE_S
                    held = {name: (one, min(until, grace)) for name, (one, until) in held.items()}
        for _ in range(8):
            clock.now += 10
            rest = await pull(broker)
            acked += ids(rest)
            await broker.ack([one.id for one in rest])
        dead = [letter.dedup_id for letter in await broker.dead_letters(limit=1000)]
    assert sorted(acked + dead) == sorted(f"m{number}" for number in range(published))
