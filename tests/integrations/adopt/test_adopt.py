"""The guide's service, on real servers: as it was, after each step, and at its end under load."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import Any

import httpx
import pytest
from adopted import Adopted, Visitors
from page_code import EXAMPLE, code_of_the_test, service_after
from real_processes import environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

LAST = 8


def test_the_example_is_what_the_steps_make() -> None:
    """Each diff of the page fits what the one before has left, and the last one makes the example."""
    assert service_after(LAST) == EXAMPLE.read_text(encoding="utf-8")


@pytest.mark.parametrize("step", range(1, LAST + 1))
def test_after_each_step_the_service_works_and_ends_in_order(adopted: Adopted, step: int) -> None:
    """What was ordered is in the table and shipped; SIGTERM ends it with 0."""
    adopted.write(step)
    target = ("--lame-duck", "0.2", "--port", "0", "orders:app")
    process = adopted.start(*(target if step < 7 else ("orders:service",)))
    visitors = Visitors(process, 4)
    visitors.wait_for(20)
    visitors.end()
    assert not visitors.torn
    shipped = adopted.shipped(visitors.placed)
    assert set(visitors.statuses) == {201}, process.log
    assert set(adopted.ask("SELECT id FROM orders")) == visitors.placed
    assert (set(shipped), set(shipped.values())) == (visitors.placed, {1})
    process.signal(signal.SIGTERM)
    assert process.end() == 0, process.log


def test_the_unchanged_service_is_seen_by_its_lines(adopted: Adopted) -> None:
    """With --observe, `backstay ps` shows both background tasks, by the line that started them."""
    adopted.write(1)
    process = adopted.start("--observe", "--lame-duck", "0", "--port", "0", "orders:app")
    seen = subprocess.run(
        [sys.executable, "-m", "backstay", "ps", str(process.pid)],
        cwd=adopted.room,
        env=environment(adopted.room, {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    ).stdout
    lines = service_after(1).splitlines()
    (line,) = [number for number, text in enumerate(lines, 1) if "create_task(ship_orders" in text]
    assert seen.count(f"started at  orders.py:{line}\n") == 2, seen
    process.signal(signal.SIGTERM)
    assert process.end() == 0, process.log


def test_nothing_is_lost_by_a_sigterm_under_load(adopted: Adopted) -> None:
    """Three times: each order that was promised is there, and shipped once.

    A visitor may write into a kept connection at the moment at which the server closes it, and is told by a
    reset; that is no answer, and so no promise. Nothing else may go wrong.
    """
    adopted.write(LAST)
    placed: set[str] = set()
    reset = 0
    for _ in range(3):
        process = adopted.start("orders:service")
        visitors = Visitors(process, 16)
        visitors.wait_for(100)
        process.signal(signal.SIGTERM)
        visitors.end(told=False)
        assert process.end() == 0, process.log
        assert set(visitors.statuses) == {201}, visitors.statuses
        unexpected = [
            e for e in visitors.torn if "peer" not in str(e) and "disconnect" not in str(e)
        ]
        assert not unexpected
        reset += len(visitors.torn)
        placed |= visitors.placed
    process = adopted.start("orders:service")
    shipped = adopted.shipped(placed)
    process.signal(signal.SIGTERM)
    assert process.end() == 0, process.log
    booked = set(adopted.ask("SELECT id FROM orders"))
    assert placed <= booked
    assert len(booked - placed) <= reset
    assert placed <= set(shipped)
    assert set(shipped.values()) == {1}


def test_a_redis_that_hangs_costs_little(adopted: Adopted, redis_server: Any) -> None:
    """Orders are taken at the price in the table, soon without even asking the cache."""
    adopted.write(LAST)
    process = adopted.start("orders:service")
    visitors = Visitors(process, 4)
    visitors.wait_for(20)
    redis_server.send(signal.SIGSTOP)
    try:
        visitors.wait_for(len(visitors.placed) + 100)
        began = time.monotonic()
        visitors.wait_for(len(visitors.placed) + 40)
        took = time.monotonic() - began
        visitors.end()
    finally:
        redis_server.send(signal.SIGCONT)
    assert set(visitors.statuses) == {201}, process.log
    assert took < 5.0
    process.signal(signal.SIGTERM)
    assert process.end() == 0, process.log


def test_one_request_id_goes_through_the_bus(adopted: Adopted) -> None:
    """The lines that place and ship an order have the id that the client sent."""
    adopted.write(LAST)
    process = adopted.start("orders:service")
    url = f"http://127.0.0.1:{process.port}/orders"
    reply = httpx.post(url, params={"sku": "winch"}, headers={"x-request-id": "r-17"})
    assert reply.status_code == 201, reply.text
    adopted.shipped({reply.json()["order"]})
    process.wait_for('"shipped"')
    process.signal(signal.SIGTERM)
    assert process.end() == 0, process.log
    lines = [json.loads(line) for line in process.log.splitlines() if line.startswith("{")]
    said = [line["message"] for line in lines if line.get("request_id") == "r-17"]
    assert said == ["placed", "shipped"]


@pytest.mark.parametrize("leaky", [False, True])
def test_the_test_of_the_last_step_fails_when_it_leaks(adopted: Adopted, leaky: bool) -> None:
    """As it stands it passes; with a forgotten task in `ship` it names the line."""
    adopted.write(LAST)
    if leaky:
        module = adopted.room / "orders.py"
        head = "async def ship(session: AsyncSession, order: str) -> None:\n"
        code = module.read_text(encoding="utf-8")
        assert head in code
        module.write_text(code.replace(head, f"{head}    asyncio.create_task(asyncio.sleep(60))\n"))
    (adopted.room / "test_orders.py").write_text(code_of_the_test(), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--leaks", "-o", "asyncio_mode=auto", "test_orders.py"],
        cwd=adopted.room,
        env={**environment(adopted.room, adopted.settings), "PYTHONPATH": str(adopted.room)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == int(leaky), done.stdout + done.stderr
    assert ("orders.py:" in done.stdout) is leaky
    assert adopted.ask("SELECT id FROM shipment") == ["o-1"]
