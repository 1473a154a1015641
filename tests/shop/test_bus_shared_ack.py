"""Concurrent acks share calls, and no cancellation or error leaves one of them waiting."""

from __future__ import annotations

import asyncio

import pytest
from shop.bus._shared_ack import SharedAck


class Wire:
    """Stands for the RPC: takes a second, can fail."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.begun: list[list[int]] = []
        self.error: Exception | None = None

    async def send(self, ids: list[int]) -> None:
        """One call."""
        self.begun.append(list(ids))
        await asyncio.sleep(1)
        if self.error is not None:
            raise self.error
        self.calls.append(list(ids))


async def test_acks_gather_while_a_call_is_under_way():
    """The first ack leaves at once, those that come meanwhile leave together."""
    wire = Wire()
    acks = SharedAck(wire.send)
    await asyncio.gather(*(acks.add([number]) for number in range(5)))
    await acks.add([9])
    assert wire.calls == [[0], [1, 2, 3, 4], [9]]
    first = asyncio.create_task(acks.add([10]))
    await asyncio.sleep(0.5)
    await asyncio.gather(first, acks.add([11]), acks.add([12, 13]))
    assert wire.calls[3:] == [[10], [11, 12, 13]]


async def test_everybody_hears_the_error_of_the_call():
    """An error reaches each ack of that call, and only those."""
    wire = Wire()
    wire.error = OSError("down")
    acks = SharedAck(wire.send)
    outcomes = await asyncio.gather(
        *(acks.add([number]) for number in range(3)), return_exceptions=True
    )
    assert [str(outcome) for outcome in outcomes] == ["down"] * 3
    assert wire.begun == [[0], [1, 2]]
    wire.error = None
    await acks.add([7])
    assert wire.calls == [[7]]


@pytest.mark.parametrize("after", [0.0, 0.3, 1.0, 1.3, 2.0])
@pytest.mark.parametrize("victim", range(4))
async def test_cancelled_carrier(victim: int, after: float):
    """Whoever is cancelled and whenever, the acks of the others are sent."""
    wire = Wire()
    acks = SharedAck(wire.send)
    tasks = [asyncio.create_task(acks.add([0]))]
    await asyncio.sleep(0.2)
    tasks += [asyncio.create_task(acks.add([number])) for number in (1, 2, 3)]
    await asyncio.sleep(after)
    tasks[victim].cancel()
    async with asyncio.timeout(20):
        await asyncio.gather(*tasks, return_exceptions=True)
    sent = {number for call in wire.calls for number in call}
    assert sent >= {0, 1, 2, 3} - {victim}
