"""Promise: an item through a buffer costs at most 0.55x of `asyncio.Queue`, from hand to hand 0.25x.

One producer and one consumer, nanoseconds of CPU per item, send and receive
together. Selecting between two buffered channels costs at most 3x of receiving
from one, measured the same way. A timer beside two tasks that hand items to each
other without end is at most 0.3 ms later than on an idle loop.

aiochannel, asyncio.Queue, janus and culsans have no capacity 0.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import trio
import uvloop

from backstay import Channel, select
from benchmarks.channel_peers import PEERS, Peer
from benchmarks.rounds import Figure, low

ITEMS = 1_000
ROUNDS = 25
TICKS = 120
PARKED = 2_000

Samples = dict[str, list[float]]


async def _hop(peer: Peer, capacity: int) -> float:
    pipe = peer.make(capacity)
    send, recv = peer.send, peer.recv

    async def produce() -> None:
        for number in range(ITEMS):
            await send(pipe, number)

    async def consume() -> None:
        for _ in range(ITEMS):
            await recv(pipe)

    spent = await _cpu(produce(), consume())
    if peer.tidy is not None:
        await peer.tidy(pipe)
    return spent


async def _cpu(*work: Awaitable[Any]) -> float:
    gc.disable()
    started = time.process_time()
    await asyncio.gather(*work)
    spent = time.process_time() - started
    gc.enable()
    return spent / ITEMS * 1e9


async def _through_two(consume: Callable[..., Awaitable[None]]) -> float:
    one, two = Channel[int](128), Channel[int](128)

    async def produce(channel: Channel[int]) -> None:
        for number in range(ITEMS // 2):
            await channel.send(number)

    return await _cpu(produce(one), produce(two), consume(one, two))


async def _by_select(one: Channel[int], two: Channel[int]) -> None:
    for _ in range(ITEMS):
        await select(one, two)


async def _by_recv(one: Channel[int], two: Channel[int]) -> None:
    for _ in range(ITEMS // 2):
        await one.recv()
        await two.recv()


async def _ready(operation: Callable[[Channel[int], Channel[int]], Awaitable[Any]]) -> float:
    """Measure the operation alone, on buffers that are full enough."""
    one, two = Channel[int](128), Channel[int](128)
    for number in range(120):
        one.send_nowait(number)
        two.send_nowait(number)
    started = time.process_time()
    for _ in range(100):
        await operation(one, two)
    return (time.process_time() - started) / 100 * 1e9


async def _asyncio_rounds(
    capacities: tuple[int, ...], peers: tuple[Peer, ...]
) -> dict[int, Samples]:
    samples: dict[int, Samples] = {c: {peer.name: [] for peer in peers} for c in capacities}
    for _ in range(ROUNDS):
        for capacity in capacities:
            for peer in peers:
                if capacity or peer.unbuffered:
                    samples[capacity][peer.name].append(await _hop(peer, capacity))
    return samples


async def _select_rounds() -> dict[str, float]:
    samples: Samples = {"select": [], "recv": [], "select alone": [], "recv alone": []}
    for _ in range(ROUNDS * 2):
        samples["select"].append(await _through_two(_by_select))
        samples["recv"].append(await _through_two(_by_recv))
        samples["select alone"].append(await _ready(select))
        samples["recv alone"].append(await _ready(lambda one, _: one.recv()))
    return {name: low(values) for name, values in samples.items()}


async def _trio_hop(capacity: int) -> float:
    into, out = trio.open_memory_channel[int](capacity)

    async def produce() -> None:
        for number in range(ITEMS):
            await into.send(number)

    async def consume() -> None:
        for _ in range(ITEMS):
            await out.receive()

    started = time.process_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(produce)
        nursery.start_soon(consume)
    return (time.process_time() - started) / ITEMS * 1e9


async def _lateness() -> float:
    """Return the median of how late a timer fires, in milliseconds."""
    late: list[float] = []
    for _ in range(TICKS):
        due = time.perf_counter() + 0.002
        await asyncio.sleep(0.002)
        late.append((time.perf_counter() - due) * 1e3)
    return sorted(late)[TICKS // 2]


async def _lateness_beside_ping_pong(capacity: int) -> float:
    ball: Channel[int] = Channel(capacity)
    back: Channel[int] = Channel(capacity)

    async def play(take: Channel[int], give: Channel[int]) -> None:
        while True:
            await give.send(await take.recv())

    players = [asyncio.create_task(play(ball, back)), asyncio.create_task(play(back, ball))]
    await ball.send(1)
    late = await _lateness()
    for player in players:
        player.cancel()
    await asyncio.wait(players)
    return late


async def _parked_bytes(wait: Callable[[], Awaitable[Any]]) -> float:
    """Return what one task takes that waits for an item, the task included."""

    async def park() -> None:
        await wait()

    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tasks = [asyncio.create_task(park()) for _ in range(PARKED)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return used / PARKED


def _hops(label: str, factory: Callable[[], asyncio.AbstractEventLoop]) -> list[Figure]:
    stock = label == "stock"
    peers = PEERS if stock else tuple(p for p in PEERS if p.name in {"asyncio.Queue", "backstay"})
    with asyncio.Runner(loop_factory=factory) as runner:
        samples = runner.run(_asyncio_rounds((0, 1, 128), peers))
    cost = {c: {n: low(v) for n, v in s.items() if v} for c, s in samples.items()}
    if stock:
        for capacity, costs in cost.items():
            costs["trio"] = low([trio.run(_trio_hop, capacity) for _ in range(ROUNDS)])
    figures = []
    for name, capacity in (("buffered", 128), ("handoff", 1)):
        base = cost[capacity]["asyncio.Queue"]
        figures.append(
            Figure(
                f"channels.{name}.{label}",
                cost[capacity]["backstay"] / base,
                "x",
                f"asyncio.Queue({capacity}) = {base:.0f} ns an item",
                {peer: ns / base for peer, ns in cost[capacity].items()},
            )
        )
    ours = cost[0]["backstay"]
    rivals = {peer: ns for peer, ns in cost[0].items() if peer != "backstay"}
    if rivals:
        best = min(rivals.values())
        note = f"against the quickest other; ours {ours:.0f} ns an item"
        detail = {peer: ns / best for peer, ns in cost[0].items()}
        figures.append(Figure(f"channels.rendezvous.{label}", ours / best, "x", note, detail))
    return figures


def measure() -> list[Figure]:
    """Return the ratios, the lateness of timers and the bytes of a parked task."""
    figures = _hops("stock", asyncio.new_event_loop) + _hops("uvloop", uvloop.new_event_loop)
    with asyncio.Runner() as runner:
        select_cost = runner.run(_select_rounds())
        idle = min(runner.run(_lateness()) for _ in range(3))
        late = {
            f"capacity {capacity}": min(
                runner.run(_lateness_beside_ping_pong(capacity)) for _ in range(3)
            )
            for capacity in (0, 1)
        }
        queue: asyncio.Queue[int] = asyncio.Queue()
        channel: Channel[int] = Channel()
        ours = min(runner.run(_parked_bytes(channel.recv)) for _ in range(3))
        theirs = min(runner.run(_parked_bytes(queue.get)) for _ in range(3))
        selecting = min(
            runner.run(_parked_bytes(lambda: select(channel, Channel()))) for _ in range(3)
        )
    alone = select_cost["select alone"] / select_cost["recv alone"]
    figures.append(
        Figure(
            "channels.select",
            select_cost["select"] / select_cost["recv"],
            "x",
            f"an item by recv = {select_cost['recv']:.0f} ns; without the sends the ratio is {alone:.1f}",
            select_cost,
        )
    )
    worst = max(late.values())
    note = f"beside a ping-pong {worst:.2f} ms late, on an idle loop {idle:.2f} ms"
    figures.append(Figure("channels.timer", worst - idle, "ms", note, late))
    figures.append(
        Figure(
            "channels.parked",
            ours,
            "B",
            f"task and all, Python {sys.version_info.major}.{sys.version_info.minor}",
            {"asyncio.Queue.get": theirs, "select of 2 (a channel made for it)": selecting},
        )
    )
    return figures
