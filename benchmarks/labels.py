"""Promise: of the samples of a CPU profile, 99 of 100 carry the trace that they were taken for.

Two requests at once on one loop, each with a span of its own and a function of its own that computes; so
from the stack of a sample it is known whose label it should carry. Beside us pyroscope, the one other profiler
that labels samples with spans: its push is caught here and read. It keeps labels by thread, and all
requests of a loop share one.
"""

# pyright: basic
from __future__ import annotations

import asyncio
import gzip
import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.rounds import Figure

SECONDS = 4.0
RATE = 100  # samples a second, pyroscope's own
PEERS = ("pyroscope",)


def spin(seconds: float) -> None:
    """Use the processor in Python code for so long."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        for _ in range(200):
            pass


def for_one() -> None:
    """Work for the first request."""
    spin(0.002)


def for_two() -> None:
    """Work for the second request."""
    spin(0.002)


WORKS = {"1": for_one, "2": for_two}


async def _turns(work: Callable[[], None]) -> None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        work()
        await asyncio.sleep(0)


# -- ours --------------------------------------------------------------------------


async def _ours() -> tuple[int, int]:
    import backstay
    from backstay.context import SPAN, TRACE, TraceParent, bind
    from backstay.observe.profile._cpu import CpuSampler

    backstay.install()

    async def serve(digit: str) -> None:
        trace = digit * 32
        async with backstay.Scope(f"GET /{digit}", trace_id=trace, kind="request"):
            with bind(TRACE, trace), bind(SPAN, TraceParent(trace, digit * 16, 1)):
                await _turns(WORKS[digit])

    sampler = CpuSampler(RATE)
    sampler.start()
    try:
        await asyncio.gather(*map(serve, WORKS))
    finally:
        sampler.stop()
    right = total = 0
    for (stack, labels), (count, _) in sampler.counted().items():
        digit = _whose([line.function for line in stack])
        if digit:
            total += count
            told = [value for name, value in labels if name in {"trace_id", "span_id"}]
            right += count * (told == [digit * 32, digit * 16] or told == [digit * 16, digit * 32])
    return right, total


def _whose(functions: list[str]) -> str:
    """Tell from the names on a stack which request is at work."""
    return next((digit for digit, work in WORKS.items() if work.__name__ in functions), "")


# -- pyroscope ---------------------------------------------------------------------


async def _pyroscope() -> tuple[int, int]:
    import pyroscope
    from opentelemetry.sdk.trace import TracerProvider
    from pyroscope.otel import PyroscopeSpanProcessor

    pushed: list[bytes] = []

    class Sink(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            pushed.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    pyroscope.configure(
        application_name="labels", server_address=address, sample_rate=RATE, oncpu=True
    )
    provider = TracerProvider()
    provider.add_span_processor(PyroscopeSpanProcessor())
    tracer = provider.get_tracer("labels")
    spans: dict[str, str] = {}

    async def serve(digit: str) -> None:
        with tracer.start_as_current_span(f"GET /{digit}") as span:
            spans[digit] = f"{span.get_span_context().span_id:016x}"
            await _turns(WORKS[digit])

    await asyncio.gather(*map(serve, WORKS))
    await asyncio.to_thread(pyroscope.shutdown)  # pushes what it has left
    server.shutdown()
    right = total = 0
    for body in pushed:
        for functions, told, count in _pushed_samples(body):
            digit = _whose(functions)
            if digit:
                total += count
                right += count * (told == [spans[digit]])
    return right, total


def _pushed_samples(body: bytes) -> Iterator[tuple[list[str], list[str], int]]:
    """Yield the functions, all span ids and the count of each sample of a push (push.v1: series, samples, profile)."""
    from backstay.observe.profile._pprof_read import _bytes, _fields, _numbers

    def within(message: bytes, number: int) -> Iterator[Any]:
        return (value for found, value in _fields(message) if found == number)

    def plain(data: bytes) -> bytes:
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data

    for series in within(plain(body), 1):
        for sample in within(series, 2):
            for raw in within(sample, 1):
                profile = plain(raw)
                strings = [_bytes(one).decode() for one in within(profile, 6)]
                functions = {}
                for one in within(profile, 5):
                    told = dict(_fields(one))
                    functions[told[1]] = strings[told.get(2, 0)]
                locations = {
                    dict(_fields(one))[1]: [
                        functions[dict(_fields(line))[1]] for line in within(one, 4)
                    ]
                    for one in within(profile, 4)
                }
                for one in within(profile, 2):
                    stack = [
                        name
                        for places in within(one, 1)
                        for place in _numbers(places)
                        for name in locations[place]
                    ]
                    labels = [dict(_fields(label)) for label in within(one, 3)]
                    ids = [
                        strings[label.get(2, 0)]
                        for label in labels
                        if strings[label.get(1, 0)] == "span_id"
                    ]
                    count = _numbers(next(within(one, 2)))[0]
                    yield stack, ids, count


# -- the children ------------------------------------------------------------------


def _asked(name: str, loop: str) -> tuple[int, int]:
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.labels", name, loop],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout
    right, total = json.loads(told)
    return right, total


def measure() -> list[Figure]:
    """Return how many of a hundred labels are wrong, ours and pyroscope's."""
    figures = []
    for loop in ("asyncio", "uvloop"):
        shares = {}
        for name in ("ours", *PEERS):
            right, total = _asked(name, loop)
            shares[name] = 100 * (1 - right / total) if total else 100.0
            if name == "ours":
                note = (
                    f"of {total} samples, the share with another label than that of their request"
                )
        figures.append(Figure(f"labels.wrong.{loop}", shares["ours"], "%", note, shares))
    return figures


def main() -> None:
    """Be the child that is sampled: NAME LOOP."""
    import uvloop

    name, loop = sys.argv[1:]
    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        print(json.dumps(runner.run(_ours() if name == "ours" else _pyroscope())), flush=True)


if __name__ == "__main__":
    main()
