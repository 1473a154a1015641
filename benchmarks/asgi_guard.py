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
import os
import sys
from typing import Any

from benchmarks.child_server import cpu_per_request, serve_until_told
from benchmarks.rounds import Figure

ROUNDS = 40
PORTS = ("bare", "guarded", "middleware")


def measure() -> list[Figure]:
    """Return guarded against bare on both servers, with the do-nothing middleware beside it."""
    return [_measure("default"), _measure("fastest")]


def _measure(flavour: str) -> Figure:
    cost = cpu_per_request(["benchmarks.asgi_guard", flavour], PORTS, ROUNDS)
    note = f"bare = {cost['bare'] * 1e6:.0f} µs of CPU a request"
    detail = {name: value / cost["bare"] for name, value in cost.items()}
    return Figure(f"asgi.guard.{flavour}", cost["guarded"] / cost["bare"], "x", note, detail)


async def _serve(options: dict[str, Any]) -> None:
    """Be the child: serve the three apps until standard input ends."""
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
    await serve_until_told(apps, **options)


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
