"""A service with something to see on each page: run by the tests under `backstay run`.

Arguments: how many tasks wait, and a file; while the file exists, the loop is blocked for its
number of seconds at a time.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from backstay import Scope
from backstay.errors import Rejected
from backstay.guard import Breaker, Bulkhead, Pool, Rate

orders: asyncio.Queue[int] = asyncio.Queue()
stock = asyncio.Lock()
money = asyncio.Lock()
breaker = Breaker("payments", minimum=5, open_for=600.0)
bulkhead = Bulkhead(4, queue=2, name="warehouse")
rate = Rate(5.0, 5.0, name="mail", max_wait=0.0)
started = asyncio.Event()


async def consume() -> None:
    """Wait for an order that never comes."""
    await orders.get()


async def follow_price() -> None:
    """Sleep for long."""
    await asyncio.sleep(3600)


async def reserve_then_charge() -> None:
    """Take the two locks in one order."""
    async with stock:
        await asyncio.sleep(0.05)
        async with money:
            pass


async def charge_then_reserve() -> None:
    """Take them in the other one."""
    async with money:
        await asyncio.sleep(0.05)
        async with stock:
            pass


def render_invoice(seconds: float) -> None:
    """Block the loop as a library without asyncio does."""
    time.sleep(seconds)


async def print_invoices(trigger: Path) -> None:
    """Block the loop while the file is there."""
    while True:
        await asyncio.sleep(0.1)
        if trigger.exists():
            render_invoice(float(trigger.read_text() or 0))


def score(order: int) -> int:
    """Use the processor."""
    return sum(number * number % 7 for number in range(15_000 + order % 3))


async def rank_orders() -> None:
    """Keep the loop a little busy."""
    for order in range(10**9):
        score(order)
        await asyncio.sleep(0.005)


@breaker
async def pay() -> None:
    """Fail, as a service that is down does."""
    raise ConnectionError("payments are down")


async def store() -> None:
    """Hold a place for long."""
    async with bulkhead:
        await asyncio.sleep(3600)


async def mail() -> None:
    """Send more than the rate allows."""
    while True:
        try:
            await rate.acquire()
        except Rejected:
            pass
        await asyncio.sleep(0.05)


async def attempt() -> None:
    """Let the breaker see failures."""
    for _ in range(8):
        try:
            await pay()
        except (ConnectionError, Rejected):
            pass


async def leak() -> None:
    """Wait for what nobody will set."""
    await asyncio.Event().wait()


async def subscribe(kept: list[asyncio.Task[None]], scope: Scope) -> None:
    """Start one task more each time, for good."""
    while True:
        kept.append(scope.go(leak))
        await asyncio.sleep(0.1)


async def connect() -> object:
    """Open something."""
    return object()


async def take_orders(count: int) -> None:
    """Own the consumers, until a deadline."""
    async with Scope("orders", kind="consumer", timeout=7200) as consumers:
        for _ in range(count):
            consumers.go(consume)


async def mix_up() -> None:
    """Own the two that wait for each other; no deadline of another scope ends them."""
    async with Scope("stocktaking", kind="job") as job:
        job.go(reserve_then_charge)
        job.go(charge_then_reserve)


async def keep_shop(count: int, trigger: Path) -> None:
    """Own everything else."""
    pool: Pool[object] = Pool(connect, name="database", max_open=3)
    async with pool, Scope("shop", kind="app") as shop:
        shop.go(print_invoices, trigger)
        shop.go(rank_orders)
        shop.go(mail)
        await attempt()
        for _ in range(4):
            shop.go(store)
        shop.go(take_orders, count - count // 2)
        async with pool.take(), Scope("feeds", kind="consumer") as feeds:
            feeds.go(subscribe, [], feeds)
            for _ in range(count // 2):
                feeds.go(follow_price)
            trigger.with_suffix(".ready").touch()
            await asyncio.sleep(1e6)


async def main() -> None:
    """Start everything, and stay."""
    both = [
        asyncio.create_task(mix_up(), name="stocktaking"),
        asyncio.create_task(keep_shop(int(sys.argv[1]), Path(sys.argv[2])), name="shop"),
    ]
    await asyncio.wait(both)


asyncio.run(main())
