"""Small shapes of tasks that something will wake, or may: each starts some, and nobody is dead.

A shape starts its tasks with `keep` and leaves what can wake them where it says: with a timer, in a thread, in
the hands of C. What it opens it gives to the stack, which closes it after the question.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import os
import signal
import socket
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

from leaked_shapes import keep

__all__ = ["LIVE", "Shape"]

Shape = Callable[[AsyncExitStack], Awaitable[object]]

LIVE: dict[str, Shape] = {}

HELD: list[Any] = []  # a module global


def live(shape: Shape) -> Shape:
    """Enter a shape in the table."""
    LIVE[getattr(shape, "__name__", repr(shape))] = shape
    return shape


def loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def held(stack: AsyncExitStack, thing: Any) -> Any:
    """Hold a thing in a module global until the question has been asked."""
    HELD.append(thing)
    stack.callback(HELD.clear)
    return thing


async def wait_for(what: Any) -> object:
    return await what


@live
async def asleep(stack: AsyncExitStack) -> None:
    keep(asyncio.sleep(3600))


@live
async def waiting_with_a_limit(stack: AsyncExitStack) -> None:
    keep(asyncio.wait_for(asyncio.Event().wait(), 3600))


@live
async def under_a_timeout(stack: AsyncExitStack) -> None:
    async def wait() -> None:
        async with asyncio.timeout(3600):
            await asyncio.Event().wait()

    keep(wait())


@live
async def with_a_producer_that_sleeps(stack: AsyncExitStack) -> None:
    queue = asyncio.Queue[int]()

    async def produce() -> None:
        await asyncio.sleep(3600)
        queue.put_nowait(1)

    keep(queue.get())
    keep(produce())


@live
async def on_a_global_event(stack: AsyncExitStack) -> None:
    keep(held(stack, asyncio.Event()).wait())


@live
async def reading_a_stream(stack: AsyncExitStack) -> None:
    ours, theirs = socket.socketpair()
    stack.callback(theirs.close)
    reader, writer = await asyncio.open_connection(sock=ours)
    stack.callback(writer.close)
    keep(reader.readline())


@live
async def receiving_from_a_socket(stack: AsyncExitStack) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    for one in (theirs, ours):
        stack.callback(one.close)
    task = keep(loop().sock_recv(ours, 1))
    stack.callback(task.cancel)


@live
async def on_an_executor(stack: AsyncExitStack) -> None:
    leave = threading.Event()
    stack.callback(leave.set)
    keep(wait_for(loop().run_in_executor(None, leave.wait)))


@live
async def on_a_thread(stack: AsyncExitStack) -> None:
    leave = threading.Event()
    stack.callback(leave.set)
    keep(asyncio.to_thread(leave.wait))


@live
async def on_what_a_thread_has_in_a_local(stack: AsyncExitStack) -> None:
    leave, begun = threading.Event(), threading.Event()

    def work(event: asyncio.Event, home: asyncio.AbstractEventLoop) -> None:
        begun.set()
        leave.wait()
        home.call_soon_threadsafe(event.set)

    event = asyncio.Event()
    thread = threading.Thread(target=work, args=(event, loop()))
    thread.start()
    begun.wait()
    stack.callback(thread.join)
    stack.callback(leave.set)
    keep(event.wait())


@live
async def on_what_a_thread_has_for_itself(stack: AsyncExitStack) -> None:
    leave, begun = threading.Event(), threading.Event()
    own = threading.local()

    def work(event: asyncio.Event) -> None:
        own.event = event
        del event
        begun.set()
        leave.wait()

    event = asyncio.Event()
    thread = threading.Thread(target=work, args=(event,))
    thread.start()
    begun.wait()
    stack.callback(thread.join)
    stack.callback(leave.set)
    keep(event.wait())
    held(stack, own)


@live
async def on_what_only_a_weak_reference_knows(stack: AsyncExitStack) -> None:
    event = asyncio.Event()
    held(stack, weakref.WeakValueDictionary({"event": event}))
    keep(event.wait())


@live
async def on_what_a_context_holds(stack: AsyncExitStack) -> None:
    variable: contextvars.ContextVar[asyncio.Event] = contextvars.ContextVar("event")
    event = asyncio.Event()
    context = contextvars.copy_context()
    context.run(variable.set, event)
    held(stack, (context, variable))
    keep(event.wait())


@live
async def in_a_gather_with_one_that_sleeps(stack: AsyncExitStack) -> None:
    event = held(stack, asyncio.Event())

    async def parent() -> None:
        await asyncio.gather(asyncio.sleep(3600), event.wait())

    keep(parent())


@live
async def behind_a_shield(stack: AsyncExitStack) -> None:
    keep(wait_for(asyncio.shield(keep(asyncio.sleep(3600)))))


@live
async def on_a_child_process(stack: AsyncExitStack) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE
    )
    stack.push_async_callback(child.wait)
    stack.callback(child.kill)
    keep(child.wait())


@live
async def on_a_watched_descriptor(stack: AsyncExitStack) -> None:
    reads, writes = os.pipe()
    for one in (reads, writes):
        stack.callback(os.close, one)
    event = asyncio.Event()
    loop().add_reader(reads, event.set)
    stack.callback(loop().remove_reader, reads)
    keep(event.wait())


@live
async def on_a_signal_handler_of_the_loop(stack: AsyncExitStack) -> None:
    event = asyncio.Event()
    loop().add_signal_handler(signal.SIGUSR1, event.set)
    stack.callback(loop().remove_signal_handler, signal.SIGUSR1)
    keep(event.wait())


@live
async def on_a_signal_handler_of_python(stack: AsyncExitStack) -> None:
    event, home = asyncio.Event(), loop()

    def handle(number: int, frame: object) -> None:
        home.call_soon_threadsafe(event.set)

    before = signal.signal(signal.SIGUSR2, handle)
    stack.callback(signal.signal, signal.SIGUSR2, before)
    keep(event.wait())


@live
async def on_what_c_holds(stack: AsyncExitStack) -> None:
    event = asyncio.Event()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(event))
    stack.callback(ctypes.pythonapi.Py_DecRef, ctypes.py_object(event))
    keep(event.wait())


@live
async def on_a_callback_that_is_due_later(stack: AsyncExitStack) -> None:
    event = asyncio.Event()
    stack.callback(loop().call_later(3600, event.set).cancel)
    keep(event.wait())


@live
async def on_the_callback_of_a_task_that_sleeps(stack: AsyncExitStack) -> None:
    event = asyncio.Event()
    keep(asyncio.sleep(3600)).add_done_callback(lambda _: event.set())
    keep(event.wait())


@live
async def asked_for_by_another_thread(stack: AsyncExitStack) -> None:
    event = asyncio.Event()
    asked = threading.Event()

    def ask(home: asyncio.AbstractEventLoop) -> None:
        future = asyncio.run_coroutine_threadsafe(event.wait(), home)  # type: ignore[arg-type]
        asked.set()
        future.result()

    thread = threading.Thread(target=ask, args=(loop(),))
    thread.start()

    async def finish() -> None:
        event.set()
        await asyncio.to_thread(thread.join)

    stack.push_async_callback(finish)
    await asyncio.to_thread(asked.wait)


@live
async def serving_a_connection(stack: AsyncExitStack) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readline()
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    stack.callback(server.close)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    stack.callback(writer.close)
    await asyncio.sleep(0.05)  # until it is accepted


@live
async def on_what_a_suspended_generator_has(stack: AsyncExitStack) -> None:
    def events() -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        yield event
        event.set()

    generator = events()
    keep(next(generator).wait())
    held(stack, generator)


@live
async def on_what_a_suspended_async_generator_has(stack: AsyncExitStack) -> None:
    async def events() -> AsyncIterator[asyncio.Event]:
        event = asyncio.Event()
        yield event
        event.set()

    generator = events()
    keep((await anext(generator)).wait())
    held(stack, generator)
    stack.push_async_callback(generator.aclose)  # type: ignore[attr-defined]


@live
async def on_what_a_traceback_has_in_its_frames(stack: AsyncExitStack) -> None:
    def fail(event: asyncio.Event) -> None:
        raise ValueError("with the event in a frame of it")

    event = asyncio.Event()
    try:
        fail(event)
    except ValueError as error:
        held(stack, error)
    keep(event.wait())


@live
async def on_an_argument_of_a_task_that_sleeps(stack: AsyncExitStack) -> None:
    async def hold(event: asyncio.Event) -> None:
        await asyncio.sleep(3600)

    event = asyncio.Event()
    keep(hold(event))
    keep(event.wait())


@live
async def on_what_a_class_holds(stack: AsyncExitStack) -> None:
    event = asyncio.Event()
    held(stack, type("Registry", (), {"event": event}))
    keep(event.wait())


@live
async def on_a_bound_method_that_somebody_has(stack: AsyncExitStack) -> None:
    event = asyncio.Event()
    held(stack, event.set)
    keep(event.wait())


@live
async def on_a_default_of_a_function(stack: AsyncExitStack) -> None:
    def handler(event: asyncio.Event = asyncio.Event()) -> None:  # noqa: B008 - the very shape
        event.set()

    keep((handler.__defaults__ or ())[0].wait())
    held(stack, handler)


@live
async def on_a_queue_that_a_caller_has(stack: AsyncExitStack) -> None:
    queue = asyncio.Queue[int]()
    stack.callback(queue.put_nowait, 1)  # a local of whoever asks
    keep(queue.get())
