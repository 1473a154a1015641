"""How a consumer ends: it finishes what was taken, in time, and gives back the rest."""

from __future__ import annotations

import asyncio

import pytest
from consumer_work import Work, seen

from backstay import Scope, now
from backstay._base import ConsumerMoved, consumer_moved
from backstay.errors import DeadlineExceeded
from backstay.lifecycle import Consumer, Delivery, Redelivery, Service
from backstay.testing import MemoryQueue, wait_all_blocked


async def test_a_drain_finishes_what_was_taken_and_takes_no_more() -> None:
    """The rest is still with the broker, never delivered."""
    moves: list[ConsumerMoved] = []
    stop = consumer_moved.subscribe(moves.append)
    queue, work = MemoryQueue(), Work(takes=2)
    for number in range(5):
        queue.publish(message_id=f"m{number}")
    leave = asyncio.Event()
    consumer = Consumer("c", queue, work, concurrency=2)
    running = asyncio.get_running_loop().create_task(consumer.run(leave))
    await asyncio.sleep(1)
    leave.set()
    await asyncio.sleep(0.5)
    assert consumer.state == "draining"
    statistics = await running
    stop()
    assert now() == pytest.approx(2, abs=0.01)
    assert sorted(work.lines) == ["2 m0 done", "2 m1 done"]
    assert [one.attempt for one in queue._messages.values()] == [0, 0, 0]
    assert (statistics.state, statistics.acked, statistics.left_over) == ("exited", 2, ())
    assert [(move.before, move.after, move.why) for move in moves] == [
        ("new", "running", "run() was called"),
        ("running", "draining", "told to leave"),
        ("draining", "exited", "told to leave"),
    ]


async def test_what_is_not_finished_in_time_is_cut_given_back_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """At the end of the budget, not after it; no attempt is used up."""
    queue, work = MemoryQueue(ack_wait=60), Work(takes=100)
    queue.publish(message_id="slow")
    async with Consumer("c", queue, work, drain=5.0, deadline=None) as consumer:
        await asyncio.sleep(1)
    assert 5.0 - 0.1 <= now() <= 6.0
    assert work.lines == ["5 slow CancelledError"]
    assert seen(consumer, "given_back", "left_over", "lost") == (1, ("slow",), 0)
    assert "1 messages were not finished within the 5 s of its drain" in caplog.text
    assert "slow" in caplog.text
    (again,) = await queue.pull(1, 0.0)
    assert again.attempt == 1


async def test_one_that_is_deaf_to_its_cancel_does_not_hold_up_the_others() -> None:
    """All are given back within the budget; the deaf one's late success settles nothing."""
    queue = MemoryQueue(ack_wait=60)

    async def handle(delivery: Delivery) -> None:
        until = now() + 30
        while now() < until:
            try:
                await asyncio.sleep(until - now())
            except asyncio.CancelledError:
                if delivery.message_id != "deaf":
                    raise

    queue.publish(message_id="deaf")
    queue.publish(message_id="good")
    consumer = Consumer("c", queue, handle, drain=4.0, deadline=None)
    running = asyncio.get_running_loop().create_task(consumer.run())
    await asyncio.sleep(1)
    consumer.stop()
    await asyncio.sleep(4.0)
    assert seen(consumer, "in_hand", "given_back") == (0, 2)
    found = await queue.pull(5, 0.0)
    assert {one.message_id for one in found} == {"deaf", "good"}
    await running
    assert now() == 30
    assert len(queue) == 2
    assert seen(consumer, "acked") == (0,)


async def test_a_cancel_gives_all_back_at_once() -> None:
    """Within a second, also those that have not begun and those that wait to try again."""
    queue, work = MemoryQueue(ack_wait=60), Work(takes=100)
    for number in range(8):
        queue.publish(message_id=f"m{number}")
    consumer = Consumer("c", queue, work, concurrency=2, in_hand=5, deadline=None)
    running = asyncio.get_running_loop().create_task(consumer.run())
    await asyncio.sleep(1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert now() <= 2
    assert seen(consumer, "state", "given_back", "in_hand") == ("exited", 5, 0)
    assert len(await queue.pull(10, 0.0)) == 8


async def test_a_cancel_while_the_queue_hangs_ends_all_the_same() -> None:
    """What could not be given back is told as lost: it comes again when its ack wait has passed."""
    queue, work = MemoryQueue(ack_wait=5), Work(takes=100)
    queue.publish(message_id="m")
    consumer = Consumer("c", queue, work, deadline=None)
    running = asyncio.get_running_loop().create_task(consumer.run())
    await asyncio.sleep(1)
    queue.mood = "hung"
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert now() <= 2.1
    assert seen(consumer, "state", "lost", "in_hand") == ("exited", 1, 0)
    queue.mood = "well"
    (again,) = await queue.pull(1, 10)
    assert again.message_id == "m"


async def test_a_paused_consumer_can_be_told_to_leave() -> None:
    """It does not wait to be resumed."""
    consumer = Consumer("c", MemoryQueue(), Work())
    async with consumer:
        consumer.pause("")
        await asyncio.sleep(3)
    assert (now(), consumer.state) == (3, "exited")


async def test_a_drain_gives_back_what_waits_to_be_tried_again_with_those_behind_it() -> None:
    """In their order, with what is left of the back-off."""
    queue, work = MemoryQueue(ack_wait=60), Work()
    work.fails = [OSError()]
    for name in ("a1", "a2", "a3"):
        queue.publish(message_id=name)
    rule = Redelivery(first=40, most=40)
    consumer = Consumer("c", queue, work, key=lambda one: "a", redelivery=rule)
    async with consumer:
        await asyncio.sleep(5)
        assert seen(consumer, "in_hand", "held") == (3, 1)
    assert now() <= 6.1  # a pull may have been under way
    assert seen(consumer, "given_back", "retried", "acked") == (2, 1, 0)
    assert list(await queue.pull(5, 0.0)) == []
    found = list(await queue.pull(5, 40.0))
    assert [one.message_id for one in found] == ["a1", "a2", "a3"]
    assert [one.attempt for one in found] == [2, 1, 1]


async def test_what_a_pull_brings_too_late_is_given_back() -> None:
    """It was told to leave while the broker kept the pull; no attempt is used up."""
    queue, work = MemoryQueue(), Work()
    for key in (None, lambda one: "k"):
        consumer = Consumer("c", queue, work, key=key, pull_wait=2)
        running = asyncio.get_running_loop().create_task(consumer.run())
        await wait_all_blocked()
        consumer.stop("enough")
        queue.publish(message_id="late")
        await running
        assert seen(consumer, "taken", "given_back") == (1, 1)
        (again,) = await queue.pull(1, 0.0)
        assert again.attempt == 1
        await queue.ack(again)
    assert work.lines == []


async def test_it_is_a_component_of_a_service() -> None:
    """The service's stop is its leave; it drains within the budget."""
    queue, work = MemoryQueue(), Work(takes=2)
    queue.publish(message_id="m")
    service = Service("shop")
    consumer = Consumer("orders", queue, work)
    service.task("orders", consumer.run, budget=30)
    running = asyncio.get_running_loop().create_task(service.run())
    await asyncio.sleep(1)
    service.stop("SIGTERM")
    record = await running
    assert (record.exit_code, work.lines, consumer.state) == (0, ["2 m done"], "exited")


async def test_a_service_that_loses_patience_cuts_it_and_it_gives_all_back() -> None:
    """The budget of the component is shorter than the drain: a second is enough to give back."""
    queue, work = MemoryQueue(ack_wait=60), Work(takes=100)
    queue.publish(message_id="m")
    service = Service("shop")
    consumer = Consumer("orders", queue, work, drain=50, deadline=None)
    service.task("orders", consumer.run, budget=3)
    running = asyncio.get_running_loop().create_task(service.run())
    await asyncio.sleep(1)
    service.stop("SIGTERM")
    record = await running
    assert (now() <= 5, record.components[0].cut, record.left_over) == (True, True, ())
    assert seen(consumer, "given_back", "state") == (1, "exited")


async def test_an_error_in_its_block_cuts_it() -> None:
    """The block's error is what leaves; messages are given back."""
    queue, work = MemoryQueue(ack_wait=60), Work(takes=100)
    queue.publish(message_id="m")
    consumer = Consumer("c", queue, work, deadline=None)
    with pytest.raises(RuntimeError, match="boom"):
        async with consumer:
            await asyncio.sleep(1)
            raise RuntimeError("boom")
    assert now() <= 2
    assert seen(consumer, "given_back") == (1,)


async def test_an_ambient_deadline_cuts_it_as_a_cancel_does() -> None:
    """Whoever runs it under a deadline gets that deadline's error, and messages are given back."""
    queue, work = MemoryQueue(ack_wait=60), Work(takes=100)
    queue.publish(message_id="m")
    consumer = Consumer("c", queue, work, deadline=None)
    with pytest.raises(DeadlineExceeded):
        async with Scope("around", timeout=3.0):
            await consumer.run()
    assert now() <= 4
    assert seen(consumer, "state", "in_hand") == ("exited", 0)
    assert seen(consumer, "given_back", "lost") == (1, 0)


async def test_what_is_given_back_does_not_come_to_a_pull_that_is_under_way() -> None:
    """The drain is shorter than the pull: somebody else has the message at once."""
    queue, work = MemoryQueue(ack_wait=60), Work(takes=100)
    queue.publish(message_id="m")
    consumer = Consumer("c", queue, work, deadline=None, drain=0.5, pull_wait=5)
    async with consumer:
        await asyncio.sleep(1)
    assert now() <= 1.6
    (again,) = await queue.pull(1, 0.0)
    assert (again.message_id, again.attempt) == ("m", 1)
    assert seen(consumer, "taken", "given_back") == (1, 1)


async def test_what_comes_too_late_does_not_wait_for_a_place() -> None:
    """All places are taken for long; it is free for somebody else at once all the same."""
    queue, work = MemoryQueue(ack_wait=60), Work(takes=10)
    queue.publish(message_id="long")
    consumer = Consumer("c", queue, work, concurrency=1, in_hand=2, pull_wait=2)
    running = asyncio.get_running_loop().create_task(consumer.run())
    await asyncio.sleep(1)
    consumer.stop()
    queue.publish(message_id="late")
    await asyncio.sleep(0.1)
    (again,) = await queue.pull(1, 0.0)
    assert (again.message_id, again.attempt) == ("late", 1)
    await running
    assert work.lines == ["10 long done"]


async def test_what_was_handled_is_acked_at_the_end_and_not_given_back() -> None:
    """It was cut while it was acked, by a broker that came back just in time."""
    queue, work = MemoryQueue(ack_wait=60), Work(takes=1)
    queue.publish(message_id="m")
    consumer = Consumer("c", queue, work)
    running = asyncio.get_running_loop().create_task(consumer.run())
    await asyncio.sleep(0.5)
    queue.mood = "hung"
    await asyncio.sleep(1)
    running.cancel()
    await asyncio.sleep(0.3)
    queue.mood = "well"
    await asyncio.gather(running, return_exceptions=True)
    assert seen(consumer, "acked", "given_back", "lost") == (1, 0, 0)
    assert len(queue) == 0
