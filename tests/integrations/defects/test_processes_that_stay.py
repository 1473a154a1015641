"""Processes that do not end, and peers that hang: what stock libraries do, and what ours does."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any

import grpc.aio
import pytest

from backstay.integrations.grpc import channel_options

Start = Callable[..., Any]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

SQLITE = """
import asyncio, sys
import aiosqlite
from backstay.lifecycle import Service, run_service

async def work(leave=None):
    kept.append(await aiosqlite.connect(":memory:"))  # and never closed
    print("open", flush=True)
    if leave is not None:
        await leave.wait()

kept = []
if sys.argv[1] == "stock":
    asyncio.run(work())
else:
    service = Service("reports", grace=2.0)
    service.task("report", work)
    sys.exit(run_service(service))
"""

SERVER = """
import asyncio, sys
import grpc.aio
from backstay.integrations.grpc import server_options

class Handlers(grpc.GenericRpcHandler):
    def service(self, details):
        async def answer(request, context):
            return b"here"
        return grpc.unary_unary_rpc_method_handler(answer)

async def main():
    server = grpc.aio.server(options=server_options())
    server.add_generic_rpc_handlers((Handlers(),))
    server.add_insecure_port("127.0.0.1:" + sys.argv[1])
    await server.start()
    print("listening", flush=True)
    await server.wait_for_termination()

asyncio.run(main())
"""


def test_aiosqlite_keeps_a_process_that_forgot_to_close(start: Start) -> None:
    """Stock: its thread is no daemon, and Python waits for it for good. Ours: ended at the grace, thread named."""
    stock = start("-c", SQLITE, "stock")
    stock.wait_for("open")
    assert stock.ended_within(3) is None
    ours = start("-c", SQLITE, "ours")
    ours.wait_for("open")
    ours.popen.send_signal(signal.SIGTERM)
    assert ours.ended_within(8) is not None
    assert "keeps the process: thread" in ours.log


#: What is found everywhere on the web.
CUSTOMARY = [
    ("grpc.keepalive_time_ms", 1_000),
    ("grpc.keepalive_timeout_ms", 500),
    ("grpc.keepalive_permit_without_calls", 1),
]
CALL_S = 6.0


@pytest.mark.real_loop
async def test_a_grpc_peer_that_hangs_is_noticed_within_three_seconds(start: Start) -> None:
    """SIGSTOP. With the customary options a call lasts until its own deadline; with ours it fails, and soon."""
    server = start("-c", SERVER, "{port}")
    await asyncio.to_thread(server.wait_for, "listening")
    took: dict[str, float] = {}
    codes: dict[str, Any] = {}

    async def call(kind: str, options: list[tuple[str, int]]) -> None:
        target = f"127.0.0.1:{server.port}"
        async with grpc.aio.insecure_channel(target, options=options) as channel:
            ask: Any = channel.unary_unary("/shop.Test/Ask")
            assert await ask(b"") == b"here"
            barrier.append(kind)
            while len(barrier) < 3:
                await asyncio.sleep(0.01)
            began = time.monotonic()
            try:
                await ask(b"", timeout=CALL_S)
            except grpc.aio.AioRpcError as error:
                codes[kind] = error.code()
            took[kind] = time.monotonic() - began

    barrier: list[str] = []

    async def hang() -> None:
        while len(barrier) < 2:
            await asyncio.sleep(0.01)
        server.popen.send_signal(signal.SIGSTOP)
        barrier.append("stopped")

    await asyncio.gather(call("stock", CUSTOMARY), call("ours", channel_options()), hang())
    assert codes["stock"] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert took["stock"] >= CALL_S - 0.5
    assert codes["ours"] is grpc.StatusCode.UNAVAILABLE
    assert took["ours"] <= 3.0, took  # a second and a half to the ping, one for its answer
