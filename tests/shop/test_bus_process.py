"""The bus as real processes: over gRPC, killed, restarted, misused."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from shop.bus import BusClient, BusError, BusFull, BusUnavailable, Delivery

pytestmark = [pytest.mark.real_loop, pytest.mark.slow]

TOPIC, GROUP = "order.paid", "fulfilment"


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(port: int, data: Path, *flags: str) -> subprocess.Popen[str]:
    """Start an infra process."""
    command = [sys.executable, "-m", "shop.infra", "--port", str(port), "--data", str(data), *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@contextmanager
def infra(port: int, data: Path, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """An infra process that ends with the block; it must have printed nothing."""
    process = start(port, data, *flags)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.send_signal(signal.SIGCONT)  # a test may have failed while it was stopped
        output, _ = process.communicate(timeout=10)
        assert output == ""


def names(deliveries: list[Delivery]) -> list[str]:
    """The dedup ids, in order."""
    return [delivery.dedup_id for delivery in deliveries]


async def drain(client: BusClient, limit: int = 1000) -> list[Delivery]:
    """Pull what is there."""
    return await client.pull(TOPIC, GROUP, max_messages=limit, wait_s=0, lease_s=30)


async def test_whole_life_over_the_wire(tmp_path: Path):
    """Publish, pull, ack, nak, dead letters and statistics work through gRPC; SIGTERM ends a waiting pull and exits 0."""
    port = free_port()
    with infra(port, tmp_path, "--max-attempts", "2") as process:
        async with BusClient(f"127.0.0.1:{port}", timeout_s=20) as client:
            await client.publish(TOPIC, [(f"m{number}", b"x" * 2000) for number in range(1200)])
            await client.publish(TOPIC, [("m0", b"again")])
            got = await drain(client)
            got += await drain(client)
            assert names(got) == [f"m{number}" for number in range(1200)]
            await asyncio.gather(*(client.ack([one]) for one in got[2:]))
            await client.nak(got[:1], delay_s=0)
            await client.nak(got[1:2], delay_s=0, refund_attempt=True)
            again = await drain(client)
            assert [(one.dedup_id, one.attempt) for one in again] == [("m0", 2), ("m1", 1)]
            await client.nak(again, delay_s=0.01)
            assert [letter.dedup_id for letter in await client.dead_letters(TOPIC)] == ["m0"]
            async with asyncio.timeout(5):
                last = await client.pull(TOPIC, GROUP, max_messages=5, wait_s=5, lease_s=30)
            await client.ack(last)
            seen = await client.statistics()
            assert (seen.published, seen.duplicates, seen.acknowledged, seen.dead_letters) == (
                1200,
                1,
                1199,
                1,
            )

            waiting = asyncio.create_task(
                client.pull(TOPIC, GROUP, max_messages=5, wait_s=30, lease_s=30)
            )
            await asyncio.sleep(0.1)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 10) == 0
            assert time.monotonic() - began < 8
            assert await waiting == []


async def test_large_messages_come_in_several_pulls(tmp_path: Path):
    """A pull never grows beyond what gRPC carries; the rest follows at once."""
    port = free_port()
    with infra(port, tmp_path):
        async with BusClient(f"127.0.0.1:{port}", timeout_s=20) as client:
            await client.publish(TOPIC, [(f"m{number}", b"x" * 1_000_000) for number in range(8)])
            got: list[str] = []
            async with asyncio.timeout(10):
                while len(got) < 8:
                    part = await client.pull(TOPIC, GROUP, max_messages=64, wait_s=60, lease_s=30)
                    assert 1 <= len(part) <= 3
                    got += names(part)
            assert got == [f"m{number}" for number in range(8)]


async def test_refusals(tmp_path: Path):
    """Names, numbers and sizes out of range are refused with the value and the range, and not retried."""
    port = free_port()
    with infra(port, tmp_path):
        async with BusClient(f"127.0.0.1:{port}", timeout_s=20) as client:
            with pytest.raises(BusError, match="topic has 0 characters, 1 to 200"):
                await client.publish("", [("a", b"")])
            with pytest.raises(BusError, match="max_messages is 5000, 1 to 1000"):
                await drain(client, 5000)
            with pytest.raises(BusError, match="wait_ms is 90000, 0 to 60000"):
                await client.pull(TOPIC, GROUP, max_messages=1, wait_s=90, lease_s=1)
            with pytest.raises(BusError, match="a payload of 1048577 bytes, at most 1048576"):
                await client.publish(TOPIC, [("a", b"x" * (1024 * 1024 + 1))])
            await client.ack([])


async def test_kill_minus_nine_loses_nothing(tmp_path: Path):
    """Everything acknowledged to publishers survives SIGKILL, acked messages stay gone, clients carry on."""
    port = free_port()
    confirmed: list[str] = []
    async with BusClient(f"127.0.0.1:{port}", timeout_s=20) as client:
        with infra(port, tmp_path) as first:
            await client.publish(TOPIC, [("done", b""), ("held", b"")])
            done, _held = await drain(client)
            await client.ack([done])
            waiting = asyncio.create_task(
                client.pull("other", GROUP, max_messages=5, wait_s=15, lease_s=30)
            )

            async def keep_publishing() -> None:
                for number in range(400):
                    await client.publish(TOPIC, [(f"m{number}", b"x")])
                    confirmed.append(f"m{number}")

            publishing = asyncio.create_task(keep_publishing())
            while len(confirmed) < 100:
                await asyncio.sleep(0.005)
            first.kill()
            first.wait(10)
        with infra(port, tmp_path):
            async with asyncio.timeout(20):
                await publishing
                await client.publish("other", [("late", b"")])
                assert names(await waiting) == ["late"], "the waiting pull outlived the broker"
                got = await drain(client)
                while len(got) < 401:
                    got += await client.pull(TOPIC, GROUP, max_messages=1000, wait_s=1, lease_s=30)
    assert confirmed == [f"m{number}" for number in range(400)]
    assert sorted(names(got)) == sorted([*confirmed, "held"])
    assert {one.attempt for one in got if one.dedup_id == "held"} == {2}


async def test_hung_broker_is_noticed(tmp_path: Path):
    """A stopped broker costs a caller its patience and no more; continued, it serves again."""
    port = free_port()
    with infra(port, tmp_path) as process:
        async with (
            BusClient(f"127.0.0.1:{port}", timeout_s=20) as client,
            BusClient(f"127.0.0.1:{port}", timeout_s=1) as hasty,
        ):
            await client.publish(TOPIC, [("a", b"")])
            process.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            with pytest.raises(BusUnavailable, match=f"127.0.0.1:{port}"):
                await hasty.publish(TOPIC, [("b", b"")])
            assert time.monotonic() - began < 10
            process.send_signal(signal.SIGCONT)
            await client.publish(TOPIC, [("b", b"")])
            assert names(await drain(client)) == ["a", "b"]


async def test_nobody_there():
    """Without a broker a call ends after the client's patience with one clear error; a closed client says so."""
    port = free_port()
    client = BusClient(f"127.0.0.1:{port}", timeout_s=0.3)
    with pytest.raises(BusUnavailable, match=r"no answer .* in 0.3 s.*python -m shop.infra"):
        await client.publish(TOPIC, [("a", b"")])
    calling = asyncio.create_task(client.publish(TOPIC, [("a", b"")]))
    await asyncio.sleep(0.05)
    await client.close()
    with pytest.raises(BusUnavailable, match="was closed"):
        await calling
    await client.close()
    with pytest.raises(BusUnavailable, match="is closed"):
        await client.publish(TOPIC, [("a", b"")])
    assert issubclass(BusFull, BusError)


def failing(*flags: str) -> str:
    """Run an infra process that must refuse to start; its one line."""
    done = subprocess.run(
        [sys.executable, "-m", "shop.infra", *flags],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line


def test_bad_starts(tmp_path: Path):
    """A wrong flag, a taken port and unusable data are one line each, exit code 2."""
    data = ("--data", str(tmp_path))
    assert "'http' is not a port" in failing("--port", "http", *data)
    assert "--max-attempts is 0, expected 1 or more" in failing(
        "--port", "1", *data, "--max-attempts", "0"
    )
    (tmp_path / "file").write_text("")
    assert "cannot make the directory" in failing("--port", "1", "--data", str(tmp_path / "file"))
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"cannot listen on 127.0.0.1:{port}" in failing("--port", str(port), *data)
    (tmp_path / "bus.db").write_text("no database at all, but long enough to be looked at " * 40)
    assert "cannot keep the bus in" in failing("--port", str(free_port()), *data)
