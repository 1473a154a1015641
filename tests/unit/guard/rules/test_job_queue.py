"""JobQueue: who begins next."""

from __future__ import annotations

import pytest

from backstay.guard.rules.job_queue import JobQueue


def order_of(queue: JobQueue[str]) -> str:
    """Take all that can begin, each ending before the next."""
    taken = ""
    while (found := queue.take()) is not None:
        taken += found[0]
        queue.ended(found[1])
    return taken


def test_the_oldest_begins_first_or_the_newest() -> None:
    """As it was asked for."""
    for order, expected in (("fifo", "abc"), ("lifo", "cba")):
        queue: JobQueue[str] = JobQueue(order)  # type: ignore[arg-type]
        for job in "abc":
            queue.put(job)
        assert order_of(queue) == expected


def test_jobs_of_one_key_keep_their_order_whatever_the_order_is() -> None:
    """The newest first holds between keys; within one it would mix up what must follow each other."""
    queue: JobQueue[str] = JobQueue("lifo")
    for job, key in (("a", 1), ("b", 1), ("x", None), ("c", 1)):
        queue.put(job, key)
    assert order_of(queue) == "xabc"


def test_a_key_that_is_under_way_holds_up_nobody_else() -> None:
    """Its jobs stand aside until it has ended, and keep their age."""
    queue: JobQueue[str] = JobQueue()
    for job, key in (("a", 1), ("b", 1), ("x", 2), ("y", None)):
        queue.put(job, key)
    assert queue.take() == ("a", 1)
    assert queue.take() == ("x", 2)
    queue.ended(1)
    assert queue.take() == ("b", 1)
    assert queue.take() == ("y", None)
    assert queue.take() is None
    assert len(queue) == 0


def test_a_job_that_is_dropped_lets_its_followers_move_up() -> None:
    """Also where the newest begin first and the dropped one would not be met for long."""
    queue: JobQueue[str] = JobQueue("lifo")
    head = queue.put("a", 1)
    queue.put("x")
    queue.put("b", 1)
    assert queue.drop(head)
    assert not queue.drop(head)
    assert order_of(queue) == "bx"


def test_dropped_jobs_do_not_pile_up() -> None:
    """A line whose callers all leave stays short in memory, too."""
    queue: JobQueue[int] = JobQueue()
    queue.put(-1, "k")
    for number in range(1_000):
        queue.drop(queue.put(number))
        queue.drop(queue.put(number, "k"))
    assert len(queue) == 1
    assert len(queue._ready) + sum(map(len, queue._behind.values())) < 40


def test_clear_returns_what_had_not_begun() -> None:
    """The oldest first, those behind a key among them."""
    for order in ("fifo", "lifo"):
        queue: JobQueue[str] = JobQueue(order)  # type: ignore[arg-type]
        for job, key in (("a", 1), ("b", 1), ("c", None), ("d", 1)):
            queue.put(job, key)
        queue.take()
        assert "".join(queue.clear()) == ("bcd" if order == "fifo" else "abd")
        assert (len(queue), queue.take()) == (0, None)


def test_an_order_that_is_unknown_is_refused() -> None:
    """The message says which there are."""
    with pytest.raises(ValueError, match='"fifo" or "lifo", not \'random\''):
        JobQueue("random")  # type: ignore[arg-type]
