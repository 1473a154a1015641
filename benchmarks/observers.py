"""Promise: looking costs little, and what is seen is true; beside it, everything else that people look with.

One child process an observer, since most of them cannot be taken off again. All serve the same request in
process: an ASGI application that starts three tasks under a time-out and a semaphore, and answers JSON.
Rounds go around the children, and the CPU of a request is held against the bare child's.

Those that tell where the processor's time goes are asked that as well, of three tasks that take turns: one
loops, one calls a small function many times, one writes JSON. How the time is really divided is known from
the thread's clock around each turn in the bare child. The error is the largest difference of a share, in points:
one that makes calls dear also makes a program look as if it spent its time in calls.
"""

# pyright: basic
from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from benchmarks.rounds import Figure, low

ROUNDS = 24
REQUESTS = 100  # of a round
SPLIT_S = 2.0

OURS = ("tracked", "recorded", "cpu samples", "traced")
PEERS = (
    "pyinstrument",
    "viztracer",
    "cProfile",
    "yappi wall",
    "yappi cpu",
    "aiomonitor",
    "debug mode",
    "contrib ASGI spans",
)
PROFILERS = ("cpu samples", "pyinstrument", "viztracer", "cProfile", "yappi cpu")


# -- the work ----------------------------------------------------------------


async def _child(gate: asyncio.Semaphore) -> int:
    async with gate:
        await asyncio.sleep(0)
        return sum(range(60))


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer one request as a service does: a few tasks, a time-out, JSON."""
    gate = asyncio.Semaphore(2)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        tasks = [group.create_task(_child(gate)) for _ in range(3)]
    body = json.dumps({"sums": [task.result() for task in tasks]}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def _requests(serve: Any) -> None:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: object) -> None:
        pass

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
        "path": "/", "raw_path": b"/", "query_string": b"", "headers": [], "scheme": "http",
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    }  # fmt: skip
    for _ in range(REQUESTS):
        await asyncio.create_task(serve(dict(scope), receive, send))


def loops(n: int) -> None:
    """Compute without a call."""
    total = 0
    for step in range(n * 40):
        total += step


def _small(step: int) -> int:
    return step + 1


def calls(n: int) -> None:
    """Call a small function many times."""
    for step in range(n * 8):
        _small(step)


def writes(n: int) -> None:
    """Spend the time in C."""
    for _ in range(n // 6):
        json.dumps(list(range(20)))


PARTS: dict[str, tuple[Callable[[int], None], int]] = {
    "loops": (loops, 200),
    "calls": (calls, 100),
    "writes": (writes, 60),
}


async def _take_turns(spent: dict[str, float]) -> None:
    until = time.monotonic() + SPLIT_S

    async def turns(name: str) -> None:
        part, size = PARTS[name]
        while time.monotonic() < until:
            before = time.thread_time()
            part(size)
            spent[name] = spent.get(name, 0.0) + time.thread_time() - before
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for name in PARTS:
            group.create_task(turns(name))


# -- the observers: what is switched on, and what each says of the parts --------


@contextlib.contextmanager
def _tracked(say: dict[str, float] | None) -> Iterator[None]:
    import backstay

    backstay.install()
    yield


@contextlib.contextmanager
def _recorded(say: dict[str, float] | None) -> Iterator[None]:
    import backstay
    from backstay.observe.recorder import Recorder, current_recorder

    backstay.install()
    if current_recorder() is None:
        Recorder().start()  # and left on: its ring costs time only when it is new
    yield


@contextlib.contextmanager
def _cpu_samples(say: dict[str, float] | None) -> Iterator[None]:
    from backstay.observe.profile._cpu import CpuSampler

    # The cost is told at the rate that a profile has by itself; a share, with as many samples as
    # make chance small: of 1,000 it is wrong by 1.6 points in the mean.
    sampler = CpuSampler(100 if say is None else 500)
    sampler.start()
    try:
        yield
    finally:
        sampler.stop()
    for (stack, *_), (_, spent) in sampler.counted().items() if say is not None else ():
        named = [line.function for line in stack if line.function in PARTS]
        if named:
            assert say is not None
            say[named[0]] = say.get(named[0], 0.0) + spent


@contextlib.contextmanager
def _pyinstrument(say: dict[str, float] | None) -> Iterator[None]:
    from pyinstrument import Profiler
    from pyinstrument.renderers import JSONRenderer

    def walk(frame: dict[str, Any]) -> None:
        if frame["function"] in PARTS:
            say[frame["function"]] = say.get(frame["function"], 0.0) + frame["time"]
        else:
            for below in frame["children"]:
                walk(below)

    profiler = Profiler(async_mode="enabled")
    profiler.start()
    yield
    profiler.stop()
    if say is None:
        return
    root = json.loads(profiler.output(JSONRenderer(show_all=True)))["root_frame"]
    if root is not None:
        walk(root)


@contextlib.contextmanager
def _viztracer(say: dict[str, float] | None) -> Iterator[None]:
    from viztracer import VizTracer

    tracer = VizTracer(verbose=0, tracer_entries=2_000_000)
    tracer.start()
    yield
    tracer.stop()
    if say is None:
        tracer.clear()
        return
    tracer.parse()
    for event in tracer.data["traceEvents"]:
        name = event["name"].partition(" ")[0]
        if event["ph"] == "X" and name in PARTS:
            say[name] = say.get(name, 0.0) + event["dur"]


@contextlib.contextmanager
def _c_profile(say: dict[str, float] | None) -> Iterator[None]:
    import cProfile
    import pstats

    profile = cProfile.Profile()
    profile.enable()
    yield
    profile.disable()
    if say is None:
        return
    stats = pstats.Stats(profile, stream=io.StringIO())
    for (_, _, name), (_, _, _, cumulated, _) in stats.stats.items():  # type: ignore[attr-defined]
        if name in PARTS:
            say[name] = cumulated


@contextlib.contextmanager
def _yappi(say: dict[str, float] | None, clock: str) -> Iterator[None]:
    import yappi

    yappi.set_clock_type(clock)
    yappi.start()
    yield
    yappi.stop()
    if say is None:
        yappi.clear_stats()
        return
    for one in yappi.get_func_stats():
        if one.name in PARTS:
            say[one.name] = one.ttot


@contextlib.contextmanager
def _aiomonitor(say: dict[str, float] | None) -> Iterator[None]:
    import aiomonitor

    from benchmarks.leak_tracking import _free_port

    with aiomonitor.start_monitor(
        asyncio.get_running_loop(),
        hook_task_factory=True,
        port=_free_port(),
        webui_port=_free_port(),
        console_enabled=False,
    ):
        yield


@contextlib.contextmanager
def _debug(say: dict[str, float] | None) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    yield
    loop.set_debug(False)


SWITCHES: dict[
    str, Callable[[dict[str, float] | None], contextlib.AbstractContextManager[None]]
] = {
    "tracked": _tracked,
    "recorded": _recorded,
    "cpu samples": _cpu_samples,
    "pyinstrument": _pyinstrument,
    "viztracer": _viztracer,
    "cProfile": _c_profile,
    "yappi wall": lambda say: _yappi(say, "wall"),
    "yappi cpu": lambda say: _yappi(say, "cpu"),
    "aiomonitor": _aiomonitor,
    "debug mode": _debug,
}


def _wrapped(name: str) -> Any:
    from benchmarks.tracing import to_nowhere

    if name == "traced":
        from backstay.integrations.opentelemetry import traced

        return traced(app, tracer=to_nowhere().get_tracer("bench"))
    if name == "contrib ASGI spans":
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

        return OpenTelemetryMiddleware(app, tracer_provider=to_nowhere())
    return app


# -- the children ----------------------------------------------------------------


async def _be(name: str) -> None:
    """Serve rounds until standard input ends: "go" is answered with the CPU of a request, "split" with shares."""
    serve = _wrapped(name)
    switch = SWITCHES.get(name, lambda say: contextlib.nullcontext())
    while True:
        order = sys.stdin.readline().strip()
        if not order:
            return
        say: dict[str, float] = {}
        if order == "split":
            spent: dict[str, float] = {}
            with switch(say):
                await _take_turns(spent)
            print(json.dumps({"true": spent, "said": say}), flush=True)
            continue
        with switch(None):
            gc.collect()
            gc.disable()  # how often it comes depends on what an observer has imported
            before = time.process_time()
            await _requests(serve)
            cost = (time.process_time() - before) / REQUESTS
            gc.enable()
        print(json.dumps(cost), flush=True)


class _Child:
    def __init__(self, name: str, loop: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.observers", name, loop],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, order: str) -> Any:
        """Give an order; None when the observer has brought its process down."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{order}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        told = self._process.stdout.readline()
        return json.loads(told) if told else None

    def end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def _points(true: dict[str, float], said: dict[str, float]) -> float:
    """Return the largest error of a share, in points."""
    spent, counted = sum(true.values()), sum(said.values())
    return max(
        abs(true[name] / spent - (said.get(name, 0.0) / counted if counted else 0.0)) * 100
        for name in PARTS
    )


def _on(loop: str) -> list[Figure]:
    children = [_Child(name, loop) for name in ("bare", *OURS, *PEERS)]
    try:
        costs: dict[str, list[float]] = {child.name: [] for child in children}
        for _ in range(ROUNDS):
            for child in children:
                cost = child.ask("go")
                if cost is not None:  # one that crashes here is not in the table
                    costs[child.name].append(cost)
        true = children[0].ask("split")["true"]
        errors = {
            child.name: _points(true, told["said"])
            for child in children
            if child.name in PROFILERS and (told := child.ask("split")) is not None
        }
    finally:
        for child in children:
            child.end()
    # By rounds, each against its neighbour in time: the machine is not equally fast in all.
    ratio = {
        name: median(cost / bare for cost, bare in zip(found, costs["bare"], strict=False))
        for name, found in costs.items()
        if found
    }
    bare = f"a request of {low(costs['bare']) * 1e6:.0f} µs"
    return [
        *(
            Figure(f"observers.{name.replace(' ', '_')}.{loop}", ratio[name], "x", bare)
            for name in OURS
            if name != "traced"
        ),
        Figure(
            f"observers.traced.{loop}",
            (ratio["traced"] - 1) / (ratio["contrib ASGI spans"] - 1),
            "x",
            "a span, against the contrib instrumentation's; below: CPU of a request to the bare one's",
            ratio,
        ),
        Figure(
            f"observers.error.{loop}",
            errors["cpu samples"],
            "pt",
            "how wrong a share of the processor's time is told; below: by each profiler",
            errors,
        ),
    ]


def measure() -> list[Figure]:
    """Return what looking costs and how true it is, on both loops."""
    return [*_on("asyncio"), *_on("uvloop")]


def main() -> None:
    """Be a child: NAME LOOP."""
    import uvloop

    name, loop = sys.argv[1:]
    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_be(name))


if __name__ == "__main__":
    main()
