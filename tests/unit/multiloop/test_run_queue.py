"""The queues of the scheduler, as plain state."""

from __future__ import annotations

import pytest

from backstay.multiloop._run_queue import (
    GLOBAL_EVERY,
    LOCAL_CAPACITY,
    RunQueue,
    global_is_due,
    global_share,
    half,
)


def filled(count: int, capacity: int = LOCAL_CAPACITY) -> RunQueue[int]:
    queue: RunQueue[int] = RunQueue(capacity)
    assert queue.extend(range(count)) == []
    return queue


def test_the_owner_takes_the_oldest_first() -> None:
    """Jobs start in the order in which they were queued."""
    queue = filled(4)
    assert queue.heads(2) == [0, 1]
    assert len(queue) == 4, "heads are left in place"
    assert queue.take(0)
    assert queue.pop(2) == [1, 2]
    assert queue.drain() == [3]


def test_a_job_that_went_elsewhere_is_not_taken() -> None:
    """Only the next job can be taken, and only once."""
    queue = filled(2)
    assert not queue.take(1)
    assert queue.take(0)
    assert not queue.take(0)
    assert queue.take(1)
    assert not queue.take(1)


def test_a_thief_takes_the_newer_half_in_order() -> None:
    """The head belongs to tasks that are on their way; the order is kept in what moves."""
    queue = filled(5)
    assert queue.steal() == [2, 3, 4]
    assert queue.drain() == [0, 1]
    assert queue.steal() == []
    assert filled(1).steal() == [0]


def test_a_full_queue_gives_its_older_half_to_all() -> None:
    """Half at a time, so that the next pushes have room again."""
    queue = filled(4, capacity=4)
    assert queue.room == 0
    assert queue.push(4) == [0, 1, 4]
    assert queue.drain() == [2, 3]


def test_a_closed_queue_takes_nothing() -> None:
    """What is in it can only leave."""
    queue = filled(1)
    queue.closed = True
    assert queue.push(1) == [1]
    assert queue.push_first(2) == [2]
    assert queue.extend([3, 4]) == [3, 4]
    assert queue.room == 0
    assert queue.drain() == [0]


def test_an_overdue_job_comes_first() -> None:
    """What waited in the global queue does not queue again."""
    queue = filled(2)
    assert queue.push_first(9) == []
    assert queue.heads(1) == [9]


@pytest.mark.parametrize(
    ("waiting", "procs", "room", "share"),
    [
        (0, 2, 9, 0),
        (1, 2, 9, 1),
        (10, 2, 99, 6),
        (10, 0, 99, 10),
        (10, 2, 3, 3),
        (9999, 2, 9999, 128),
    ],
)
def test_a_share_of_the_global_queue_is_fair(
    waiting: int, procs: int, room: int, share: int
) -> None:
    """A part for each loop and one more, within the room there is."""
    assert global_share(waiting, procs, room) == share


def test_the_global_queue_is_looked_at_every_61_starts() -> None:
    """Loops that feed themselves must not starve what waits for everybody."""
    assert GLOBAL_EVERY == 61
    assert not global_is_due(60, 0)
    assert global_is_due(61, 0)
    assert not global_is_due(100, 61)


def test_half_is_rounded_up() -> None:
    """One job can be stolen."""
    assert [half(n) for n in range(5)] == [0, 1, 1, 2, 2]
