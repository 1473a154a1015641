"""One long-lived event is raced against each message, and each race leaves a waiter behind.

`create_task(stop.wait())` of the last round is dropped, and waits on: as many waiters on one event as
there were messages.

Cases: aiokafka#444, cpython#152569, frequenz-channels#334.
Cure: one waiter for all rounds, or cancel it after each.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage

EXPECT = Expect("GROWING", count=20, waits="")  # inside of asyncio: no line of ours


class Service:
    def __init__(self) -> None:
        self.stop = asyncio.Event()


services: list[Service] = []  # as long as the process


async def consume(service: Service, message: asyncio.Future[str]) -> None:
    ended = asyncio.create_task(service.stop.wait())  # leak: spawn
    got = asyncio.ensure_future(message)
    await asyncio.wait({ended, got}, return_when=asyncio.FIRST_COMPLETED)


async def leak(stage: Stage) -> None:
    services.append(Service())
    async for number in stage.rounds(110):
        message: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        message.set_result(f"message {number}")
        await consume(services[-1], message)


async def fix(stage: Stage) -> None:
    services.append(Service())
    ended = asyncio.create_task(services[-1].stop.wait())
    async for number in stage.rounds(110):
        message: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        message.set_result(f"message {number}")
        await asyncio.wait({ended, message}, return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
