"""Promise: the ASGI guard costs at most 10 % of the requests per second of a hello-world app.

A hello-world app is the worst case: it does nothing but parse and answer. Three
apps are served by one child process on three ports: bare Starlette, the same
guarded, and the same behind a `BaseHTTPMiddleware` that does nothing, which is
how many services add far less. One client in this process keeps 16 connections
busy against one of them at a time, in short interleaved rounds. What is compared
is the child's CPU time per request, which is what limits the requests per second
of one process and does not notice a busy neighbour.

Two servers are measured: uvicorn as it comes (h11, asyncio's loop, access log on),
which the promise is about, and the fastest uvicorn there is (httptools, uvloop,
no log), where the same microseconds weigh three times as much.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

from benchmarks.rounds import Figure, low

ROUNDS = 40
REQUESTS = 400
CONNECTIONS = 16
PORTS = ("bare", "guarded", "middleware")

_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def _keep_busy(port: int) -> None:
    """Send REQUESTS requests over CONNECTIONS keep-alive connections, one at a time on each."""

    async def talk(count: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(count):
            writer.write(_REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(5)
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(talk(REQUESTS // CONNECTIONS) for _ in range(CONNECTIONS)))


def _ask(server: subprocess.Popen[str]) -> float:
    """Ask the child how much CPU it has used so far, in seconds."""
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write("cpu\n")
    server.stdin.flush()
    return float(server.stdout.readline())


def measure() -> list[Figure]:
    """Return guarded against bare on both servers, with the do-nothing middleware beside it."""
    return [_measure("default"), _measure("fastest")]


def _measure(flavour: str) -> Figure:
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.asgi_guard", flavour],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        ports: dict[str, int] = json.loads(server.stdout.readline())
        samples: dict[str, list[float]] = {name: [] for name in PORTS}
        for _ in range(ROUNDS):
            for name in PORTS:
                before = _ask(server)
                asyncio.run(_keep_busy(ports[name]))
                samples[name].append((_ask(server) - before) / REQUESTS)
    finally:
        server.stdin.close()
        server.wait(timeout=10)
        server.stdout.close()
    cost = {name: low(values) for name, values in samples.items()}
    note = f"bare = {cost['bare'] * 1e6:.0f} µs of CPU a request"
    detail = {name: value / cost["bare"] for name, value in cost.items()}
    return Figure(f"asgi.guard.{flavour}", cost["guarded"] / cost["bare"], "x", note, detail)


async def _serve(options: dict[str, Any]) -> None:
    """Be the child: serve the three apps until standard input ends."""
    import time

    import uvicorn
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    from backstay.integrations.asgi import guard

    async def hello(request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    async def pass_through(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    routes = [Route("/", hello)]
    apps = {
        "bare": Starlette(routes=routes),
        "guarded": guard(Starlette(routes=routes)),
        "middleware": Starlette(
            routes=routes, middleware=[Middleware(BaseHTTPMiddleware, dispatch=pass_through)]
        ),
    }
    ports: dict[str, int] = {}
    servers: list[Any] = []
    async with asyncio.TaskGroup() as group:
        for name, app in apps.items():
            server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", **options))
            server.install_signal_handlers = lambda: None
            servers.append(server)
            group.create_task(server.serve())
            while not server.started:
                await asyncio.sleep(0.01)
            ports[name] = server.servers[0].sockets[0].getsockname()[1]
        print(json.dumps(ports), flush=True)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(time.process_time(), flush=True)
        for server in servers:
            server.should_exit = True


def _child(flavour: str) -> None:
    import uvloop

    if flavour == "fastest":
        factory, options = uvloop.new_event_loop, {"http": "httptools", "access_log": False}
        options["log_level"] = "error"
    else:  # the log is written as always, to where it costs no terminal
        factory, options = asyncio.new_event_loop, {"http": "h11", "log_config": _log_config()}
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(options))


def _log_config() -> dict[str, Any]:
    import copy

    from uvicorn.config import LOGGING_CONFIG

    config = copy.deepcopy(LOGGING_CONFIG)
    for handler in config["handlers"].values():
        handler["stream"] = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the process's life
    return config


if __name__ == "__main__":
    _child(sys.argv[1])
