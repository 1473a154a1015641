"""Conformance: what waiting inside asyncio is called, on the stock loop and on uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import sys
import threading
from typing import Any

import pytest

from backstay import Scope
from backstay.tasks import timeout

Stack = contextlib.AsyncExitStack


async def _forever() -> None:
    await asyncio.get_running_loop().create_future()


async def sleep(stack: Stack) -> None:
    await asyncio.sleep(100)


async def queue_get(stack: Stack) -> None:
    await asyncio.Queue[int](8).get()


async def queue_put(stack: Stack) -> None:
    queue = asyncio.Queue[int](1)
    queue.put_nowait(1)
    await queue.put(2)


async def queue_join(stack: Stack) -> None:
    queue = asyncio.Queue[int]()
    queue.put_nowait(1)
    await queue.join()


async def lock(stack: Stack) -> None:
    lock = asyncio.Lock()
    await lock.acquire()
    async with lock:
        pass


async def semaphore(stack: Stack) -> None:
    await asyncio.Semaphore(0).acquire()


async def event(stack: Stack) -> None:
    await asyncio.Event().wait()


async def condition(stack: Stack) -> None:
    condition = asyncio.Condition()
    async with condition:
        await condition.wait_for(lambda: False)


async def barrier(stack: Stack) -> None:
    await asyncio.Barrier(2).wait()


async def wait_for(stack: Stack) -> None:
    await asyncio.wait_for(asyncio.Queue[int]().get(), 50)


async def wait_for_own_code(stack: Stack) -> None:
    await asyncio.wait_for(_forever(), 50)


async def timeout_block(stack: Stack) -> None:
    async with asyncio.timeout(50):
        await asyncio.Event().wait()


async def backstay_timeout(stack: Stack) -> None:
    async with timeout(50):
        await asyncio.Event().wait()


async def future(stack: Stack) -> None:
    await asyncio.get_running_loop().create_future()


async def task(stack: Stack) -> None:
    other = asyncio.create_task(_forever(), name="other")
    stack.callback(other.cancel)
    await other


async def gather(stack: Stack) -> None:
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    over.set_result(None)
    await asyncio.gather(over, _forever(), _forever())


async def shield(stack: Stack) -> None:
    inner = asyncio.create_task(_forever(), name="inner")
    stack.callback(inner.cancel)
    await asyncio.shield(inner)


async def wait(stack: Stack) -> None:
    tasks = [asyncio.create_task(_forever()) for _ in range(3)]
    for each in tasks:
        stack.callback(each.cancel)
    await asyncio.wait(tasks)


async def as_completed(stack: Stack) -> None:
    inner = asyncio.create_task(_forever())
    stack.callback(inner.cancel)
    for each in asyncio.as_completed([inner]):
        await each


async def task_group(stack: Stack) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_forever())


async def scope_exit(stack: Stack) -> None:
    async with Scope("checkout") as scope:
        scope.go(_forever)


async def scope_place(stack: Stack) -> None:
    async with Scope("checkout", max_tasks=1) as scope:
        scope.go(_forever)
        await scope.go_wait(_forever)


async def executor(stack: Stack) -> None:
    release = threading.Event()
    stack.callback(release.set)
    await asyncio.get_running_loop().run_in_executor(None, release.wait)


async def to_thread(stack: Stack) -> None:
    release = threading.Event()
    stack.callback(release.set)
    await asyncio.to_thread(release.wait)


async def other_loop(stack: Stack) -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    far = asyncio.run_coroutine_threadsafe(_forever(), loop)

    async def stop() -> None:
        far.cancel()
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    stack.push_async_callback(stop)
    await asyncio.wrap_future(far)


async def _numbers() -> Any:
    await _forever()
    yield 1


async def async_generator(stack: Stack) -> None:
    async for _ in _numbers():
        pass


async def anext_with_default(stack: Stack) -> None:
    await anext(_numbers(), None)


class _Custom:
    def __await__(self) -> Any:
        return _forever().__await__()


async def custom_await(stack: Stack) -> None:
    await _Custom()


async def _pair(stack: Stack) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    near, far = socket.socketpair()
    stack.callback(far.close)
    reader, writer = await asyncio.open_connection(sock=near)
    stack.callback(writer.transport.abort)
    return reader, writer


async def stream_read(stack: Stack) -> None:
    reader, _ = await _pair(stack)
    await reader.readline()


async def stream_drain(stack: Stack) -> None:
    _, writer = await _pair(stack)
    writer.write(b"x" * 10_000_000)
    await writer.drain()


def _sockets(stack: Stack) -> socket.socket:
    near, far = socket.socketpair()
    near.setblocking(False)
    stack.callback(near.close)
    stack.callback(far.close)
    return near


async def sock_recv(stack: Stack) -> None:
    await asyncio.get_running_loop().sock_recv(_sockets(stack), 1)


async def sock_send(stack: Stack) -> None:
    await asyncio.get_running_loop().sock_sendall(_sockets(stack), b"x" * 10_000_000)


async def sock_accept(stack: Stack) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    stack.callback(listener.close)
    await asyncio.get_running_loop().sock_accept(listener)


async def serve_forever(stack: Stack) -> None:
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    async with server:
        await server.serve_forever()


async def subprocess_wait(stack: Stack) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE
    )

    async def stop() -> None:
        process.kill()
        await process.wait()

    stack.push_async_callback(stop)
    await process.wait()


async def subprocess_communicate(stack: Stack) -> None:
    out, hold = os.pipe()
    stack.callback(os.close, hold)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=out, stdout=asyncio.subprocess.PIPE
    )
    os.close(out)

    async def stop() -> None:
        process.kill()
        await process.wait()

    stack.push_async_callback(stop)
    await process.communicate()


CASES = [
    (sleep, "timer", "sleep", r"(99\.\d|100\.0|100) s left"),
    (queue_get, "queue", "queue get", "0 of 8 items, 1 getter"),
    (queue_put, "queue", "queue put", "1 of 1 items, 1 putter"),
    (queue_join, "queue", "queue join", "1 unfinished"),
    (lock, "lock", "lock acquire", "1 waiter"),
    (semaphore, "semaphore", "semaphore acquire", "0 free, 1 waiter"),
    (event, "event", "event wait", "1 waiter"),
    (condition, "condition", "condition wait", "1 waiter"),
    (barrier, "barrier", "barrier wait", ""),
    (wait_for, "queue", "queue get", r"0 items, 1 getter.*times out in (49\.\d|50\.0) s"),
    (wait_for_own_code, "future", "future", r"(times out in (49\.\d|50\.0) s)?"),
    (timeout_block, "event", "event wait", r"1 waiter, times out in (49\.\d|50\.0) s"),
    (backstay_timeout, "event", "event wait", r"1 waiter, times out in (49\.\d|50\.0) s"),
    (future, "future", "future", ""),
    (task, "task", "task", "'other' _forever"),
    (gather, "task", "gather", "2 of 3 pending"),
    (shield, "task", "shield", "'inner' _forever"),
    (wait, "task", "wait", "3 of 3 pending"),
    (as_completed, "task", "as_completed", ""),
    (task_group, "task", "task group exit", "1 child"),
    (scope_exit, "task", "scope exit", "'checkout', 1 child"),
    (scope_place, "semaphore", "scope place", "'checkout', 1 child"),
    (executor, "executor", "thread", "running in a thread"),
    (to_thread, "executor", "thread", "running in a thread"),
    (other_loop, "future", "task of another loop", ""),
    (async_generator, "future", "future", ""),
    (anext_with_default, "future", "future", ""),
    (custom_await, "future", "future", ""),
    (stream_read, "socket", "stream read", ""),
    (stream_drain, "socket", "stream drain", ""),
    (sock_recv, "socket", "socket recv", ""),
    (sock_send, "socket", "socket send", ""),
    (sock_accept, "socket", "socket accept", ""),
    (serve_forever, "socket", "serve forever", ""),
    (subprocess_wait, "process", "subprocess wait", ""),
    (subprocess_communicate, "process", "subprocess communicate", ""),
]


@pytest.mark.parametrize(
    ("scenario", "kind", "label", "detail"), CASES, ids=lambda value: getattr(value, "__name__", "")
)
def test_label(classify: Any, scenario: Any, kind: str, label: str, detail: str) -> None:
    """Each way to wait in asyncio has its name, its numbers, and a site in this file."""
    seen = classify(scenario, label)
    assert (seen.kind, seen.label) == (kind, label)
    assert re.fullmatch(detail, seen.detail), seen.detail
    assert seen.site.startswith(f"{__file__}:"), seen.site


def test_a_full_thread_pool_is_told_from_slow_work(classify: Any) -> None:
    """A call that waits for a free thread says so, since more threads are then the cure."""
    from concurrent.futures import ThreadPoolExecutor

    async def queued(stack: Stack) -> None:
        release = threading.Event()
        pool = stack.enter_context(ThreadPoolExecutor(1))
        stack.callback(release.set)
        first = pool.submit(release.wait)
        assert not first.done()
        await asyncio.get_running_loop().run_in_executor(pool, release.wait)

    assert classify(queued, "thread").detail == "queued for a free thread"
