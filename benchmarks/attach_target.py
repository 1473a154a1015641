"""A busy program that checks itself: what it computes, sends and receives must be right each time, or it ends.

It is the target of ``benchmarks/attach.py``. Registers of every kind are in use (float arithmetic, hashes, copies
of memory), system calls of every kind are interrupted (epoll with and without a time-out, reads, writes, sleeps of
a thread, signals), and tasks, garbage and exceptions come and go.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import hashlib
import math
import os
import signal
import sys
import threading
import time

_BLOCK = bytes(range(256)) * 64
_DIGEST = hashlib.sha256(_BLOCK).hexdigest()
_ROOTS = sum(math.sqrt(n) * 1.5 for n in range(200))


def check(right: bool, what: str) -> None:
    """End with a message unless all is right."""
    if not right:
        print(f"wrong: {what}", flush=True)
        os._exit(70)


async def compute() -> None:
    """Use the registers."""
    while True:
        check(sum(math.sqrt(n) * 1.5 for n in range(200)) == _ROOTS, "a sum of floats")
        check(hashlib.sha256(_BLOCK).hexdigest() == _DIGEST, "a hash")
        check(bytes(bytearray(_BLOCK)) == _BLOCK, "a copy")
        check([str(n) for n in range(50)][49] == "49", "a list")
        await asyncio.sleep(0)


async def echo(port: int) -> None:
    """Send and receive."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while True:
        writer.write(_BLOCK)
        check(await reader.readexactly(len(_BLOCK)) == _BLOCK, "what came back")
        await asyncio.sleep(0.001)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back."""
    while data := await reader.read(4096):
        writer.write(data)


async def churn() -> None:
    """Make tasks, garbage and exceptions."""
    while True:
        cycle: list[object] = []
        cycle.append(cycle)
        tasks = [asyncio.create_task(asyncio.sleep(0.001, n)) for n in range(20)]
        tasks[0].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        check(found[1:] == list(range(1, 20)), "what tasks return")
        check(isinstance(found[0], asyncio.CancelledError), "a cancellation")
        if len(cycle) % 50 == 0:
            gc.collect()


def sleep_exactly() -> None:
    """Sleep in a thread, and send the program a signal now and then."""
    while True:
        begun = time.monotonic()
        time.sleep(0.005)
        check(time.monotonic() - begun >= 0.005, "the length of a sleep")
        os.kill(os.getpid(), signal.SIGUSR1)


async def main(how: str) -> None:
    """Do all of it until killed."""
    loop = asyncio.get_running_loop()
    if how == "light":
        faulthandler.enable()  # signal handlers then run on a stack of their own
    loop.add_signal_handler(signal.SIGUSR1, lambda: None)
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    work = [compute()] if how == "busy" else []
    threading.Thread(target=sleep_exactly, daemon=True).start()
    print("ready", flush=True)
    await asyncio.gather(churn(), echo(port), *work)


if __name__ == "__main__":
    if sys.argv[2] == "uvloop":
        import uvloop

        uvloop.run(main(sys.argv[1]))
    else:
        asyncio.run(main(sys.argv[1]))
