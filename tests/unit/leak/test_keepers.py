"""What keeps a process alive is named with its line, and nothing secret is."""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib.util
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from typing import Any

import pytest

from backstay import install
from backstay.leak import Keeper, keepers, left_over
from backstay.leak import _keepers as keepers_file
from backstay.leak._keeper import counted, named_code


def tick(secret: str) -> None:
    """A callback of the program."""


def line_of(function: Any) -> str:
    return f"test_keepers.py:{function.__code__.co_firstlineno}"


def of_kind(kind: str) -> list[Keeper]:
    return [one for one in keepers(asyncio.get_running_loop()).found if one.kind == kind]


@pytest.fixture
def loops() -> list[str]:
    """The kinds of loop that the machine has."""
    return ["stock", "uvloop"] if importlib.util.find_spec("uvloop") else ["stock"]


def on(kind: str, main: Any) -> None:
    if kind == "stock":
        asyncio.run(main())
    else:
        import uvloop

        uvloop.run(main())


async def test_timers_are_named_by_callback_and_line_and_counted() -> None:
    """Alike ones are one row, soonest first; arguments are nobody's business."""
    loop = asyncio.get_running_loop()
    for delay in (30, 10, 20):
        loop.call_later(delay, functools.partial(tick, "password"))
    loop.call_later(5, tick, "password").cancel()
    sleeper = asyncio.create_task(asyncio.sleep(60), name="dozer")
    nappers = [asyncio.create_task(asyncio.sleep(60)) for _ in range(2)]
    await asyncio.sleep(0)
    ticks, naps, dozer = sorted(of_kind("timer"), key=lambda one: -one.count)
    assert (naps.name, naps.count) == ("sleep of sleep()", 2)
    assert (ticks.name, ticks.count, ticks.detail) == ("tick", 3, "due in 10.0 s")
    assert ticks.site.endswith(line_of(tick))
    assert dozer.name == "sleep of task 'dozer'"
    assert "password" not in keepers(loop).to_text()
    for task in (sleeper, *nappers):
        task.cancel()


@pytest.mark.real_loop
async def test_our_own_clock_is_no_keeper() -> None:
    """The slow clock of tracking ticks for ever, and is ended with the loop."""
    install()
    assert of_kind("timer") == []


def test_servers_and_connections_of_each_loop(loops: list[str]) -> None:
    """Both ends of a connection, and the address that listens."""

    async def main() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        _, writer = await asyncio.open_connection(host, port)
        await asyncio.sleep(0.01)
        assert [one.name for one in of_kind("server")] == [f"{host}:{port}"]
        peers = [one.name.split(" to ") for one in of_kind("connection")]
        assert sorted(peers[0]) == sorted(peers[1])
        assert all("StreamReaderProtocol" in one.detail for one in of_kind("connection"))
        writer.close()
        server.close()
        await asyncio.sleep(0.05)
        assert of_kind("server") == of_kind("connection") == []

    for kind in loops:
        on(kind, main)


def test_signal_handlers_and_timers_of_each_loop(loops: list[str]) -> None:
    """Found on uvloop too, where only the garbage collector sees them."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, tick, "password")
        loop.call_later(50, tick, "password")
        (handler,) = of_kind("signal")
        assert handler.name == "SIGUSR1 to tick"
        assert handler.site.endswith(line_of(tick))
        (timer,) = of_kind("timer")
        assert timer.name == "tick"
        assert timer.site.endswith(line_of(tick))
        loop.remove_signal_handler(signal.SIGUSR1)

    for kind in loops:
        on(kind, main)


@pytest.mark.real_loop
async def test_what_add_reader_watches() -> None:
    """A descriptor that the program watches itself, with its callback."""
    one, two = socket.socketpair()
    with one, two:
        loop = asyncio.get_running_loop()
        loop.add_reader(one, tick, "password")
        (watch,) = of_kind("watch")
        assert (watch.name, watch.detail) == ("tick", f"descriptor {one.fileno()}")
        loop.remove_reader(one)
        assert of_kind("watch") == []


@pytest.mark.real_loop
async def test_threads_and_jobs_stand_where_they_stand() -> None:
    """A thread that is no daemon, a job, a queued job; workers that idle are nothing."""
    gate = threading.Event()

    def stand() -> None:
        gate.wait()  # here

    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, tick, "x")
    assert of_kind("job") == []  # its worker idles
    thread = threading.Thread(target=stand, name="metrics")
    daemon = threading.Thread(target=stand, name="daemon", daemon=True)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        for one in (thread, daemon):
            one.start()
        jobs = [loop.run_in_executor(None, stand), pool.submit(stand)]
        loop.set_default_executor(small := ThreadPoolExecutor(1))
        queued = [loop.run_in_executor(None, stand) for _ in range(3)]
        try:
            while sum(one.count for one in of_kind("job")) < 5:
                await asyncio.sleep(0.001)
            (found,) = of_kind("thread")
            assert found.name.startswith("metrics in ")
            assert found.name.endswith("stand")
            assert found.site.endswith(f"test_keepers.py:{stand.__code__.co_firstlineno + 1}")
            assert found.holds_exit
            running, waiting = sorted(of_kind("job"), key=lambda one: one.name, reverse=True)
            assert "stand" in running.name + waiting.name
            assert any(one.name == "queued for a free thread" for one in (running, waiting))
            assert sum(one.count for one in (running, waiting)) == 5
            seen = keepers(loop)
            assert {one.kind for one in seen.holding} == {"thread", "job"}
            assert "! = the interpreter waits for it at exit" in seen.to_text()
            assert left_over(loop)[0].startswith(("thread: metrics", "job: "))
        finally:
            gate.set()
            thread.join()
            daemon.join()
            await asyncio.gather(*queued)
            small.shutdown()
    del jobs


@pytest.mark.skipif(sys.platform != "linux", reason="children are read from /proc")
@pytest.mark.real_loop
async def test_a_child_is_named_without_its_arguments() -> None:
    """The program and the pid; what stands behind it may be a password."""
    # No Python: children of one name are counted together, and other tests may have left some.
    child = subprocess.Popen(
        ["sh", "-c", "read line", "sh", "--token=hunter2"], stdin=subprocess.PIPE
    )
    found = [one for one in of_kind("process") if one.detail == f"pid {child.pid}"]
    while not found:  # between fork and exec it has our own name
        time.sleep(0.001)
        found = [one for one in of_kind("process") if one.detail == f"pid {child.pid}"]
    assert found[0].name == "sh"
    assert "hunter2" not in json.dumps(keepers().to_json())
    child.communicate()
    assert [one for one in of_kind("process") if str(child.pid) in one.detail] == []


async def test_nothing_to_name_is_said_so() -> None:
    """A quiet loop gets a page as well, and the document has its fields."""
    seen = keepers(asyncio.get_running_loop())
    assert "nothing but the loop itself holds up the exit" in seen.to_text()
    document = json.loads(json.dumps(seen.to_json()))
    assert set(document) == {"format", "found", "left_out", "tasks", "loops"}
    assert (document["tasks"], document["loops"]) == (1, 1)


async def test_a_hundred_of_a_kind_are_told_and_the_others_counted(monkeypatch) -> None:
    """The answer is bounded, and says what it leaves out."""
    monkeypatch.setattr(keepers_file, "_MOST_OF_A_KIND", 1)
    loop = asyncio.get_running_loop()
    loop.call_later(10, tick, "x")
    loop.call_later(10, print)
    loop.call_later(10, len)
    seen = keepers(loop)
    assert len([one for one in seen.found if one.kind == "timer"]) == 1
    # Children that other tests have left, and that are ending, are not asked about.
    assert {kind: left for kind, left in seen.left_out.items() if kind != "process"} == {"timer": 2}
    assert "… and 2 more" in seen.to_text()


@pytest.mark.real_loop
async def test_another_thread_may_ask_while_the_loop_works() -> None:
    """Hundreds of timers come and go while a thread looks; it gets an answer each time."""
    install()
    loop = asyncio.get_running_loop()
    done = False

    async def churn() -> None:
        while not done:
            handles = [loop.call_later(50, tick, "x") for _ in range(50)]
            await asyncio.sleep(0)
            for handle in handles:
                handle.cancel()
            time.sleep(
                0
            )  # lets the thread in, which gives up the lock with each file that it reads

    task = asyncio.create_task(churn())
    for _ in range(8):
        seen = await asyncio.to_thread(keepers, loop)
        assert seen.loops == 1
    done = True
    await task


async def test_without_a_loop_in_hand_all_tracked_ones_are_asked() -> None:
    """And a closed one has nothing to do any more."""
    loop = asyncio.get_running_loop()
    loop.call_later(77, tick, "x")
    assert "due in 77.0 s" in keepers().to_text()
    closed = asyncio.new_event_loop()
    closed.close()
    assert [one for one in keepers(closed).found if one.kind == "timer"] == []


async def test_the_answer_keeps_nothing_alive() -> None:
    """Neither the callback's object nor what it was given."""

    class Cargo:
        def run(self) -> None: ...

    cargo = Cargo()
    gone = weakref.ref(cargo)
    handle = asyncio.get_running_loop().call_later(10, cargo.run)
    seen = keepers(asyncio.get_running_loop())
    assert any("Cargo.run" in one.name for one in seen.found)
    handle.cancel()
    del handle, cargo
    await asyncio.sleep(20)
    gc.collect()
    assert gone() is None


def test_callbacks_are_named_by_their_code() -> None:
    """Through partials and methods; what has no code of its own goes by its type."""

    class Callable:
        def __call__(self) -> None: ...

        def __getattr__(self, name: str) -> object:
            raise AssertionError("code of the program was run")

    assert named_code(functools.partial(functools.partial(tick), "x"))[0] == "tick"
    assert named_code(print) == ("print", "")
    assert named_code(Callable())[0].endswith("Callable")
    assert named_code(Callable().__call__)[0].endswith("Callable.__call__")


def test_alike_ones_are_counted_together() -> None:
    """Name, place and kind decide; the first one's detail is told."""
    one = Keeper("timer", "tick", "a.py:1", "due in 1 s", 1, False)
    other = Keeper("timer", "tick", "a.py:2", "due in 2 s", 1, False)
    assert [str(each) for each in counted([one, one, other])] == [
        "2 × tick at a.py:1 (due in 1 s)",
        "tick at a.py:2 (due in 2 s)",
    ]
