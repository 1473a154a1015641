"""A stream of an RPC is read by a task, and the reader is dropped when the first answer is there.

Nobody cancels the call, so its poller reads on as long as the server sends. Real: `grpc.aio`.

Cases: grpc#25339, grpc#37355, grpc#43462.
Cure: cancel the call when done with it, or read it inside of the block that owns it.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from corpus_stage import Expect, Stage

from backstay import Scope

EXPECT = (
    Expect("ORPHAN", count=3),
    Expect("ORPHAN", count=3, spawn="grpc/aio/_call.py _send_unary_request", waits=""),
)


async def ticks(request: bytes, context: Any) -> Any:
    for _ in range(3):
        yield b"tick"
        await asyncio.sleep(0.002)
    await asyncio.sleep(3600)  # a quiet stream: so each look finds the readers waiting


def server() -> tuple[grpc.aio.Server, int]:
    found = grpc.aio.server()
    handler = grpc.unary_stream_rpc_method_handler(ticks)
    found.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("corpus.Clock", {"Ticks": handler}),)
    )
    return found, found.add_insecure_port("127.0.0.1:0")


async def poll(call: Any, inbox: asyncio.Queue[bytes]) -> None:
    async for tick in call:  # leak: waits
        if inbox.qsize() < 2:
            inbox.put_nowait(tick)


kept: list[Any] = []


async def visit(stage: Stage, *, cancels: bool) -> None:
    serving, port = server()
    await serving.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    kept.extend((serving, channel))
    stream = channel.unary_stream("/corpus.Clock/Ticks")
    for number in range(3):
        try:
            async with Scope(f"GET /time {number}", kind="request"):
                call, inbox = stream(b""), asyncio.Queue()
                kept.append(asyncio.create_task(poll(call, inbox)))  # leak: spawn
                await inbox.get()
                if cancels:
                    call.cancel()
        except asyncio.CancelledError:
            pass
    await stage.settle(0.02)
    if cancels:
        await channel.close()
        await serving.stop(None)


async def leak(stage: Stage) -> None:
    await visit(stage, cancels=False)


async def fix(stage: Stage) -> None:
    await visit(stage, cancels=True)
