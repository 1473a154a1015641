"""Exactly one effect: whatever is delivered twice, at once, and cut in the middle."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from backstay.errors import LifecycleMisuse
from backstay.lifecycle import (
    Consumer,
    Delivery,
    MemoryInbox,
    MemoryTransaction,
    Redelivery,
    SqliteInbox,
    SqliteTransaction,
    once,
)
from backstay.testing import MemoryQueue

MAKE = "CREATE TABLE IF NOT EXISTS effect (id TEXT)"
DO = "INSERT INTO effect VALUES (?)"


def effects(path: Path) -> list[str]:
    with sqlite3.connect(path) as db:
        found = [row[0] for row in db.execute("SELECT id FROM effect ORDER BY id")]
    db.close()
    return found


async def test_in_memory_the_second_time_does_nothing() -> None:
    """Also when both come at once: the later one waits to see what becomes of the first."""
    inbox, done = MemoryInbox(), []

    async def effect(transaction: MemoryTransaction) -> None:
        await asyncio.sleep(1)
        done.append(1)

    answers = await asyncio.gather(*(once(inbox, "m", effect) for _ in range(3)))
    assert (sorted(answers), done, len(inbox)) == ([False, False, True], [1], 1)


async def test_in_memory_an_effect_that_fails_or_is_cut_may_come_again() -> None:
    """The one that waits for it has its turn."""
    inbox, done = MemoryInbox(), []

    async def effect(transaction: MemoryTransaction) -> None:
        await asyncio.sleep(1)
        if not done:
            done.append("failed")
            raise OSError
        done.append("done")

    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(once(inbox, "m", effect)) for _ in range(3)]
    await asyncio.sleep(1.5)
    tasks[1].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[0], OSError)
    assert isinstance(answers[1], asyncio.CancelledError)
    assert (answers[2], done) == (True, ["failed", "done"])


async def test_in_memory_the_oldest_are_forgotten() -> None:
    """So many are kept."""
    inbox = MemoryInbox(keep=2)

    async def effect(transaction: MemoryTransaction) -> None:
        assert await inbox.begin(transaction, transaction.noted[0])

    assert [await once(inbox, name, effect) for name in "abca"] == [True, True, True, True]
    assert [await once(inbox, name, effect) for name in "ca"] == [False, False]
    assert len(inbox) == 2
    with pytest.raises(ValueError, match="keeps 1 id"):
        MemoryInbox(keep=0)


async def test_a_consumer_with_an_inbox_has_one_effect_for_each_message() -> None:
    """Its acks fail, its publisher sends twice: still once."""
    queue, inbox, done = MemoryQueue(ack_wait=1), MemoryInbox(), []

    async def handle(delivery: Delivery) -> None:
        async def effect(transaction: MemoryTransaction) -> None:
            done.append(delivery.message_id)

        await once(inbox, delivery.message_id, effect)
        if len(done) == 2 and queue.mood == "well":
            queue.mood = "away"
            asyncio.get_running_loop().call_later(5, setattr, queue, "mood", "well")

    for name in ("a", "b", "a", "c"):
        queue.publish(message_id=name)
    rule = Redelivery(max_attempts=99, first=0, most=0)
    async with Consumer("c", queue, handle, concurrency=2, redelivery=rule) as consumer:
        await queue.wait_empty()
    assert sorted(done) == ["a", "b", "c"]
    assert consumer.statistics().lost > 0


@pytest.mark.real_loop
async def test_in_sqlite_effect_and_note_are_one(tmp_path: Path) -> None:
    """Both are there or none, also for another process that opens the file."""
    path = tmp_path / "inbox.sqlite3"
    async with SqliteInbox(path, consumer="c") as inbox:
        await inbox.run(lambda db: db.execute(MAKE))

        async def effect(transaction: SqliteTransaction) -> None:
            await transaction.execute(DO, ("m",))

        async def fails(transaction: SqliteTransaction) -> None:
            await transaction.execute(DO, ("m",))
            raise OSError

        with pytest.raises(OSError):
            await once(inbox, "m", fails)
        assert effects(path) == []
        assert await once(inbox, "m", effect)
        assert not await once(inbox, "m", effect)
    async with SqliteInbox(path, consumer="c") as inbox, SqliteInbox(path, consumer="d") as other:
        assert not await once(inbox, "m", effect)
        assert effects(path) == ["m"]
        assert await once(other, "m", effect), "each consumer has notes of its own"


@pytest.mark.real_loop
async def test_in_sqlite_many_at_once_come_one_after_the_other(tmp_path: Path) -> None:
    """Twenty deliveries of five messages, over two inboxes of one file."""
    path = tmp_path / "inbox.sqlite3"
    async with SqliteInbox(path) as one, SqliteInbox(path) as two:
        await one.run(lambda db: db.execute(MAKE))

        async def deliver(number: int) -> bool:
            async def effect(transaction: SqliteTransaction) -> None:
                await transaction.execute(DO, (str(number % 5),))

            return await once(two if number % 2 else one, str(number % 5), effect)

        answers = await asyncio.gather(*(deliver(number) for number in range(20)))
    assert sum(answers) == 5
    assert effects(path) == ["0", "1", "2", "3", "4"]


@pytest.mark.real_loop
@pytest.mark.parametrize("turns", range(12))
async def test_in_sqlite_a_cancel_anywhere_leaves_all_or_nothing(
    tmp_path: Path, turns: int
) -> None:
    """Cut after so many visits to the thread: the next transaction finds no other one open."""
    path = tmp_path / "inbox.sqlite3"
    visits = threading.Semaphore(0)
    async with SqliteInbox(path) as inbox:
        await inbox.run(lambda db: db.execute(MAKE))
        visit = inbox._with_connection
        seen = []

        def counted(work):  # type: ignore[no-untyped-def]
            seen.append(work)
            if len(seen) == turns // 2 + 1:
                loop.call_soon_threadsafe(task.cancel)
                if turns % 2:
                    visits.acquire(timeout=0.05)  # it strikes while the thread is at work
            return visit(work)

        async def effect(transaction: SqliteTransaction) -> None:
            await transaction.execute(DO, ("m",))
            await transaction.execute("SELECT 1")

        loop = asyncio.get_running_loop()
        inbox._with_connection = counted  # type: ignore[assignment, method-assign]
        task = loop.create_task(once(inbox, "m", effect))
        (answer,) = await asyncio.gather(task, return_exceptions=True)
        del inbox._with_connection
        await inbox.run(lambda db: None)  # behind a commit that is still under way
        was = effects(path)
        assert was == (["m"] if answer is True else was)
        assert await once(inbox, "m", effect) == (was == [])
        assert effects(path) == ["m"]


@pytest.mark.real_loop
async def test_in_sqlite_old_notes_are_forgotten(tmp_path: Path) -> None:
    """Those of this consumer that are older than said."""
    async with SqliteInbox(tmp_path / "inbox.sqlite3") as inbox:

        async def effect(transaction: SqliteTransaction) -> None:
            assert await transaction.execute("SELECT 2") == [(2,)]

        assert await once(inbox, "m", effect)
        assert await inbox.forget(3600) == 0
        assert await inbox.forget(-1) == 1
        assert await once(inbox, "m", effect)


@pytest.mark.real_loop
async def test_in_sqlite_misuse_says_what_to_do(tmp_path: Path) -> None:
    """Not opened, opened twice, no database; and its thread is gone after the block."""
    inbox = SqliteInbox(tmp_path / "inbox.sqlite3")
    with pytest.raises(LifecycleMisuse, match="is not open"):
        await inbox.run(lambda db: None)
    async with inbox:
        with pytest.raises(LifecycleMisuse, match="is open"):
            await inbox.__aenter__()
    bad = tmp_path / "bad"
    bad.write_bytes(b"no database at all" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        await SqliteInbox(bad).__aenter__()
    for _ in range(500):
        if not any(one.name.startswith("backstay-inbox") for one in threading.enumerate()):
            break
        await asyncio.sleep(0.01)
    else:
        raise AssertionError("a thread is left")


@pytest.mark.real_loop
async def test_in_sqlite_it_closes_behind_a_transaction_that_is_open(tmp_path: Path) -> None:
    """Leaving the block waits for it."""
    path = tmp_path / "inbox.sqlite3"
    inbox = SqliteInbox(path)
    await inbox.__aenter__()
    await inbox.run(lambda db: db.execute(MAKE))

    async def effect(transaction: SqliteTransaction) -> None:
        await asyncio.sleep(0.1)
        await transaction.execute(DO, ("m",))

    running = asyncio.get_running_loop().create_task(once(inbox, "m", effect))
    await asyncio.sleep(0.05)
    await inbox.__aexit__()
    assert await running
    assert effects(path) == ["m"]
