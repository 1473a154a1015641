"""A process of its own with an admin plane, to take profiles of: what it does is its argument.

Run as a program it is that process: it prints the address of its plane, works until its standard input
ends, and then prints what it knows of itself as one line of JSON.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["LOOPS", "Profiled", "profiled"]

LOOPS = ("asyncio", "uvloop")


class Profiled:
    """A process under test, and its plane's address."""

    def __init__(self, popen: subprocess.Popen[str], url: str) -> None:
        self.popen = popen
        self.url = url

    def get(self, path: str, timeout: float = 30.0) -> bytes:
        """Ask the plane."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=timeout) as reply:
            body: bytes = reply.read()
        return body

    def end(self) -> dict[str, Any]:
        """Let it end by itself; return what it says of itself."""
        out, _ = self.popen.communicate(timeout=20)
        assert self.popen.returncode == 0
        found: dict[str, Any] = json.loads(out)
        return found


@contextmanager
def profiled(work: str, loop: str = "asyncio") -> Iterator[Profiled]:
    """Run this file as a process that does `work`, for as long as the block lasts."""
    popen = subprocess.Popen(
        [sys.executable, __file__, work, loop],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    try:
        assert popen.stdout is not None
        url = popen.stdout.readline().strip()
        assert url.startswith("http://"), f"the process did not begin: {url!r}"
        yield Profiled(popen, url)
    finally:
        popen.kill()
        popen.communicate()


# -- what the process does -----------------------------------------------------------


def spin(seconds: float) -> None:
    """Use the processor in Python code for so long."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        for _ in range(200):
            pass


def heavy() -> None:
    """Take 78 parts of the time."""
    spin(0.0078)


def medium() -> None:
    """Take 19 parts of the time."""
    spin(0.0019)


def light() -> None:
    """Take 3 parts of the time."""
    spin(0.0003)


async def split() -> None:
    """Use the processor in three functions, in known parts, each in a step of its own."""
    while True:
        for part in (heavy, medium, light):
            part()
            await asyncio.sleep(0)


async def serve(name: str, trace_id: str, work: Any) -> None:
    """Be a request of one trace that uses the processor in a function of its own."""
    import backstay
    from backstay.context import SPAN, TRACE, TraceParent, bind

    async with backstay.Scope(name, trace_id=trace_id, kind="request"):
        with bind(TRACE, trace_id), bind(SPAN, TraceParent(trace_id, trace_id[:16], 1)):
            while True:
                work()
                await asyncio.sleep(0)


def one_trace() -> None:
    """Work for the trace of ones."""
    spin(0.002)


def two_trace() -> None:
    """Work for the trace of twos."""
    spin(0.002)


async def spans() -> None:
    """Serve two requests at once, taking turns."""
    await asyncio.gather(
        serve("GET /one", "1" * 32, one_trace), serve("GET /two", "2" * 32, two_trace)
    )


async def never(event: asyncio.Event) -> None:
    """Wait for what nobody will set."""
    await event.wait()


async def pulling(queue: asyncio.Queue[int]) -> None:
    """Wait for an item."""
    await queue.get()


async def waiting() -> None:
    """Hold tasks that wait, of which four can never go on."""
    import backstay

    queue: asyncio.Queue[int] = asyncio.Queue()
    _kept.append(queue)
    leaked = {asyncio.create_task(never(asyncio.Event()), name=f"leaked-{k}") for k in range(4)}
    _kept.append(leaked)
    async with backstay.Scope("consumers") as scope:
        for _ in range(25):
            scope.go(pulling, queue)
        await asyncio.sleep(3600)


def hold_the_loop() -> None:
    """Block the loop for a long time, as a synchronous client would."""
    time.sleep(8)  # the line that is to be named


async def blocked() -> None:
    """Block the loop once, after a while."""
    await asyncio.sleep(0.3)
    hold_the_loop()
    await asyncio.sleep(3600)


async def spinning() -> None:
    """Use the processor in one step that takes long, and never come round to the loop."""
    await asyncio.sleep(0.3)
    spin(20)


async def threads() -> None:
    """Leave the work to a thread of the pool; the loop has nothing to do."""
    loop = asyncio.get_running_loop()
    while True:
        await loop.run_in_executor(None, in_the_pool)


def in_the_pool() -> None:
    """Use the processor in another thread than the loop's."""
    spin(0.2)


async def critical() -> None:
    """Be slow within the lock."""
    await asyncio.sleep(0.02)


async def take_turns(lock: Any) -> None:
    """Hold a lock for 20 ms, again and again."""
    while True:
        async with lock:
            await critical()


async def contend(lock: Any) -> None:
    """Have four tasks at one lock: three wait at any time."""
    import backstay

    async with backstay.Scope("checkout", kind="request", trace_id="3" * 32) as scope:
        for _ in range(4):
            scope.go(take_turns, lock)


async def contended_lock() -> None:
    """Contend for a lock of asyncio."""
    await contend(asyncio.Lock())


async def contended_mutex() -> None:
    """Contend for one that knows its holder."""
    import backstay

    await contend(backstay.Mutex("stock"))


async def contended_semaphore() -> None:
    """Contend for the two places of a semaphore."""
    import backstay

    await contend(backstay.Semaphore(2))


async def keep(size: int) -> None:
    """Hold so many bytes, and wait."""
    data = bytearray(size)
    await never(asyncio.Event())
    data.clear()


async def holding() -> None:
    """Have two requests whose tasks hold 100 kB and 10 kB each."""
    import backstay

    async def request(name: str, size: int) -> None:
        async with backstay.Scope(name, kind="request") as scope:
            for _ in range(30):
                scope.go(keep, size)

    await asyncio.gather(request("GET /large", 100_000), request("GET /small", 10_000))


async def compressing() -> None:
    """Have C code keep memory: each compressor has a window of its own, outside of Python's allocators."""
    import zlib

    while True:
        _kept.append(zlib.compressobj(9))
        await asyncio.sleep(0.01)


class Hoard:
    """What `growing` keeps; a type that a census can name."""

    def __init__(self) -> None:
        self.data = bytearray(10_000)


async def growing() -> None:
    """Keep more and more memory."""
    while True:
        grow()
        await asyncio.sleep(0.005)


def grow() -> None:
    """Keep one more block."""
    _kept.append(Hoard())


async def hashing() -> None:
    """Spend the time in C code that lets go of the interpreter's lock."""
    data = b"x" * 5_000_000
    while True:
        hashlib.sha256(data).digest()
        await asyncio.sleep(0)


_kept: list[Any] = []
_WORKS = {
    work.__name__: work
    for work in (
        split,
        spans,
        waiting,
        blocked,
        spinning,
        threads,
        growing,
        hashing,
        contended_lock,
        contended_mutex,
        contended_semaphore,
        holding,
        compressing,
    )
}


async def _main(work: str) -> None:
    import backstay
    from backstay.observe.admin import AdminServer

    backstay.install()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def until_told() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=until_told, daemon=True).start()
    with AdminServer("127.0.0.1:0", leak_interval=0) as plane:
        task = asyncio.create_task(_WORKS[work](), name=work)
        await asyncio.sleep(0.05)  # it has begun
        print(plane.address, flush=True)
        await stop.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    gc.collect()
    handler: Any = signal.getsignal(signal.SIGPROF)
    about = {
        "handler": str(handler),
        "timer": signal.getitimer(signal.ITIMER_PROF),
        "threads": sorted(thread.name for thread in threading.enumerate()),
    }
    print(json.dumps(about), flush=True)


if __name__ == "__main__":
    if sys.argv[2] == "uvloop":
        import uvloop

        uvloop.run(_main(sys.argv[1]))
    else:
        asyncio.run(_main(sys.argv[1]))
