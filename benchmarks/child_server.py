"""Applications in one child process under uvicorn, and their CPU for each request in interleaved rounds.

One client in this process keeps 16 connections busy against one of them at a time. What is compared is the
child's CPU time per request, which is what limits the requests per second of one process and does not notice a
busy neighbour.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.rounds import low

REQUESTS = 400  # of a round
CONNECTIONS = 16

_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def cpu_per_request(child: Sequence[str], names: Sequence[str], rounds: int) -> dict[str, float]:
    """Return what a request to each application costs the child, in seconds of CPU.

    Args:
        child: name of the module that calls `serve_until_told`, and its arguments.
        names: of the applications, in the order of a round.
        rounds: how many.
    """
    server = subprocess.Popen(
        [sys.executable, "-m", *child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        ports: dict[str, int] = json.loads(server.stdout.readline())
        samples: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(rounds):
            for name in names:
                before = _ask(server)
                asyncio.run(_keep_busy(ports[name]))
                samples[name].append((_ask(server) - before) / REQUESTS)
    finally:
        server.stdin.close()
        server.wait(timeout=10)
        server.stdout.close()
    return {name: low(values) for name, values in samples.items()}


async def serve_until_told(apps: Mapping[str, Any], **options: Any) -> None:
    """Be the child: serve each application on a port of its own until standard input ends.

    Args:
        apps: by name.
        options: of uvicorn, for all of them.
    """
    import uvicorn

    ports: dict[str, int] = {}
    servers: list[Any] = []
    async with asyncio.TaskGroup() as group:
        for name, app in apps.items():
            server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", **options))
            server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
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
