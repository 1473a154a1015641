"""`backstay diagnose` on the shop while its notification gateway hangs."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from shop_processes import ROOT, Shop

pytestmark = [pytest.mark.slow, pytest.mark.real_loop, pytest.mark.timeout(120)]

_NAIVE = ROOT / "examples" / "shop" / "shop" / "order" / "naive.py"


@pytest.fixture
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    """A shop of the variant that the test names, not started yet."""
    run_dir = Path(tempfile.mkdtemp(prefix="shop-"))
    made = Shop(run_dir, request.param)
    yield made
    made.close()
    shutil.rmtree(run_dir)


async def diagnose_under_load(shop: Shop) -> tuple[Any, dict[str, int]]:
    """Order twelve times a second while the gateway hangs; the report, and the status of each trace."""
    await shop.start_all()
    await shop.control("gateway", hang=True)
    statuses: dict[str, int] = {}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(5)) as session:

        async def order(number: int) -> None:
            trace_id = f"{number + 1:032x}"
            body = {"customer": "ann", "lines": [{"sku": "winch", "quantity": 1}]}
            headers = {"idempotency-key": trace_id, "traceparent": f"00-{trace_id}-{'1' * 16}-01"}
            async with session.post(
                f"{shop.url('order')}/orders", json=body, headers=headers
            ) as reply:
                statuses[trace_id] = reply.status

        asked = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "backstay", "diagnose", str(shop.blanks.admins["order"])),
            *("--seconds", "22", "--json"),
            stdout=asyncio.subprocess.PIPE,
        )
        told = asyncio.ensure_future(asked.communicate())
        orders: list[asyncio.Future[None]] = []
        while not told.done():
            orders.append(asyncio.ensure_future(order(len(orders))))
            await asyncio.sleep(1 / 12)
        await asyncio.gather(*orders, return_exceptions=True)
        return json.loads((await told)[0]), statuses


@pytest.mark.parametrize("shop", ["naive"], indirect=True)
async def test_the_leaking_line_of_the_naive_shop_is_the_first_finding(shop: Shop) -> None:
    """With traces of orders that were answered, and whose notification is alive still."""
    report, statuses = await diagnose_under_load(shop)
    first = report["findings"][0]
    lines = _NAIVE.read_text().splitlines()
    leak = next(number for number, line in enumerate(lines, 1) if "# leak:" in line)
    assert first["site"].endswith(f"shop/order/naive.py:{leak}"), report["findings"]
    assert first["verdict"] == "GROWING"
    assert first["function"].endswith("checkout")
    assert first["per_s"] > 3
    assert "http" in first["blocked_on"]
    assert {statuses.get(trace_id) for trace_id in first["trace_ids"]} == {201}


@pytest.mark.parametrize("shop", ["governed"], indirect=True)
async def test_the_governed_shop_does_not_leak_under_the_same_fault(shop: Shop) -> None:
    """A guard may be open, since the gateway hangs; no line is accused."""
    report, _ = await diagnose_under_load(shop)
    assert [one for one in report["findings"] if one["kind"] != "saturated guard"] == []
