"""The bus of the example shop is a subscription, on its broker as a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from local_servers import local_services
from shop.bus import BusClient
from shop.bus.subscription import BusSubscription

from backstay.lifecycle import Consumer, Delivery, Redelivery
from backstay.testing.conformance import SubscriptionKit

pytestmark = [pytest.mark.real_loop, pytest.mark.slow]

TOPIC, GROUP = "order.paid", "fulfilment"


class Bench:
    """Headers are the one thing that this bus does not carry; the payload of these tests has them not."""

    def __init__(self, client: BusClient, other: BusClient, ack_wait: float) -> None:
        self.client = client
        self.one = BusSubscription(client, TOPIC, GROUP, lease_s=ack_wait)
        self.other = BusSubscription(other, TOPIC, GROUP, lease_s=ack_wait)

    async def publish(self, payload: bytes, message_id: str, headers: Mapping[str, str]) -> None:
        await self.client.publish(TOPIC, [(message_id, payload)])

    async def dead(self) -> list[tuple[str, str]]:
        return [(one.dedup_id, one.reason) for one in await self.client.dead_letters()]


@asynccontextmanager
async def bench(folder: Path, ack_wait: float) -> AsyncIterator[Bench]:
    port = local_services.free_port()
    words = ["-m", "shop.infra", "--port", str(port), "--data", str(folder)]
    process = subprocess.Popen([sys.executable, *words])
    try:
        async with BusClient(f"127.0.0.1:{port}") as one, BusClient(f"127.0.0.1:{port}") as other:
            await asyncio.gather(one.statistics(), other.statistics())  # connected, from now on
            yield Bench(one, other, ack_wait)
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(10)


def kit(folder: Path = Path()) -> SubscriptionKit:
    return SubscriptionKit(lambda ack_wait: bench(folder, ack_wait), 1.0)


@pytest.mark.parametrize(
    "name", [str(case) for case in kit().cases() if case.name != "delivers_all_in_order"]
)
async def test_it_conforms(tmp_path: Path, name: str) -> None:
    """Each thing that the kit asks holds, but for headers, which this bus does not carry."""
    await next(case for case in kit(tmp_path).cases() if case.name == name).run()


async def test_a_consumer_on_the_bus(tmp_path: Path) -> None:
    """Failures come again after their back-off, poison goes to the dead letters, a drain costs no attempt."""
    done: list[str] = []

    async def handle(delivery: Delivery) -> None:
        await asyncio.sleep(0.01)
        if delivery.payload == b"poison":
            raise ValueError("cannot be read")
        if delivery.message_id.endswith("3") and delivery.attempt == 1:
            raise OSError("not now")
        if delivery.payload == b"slow":
            await asyncio.sleep(30)
        done.append(delivery.message_id)

    rule = Redelivery(first=0.1, most=0.1, poison=(ValueError,))
    async with bench(tmp_path, 2.0) as made:
        for number in range(20):
            await made.publish(b"poison" if number == 7 else b"x", f"m{number}", {})
        await made.publish(b"slow", "slow", {})
        consumer = Consumer("c", made.one, handle, redelivery=rule, concurrency=8, drain=0.5)
        async with consumer:
            async with asyncio.timeout(10):
                while len(done) < 19:
                    await asyncio.sleep(0.01)
        statistics = consumer.statistics()
        assert (statistics.acked, statistics.retried, statistics.dead) == (19, 2, 1)
        assert (statistics.left_over, statistics.given_back) == (("slow",), 1)
        assert await made.dead() == [("m7", "ValueError: cannot be read")]
        (again,) = await made.other.pull(5, 1.0)
        assert (again.message_id, again.attempt) == ("slow", 1)
