"""Brokers and consumers are killed and hung under load: no message is lost, none has two effects.

Two processes consume what this one publishes, with one inbox file. What is published is
published again when the broker does not answer, under the same id, as any sender with an outbox does.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from local_servers import local_services
from nats_side import DURABLE, STREAM, SUBJECT, connected, empty

from backstay.integrations.redis_streams import publish

pytestmark = [pytest.mark.real_loop, pytest.mark.slow, pytest.mark.timeout(120)]

# Found by name: the scripts stand on the path once local_servers has loaded one of them.
local_server = importlib.import_module(local_services.LocalServer.__module__)
PROCESS = Path(__file__).with_name("consuming_process.py")
ACK_WAIT = 1.0
MESSAGES = 450
EVERY_S = 0.01  # between two messages
RECOVERY_S = 5.0


class RedisSide:
    """What the test does with Redis."""

    name = "redis"

    def __init__(self, server: Any) -> None:
        self.server = server
        self.client: Any = redis.asyncio.Redis.from_url(
            server.url, socket_timeout=0.5, socket_connect_timeout=0.5
        )

    async def prepare(self) -> None:
        await self.client.flushall()

    async def publish(self, message_id: str) -> None:
        await publish(self.client, "orders", b"x", message_id=message_id)

    async def unsettled(self) -> int:
        (group,) = await self.client.xinfo_groups("orders")
        return int(group["pending"]) + int(group["lag"] or 0)

    async def close(self) -> None:
        await self.client.aclose()


class NatsSide:
    """What the test does with NATS."""

    name = "nats"

    def __init__(self, server: Any) -> None:
        self.server = server
        self.stack = AsyncExitStack()

    async def prepare(self) -> None:
        self.client = await self.stack.enter_async_context(connected(self.server.url))
        await empty(self.client)

    async def publish(self, message_id: str) -> None:
        await self.client.jetstream().publish(
            SUBJECT, b"x", timeout=0.5, headers={"Nats-Msg-Id": message_id}
        )

    async def unsettled(self) -> int:
        info = await self.client.jetstream().consumer_info(STREAM, DURABLE)
        return int(info.num_ack_pending + info.num_pending)

    async def close(self) -> None:
        await self.stack.aclose()


class Chaos:
    """A broker, consuming processes, and what they have done."""

    def __init__(self, side: Any, file: Path) -> None:
        self.side = side
        self.file = file
        self.processes: list[subprocess.Popen[str]] = []
        self.back_at = 0.0  # when whatever was broken was whole again

    def start(self) -> None:
        words = [self.side.name, self.side.server.url, str(self.file), str(ACK_WAIT)]
        process = subprocess.Popen(
            [sys.executable, str(PROCESS), *words], stdout=subprocess.PIPE, text=True
        )
        self.processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    def stop(self) -> list[dict[str, Any]]:
        """Let all processes that live drain; return what each tells."""
        alive = [process for process in self.processes if process.poll() is None]
        for process in alive:
            process.send_signal(signal.SIGTERM)
        told = [process.communicate(timeout=30)[0] for process in alive]
        assert [process.returncode for process in alive] == [0] * len(alive)
        return [json.loads(text.splitlines()[-1]) for text in told]

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def effects(self) -> list[tuple[str, float]]:
        with closing(sqlite3.connect(self.file)) as db:
            return list(db.execute("SELECT message_id, at FROM effect ORDER BY at"))

    async def publish_all(self) -> None:
        for number in range(MESSAGES):
            while True:
                try:
                    await asyncio.wait_for(self.side.publish(f"m{number}"), 1.0)
                    break
                except Exception:  # whatever it was: the sender's outbox has it still
                    await asyncio.sleep(0.05)
            await asyncio.sleep(EVERY_S)


Fault = Callable[[Chaos], Awaitable[None]]


async def kill_broker(chaos: Chaos) -> None:
    chaos.side.server.kill()
    await asyncio.sleep(0.5)
    chaos.side.server.start()
    chaos.back_at = time.time()


async def hang_broker(chaos: Chaos) -> None:
    chaos.side.server.send(signal.SIGSTOP)
    await asyncio.sleep(2.5)
    chaos.side.server.send(signal.SIGCONT)
    chaos.back_at = time.time()


async def stop_at_work(chaos: Chaos) -> subprocess.Popen[str]:
    """Stop a process at a moment at which it has a message in hand."""
    process = chaos.processes[0]
    tally = Path(f"{chaos.file}.{process.pid}")
    for _ in range(200):
        process.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(local_server.wait_until_hung, process.pid)
        if tally.exists() and any(tally.read_bytes()):
            return process
        process.send_signal(signal.SIGCONT)
        await asyncio.sleep(0.01)
    raise AssertionError("the process had never anything in hand")


async def kill_consumer(chaos: Chaos) -> None:
    (await stop_at_work(chaos)).kill()
    chaos.back_at = time.time()
    await asyncio.to_thread(chaos.start)


async def hang_consumer(chaos: Chaos) -> None:
    process = await stop_at_work(chaos)
    await asyncio.sleep(2.5 * ACK_WAIT)
    process.send_signal(signal.SIGCONT)
    chaos.back_at = time.time()


async def hang_all_consumers(chaos: Chaos) -> None:
    for process in chaos.processes:
        process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(2.5 * ACK_WAIT)
    for process in chaos.processes:
        process.send_signal(signal.SIGCONT)
    chaos.back_at = time.time()


FAULTS = [kill_broker, hang_broker, kill_consumer, hang_consumer, hang_all_consumers]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_no_message_is_lost_and_none_has_two_effects(
    side: Any, fault: Fault, tmp_path: Path
) -> None:
    """450 messages, a fault after a second, and 450 effects; the next one within 5 s of the repair."""
    await side.prepare()
    chaos = Chaos(side, tmp_path / "effects.sqlite3")
    try:
        for _ in range(2):
            await asyncio.to_thread(chaos.start)
        publishing = asyncio.get_running_loop().create_task(chaos.publish_all())
        await asyncio.sleep(1.0)
        await fault(chaos)
        await publishing
        until = time.monotonic() + 30
        while len({name for name, _ in chaos.effects()}) < MESSAGES or await side.unsettled():
            assert time.monotonic() < until, (len(chaos.effects()), await side.unsettled())
            await asyncio.sleep(0.1)
        told = await asyncio.to_thread(chaos.stop)
    finally:
        chaos.end()
        await side.close()
    names = [name for name, _ in chaos.effects()]
    assert sorted(names) == sorted(f"m{number}" for number in range(MESSAGES))
    after = [at for _, at in chaos.effects() if at >= chaos.back_at]
    assert after, "all was done before the repair: it has proved nothing"
    recovered = after[0] - chaos.back_at
    print(f"{side.name} {fault.__name__}: next effect {recovered:.2f} s after the repair")
    assert recovered <= RECOVERY_S
    if fault in (kill_consumer, hang_consumer):
        assert sum(one["redelivered"] for one in told) > 0, "the fault has struck nothing"
    for one in told:
        assert (one["state"], one["in_hand"], one["dead"]) == ("exited", 0, 0)


@pytest.fixture(params=["redis", "nats"])
def side(request: pytest.FixtureRequest) -> Any:
    """Return what the test does with a broker that runs."""
    server = request.getfixturevalue(f"{request.param}_server")
    if not server.alive():
        server.start()
    return {"redis": RedisSide, "nats": NatsSide}[request.param](server)
