"""A consumer handles, settles, holds and gives back: in virtual time, with a queue in memory."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from consumer_work import Work, exact, seen

from backstay import Scope, current_scope, leak, now
from backstay._base import MessageReturned, message_returned
from backstay.context import REQUEST_ID, TRACE, Key, bind, identity_headers
from backstay.errors import LifecycleMisuse, OpenError
from backstay.lifecycle import Consumer, Delivery, Redelivery
from backstay.testing import MemoryQueue, wait_all_blocked


async def test_it_handles_so_many_at_once_and_takes_no_more_than_it_can_handle() -> None:
    """Back-pressure: what is not worked on stays with the broker."""
    queue, work = MemoryQueue(), Work(takes=1.0)
    for _ in range(10):
        queue.publish()
    async with Consumer("c", queue, work, concurrency=3) as consumer:
        await asyncio.sleep(0.5)
        assert seen(consumer, "in_hand", "at_work", "taken", "acked") == (3, 3, 3, 0)
        assert len([one for one in queue._messages.values() if one.attempt]) == 3
        await queue.wait_empty()
        assert now() == pytest.approx(4.0, abs=0.01)
    assert (work.most_at_once, len(work.lines)) == (3, 10)
    assert seen(consumer, "state", "in_hand", "taken", "acked") == ("exited", 0, 10, 10)
    assert "'c' exited in_hand=0" in repr(consumer)


async def test_a_failed_message_comes_again_after_its_back_off_and_dies_at_last(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Three attempts, then a dead letter; the events and the log say so."""
    events: list[MessageReturned] = []
    stop = message_returned.subscribe(events.append)
    queue, work = MemoryQueue(), Work()
    work.fails = [OSError("no"), OSError("no"), OSError("no")]
    queue.publish(message_id="m")
    rule = Redelivery(max_attempts=3, first=1.0, most=60.0)
    async with Consumer("c", queue, work, redelivery=rule) as consumer:
        await queue.wait_empty()
    stop()
    first, second = (event.delay_s for event in events[:2])
    assert 0.5 <= first <= 1.0
    assert 1.0 <= second <= 2.0
    times = [float(line.split()[0]) for line in work.lines]
    assert times == pytest.approx([0, first, first + second], abs=1e-3)
    assert [(event.outcome, event.attempt) for event in events] == [
        ("retried", 1),
        ("retried", 2),
        ("dead", 3),
    ]
    assert events[0].trace_id is not None
    ((dead, reason),) = queue.dead
    assert (dead.message_id, reason) == ("m", "attempt 3 of 3: OSError: no")
    assert "message m is a dead letter" in caplog.text
    assert seen(consumer, "failed", "retried", "dead", "acked", "redelivered", "last_error") == (
        3, 2, 1, 0, 2, "OSError: no",
    )  # fmt: skip


async def test_a_handler_has_its_deadline() -> None:
    """It is cut, counted as a failure, and the message comes again."""
    queue, work = MemoryQueue(), Work(takes=10)
    queue.publish(message_id="m")
    async with Consumer("c", queue, work, deadline=2.0, redelivery=exact()) as consumer:
        await asyncio.sleep(3)
        work.takes = 1
        await queue.wait_empty()
    assert work.lines == ["2 m CancelledError", "4 m CancelledError", "5 m done"]
    assert "DeadlineExceeded" in consumer.statistics().last_error


async def test_a_long_handler_tells_the_broker_that_it_is_at_work() -> None:
    """Ten ack waits long, and the message is delivered once."""
    queue, work = MemoryQueue(ack_wait=3.0), Work(takes=30)
    for _ in range(4):
        queue.publish()
    async with Consumer("c", queue, work, deadline=None, concurrency=2) as consumer:
        await queue.wait_empty()
    assert seen(consumer, "taken", "acked", "redelivered", "doubles") == (4, 4, 0, 0)


async def test_each_handling_is_a_scope_in_the_publishers_trace() -> None:
    """Owner, deadline, trace, request id and carried keys are bound, and gone afterwards."""
    tenant = Key[str]("tenant", carry=True)
    told: list[Any] = []

    async def handle(delivery: Delivery) -> None:
        scope = current_scope()
        assert scope is not None
        told.append((scope.kind, scope.path, scope.trace_id, TRACE.get(), REQUEST_ID.get()))
        told.append((tenant.get(), scope.deadline))
        assert asyncio.current_task().get_name() == f"c: {delivery.message_id}"  # type: ignore[union-attr]

    queue = MemoryQueue()
    trace = "0af7651916cd43dd8448eb211c80319c"
    with bind(TRACE, trace), bind(REQUEST_ID, "r-1"), bind(tenant, "acme"):
        queue.publish(message_id="order-1", headers=identity_headers())
    queue.publish(message_id="order-2", headers={"traceparent": "nonsense", "x-request-id": "a b"})
    async with Consumer("c", queue, handle, keys=[tenant], deadline=5.0):
        await queue.wait_empty()
    kind, path, *rest = told[0]
    assert (kind, path[-2:], rest) == ("consumer", ("c", "order-1"), [trace, trace, "r-1"])
    assert told[1] == ("acme", 5.0)
    assert told[2][2] not in (None, trace)
    assert told[2][4] is None
    assert told[3][0] is None


async def test_what_a_handler_starts_ends_with_it() -> None:
    """A child that fails fails the handling; none is left."""
    attempts: list[int] = []

    async def child(number: int) -> None:
        await asyncio.sleep(number)
        if number == 2 and len(attempts) == 1:
            raise OSError("child")

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        scope = current_scope()
        assert scope is not None
        scope.go(child, 1)
        scope.go(child, 2)

    queue = MemoryQueue()
    queue.publish()
    async with Consumer("c", queue, handle, redelivery=exact()) as consumer:
        await queue.wait_empty()
    assert attempts == [1, 2]
    assert seen(consumer, "failed", "acked") == (1, 1)
    assert "OSError: child" in consumer.statistics().last_error


async def test_a_rejection_holds_the_message_and_stops_the_pulling() -> None:
    """A breaker that is open is no fault of the message: no attempt is used up, nothing more is taken."""
    queue, work = MemoryQueue(ack_wait=1.0), Work()
    work.fails = [OpenError("open", policy="p", retry_after=4.0) for _ in range(4)]
    for number in range(6):
        queue.publish(message_id=f"m{number}")
    rule = Redelivery(max_attempts=1, first=0, most=0)
    async with Consumer("c", queue, work, concurrency=2, redelivery=rule) as consumer:
        await asyncio.sleep(7)
        assert seen(consumer, "taken", "in_hand", "held", "acked") == (2, 2, 4, 0)
        await queue.wait_empty()
        assert now() == pytest.approx(8, abs=0.1)
    assert seen(consumer, "acked", "dead", "retried", "doubles") == (6, 0, 0, 0)


async def test_messages_of_a_key_keep_their_order_whatever_fails() -> None:
    """One that fails is tried again here, with those behind it waiting; other keys go on."""
    queue, work = MemoryQueue(), Work(takes=1)
    work.fails = [OSError()]
    for name in ("a1", "a2", "b1", "a3", "b2"):
        queue.publish(message_id=name)
    consumer = Consumer(
        "c", queue, work, concurrency=2, key=lambda one: one.message_id[0], redelivery=exact()
    )
    async with consumer:
        await queue.wait_empty()
    assert [line for line in work.lines if " a" in line] == [
        "1 a1 OSError",
        "2 a1 done",
        "3 a2 done",
        "4 a3 done",
    ]
    assert [line for line in work.lines if " b" in line] == ["1 b1 done", "2 b2 done"]
    assert seen(consumer, "held", "retried", "acked") == (1, 0, 5)


async def test_a_message_of_a_key_that_dies_lets_the_next_pass() -> None:
    """Its attempts are counted here, since the broker has seen one delivery."""
    queue, work = MemoryQueue(), Work()
    work.fails = [OSError(), OSError()]
    for name in ("a1", "a2"):
        queue.publish(message_id=name)
    rule = exact(max_attempts=2)
    async with Consumer("c", queue, work, key=lambda one: "k", redelivery=rule):
        await queue.wait_empty()
    assert [line.split(" ", 1)[1] for line in work.lines] == ["a1 OSError", "a1 OSError", "a2 done"]
    assert [dead.message_id for dead, _ in queue.dead] == ["a1"]


async def test_a_key_that_cannot_be_read_is_the_messages_failure() -> None:
    """Poison in a key function stops nobody."""
    queue, work = MemoryQueue(), Work()
    queue.publish(b"not a number", message_id="bad")
    queue.publish(b"7", message_id="good")
    consumer = Consumer(
        "c",
        queue,
        work,
        key=lambda one: str(int(one.payload)),
        redelivery=exact(poison=(ValueError,)),
    )
    async with consumer:
        await queue.wait_empty()
    assert [dead.message_id for dead, _ in queue.dead] == ["bad"]
    assert [line.split(" ", 1)[1] for line in work.lines] == ["good done"]


@pytest.mark.parametrize("mood", ["away", "hung"])
async def test_a_sick_broker_is_asked_until_it_is_well(mood: Any, caplog: Any) -> None:
    """Handlers go on; what they have done is acked when the broker is back; one line tells of it."""
    caplog.set_level(logging.INFO)
    queue, work = MemoryQueue(ack_wait=30), Work(takes=2)
    queue.publish(message_id="m")
    async with Consumer("c", queue, work) as consumer:
        await asyncio.sleep(1)
        queue.mood = mood
        await asyncio.sleep(10)
        assert work.lines == ["2 m done"]
        assert seen(consumer, "in_hand", "acked") == (1, 0)
        queue.mood = "well"
        queue.publish(message_id="n")
        await queue.wait_empty()
        assert now() <= 11 + 1 + 2.1  # the longest pause, and the work
    assert seen(consumer, "acked", "lost") == (2, 0)
    assert consumer.statistics().broker_errors > 2
    assert caplog.text.count("is tried again") == 1
    assert caplog.text.count("answers again") == 1


async def test_an_ack_that_fails_until_the_ack_wait_is_over_is_left_to_the_broker() -> None:
    """The message comes again, and is not taken for lost."""
    queue, work = MemoryQueue(ack_wait=3), Work()
    events: list[MessageReturned] = []
    stop = message_returned.subscribe(events.append)
    queue.publish(message_id="m")
    async with Consumer("c", queue, work, concurrency=1) as consumer:
        await wait_all_blocked()
        queue.publish(message_id="n")
        queue.mood = "away"
        await asyncio.sleep(0.5)
        queue.mood = "well"
        await asyncio.sleep(1)
        assert seen(consumer, "acked") == (2,)
        work.takes = 0.5
        queue.publish(message_id="o")
        await asyncio.sleep(0.2)
        queue.mood = "away"
        await asyncio.sleep(8)
        assert seen(consumer, "lost", "in_hand") == (1, 0)
        queue.mood = "well"
        await queue.wait_empty()
    stop()
    assert [(event.message_id, event.outcome) for event in events] == [("o", "lost")]
    assert [line.split()[1] for line in work.lines] == ["m", "n", "o", "o"]


async def test_a_message_that_comes_twice_while_it_is_in_hand_is_handled_once() -> None:
    """Its ack wait passed while the broker hung; it is settled by its latest delivery."""
    queue, work = MemoryQueue(ack_wait=3), Work(takes=20)
    queue.publish(message_id="m")
    async with Consumer("c", queue, work, concurrency=4, deadline=None) as consumer:
        await asyncio.sleep(1)
        queue.mood = "hung"
        await asyncio.sleep(5)
        queue.mood = "well"
        await asyncio.sleep(5)
        assert seen(consumer, "doubles", "at_work", "taken") == (1, 1, 1)
        await queue.wait_empty()
    assert work.lines == ["20 m done"]


async def test_pause_takes_no_more_and_resume_does() -> None:
    """What is in hand is finished meanwhile."""
    queue, work = MemoryQueue(), Work(takes=1)
    queue.publish(message_id="a")
    async with Consumer("c", queue, work, pull_wait=0.5) as consumer:
        await asyncio.sleep(0.1)
        consumer.pause("the warehouse is closed")
        await asyncio.sleep(2)
        queue.publish(message_id="b")
        await asyncio.sleep(5)
        assert work.lines == ["1 a done"]
        assert seen(consumer, "paused", "taken") == ("the warehouse is closed", 1)
        assert consumer.paused == "the warehouse is closed"
        assert "paused" in repr(consumer)
        consumer.resume()
        await queue.wait_empty()
    assert work.lines[1:] == ["8.1 b done"]
    assert consumer.paused == ""


async def test_a_handler_that_somebody_cancels_gives_its_message_back() -> None:
    """Also before its first step; the consumer goes on, and the attempt counts."""
    queue, work = MemoryQueue(), Work(takes=5)
    queue.publish(message_id="m")
    async with Consumer("c", queue, work, redelivery=exact(max_attempts=3)) as consumer:
        await asyncio.sleep(1)
        (one,) = consumer._held.values()
        assert one.task is not None
        one.task.cancel()
        await queue.wait_empty()
    assert work.lines == ["1 m CancelledError", "6 m done"]
    assert seen(consumer, "retried", "redelivered") == (1, 1)


async def test_a_cancelled_error_that_nobody_asked_for_is_a_failure() -> None:
    """Some libraries raise it when their connection breaks."""
    queue, work = MemoryQueue(), Work()
    work.fails = [asyncio.CancelledError()]
    queue.publish(message_id="m")
    async with Consumer("c", queue, work, redelivery=exact()) as consumer:
        await queue.wait_empty()
    assert seen(consumer, "failed", "acked") == (1, 1)


async def test_a_message_that_kills_its_consumers_is_buried_unseen() -> None:
    """After twice the attempts that came to no end, its handler is not called again."""
    queue, work = MemoryQueue(ack_wait=1), Work()
    queue.publish(message_id="killer")
    for _ in range(4):  # four processes die with it in hand
        await queue.pull(1, 2.0)
    async with Consumer("c", queue, work, redelivery=Redelivery(max_attempts=2)):
        await queue.wait_empty()
    assert work.lines == []
    assert "4 deliveries came to no end" in queue.dead[0][1]


async def test_a_dead_letter_that_cannot_be_written_is_tried_again() -> None:
    """It is not dropped for want of a place to put it."""
    queue, work = MemoryQueue(ack_wait=30), Work(takes=0.5)
    work.fails = [ValueError("bad")]
    queue.publish(message_id="m")
    async with Consumer("c", queue, work, redelivery=Redelivery(poison=(ValueError,))):
        await asyncio.sleep(0.2)
        queue.mood = "away"
        await asyncio.sleep(3)
        assert not queue.dead
        queue.mood = "well"
        await queue.wait_empty()
    assert len(queue.dead) == 1


async def test_it_is_used_once() -> None:
    """A second run says so."""
    consumer = Consumer("c", MemoryQueue(), Work())
    async with consumer:
        pass
    with pytest.raises(LifecycleMisuse, match="used once: it is exited"):
        await consumer.run()


async def test_it_leaves_no_task_behind() -> None:
    """All it has started was of its scope."""
    queue = MemoryQueue()
    queue.publish()
    before = asyncio.all_tasks()
    async with Scope("around") as scope:
        async with Consumer("c", queue, Work()):
            await queue.wait_empty()
        assert scope.statistics().alive == 0
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 4, "in_hand": 3}, "in_hand"),
        ({"deadline": 0}, "deadline"),
        ({"drain": 0}, "drain"),
        ({"pull_wait": 0}, "pull_wait"),
        ({"patience": -1}, "patience"),
    ],
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, Any], message: str) -> None:
    """The message names the number."""
    with pytest.raises(ValueError, match=message):
        Consumer("c", MemoryQueue(), Work(), **wrong)


async def test_a_handler_that_cancels_its_own_scope_has_not_succeeded() -> None:
    """The block is left quietly then; the message comes again all the same."""
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        scope = current_scope()
        assert scope is not None
        if delivery.attempt == 1:
            scope.cancel("the order was withdrawn, perhaps")
            await asyncio.sleep(1)

    queue = MemoryQueue()
    queue.publish()
    async with Consumer("c", queue, handle, redelivery=exact()) as consumer:
        await queue.wait_empty()
    assert attempts == [1, 2]
    assert "the order was withdrawn" in consumer.statistics().last_error


async def test_an_ack_that_somebody_cancels_is_said_again() -> None:
    """The work is done, so the message is not given back; nor is it kept for ever."""
    queue, work = MemoryQueue(ack_wait=60), Work(takes=1)
    queue.publish(message_id="m")
    async with Consumer("c", queue, work) as consumer:
        await asyncio.sleep(0.5)
        queue.mood = "hung"
        for _ in range(2):  # while it is acked, and while that is made good
            await asyncio.sleep(1)
            (one,) = consumer._held.values()
            assert one.task is not None
            one.task.cancel()
        await asyncio.sleep(1)
        queue.mood = "well"
        await queue.wait_empty()
    assert work.lines == ["1 m done"]
    assert seen(consumer, "acked", "retried", "given_back", "in_hand") == (1, 0, 0, 0)


async def test_a_consumer_at_rest_is_no_leak() -> None:
    """Its tasks wait for what will come."""
    queue = MemoryQueue()
    async with Consumer("c", queue, Work(), key=lambda one: "k"):
        await asyncio.sleep(3600)
        assert not leak.report().findings


async def test_work_that_was_told_of_has_all_of_its_ack_wait_for_its_ack() -> None:
    """Ten seconds of work at an ack wait of three: an ack that fails at first is no loss."""
    queue, work = MemoryQueue(ack_wait=3), Work(takes=10)
    queue.publish(message_id="m")
    async with Consumer("c", queue, work) as consumer:
        await asyncio.sleep(9.9)
        queue.mood = "away"
        await asyncio.sleep(0.6)
        queue.mood = "well"
        await queue.wait_empty()
    assert seen(consumer, "acked", "lost", "taken") == (1, 0, 1)
