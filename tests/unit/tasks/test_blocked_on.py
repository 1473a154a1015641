"""What a task waits for, as far as no library is involved; those have tests of their own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from backstay.tasks import BlockedOn, blocked_on
from backstay.tasks import _wait_judge as subject
from backstay.tasks._code_origin import origin_of
from backstay.tasks._wait_reader import WaitReader
from backstay.tasks._wait_rules import Rule

HERE = __file__


async def settled(task: asyncio.Task[Any]) -> asyncio.Task[Any]:
    for _ in range(4):
        await asyncio.sleep(0)
    return task


async def seen(work: Coroutine[Any, Any, Any]) -> BlockedOn | None:
    task = await settled(asyncio.create_task(work))
    found = blocked_on(task)
    quickly = WaitReader().read(task)
    task.cancel()
    await asyncio.wait([task])
    assert quickly == (found and replace(found, detail="")), "whoever reads many reads the same"
    return found


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def test_what_does_not_wait_is_blocked_on_nothing() -> None:
    """New, ready, running and finished tasks wait for nothing."""
    new = asyncio.create_task(forever())
    assert blocked_on(new) is None
    new.cancel()

    async def ready() -> None:
        while True:
            await asyncio.sleep(0)

    assert await seen(ready()) is None

    async def me() -> BlockedOn | None:
        task = asyncio.current_task()
        assert task is not None
        return blocked_on(task)

    task = asyncio.create_task(me())
    assert await task is None
    assert blocked_on(task) is None


async def test_a_woken_task_waits_no_more() -> None:
    """Between its future's result and its next step a task is ready, not blocked."""
    future = asyncio.get_running_loop().create_future()

    async def waiting() -> None:
        await future

    task = await settled(asyncio.create_task(waiting()))
    assert blocked_on(task) is not None
    future.set_result(None)
    assert blocked_on(task) is None
    await task


async def test_it_reads_as_one_line() -> None:
    """Label, numbers and place, in the order in which one asks for them."""

    async def work() -> None:
        await asyncio.Queue[int]().get()

    found = await seen(work())
    assert found is not None
    assert str(found) == f"queue get (0 items, 1 getter) at {found.site}"
    assert found.site == f"{HERE}:{work.__code__.co_firstlineno + 1}"
    assert str(BlockedOn("future", "future", "", "a.py:1")) == "future at a.py:1"


async def test_a_library_all_the_way_names_who_called_the_operation() -> None:
    """Where no line is the user's, the site is the nearest there is."""
    found = await seen(asyncio.Queue[int]().join())
    assert found is None  # an empty queue is joined at once
    found = await seen(asyncio.sleep(10))
    assert found is not None
    assert "asyncio" in found.site


async def test_wait_for_inside_wait_for() -> None:
    """However many wait_for are around it, the innermost wait is told (on 3.11 each is a task)."""

    async def work() -> None:
        await asyncio.wait_for(asyncio.wait_for(asyncio.Event().wait(), 40), 50)

    found = await seen(work())
    assert found is not None
    assert (found.label, found.site.rpartition(":")[0]) == ("event wait", HERE)
    assert "times out in 40.0 s" in found.detail


async def test_wait_for_a_bare_future() -> None:
    """A future inside of wait_for is still a future."""
    future = asyncio.get_running_loop().create_future()

    async def work() -> None:
        await asyncio.wait_for(future, 50)

    found = await seen(work())
    assert found is not None
    assert (found.label, found.detail) == ("future", "times out in 50.0 s")


async def test_too_many_wait_for_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hops of Python 3.11 are bounded; beyond, the future itself is told."""
    monkeypatch.setattr(subject, "_MAX_HOPS", 0)

    async def work() -> None:
        await asyncio.wait_for(asyncio.Event().wait(), 50)

    found = await seen(work())
    assert found is not None
    assert found.label in {"future", "event wait"}


async def test_a_shield_names_what_it_protects() -> None:
    """Tasks by name and coroutine, bare futures by their type."""
    inner = asyncio.get_running_loop().create_future()

    async def work() -> None:
        await asyncio.shield(inner)

    found = await seen(work())
    assert found is not None
    assert (found.kind, found.label, found.detail) == ("task", "shield", "Future")


async def test_far_deadlines_are_told_in_whole_seconds() -> None:
    """Nobody reads tenths of a second of an hour."""

    async def work() -> None:
        async with asyncio.timeout(None), asyncio.timeout(7200):
            await asyncio.sleep(36_000)

    found = await seen(work())
    assert found is not None
    assert found.detail == "36,000 s left, times out in 7,200 s"


async def test_big_sets_are_not_counted_one_by_one() -> None:
    """A wait for thousands of futures costs no more to describe than one for ten."""
    futures = [asyncio.get_running_loop().create_future() for _ in range(1_500)]

    async def work() -> None:
        await asyncio.gather(*futures)

    async def waiting() -> None:
        await asyncio.wait(futures)

    found = await seen(waiting())
    assert found is not None
    assert (found.label, found.detail) == ("wait", "")
    found = await seen(work())
    assert found is not None
    assert (found.label, found.detail) == ("gather", "1500 futures")


async def test_one_future_with_many_waiters_stays_cheap() -> None:
    """Ten thousand tasks on one future do not make each answer cost ten thousand."""
    future = asyncio.get_running_loop().create_future()

    async def work() -> None:
        await future

    tasks = [asyncio.create_task(work()) for _ in range(5_000)]
    await settled(tasks[0])

    def seconds(count: int) -> float:
        start = time.process_time()
        for task in tasks[:count]:
            assert blocked_on(task) is not None
        return time.process_time() - start

    seconds(500)
    # Copying the callbacks would take 50 microseconds and more each, in proportion to their number.
    assert min(seconds(500) for _ in range(5)) / 500 < 200e-6
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


class MyQueue(asyncio.Queue[int]):
    """A queue whose own methods must not be called by somebody who only looks."""

    def _init(self, maxsize: int) -> None:
        self._queue: Any = Touchy()

    def qsize(self) -> int:
        return 0

    def empty(self) -> bool:
        return True


class Touchy:
    """Any use of it from outside is an accident."""

    def __len__(self) -> int:
        raise AssertionError("code of the user was run")

    @property
    def __class__(self) -> Any:
        raise AssertionError("code of the user was run")


async def test_no_code_of_the_user_is_run() -> None:
    """Subclasses and proxies are looked at from outside only."""

    async def work() -> None:
        touchy = Touchy()
        await MyQueue().get()
        del touchy

    found = await seen(work())
    assert found is not None
    assert (found.label, found.detail) == ("queue get", "1 getter")


async def test_a_detail_that_cannot_be_read_costs_only_the_detail() -> None:
    """When a library renames its attributes the label is right all the same."""

    async def work() -> None:
        queue = asyncio.Queue[int]()
        waiting = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        del queue._getters
        try:
            await waiting
        finally:
            waiting.cancel()

    task = await settled(asyncio.create_task(work()))
    labels = {
        found.label: found.detail for each in asyncio.all_tasks() if (found := blocked_on(each))
    }
    assert labels["queue get"] == ""
    task.cancel()


def test_broken_tasks_do_not_raise() -> None:
    """Whatever goes wrong while looking, the answer is that nothing was seen."""
    assert blocked_on(SimpleNamespace()) is None  # type: ignore[arg-type]


@pytest.mark.real_loop
async def test_executor_futures() -> None:
    """A bare concurrent future, wrapped by hand, is a wait for a thread."""
    source: concurrent.futures.Future[int] = concurrent.futures.Future()

    async def work() -> None:
        await asyncio.wrap_future(source)

    found = await seen(work())
    assert found is not None
    assert (found.kind, found.detail) == ("executor", "queued for a free thread")
    source = concurrent.futures.Future()
    source.set_running_or_notify_cancel()
    found = await seen(work())
    assert found is not None
    assert found.detail == "running in a thread"


class Lookalike:
    """A future of somebody else's making (asyncio asks for this attribute alone)."""

    _asyncio_future_blocking = False

    def __await__(self) -> Any:
        self._asyncio_future_blocking = True
        yield self

    def add_done_callback(self, callback: Any, *, context: Any = None) -> None:
        pass

    def get_loop(self) -> Any:
        return asyncio.get_running_loop()

    def cancel(self, msg: Any = None) -> bool:
        return False


async def test_future_lookalikes_are_named_by_type() -> None:
    """What is no asyncio future at all is told by the name of its class."""

    async def work() -> None:
        await Lookalike()

    task = await settled(asyncio.create_task(work()))
    found = blocked_on(task)
    assert found is not None
    assert (found.kind, found.label, found.detail) == ("future", "awaitable", "Lookalike")
    task._log_destroy_pending = False  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "label"), [("Reader", "socket recv"), ("Writer", "socket send"), ("Other", "future")]
)
async def test_uvloops_socket_futures(name: str, label: str) -> None:
    """The futures of uvloop's socket calls tell the direction by their type."""
    kind = type(f"_SyncSocket{name}Future", (asyncio.Future,), {"__module__": "uvloop.loop"})

    async def work() -> None:
        await kind()

    found = await seen(work())
    assert found is not None
    assert found.label == label


def library(tmp_path: Any, source: str) -> Callable[[], Coroutine[Any, Any, Any]]:
    """Compile `source` as if it were an installed package, and return its `call`."""
    path = tmp_path / "site-packages" / "somelib" / "client.py"
    space: dict[str, Any] = {"asyncio": asyncio}
    exec(compile(source, str(path), "exec"), space)
    return space["call"]


async def test_an_unknown_library_is_named(tmp_path: Any) -> None:
    """Where the table knows nothing, it helps to hear whose code waits."""
    call = library(
        tmp_path, "async def call():\n    await asyncio.get_running_loop().create_future()\n"
    )

    async def work() -> None:
        await call()

    found = await seen(work())
    assert found is not None
    assert (found.label, found.detail) == ("future", "inside somelib")
    assert found.site.startswith(f"{HERE}:")
    found = await seen(call())
    assert found is not None
    assert found.site.endswith("client.py:2")


RULES = {
    "somelib.client": {
        "call": Rule("db", "some query", phases={"somelib.client:connect": "connecting"}),
        "idle": Rule("http", "idle", innermost=True),
        "Client.*": Rule("db", "some client"),
    },
    "somelib.*": {"*": Rule("db", "some package")},
}
SOURCE = """
async def call():
    await connect()
async def connect():
    await asyncio.Event().wait()
"""


async def test_the_outermost_rule_wins_and_phases_refine_it(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event inside of a query is the query's business."""
    monkeypatch.setattr(subject, "_RULES", {**subject._RULES, **RULES})
    subject._rule.cache_clear()
    call = library(tmp_path, SOURCE)

    async def work() -> None:
        await call()

    found = await seen(work())
    assert found is not None
    assert (found.kind, found.label) == ("db", "some query: connecting")
    assert subject._rule("somelib.client", "Client.fetch") == RULES["somelib.client"]["Client.*"]
    assert subject._rule("somelib.client", "unknown") is None
    assert subject._rule("somelib.deep.down", "anything") == RULES["somelib.*"]["*"]
    assert subject._rule("otherlib", "call") is None
    subject._rule.cache_clear()


async def test_an_innermost_rule_yields_to_what_is_inside(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server's idle loop is idle only while nothing runs below it."""
    monkeypatch.setattr(subject, "_RULES", {**subject._RULES, **RULES})
    subject._rule.cache_clear()
    alone = library(tmp_path, "async def idle():\n    await asyncio.Future()\ncall = idle")
    found = await seen(alone())
    assert found is not None
    assert found.label == "idle"
    serving = library(tmp_path, "async def idle():\n    await asyncio.sleep(9)\ncall = idle")
    found = await seen(serving())
    assert found is not None
    assert found.label == "sleep"
    assert found.site.endswith("client.py:2")
    subject._rule.cache_clear()


def test_where_code_comes_from() -> None:
    """Libraries, the standard library and ourselves are told from the user's code."""
    assert origin_of("/venv/lib/python3.11/site-packages/aiohttp/client.py") == (
        "aiohttp.client",
        True,
    )
    assert origin_of("/usr/lib/python3/dist-packages/six.py") == ("six", True)
    assert origin_of(asyncio.__file__) == ("asyncio", True)
    assert origin_of("<frozen importlib._bootstrap>") == ("importlib._bootstrap", True)
    assert origin_of(subject.__file__) == ("backstay.tasks._wait_judge", True)
    assert origin_of("/app/shop/orders.py") == ("", False)
    assert origin_of("<stdin>") == ("", False)


class Precious:
    """Something that must die when the task drops it."""


async def test_looking_keeps_nothing_alive() -> None:
    """What the task drops after we looked dies at once, and the record holds only strings."""
    gate = asyncio.Event()
    dropped: list[weakref.ref[Precious]] = []

    async def owner() -> None:
        precious = Precious()
        dropped.append(weakref.ref(precious))
        await gate.wait()
        del precious
        await forever()

    task = await settled(asyncio.create_task(owner()))
    found = blocked_on(task)
    gate.set()
    await settled(task)
    assert dropped[0]() is None
    assert {type(thing) for thing in gc.get_referents(found)} <= {str, type}
    task.cancel()


def test_from_another_thread_while_the_loop_is_blocked() -> None:
    """The admin plane's thread gets its answer from a loop that answers nobody."""
    tasks: list[asyncio.Task[Any]] = []
    blocked, release = threading.Event(), threading.Event()

    async def main() -> None:
        tasks.append(asyncio.create_task(asyncio.Event().wait()))
        await asyncio.sleep(0)
        blocked.set()
        release.wait(10)
        tasks[0].cancel()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    blocked.wait(10)
    found = blocked_on(tasks[0])
    release.set()
    thread.join()
    assert found is not None
    assert found.label == "event wait"


def test_while_the_loop_runs_it_never_raises() -> None:
    """Tasks that move on while we look are ready or blocked, and nothing else."""
    tasks: list[asyncio.Task[Any]] = []
    stop = threading.Event()

    async def busy(queue: asyncio.Queue[int]) -> None:
        while not stop.is_set():
            queue.put_nowait(1)
            await queue.get()
            await asyncio.sleep(0)
            await asyncio.wait_for(asyncio.sleep(0), 5)

    async def main() -> None:
        queue: asyncio.Queue[int] = asyncio.Queue()
        tasks.extend(asyncio.create_task(busy(queue)) for _ in range(10))
        await asyncio.wait(tasks)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    try:
        for _ in range(1_000):
            for task in tasks[:3]:
                found = blocked_on(task)
                assert found is None or isinstance(found, BlockedOn)
    finally:
        stop.set()
        thread.join()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_eager_tasks() -> None:
    """A task that ran before it was scheduled is judged like any other."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    try:
        task = loop.create_task(asyncio.Event().wait())
        found = blocked_on(task)
    finally:
        loop.set_task_factory(None)
    assert found is not None
    assert found.label == "event wait"
    task.cancel()
