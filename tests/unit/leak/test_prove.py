"""`prove()`, `Prover` and their findings: who is asked, who is spared, what is told, what is kept."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import sys
import threading
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import backstay
from backstay import Scope, forever, install, leak, uninstall
from backstay.errors import UsageError
from backstay.leak import _prove, prove
from backstay.leak._proof_findings import join_proof

KEPT: set[asyncio.Task[Any]] = set()


async def worker(queue: asyncio.Queue[int]) -> None:
    while True:
        await queue.get()


def keep(coroutine: Any) -> asyncio.Task[Any]:
    task = asyncio.get_running_loop().create_task(coroutine)
    KEPT.add(task)
    task.add_done_callback(KEPT.discard)
    return task


def orphaned_worker() -> None:
    keep(worker(asyncio.Queue()))


@asynccontextmanager
async def tracked() -> AsyncIterator[None]:
    install(exact=True)
    try:
        yield
    finally:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        uninstall()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_worker_whose_producer_is_gone_is_stuck_and_its_keeper_named() -> None:
    """With the line that started it, what it waits for, its age and its calls."""
    async with tracked():
        orphaned_worker()
        await asyncio.sleep(5)
        (one,) = prove().proved
        assert (one.verdict, one.task_name, one.function) == ("STUCK", "worker", "keep")
        assert one.site.startswith("tests/unit/leak/test_prove.py:")
        assert one.blocked_on.startswith("queue get at tests/unit/leak/test_prove.py:")
        assert one.held_by is not None
        assert one.held_by.endswith("test_prove.KEPT")
        assert one.held_by.startswith("a set in ")
        assert one.age == pytest.approx(5.0, abs=0.1)
        assert [call.partition(" at ")[0] for call in one.chain] == ["worker", "Queue.get"]


async def test_whoever_has_a_producer_is_left_alone() -> None:
    """As long as it can put: in a local of ours, in a callback of a timer, in a thread."""
    async with tracked():
        local: asyncio.Queue[int] = asyncio.Queue()
        keep(worker(local))
        timed: asyncio.Queue[int] = asyncio.Queue()
        asyncio.get_running_loop().call_later(60, timed.put_nowait, 1)
        keep(worker(timed))
        threaded: asyncio.Queue[int] = asyncio.Queue()
        stop = threading.Event()
        thread = threading.Thread(target=lambda kept: stop.wait(), args=(threaded,))
        thread.start()
        keep(worker(threaded))
        del timed, threaded
        await settle()
        found = prove()
        stop.set()
        thread.join()
        assert (found.proved, found.asked) == ((), 3)
        del local


async def _timeout_of_asyncio() -> None:
    async with asyncio.timeout(60):
        await asyncio.Event().wait()


async def _wait_for() -> None:
    await asyncio.wait_for(asyncio.Event().wait(), 60)


async def _timeout_of_ours() -> None:
    async with backstay.timeout(60):
        await asyncio.Event().wait()


async def _group_in_a_timeout() -> None:
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(worker(asyncio.Queue()))


async def _scope_with_a_timeout() -> None:
    async with Scope("s", timeout=60) as scope:
        scope.go(worker, asyncio.Queue())


async def _request_scope() -> None:
    async with Scope("outer", timeout=60), Scope("inner"):
        await asyncio.Event().wait()


async def _gather_in_a_timeout() -> None:
    async with asyncio.timeout(60):
        await asyncio.gather(worker(asyncio.Queue()), worker(asyncio.Queue()))


async def _wait_with_a_timeout() -> None:
    task = asyncio.get_running_loop().create_task(worker(asyncio.Queue()))
    await asyncio.wait({task}, timeout=60)
    task.cancel()


async def _cancel_later() -> None:
    task = asyncio.get_running_loop().create_task(worker(asyncio.Queue()))
    asyncio.get_running_loop().call_later(60, task.cancel)
    await task


LIMITED = [
    _timeout_of_asyncio,
    _wait_for,
    _timeout_of_ours,
    _group_in_a_timeout,
    _scope_with_a_timeout,
    _request_scope,
    _gather_in_a_timeout,
    _wait_with_a_timeout,
    _cancel_later,
]


@pytest.mark.parametrize("limited", LIMITED, ids=lambda fn: fn.__name__.strip("_"))
async def test_whom_a_timer_will_end_is_spared(limited: Any) -> None:
    """And so is whom such a task awaits; without the timer all of them would be stuck."""
    async with tracked():
        keep(limited())
        await settle()
        found = prove()
        assert found.proved == ()
        assert found.waiting >= 1


async def test_what_a_task_does_once_its_time_is_up_counts() -> None:
    """It may feed others then, so these are not stuck either."""

    async def feeder(queue: asyncio.Queue[int]) -> None:
        try:
            async with asyncio.timeout(60):
                await asyncio.Event().wait()
        except TimeoutError:
            queue.put_nowait(1)

    async with tracked():
        queue: asyncio.Queue[int] = asyncio.Queue()
        keep(feeder(queue))
        keep(worker(queue))
        del queue
        await settle()
        found = prove()
        assert (found.proved, found.spared) == ((), 1)


async def test_the_timer_of_somebody_else_spares_nobody() -> None:
    """The way from it leads over a registry that all share."""

    class Server:
        def __init__(self) -> None:
            self.tasks: set[asyncio.Task[Any]] = set()

    class Connection:
        def __init__(self, server: Server) -> None:
            self.server, self.tasks = server, server.tasks

        def time_is_up(self) -> None:
            self.server = None

    async with tracked():
        server = Server()
        for _ in range(3):
            connection = Connection(server)
            asyncio.get_running_loop().call_later(60, connection.time_is_up)
        server.tasks.add(asyncio.get_running_loop().create_task(worker(asyncio.Queue())))
        await settle()
        assert [one.verdict for one in prove().proved] == ["STUCK"]


async def test_a_ring_of_locks_is_stuck_and_a_forgotten_child_leaked() -> None:
    """Each holds what the other waits for; and what only a dead task holds, nobody can cancel."""

    async def ring(first: asyncio.Lock, second: asyncio.Lock) -> None:
        async with first:
            await asyncio.sleep(0)
            async with second:
                pass

    async def parent() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(worker(asyncio.Queue()))

    async with tracked():
        one, two = asyncio.Lock(), asyncio.Lock()
        keep(ring(one, two))
        keep(ring(two, one))
        keep(parent())
        del one, two
        await settle()
        found = {(p.task_name.rpartition(".")[2], p.verdict) for p in prove().proved}
        assert found == {("ring", "STUCK"), ("parent", "STUCK"), ("worker", "LEAKED")}


async def test_a_deliberate_wait_says_so() -> None:
    """`forever()` is never stuck, nor is the main task, which whoever runs the loop ends."""
    async with tracked():
        keep(forever())
        await settle()
        assert prove().proved == ()
        (task,) = KEPT
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.real_loop
def test_the_main_task_is_left_alone() -> None:
    """It is ended by the signal handler of its runner, or by whoever closes the loop."""

    async def main() -> leak.Proof:
        found: list[leak.Proof] = []
        gone = asyncio.Event()
        me = asyncio.current_task()
        assert me is not None

        def look() -> None:
            found.append(prove())
            me.cancel()

        asyncio.get_running_loop().call_later(0.01, look)
        try:
            await gone.wait()
        except asyncio.CancelledError:
            me.uncancel()
        return found[0]

    assert asyncio.run(main()).proved == ()


async def test_a_sample_of_each_site_and_an_age_to_be_asked() -> None:
    """The oldest and an even draw; tasks that are younger are not asked."""
    async with tracked():
        for _ in range(100):
            orphaned_worker()
            await asyncio.sleep(1)
        assert (prove().asked, len(prove().proved)) == (64, 64)
        assert prove(per_site=0).asked == 100
        found = prove(older_than=50.5, per_site=0)
        assert (found.alive, found.asked, len(found.proved)) == (101, 50, 50)
        assert found.proved[0].age == pytest.approx(100, abs=1)
        few = prove(per_site=4)
        assert [round(one.age) for one in few.proved] == [100, 99, 74, 25]


async def test_who_passes_a_task_holds_it() -> None:
    """So it is stuck at worst; and what is passed is all that is asked."""
    async with tracked():
        task = asyncio.get_running_loop().create_task(worker(asyncio.Queue()))
        orphaned_worker()
        await settle()
        found = prove([task])
        assert [one.task_id for one in found.proved] == [id(task)]
        assert found.proved[0].verdict == "STUCK"


async def test_a_proof_keeps_nothing_alive_and_changes_nothing() -> None:
    """Neither tasks nor what they wait for, and the collector is as it was."""
    async with tracked():
        queue: asyncio.Queue[int] = asyncio.Queue()
        task = keep(worker(queue))
        del queue
        await settle()
        assert gc.isenabled()
        found = prove()
        assert gc.isenabled()
        assert len(found.proved) == 1
        coroutine = task.get_coro()
        queues = [one for one in gc.get_referents(coroutine) if isinstance(one, asyncio.Queue)]
        watched = [weakref.ref(one) for one in (task, coroutine, *queues)]
        assert len(watched) == 3
        del coroutine, queues
        task.cancel()
        del task
        await settle()
        gc.collect()
        assert [one() for one in watched] == [None] * len(watched)
        assert found.to_json()["proved"]


async def test_it_refuses_where_references_cannot_be_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It says why, and what else there is; nobody is accused."""
    async with tracked():
        orphaned_worker()
        await settle()
        monkeypatch.setattr(_prove.sys, "version_info", (3, 14))
        assert "3.14" in prove().refused
        monkeypatch.setattr(_prove.sysconfig, "get_config_var", lambda name: 1)
        assert "free-threaded" in prove().refused
        monkeypatch.setattr(_prove.sys.implementation, "name", "pypy")
        found = prove()
        assert "pypy keeps no count" in found.refused
        assert found.proved == ()
        assert leak.report(proof=found).proof.startswith("refused: ")


def test_it_wants_a_loop_and_its_thread() -> None:
    """Each mistake gets a sentence that says what to do."""
    with pytest.raises(UsageError, match="where no event loop runs"):
        prove()

    async def elsewhere() -> None:
        loop, told = asyncio.get_running_loop(), []

        def ask() -> None:
            with pytest.raises(UsageError, match="call_soon_threadsafe") as error:
                prove(loop=loop)
            told.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        assert told

    asyncio.run(elsewhere())


async def test_a_prover_tells_only_what_is_proved_again() -> None:
    """Some seconds later, by every look in between."""
    async with tracked():
        prover = leak.Prover(asyncio.get_running_loop(), confirm_after=2.0, older_than=0.0)
        orphaned_worker()
        await settle()
        first = prover.look()
        assert (first.proved, first.unconfirmed) == ((), 1)
        await asyncio.sleep(1)
        assert prover.look().unconfirmed == 1
        await asyncio.sleep(1.5)
        orphaned_worker()
        await settle()
        found = prover.look()
        assert (len(found.proved), found.unconfirmed) == (1, 1)
        for task in list(KEPT):
            task.cancel()
        await settle()
        assert prover.look().proved == ()
        orphaned_worker()
        await settle()
        assert prover.look().unconfirmed == 1


@pytest.mark.real_loop
async def test_a_prover_is_asked_from_any_thread() -> None:
    """The loop does the work; one that is blocked cannot be asked, and that is said."""
    install()
    loop = asyncio.get_running_loop()
    prover = leak.Prover(loop, confirm_after=0.0, older_than=0.0)
    orphaned_worker()
    await settle()
    await asyncio.to_thread(prover.look)
    assert len((await asyncio.to_thread(prover.look)).proved) == 1
    blocked: list[leak.Proof] = []
    thread = threading.Thread(target=lambda: blocked.append(prover.look(timeout=0.05)))
    thread.start()
    thread.join()  # on the thread of the loop
    assert "did not answer within 0.05 s" in blocked[0].refused
    for task in list(KEPT):
        task.cancel()
    await settle()
    uninstall()


def test_a_prover_checks_its_numbers_and_outlives_its_loop() -> None:
    """A closed loop has nobody to ask."""
    loop = asyncio.new_event_loop()
    with pytest.raises(ValueError, match="confirm_after"):
        leak.Prover(loop, confirm_after=-1)
    with pytest.raises(ValueError, match="budget"):
        leak.Prover(loop, budget=0)
    prover = leak.Prover(loop)
    loop.close()
    assert prover.look().alive == 0


async def test_the_report_leads_with_the_proof() -> None:
    """It names line, keeper, calls and cure, and counts those who were asked."""
    async with tracked():
        for _ in range(3):
            orphaned_worker()
        await asyncio.sleep(10)
        seen = leak.report(proof=prove())
        (finding,) = seen.findings
        assert (finding.verdict, finding.count, finding.alive) == ("STUCK", 3, 3)
        assert finding.held_by is not None
        assert "await backstay.forever()" in finding.advice
        assert "3 proved, of 3 tasks asked" in finding.detail[0]
        page = seen.to_text()
        assert "held by" in page
        assert "Proof: 3 proved of 3 tasks asked" in page
        assert seen.to_json()["proof"] == seen.proof
        assert "Proof:" not in leak.report().to_text()


async def test_a_proof_joins_what_else_is_known_of_a_site() -> None:
    """An orphan that is proved is stuck first, and an orphan in its evidence."""
    async with tracked():
        async with Scope("POST /orders", kind="request", trace_id="4bf92f"):
            orphaned_worker()
        await asyncio.sleep(10)
        (finding,) = leak.report(proof=prove()).findings
        assert (finding.verdict, finding.trace_ids) == ("STUCK", ("4bf92f",))
        assert any(line.startswith("ORPHAN: 1 of 1") for line in finding.detail)


async def test_a_proof_says_nothing_twice_of_a_site_that_grows() -> None:
    """What to change at the await site stands in the advice about growth already."""
    async with tracked():
        for _ in range(3):
            orphaned_worker()
        await asyncio.sleep(10)
        proof = prove()
        (told,) = leak.report(proof=proof).findings
        assert told.advice.count("At the await site") == 1
        for advice in ("It grows.", "It grows. At the await site: wait less."):
            growing = dataclasses.replace(told, verdict="GROWING", advice=advice)
            (joined,) = join_proof([growing], proof, {})
            assert joined.advice.count("At the await site") == 1
            assert joined.advice.startswith(advice)
            assert "backstay.forever()" in joined.advice


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
@pytest.mark.real_loop
async def test_eager_tasks_are_judged_like_others() -> None:
    """They are in no list of the loop while they run first, and in it once they wait."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    install()
    orphaned_worker()
    await settle()
    assert [one.verdict for one in prove().proved] == ["STUCK"]
    for task in list(KEPT):
        task.cancel()
    await settle()
    uninstall()
    loop.set_task_factory(None)
