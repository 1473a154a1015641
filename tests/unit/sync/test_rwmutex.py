"""RWMutex: readers together, writers alone, and neither keeps the other out."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from backstay import now
from backstay.errors import LockMisuse
from backstay.sync import RWMutex


async def read(rw: RWMutex, seconds: float = 0.0) -> None:
    """Read for a while."""
    async with rw.read:
        await asyncio.sleep(seconds)


async def write(rw: RWMutex, seconds: float = 0.0) -> None:
    """Write for a while."""
    async with rw.write:
        await asyncio.sleep(seconds)


async def started(work: Any, name: str = "") -> asyncio.Task[None]:
    """Start a task, and return when it has come to its first wait."""
    task = asyncio.create_task(work, name=name or None)
    await asyncio.sleep(0)
    return task


def me() -> asyncio.Task[Any]:
    """Return the running task."""
    task = asyncio.current_task()
    assert task is not None
    return task


async def test_readers_share_and_writers_do_not() -> None:
    """Three readers of one second take one second, three writers three."""
    rw = RWMutex()
    await asyncio.gather(*(read(rw, 1.0) for _ in range(3)))
    assert now() == 1.0
    await asyncio.gather(*(write(rw, 1.0) for _ in range(3)))
    assert now() == 4.0


async def test_a_waiting_writer_blocks_new_readers() -> None:
    """A stream of readers cannot keep a writer out."""
    rw = RWMutex("m")
    first = await started(read(rw, 1.0))
    writer = await started(write(rw, 1.0))
    late = await started(read(rw, 1.0))
    assert repr(rw) == "<RWMutex 'm' readers=1 waiting=2>"
    assert not rw.read.try_lock()
    await first
    await asyncio.sleep(0)
    assert not writer.done()
    assert repr(rw).startswith("<RWMutex 'm' written by ")
    await asyncio.gather(writer, late)
    assert now() == 3.0
    assert repr(rw) == "<RWMutex 'm' free>"


async def test_when_a_writer_is_done_all_waiting_readers_go_before_the_next_writer() -> None:
    """A stream of writers cannot keep readers out."""
    rw = RWMutex()
    order: list[str] = []

    async def reads(name: str) -> None:
        async with rw.read:
            order.append(name)
            await asyncio.sleep(1)

    async def writes(name: str) -> None:
        async with rw.write:
            order.append(name)
            await asyncio.sleep(1)

    tasks = [
        await started(w)
        for w in (writes("w1"), reads("r1"), writes("w2"), reads("r2"), writes("w3"))
    ]
    await asyncio.gather(*tasks)
    assert order == ["w1", "r1", "r2", "w2", "w3"]
    assert now() == 4.0


async def test_by_hand() -> None:
    """lock, try_lock and unlock of both sides."""
    rw = RWMutex()
    await rw.read.lock()
    rw.read.unlock()
    await rw.write.lock()
    rw.write.unlock()
    assert rw.write.try_lock()
    rw.write.unlock()
    assert rw.read.try_lock()
    rw.read.unlock()
    reader = await started(read(rw, 1.0))
    assert not rw.write.try_lock()
    await rw.write.lock()
    rw.write.unlock()
    writer = await started(write(rw, 1.0))
    await rw.read.lock()
    assert now() == 2.0
    rw.read.unlock()
    await asyncio.gather(reader, writer)


# -- cancellation -----------------------------------------------------------------------


async def test_a_cancelled_writer_lets_the_readers_through_that_it_blocked() -> None:
    """Nobody waits for a writer that is gone."""
    rw = RWMutex()
    reader = await started(read(rw, 10.0))
    writer = await started(write(rw))
    late = await started(read(rw))
    writer.cancel()
    await late
    assert now() == 0.0
    assert rw.read.try_lock()
    rw.read.unlock()
    reader.cancel()
    await asyncio.wait([reader, writer])


async def test_with_a_second_writer_in_line_they_go_on_waiting() -> None:
    """One cancelled writer of two changes nothing for the readers."""
    rw = RWMutex()
    reader = await started(read(rw, 1.0))
    gone, stays = await started(write(rw)), await started(write(rw))
    late = await started(read(rw))
    gone.cancel()
    await asyncio.sleep(0.5)
    assert not late.done()
    await asyncio.gather(reader, stays, late)


async def test_a_cancelled_reader_leaves_the_line() -> None:
    """It is not let in when its turn comes."""
    rw = RWMutex()
    writer = await started(write(rw, 1.0))
    gone = await started(read(rw))
    gone.cancel()
    await asyncio.wait([writer, gone])
    assert rw.write.try_lock()
    rw.write.unlock()


async def test_cancelled_after_being_let_in() -> None:
    """Readers and writers that were let in and are cancelled before they run give it back."""
    rw = RWMutex()
    await rw.write.lock()
    gone_reader, reader = await started(read(rw)), await started(read(rw))
    gone_writer, writer = await started(write(rw)), await started(write(rw))
    rw.write.unlock()
    gone_reader.cancel()
    await reader
    assert gone_reader.cancelled()
    gone_writer.cancel()
    await writer
    assert gone_writer.cancelled()
    assert rw.write.try_lock()
    rw.write.unlock()


async def test_a_writer_cancelled_in_the_turn_of_its_hand_over() -> None:
    """It was given the mutex by the unlock, and the next in line gets it."""
    rw = RWMutex()
    await rw.write.lock()
    gone, stays = await started(write(rw)), await started(write(rw))
    rw.write.unlock()
    gone.cancel()
    await stays
    assert gone.cancelled()
    assert rw.statistics().write_wait.count == 1


async def test_the_last_reader_leaves_while_the_writer_is_being_cancelled() -> None:
    """A writer that was cancelled and has not run yet gets nothing."""
    rw = RWMutex()
    await rw.read.lock()
    writer = await started(write(rw))
    writer.cancel()
    rw.read.unlock()
    await asyncio.wait([writer])
    assert rw.write.try_lock()
    rw.write.unlock()


async def test_a_cancelled_writer_while_another_writes() -> None:
    """The readers behind it wait for the one that writes."""
    rw = RWMutex()
    writer = await started(write(rw, 1.0))
    gone = await started(write(rw))
    reader = await started(read(rw))
    gone.cancel()
    await asyncio.wait([gone])
    assert not reader.done()
    await asyncio.gather(writer, reader)
    assert now() == 1.0


# -- misuse ---------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["read", "write"])
@pytest.mark.parametrize("second", ["read", "write"])
async def test_nobody_takes_it_twice(first: str, second: str) -> None:
    """Reading or writing twice, and upgrading, would deadlock sooner or later: always an error."""
    rw = RWMutex("routes")
    async with getattr(rw, first):
        await asyncio.sleep(2)
        with pytest.raises(
            LockMisuse, match=rf"asks to {second} at rwmutex 'routes'.*has held it for 2 s"
        ):
            await getattr(rw, second).__aenter__()
        with pytest.raises(LockMisuse, match="wait for itself"):
            await getattr(rw, second).lock()
        with pytest.raises(LockMisuse, match="wait for itself"):
            getattr(rw, second).try_lock()
    assert rw.write.try_lock()
    rw.write.unlock()


@pytest.mark.parametrize("side", ["read", "write"])
async def test_asking_twice_at_the_same_time(side: str) -> None:
    """Two requests for one task would be one holder with two unlocks."""
    rw = RWMutex()
    writer = await started(write(rw, 1.0))
    first, second = getattr(rw, side).lock(), getattr(rw, side).lock()
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert results[0] is None
    assert isinstance(results[1], LockMisuse)
    first, second = None, None
    getattr(rw, side).unlock()
    await writer
    first, second = getattr(rw, side).lock(), getattr(rw, side).lock()
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert isinstance(results[1], LockMisuse)
    getattr(rw, side).unlock()


async def test_a_stranger_cannot_unlock() -> None:
    """Neither side, neither who never had it nor who has it as a block."""
    rw = RWMutex("routes")
    with pytest.raises(LockMisuse, match=r"cannot stop reading.*nobody holds it"):
        rw.read.unlock()
    with pytest.raises(LockMisuse, match="cannot stop writing"):
        rw.write.unlock()
    async with rw.read:
        with pytest.raises(LockMisuse, match="has not taken by lock"):
            rw.read.unlock()
    async with rw.write:
        with pytest.raises(LockMisuse, match="a block unlocks by itself"):
            rw.write.unlock()
    reader = await started(read(rw, 5.0), "reader")
    with pytest.raises(LockMisuse, match=r"task 'reader' has held it for 0 s \(now in sleep"):
        rw.read.unlock()
    reader.cancel()
    caught: list[BaseException] = []

    def callback() -> None:
        for attempt in (rw.read.unlock, rw.read.try_lock):
            try:
                attempt()
            except LockMisuse as error:
                caught.append(error)

    asyncio.get_running_loop().call_soon(callback)
    await asyncio.sleep(0)
    assert "code outside of a task cannot stop reading" in str(caught[0])
    assert "asked for outside of a task" in str(caught[1])


async def test_the_next_in_line_hears_of_a_holder_that_ended() -> None:
    """A reader that ended without unlocking would keep every writer waiting."""
    rw = RWMutex("routes")

    async def forgets() -> None:
        await rw.read.lock()

    await asyncio.create_task(forgets(), name="forgetful")
    with pytest.raises(LockMisuse, match=r"for ever: task 'forgetful'"):
        async with rw.write:
            pass


async def test_a_block_may_be_left_in_another_task() -> None:
    """A generator finalised late stops reading; nobody else does in its place."""
    rw = RWMutex()

    async def rows() -> Any:
        async with rw.read:
            yield 1

    generator = rows()

    async def first() -> None:
        await anext(generator)

    await asyncio.create_task(first())
    other = await started(read(rw, 1.0))
    await generator.aclose()
    assert rw.statistics().readers == 1
    assert other in rw._readers
    await other
    generator = rows()
    await anext(generator)
    closing = asyncio.create_task(generator.aclose())
    await closing
    assert rw.statistics().readers == 0


def test_left_outside_of_any_loop() -> None:
    """A coroutine that is closed when everything has ended lets go quietly."""
    rw = RWMutex()
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(work) for work in (read(rw, 10), write(rw))]
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        task.get_coro().close()  # type: ignore[union-attr]
    assert not rw._in_use()

    async def main() -> None:
        async with rw.write:
            pass
        async with rw.read:
            assert rw._in_use()

    asyncio.run(main())
    asyncio.run(main())
    rw._leave_reading(None)  # nobody reads: nothing happens


async def test_without_a_loop_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """From Python 3.12 on asking for the running task is an error where no loop runs."""

    def refuses(_: object) -> None:
        raise RuntimeError("no running event loop")

    rw = RWMutex()
    await rw.read.__aenter__()
    monkeypatch.setattr("backstay.sync._rwmutex.task_in", refuses)
    await rw.read.__aexit__(None, None, None)
    assert rw.statistics().readers == 0


def test_forgotten_with_its_loop() -> None:
    """The last reader of a closed loop leaves while a writer stands in line there."""
    rw = RWMutex()
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(work) for work in (read(rw, 10), write(rw), read(rw))]
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    for task in reversed(tasks):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        task.get_coro().close()  # type: ignore[union-attr]
    assert not rw._in_use()
    assert rw._open


# -- what it knows -------------------------------------------------------------------------------


async def test_statistics_and_holders() -> None:
    """Who holds it, who waits, and how long that took."""
    rw = RWMutex("routes")
    readers = [await started(read(rw, 1.0), f"r{n}") for n in range(2)]
    writer = await started(write(rw, 2.0), "w")
    late = await started(read(rw, 1.0), "late")
    statistics = rw.statistics()
    assert (statistics.readers, statistics.writer) == (2, None)
    assert (statistics.waiting_readers, statistics.waiting_writers) == (1, 1)
    assert [holder.task for holder in rw.holders()] == ["r0", "r1"]
    assert rw._in_words() == "'routes' held by 2 readers"
    await asyncio.sleep(1.5)
    assert rw._in_words() == "'routes' held by 'w' for 0.5 s"
    statistics = rw.statistics()
    assert statistics.writer is not None
    assert statistics.writer.task == "w"
    assert statistics.writer.site.startswith(__file__)
    assert statistics.writer.held_s == 0.5
    await asyncio.gather(*readers, writer, late)
    statistics = rw.statistics()
    assert statistics.write_wait.longest_s == 1.0
    assert statistics.write_hold.longest_s == 2.0
    assert statistics.read_wait.longest_s == 3.0
    async with rw.read:
        assert rw._in_words().startswith("'routes' held by 'Task-")
    async with rw.write:
        line = sys._getframe().f_lineno - 1
        assert rw.holders()[0].site == f"{__file__}:{line}"
