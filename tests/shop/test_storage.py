"""The shop's store: group commit on an owned thread, and what cancellation and closing leave."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from shop.storage import Store, StoreBusy, StoreClosed, StoreError

pytestmark = pytest.mark.real_loop

SCHEMA = "CREATE TABLE IF NOT EXISTS item(name TEXT PRIMARY KEY); CREATE TABLE IF NOT EXISTS outbox(name TEXT);"


def add(name: str):
    """A job that stores one business row and its outbox row."""

    def job(db: sqlite3.Connection) -> str:
        db.execute("INSERT INTO item VALUES (?)", (name,))
        db.execute("INSERT INTO outbox VALUES (?)", (name,))
        return name

    return job


def names(db: sqlite3.Connection) -> list[str]:
    """A read of all stored items."""
    return [row[0] for row in db.execute("SELECT name FROM item ORDER BY name")]


class Gate:
    """Holds the writer thread inside a job until opened, so that a batch piles up behind it."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def job(self, db: sqlite3.Connection) -> None:
        """Wait inside the writer thread."""
        self.reached.set()
        assert self.opened.wait(10)

    async def hold(self, store: Store) -> asyncio.Task[None]:
        """Put the gate in front of the store and return once the writer stands before it."""
        task = asyncio.create_task(store.write(self.job))
        await asyncio.to_thread(self.reached.wait, 10)
        return task


@asynccontextmanager
async def held_back(store: Store) -> AsyncIterator[None]:
    """While the block runs, writes pile up; afterwards they are one batch."""
    gate = Gate()
    task = await gate.hold(store)
    try:
        yield
        await asyncio.sleep(0)
    finally:
        gate.opened.set()
        await task


def store_threads() -> list[str]:
    """Names of the store threads that are alive."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("store-")]


async def test_waiting_jobs_share_one_commit(tmp_path: Path):
    """Jobs that pile up while the writer is busy are committed together, in order."""
    async with Store(tmp_path / "s.db", SCHEMA) as store:
        async with held_back(store):
            writes = [asyncio.create_task(store.write(add(f"n{i}"))) for i in range(20)]
        assert await asyncio.gather(*writes) == [f"n{i}" for i in range(20)]
        seen = store.statistics()
        assert (seen.batches, seen.largest_batch, seen.jobs, seen.failed_jobs) == (2, 20, 21, 0)
        assert seen.queued == 0
        assert 0 < seen.commit_p50_s <= seen.commit_p99_s


async def test_batch_limit(tmp_path: Path):
    """No commit holds more jobs than the batch limit."""
    async with Store(tmp_path / "s.db", SCHEMA, batch_limit=8) as store:
        async with held_back(store):
            writes = [asyncio.create_task(store.write(add(f"n{i}"))) for i in range(20)]
        await asyncio.gather(*writes)
        assert store.statistics().largest_batch == 8


async def test_failing_job_is_undone_alone(tmp_path: Path):
    """A job that fails half-way leaves nothing, its error reaches its caller, the batch commits."""
    async with Store(tmp_path / "s.db", SCHEMA) as store:
        await store.write(add("twice"))

        def half(db: sqlite3.Connection) -> None:
            db.execute("INSERT INTO outbox VALUES ('half')")
            db.execute("INSERT INTO item VALUES ('twice')")

        async with held_back(store):
            good = asyncio.create_task(store.write(add("good")))
            bad = asyncio.create_task(store.write(half))
            other = asyncio.create_task(store.write(add("other")))
        await asyncio.gather(good, other)
        with pytest.raises(sqlite3.IntegrityError):
            await bad
        assert await store.read(names) == ["good", "other", "twice"]
        assert await store.read(
            lambda db: db.execute("SELECT count(*) FROM outbox").fetchone()
        ) == (3,)
        assert store.statistics().failed_jobs == 1


async def test_failing_job_alone_in_its_batch(tmp_path: Path):
    """A lone failing job is rolled back and the next one starts clean."""
    async with Store(tmp_path / "s.db", SCHEMA) as store:
        with pytest.raises(ZeroDivisionError):
            await store.write(lambda db: (db.execute("INSERT INTO item VALUES ('x')"), 1 // 0))
        await store.write(add("y"))
        assert await store.read(names) == ["y"]


async def test_stop_iteration_reaches_the_caller(tmp_path: Path):
    """StopIteration, which asyncio refuses to carry, arrives as a RuntimeError instead of a hang."""
    async with Store(tmp_path / "s.db", SCHEMA) as store:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await store.write(lambda _: next(iter([])))


@pytest.mark.parametrize("breach", ["COMMIT", "ROLLBACK"])
async def test_job_that_ends_the_transaction(tmp_path: Path, breach: str):
    """A job that commits or rolls back by itself fails loudly, also for its batch, and does not poison the store."""
    async with Store(tmp_path / "s.db", SCHEMA) as store:
        async with held_back(store):
            first = asyncio.create_task(store.write(add("first")))
            rude = asyncio.create_task(store.write(lambda db: db.execute(breach)))
        for task in (first, rude):
            with pytest.raises(StoreError, match="COMMIT, ROLLBACK or executescript"):
                await task
        await store.write(add("later"))
        assert "later" in await store.read(names)


async def test_broken_database_answers_everybody(tmp_path: Path):
    """When the connection itself breaks, waiting callers and later ones hear it instead of waiting for ever."""
    async with Store(tmp_path / "s.db", SCHEMA) as store:
        async with held_back(store):
            broken = asyncio.create_task(store.write(lambda db: db.close()))
            after = asyncio.create_task(store.write(add("after")))
        async with asyncio.timeout(5):
            for task in (broken, after, asyncio.create_task(store.write(add("later")))):
                with pytest.raises(StoreError, match="closed database"):
                    await task


async def test_cancelled_before_it_began_is_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """A job whose caller is gone before it begins is not run, and nothing is logged."""
    caplog.set_level(logging.DEBUG)
    async with Store(tmp_path / "s.db", SCHEMA) as store:
        async with held_back(store):
            gone = asyncio.create_task(store.write(add("gone")))
            stays = asyncio.create_task(store.write(add("stays")))
            await asyncio.sleep(0)
            gone.cancel()
            await asyncio.sleep(0)
        await stays
        assert gone.cancelled()
        assert await store.read(names) == ["stays"]
        assert store.statistics().skipped_jobs == 1
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_cancelled_while_it_runs_still_commits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """A job that has begun commits although its caller is gone; no late error is logged."""
    async with Store(tmp_path / "s.db", SCHEMA) as store:
        gate = Gate()

        def slow(db: sqlite3.Connection) -> None:
            gate.job(db)
            add("slow")(db)

        task = asyncio.create_task(store.write(slow))
        await asyncio.to_thread(gate.reached.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.opened.set()
        await store.write(add("next"))
        assert await store.read(names) == ["next", "slow"]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_write_behind_runs_after_earlier_writes(tmp_path: Path):
    """A write behind needs no waiter, keeps its place in line and swallows its own error."""
    async with Store(tmp_path / "s.db", SCHEMA) as store:
        async with held_back(store):
            store.write_behind(add("a"))
            store.write_behind(add("a"))  # fails: nobody hears it
            store.write_behind(lambda db: db.execute("UPDATE item SET name = 'b'"))
        await store.write(lambda _: None)
        assert await store.read(names) == ["b"]


async def test_reads_cannot_write(tmp_path: Path):
    """The read connection refuses to change anything."""
    async with Store(tmp_path / "s.db", SCHEMA) as store:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await store.read(add("x"))
        assert await store.read(names) == []


async def test_read_is_one_snapshot_and_sees_earlier_writes(tmp_path: Path):
    """Within a read nothing moves, and a read that follows a write sees it."""
    async with Store(tmp_path / "s.db", SCHEMA) as store:
        began, go_on = threading.Event(), threading.Event()

        def twice(db: sqlite3.Connection) -> tuple[list[str], list[str]]:
            before = names(db)
            began.set()
            assert go_on.wait(10)
            return before, names(db)

        reading = asyncio.create_task(store.read(twice))
        await asyncio.to_thread(began.wait, 10)
        await store.write(add("late"))
        go_on.set()
        assert await reading == ([], [])
        assert await store.read(names) == ["late"]
        assert store.statistics().reads == 2


async def test_too_many_waiting_jobs(tmp_path: Path):
    """Past the limit a caller hears StoreBusy at once, with the numbers."""
    async with Store(tmp_path / "s.db", SCHEMA, queue_limit=3) as store:
        async with held_back(store):
            writes = [asyncio.create_task(store.write(add(f"n{i}"))) for i in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(StoreBusy, match=r"3 jobs wait .* the limit is 3"):
                await store.write(add("too many"))
        await asyncio.gather(*writes)


async def test_close_drains_then_ends_the_threads(tmp_path: Path):
    """Queued jobs are committed by close(), which leaves no thread; later jobs hear StoreClosed."""
    store = await Store(tmp_path / "s.db", SCHEMA).start()
    assert len(store_threads()) == 2
    gate = Gate()
    held = await gate.hold(store)
    writes = [asyncio.create_task(store.write(add(f"n{i}"))) for i in range(5)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0.01)
    with pytest.raises(StoreClosed):
        await store.write(add("late"))
    gate.opened.set()
    await asyncio.gather(held, *writes, closing)
    await store.close()
    assert store_threads() == []
    assert not (tmp_path / "s.db-wal").exists()
    async with Store(tmp_path / "s.db", SCHEMA) as again:
        assert len(await again.read(names)) == 5


async def test_cancelled_close_still_closes(tmp_path: Path):
    """When close() is cancelled the threads finish by themselves."""
    store = await Store(tmp_path / "s.db", SCHEMA).start()
    gate = Gate()
    held = await gate.hold(store)
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0.01)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    gate.opened.set()
    await held
    await store.close()
    assert store_threads() == []


async def test_unusable_file(tmp_path: Path):
    """A path that cannot be opened, a file that is no database and a wrong schema are one clear error each."""
    (tmp_path / "text.db").write_text(
        "this is not a database, but it is long enough to be looked at " * 20
    )
    for path, schema in (
        (tmp_path / "no" / "such" / "dir.db", SCHEMA),
        (tmp_path / "text.db", SCHEMA),
        (tmp_path / "new.db", "CREATE TABEL x"),
    ):
        with pytest.raises(StoreError, match=f"cannot open the database {path}"):
            await Store(path, schema).start()
    assert store_threads() == []


async def test_use_outside_of_its_life(tmp_path: Path):
    """A store that was not started says so, and one is not started twice."""
    store = Store(tmp_path / "s.db", SCHEMA)
    with pytest.raises(StoreClosed, match="start the store first"):
        await store.read(names)
    await store.close()
    async with store:
        with pytest.raises(StoreError, match="started before"):
            await store.start()


@pytest.mark.parametrize("synchronous", ["NORMAL", "FULL"])
async def test_synchronous_setting_reaches_the_database(tmp_path: Path, synchronous):
    """The durability that was asked for is the one in force."""
    async with Store(tmp_path / "s.db", SCHEMA, synchronous=synchronous) as store:
        level = await store.write(lambda db: db.execute("PRAGMA synchronous").fetchone()[0])
        assert level == {"NORMAL": 1, "FULL": 2}[synchronous]
        assert (
            await store.write(lambda db: db.execute("PRAGMA journal_mode").fetchone()[0]) == "wal"
        )


def test_loop_closed_while_a_job_runs(tmp_path: Path):
    """A loop that dies under a running job leaves a thread that ends quietly."""
    gate = Gate()

    async def abandon() -> None:
        store = await Store(tmp_path / "s.db", SCHEMA).start()
        asyncio.get_running_loop().create_task(store.write(gate.job))
        await asyncio.to_thread(gate.reached.wait, 10)
        # The writer ends once the gate opens, after this loop is closed.
        asyncio.get_running_loop().create_task(store.close())
        await asyncio.sleep(0.01)

    asyncio.run(abandon())
    gate.opened.set()
    for thread in threading.enumerate():
        if thread.name.startswith("store-"):
            thread.join(5)
    assert store_threads() == []


def test_process_exits_with_an_unclosed_store(tmp_path: Path):
    """A program that forgets to close its store still exits, and what it wrote is there."""
    program = (
        "import asyncio, sys; from shop.storage import Store\n"
        "async def main():\n"
        "    store = await Store(sys.argv[1], 'CREATE TABLE IF NOT EXISTS t(v)').start()\n"
        "    await store.write(lambda db: db.execute('INSERT INTO t VALUES (7)'))\n"
        "asyncio.run(main())\n"
    )
    path = str(tmp_path / "s.db")
    done = subprocess.run(
        [sys.executable, "-c", program, path], timeout=20, capture_output=True, check=True
    )
    assert done.stderr == b""
    db = sqlite3.connect(path)
    assert db.execute("SELECT v FROM t").fetchall() == [(7,)]
    db.close()
