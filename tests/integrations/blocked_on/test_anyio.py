"""Conformance: what waiting inside anyio (on the asyncio back end) is called."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import signal
import socket
import sys
import threading
from typing import Any

import anyio
import anyio.to_thread
import pytest
import uvloop
from anyio.abc import TaskStatus

from backstay import install
from backstay.leak import report

Stack = contextlib.AsyncExitStack


async def channel_recv(stack: Stack) -> None:
    send, recv = anyio.create_memory_object_stream[int](0)
    with send, recv:
        await recv.receive()


async def channel_send(stack: Stack) -> None:
    send, recv = anyio.create_memory_object_stream[int](0)
    with send, recv:
        await send.send(1)


async def event(stack: Stack) -> None:
    await anyio.Event().wait()


async def lock(stack: Stack) -> None:
    lock = anyio.Lock()

    async def hold(*, task_status: TaskStatus[None]) -> None:
        async with lock:
            task_status.started()
            await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        await group.start(hold)
        async with lock:
            pass


async def semaphore(stack: Stack) -> None:
    await anyio.Semaphore(0).acquire()


async def limiter(stack: Stack) -> None:
    limiter = anyio.CapacityLimiter(1)
    limiter.acquire_on_behalf_of_nowait("somebody")
    async with limiter:
        pass


async def condition(stack: Stack) -> None:
    condition = anyio.Condition()
    async with condition:
        await condition.wait()


async def sleep(stack: Stack) -> None:
    await anyio.sleep(100)


async def sleep_forever(stack: Stack) -> None:
    await anyio.sleep_forever()


async def within_fail_after(stack: Stack) -> None:
    with anyio.fail_after(50):
        await anyio.Event().wait()


async def group_exit(stack: Stack) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, math.inf)


async def group_start(stack: Stack) -> None:
    async def never_started(*, task_status: TaskStatus[None]) -> None:
        await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        await group.start(never_started)


async def thread(stack: Stack) -> None:
    release = threading.Event()
    stack.callback(release.set)
    await anyio.to_thread.run_sync(release.wait, abandon_on_cancel=True)


async def tcp_receive(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with await anyio.connect_tcp("127.0.0.1", server.getsockname()[1]) as stream:
            await stream.receive()


async def tcp_send(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with await anyio.connect_tcp("127.0.0.1", server.getsockname()[1]) as stream:
            while True:
                await stream.send(b"x" * 10_000_000)


async def accept(stack: Stack) -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        await listener.listeners[0].accept()


async def udp_receive(stack: Stack) -> None:
    async with await anyio.create_udp_socket(local_host="127.0.0.1") as udp:
        await udp.receive()


async def process(stack: Stack) -> None:
    async with await anyio.open_process([sys.executable, "-c", "input()"]) as process:
        try:
            await process.wait()
        finally:
            process.kill()


async def signals(stack: Stack) -> None:
    with anyio.open_signal_receiver(signal.SIGUSR2) as received:
        async for _ in received:
            pass


CASES = [
    (channel_recv, "channel", "channel recv", ""),
    (channel_send, "channel", "channel send", ""),
    (event, "event", "event wait", ""),
    (lock, "lock", "lock acquire", ""),
    (semaphore, "semaphore", "semaphore acquire", ""),
    (limiter, "semaphore", "capacity limiter", ""),
    (condition, "condition", "condition wait", ""),
    (sleep, "timer", "sleep", ""),
    (sleep_forever, "timer", "sleep forever", ""),
    (within_fail_after, "event", "event wait", ""),
    (group_exit, "task", "task group exit", ""),
    (group_start, "task", "task group start", ""),
    (thread, "executor", "thread", ""),
    (tcp_receive, "socket", "socket recv", ""),
    (tcp_send, "socket", "socket send", ""),
    (accept, "socket", "socket accept", ""),
    (udp_receive, "socket", "socket recv", ""),
    (process, "process", "subprocess wait", ""),
    (signals, "signal", "signal", ""),
]


@pytest.mark.parametrize(
    ("scenario", "kind", "label", "detail"), CASES, ids=lambda value: getattr(value, "__name__", "")
)
def test_label(classify: Any, scenario: Any, kind: str, label: str, detail: str) -> None:
    """Each way to wait in anyio carries anyio's name for it, not that of what it is made of."""
    seen = classify(scenario, label)
    assert (seen.kind, seen.label) == (kind, label)
    assert re.fullmatch(detail, seen.detail), seen.detail
    assert seen.site.startswith(f"{__file__}:"), seen.site


@pytest.mark.parametrize("limit", [math.inf, 60.0])
def test_two_locks_in_two_orders_are_a_deadlock(loop_name: str, limit: float) -> None:
    """A lock of anyio knows its holder; a cancel scope with a deadline will break the ring."""

    async def both(first: anyio.Lock, second: anyio.Lock) -> None:
        with anyio.move_on_after(limit):
            async with first:
                await anyio.sleep(0.01)
                async with second:
                    pass

    async def main() -> list[int]:
        install()
        one, two = anyio.Lock(), anyio.Lock()
        tasks = [asyncio.create_task(both(one, two)), asyncio.create_task(both(two, one))]
        await asyncio.sleep(0.1)
        told = [one.count for one in report().findings if one.verdict == "STUCK"]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return told

    factory = asyncio.new_event_loop if loop_name == "asyncio" else uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(main()) == ([2] if limit == math.inf else [])
