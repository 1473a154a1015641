"""Promise: the flight recorder always on costs at most 1.04x instructions on the stock loop, 1.07x on uvloop.

The request is a Starlette route that starts three tasks, each of which waits at a semaphore and gives way, under a
time-out, and answers JSON: about ten steps. Rounds of requests are run in one process with the recorder
attached and without, in turn, and what they cost the processor is compared.

With ``BACKSTAY_INSTRUCTIONS=1`` and valgrind the instructions are counted instead, which needs no quiet machine but
three minutes: 300 requests' worth, as the difference of two runs.
"""

# pyright: basic
from __future__ import annotations

import asyncio
import gc
import os
import re
import shutil
import subprocess
import sys
import time
from statistics import median
from typing import Any

from benchmarks.rounds import Figure

ROUNDS = 24
REQUESTS = 60


def _app() -> Any:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def child(gate: asyncio.Semaphore) -> int:
        async with gate:
            await asyncio.sleep(0)  # and no timer: the number of turns has to be the same each time
            return 1

    async def fan(request: Request) -> JSONResponse:
        gate = asyncio.Semaphore(2)
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            tasks = [group.create_task(child(gate)) for _ in range(3)]
        return JSONResponse({"sum": sum(task.result() for task in tasks)})

    return Starlette(routes=[Route("/fan", fan)])


async def _requests(app: Any, count: int) -> None:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: object) -> None:
        pass

    for _ in range(count):
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
            "path": "/fan", "raw_path": b"/fan", "root_path": "", "query_string": b"", "headers": [],
            "scheme": "http", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
        }  # fmt: skip
        await asyncio.create_task(app(scope, receive, send))


def _recorder(kind: str) -> Any:
    from backstay.observe.recorder import Recorder

    return Recorder([asyncio.get_running_loop()], pure=kind == "pure")


async def _rounds() -> dict[str, float]:
    app = _app()
    await _requests(app, REQUESTS)
    ratios: dict[str, list[float]] = {"recorded": [], "pure": [], "off": []}

    async def cost() -> float:
        gc.collect()
        gc.disable()
        before = time.process_time()
        await _requests(app, REQUESTS)
        spent = time.process_time() - before
        gc.enable()
        return spent

    for _ in range(ROUNDS):
        bare = await cost()
        for kind in ("recorded", "pure"):
            with _recorder(kind):
                ratios[kind].append(await cost() / bare)
        ratios["off"].append(await cost() / bare)
    return {kind: median(found) for kind, found in ratios.items()}


def _instructions(kind: str, loop: str, count: int) -> int:
    told = subprocess.run(
        [
            *("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"),
            *(sys.executable, "-m", "benchmarks.recorder", kind, loop, str(count)),
        ],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    found = re.search(r"I\s+refs:\s+([\d,]+)", told)
    assert found, told
    return int(found[1].replace(",", ""))


def _counted(loop: str) -> dict[str, float]:
    spent = {
        kind: _instructions(kind, loop, 400) - _instructions(kind, loop, 100)
        for kind in ("bare", "recorded", "pure", "off")
    }
    return {kind: spent[kind] / spent["bare"] for kind in ("recorded", "pure", "off")}


def _factory(loop: str) -> Any:
    import uvloop

    return uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop


def measure() -> list[Figure]:
    """Return what the recorder costs, in C and in Python, attached and taken off again."""
    counts = os.environ.get("BACKSTAY_INSTRUCTIONS") == "1" and shutil.which("valgrind") is not None
    what, word = ("instructions", "instructions") if counts else ("cpu", "CPU in rounds")
    figures = []
    for loop in ("asyncio", "uvloop"):
        if counts:
            told = _counted(loop)
        else:
            with asyncio.Runner(loop_factory=_factory(loop)) as runner:
                told = runner.run(_rounds())
        figures += [
            Figure(f"recorder.{kind}.{loop}.{what}", ratio, "x", f"{word}, to the bare request's")
            for kind, ratio in told.items()
        ]
    return figures


async def _serve(kind: str, count: int) -> None:
    app = _app()
    if kind == "bare":
        await _requests(app, count)
        return
    with _recorder(kind):
        if kind != "off":
            await _requests(app, count)
    if kind == "off":
        await _requests(app, count)


def main() -> None:
    """Be the child that valgrind counts: KIND LOOP COUNT."""
    kind, loop, count = sys.argv[1:]
    with asyncio.Runner(loop_factory=_factory(loop)) as runner:
        runner.run(_serve(kind, int(count)))


if __name__ == "__main__":
    main()
