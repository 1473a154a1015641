"""LOST in the report: which line, and how to hold a task."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from backstay import Scope
from backstay.leak import report


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The message of asyncio is expected here."""
    caplog.set_level(logging.CRITICAL, logger="asyncio")


async def lose(count: int) -> None:
    for _ in range(count):
        asyncio.create_task(forever())  # nobody holds it
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()


async def test_the_losing_line_is_named_with_its_cure() -> None:
    """Verdict, line, count, owner, trace, and `scope.go` as the way out."""
    async with Scope("POST /orders", kind="request", trace_id="abc"):
        await lose(3)
    await asyncio.sleep(20)
    (found,) = report().findings
    assert (found.verdict, found.count, found.alive) == ("LOST", 3, 0)
    assert found.site.endswith(f"test_losses.py:{lose.__code__.co_firstlineno + 2}")
    assert (found.function, found.task_name) == ("lose", "forever")
    assert (found.owner, found.trace_ids, found.impact) == ("request POST /orders", ("abc",), 3.0)
    assert found.detail[0].startswith("LOST: 3 collected while pending, the last 20 s ago")
    assert "scope.go(forever, ...)" in found.advice
    page = report().to_text()
    assert "LOST" in page
    assert "forever, 3 lost; 0 alive" in page


async def test_what_a_callback_of_the_loop_started_goes_by_its_definition() -> None:
    """Without a line that started it, the line that defines it is shown, and said to be that."""
    loop = asyncio.get_running_loop()
    loop.call_soon(lambda: None)
    loop.call_soon(loop.create_task, forever())
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    (found,) = report().findings
    assert found.verdict == "LOST"
    assert found.site.endswith(f"test_losses.py:{forever.__code__.co_firstlineno}")
    assert "shown is where it is defined" in found.detail[1]


async def test_a_service_that_loses_nothing_is_not_accused() -> None:
    """Tasks that end, however they end, are no loss."""
    for _ in range(10):
        asyncio.create_task(asyncio.sleep(0))
    await asyncio.sleep(1)
    gc.collect()
    assert report().findings == ()
