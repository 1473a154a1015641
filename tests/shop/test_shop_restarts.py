"""The shop under a constant load while its processes are stopped and started: nothing is lost.

The client is a load balancer as Kubernetes has one: it looks at readiness twenty times a second, and sends
to whoever is ready. The ledgers of the simulators say what really happened.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from shop.check import check
from shop_processes import SERVICES, Shop
from test_shop_end_to_end import FINAL, book, outbox, until

pytestmark = [pytest.mark.slow, pytest.mark.real_loop, pytest.mark.timeout(150)]

RATE = 30.0  # orders a second, and for each a look at it
LONGEST_STOP_S = 30.0

#: The order service with a shutdown hook that hangs, and a request that never ends.
WRAPPER = """
import asyncio
from backstay.lifecycle import register_hook
from shop.order.governed import app as shop

async def app(scope, receive, send):
    if scope.get("path") == "/never":
        await asyncio.Event().wait()  # never
    await shop(scope, receive, send)

async def hang():
    await asyncio.sleep(3600)  # hangs

register_hook(hang, name="hang", budget=1.0)
"""


@pytest.fixture
def shop() -> Iterator[Shop]:
    """A governed shop, not started yet."""
    run_dir = Path(tempfile.mkdtemp(prefix="shop-"))
    made = Shop(run_dir, "governed")
    yield made
    made.close()
    for log in sorted(run_dir.glob("*.log")):  # pytest shows it when the test failed
        print(f"--- {log.name}\n{log.read_text()[-4000:]}")
    shutil.rmtree(run_dir)


class Traffic:
    """A constant load on the order service, sent while it is ready.

    Attributes:
        promised: the orders that were accepted.
        answers: how many answers of each status came.
        broken: what went wrong with requests that had been sent.
    """

    def __init__(self, url: str) -> None:
        self.promised: set[str] = set()
        self.answers: Counter[int] = Counter()
        self.broken: list[str] = []
        self._url = url
        self._ready = False
        # A connection for each request: one that is closed while idle would look like a loss.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, limit=0),
            timeout=aiohttp.ClientTimeout(total=10),
        )

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Send for the length of the block; at its end wait for what is under way."""
        under_way: set[asyncio.Task[None]] = set()
        async with self._session:
            helpers = [
                asyncio.create_task(self._look()),
                asyncio.create_task(self._send(under_way)),
            ]
            try:
                yield
            finally:
                for helper in helpers:
                    helper.cancel()
                await asyncio.gather(*helpers, *under_way, return_exceptions=True)

    async def _look(self) -> None:
        while True:
            try:
                async with self._session.get(f"{self._url}/readyz") as reply:
                    self._ready = reply.status == 200
            except (OSError, aiohttp.ClientError):
                self._ready = False
            await asyncio.sleep(0.05)

    async def _send(self, under_way: set[asyncio.Task[None]]) -> None:
        number = 0
        while True:
            if self._ready:
                number += 1
                task = asyncio.create_task(self._order(number))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.sleep(1 / RATE)

    async def _order(self, number: int) -> None:
        body = {"customer": "ann", "lines": [{"sku": "winch", "quantity": 1}]}
        headers = {"idempotency-key": f"k{number}"}
        try:
            async with self._session.post(
                f"{self._url}/orders", json=body, headers=headers
            ) as reply:
                document = await reply.json()
                self.answers[reply.status] += 1
                if reply.status in (201, 202):
                    self.promised.add(document["id"])
        except (OSError, aiohttp.ClientError) as error:
            self.broken.append(f"order {number}: {type(error).__name__}: {error}")


async def stop(shop: Shop, name: str) -> tuple[int, float]:
    """SIGTERM one process; its exit code, and the seconds that it took."""
    began = time.monotonic()
    codes = await asyncio.to_thread(shop.terminate, (name,))
    return codes[name], time.monotonic() - began


async def add_up(shop: Shop, traffic: Traffic) -> None:
    """Let the shop finish, stop it, and compare what was promised with the ledgers."""

    async def is_settled() -> bool:
        return set(book(shop).values()) <= FINAL and outbox(shop) == 0

    await until("every order has ended and the outbox is empty", 30, is_settled)
    bank, wms = await shop.ledger("bank"), await shop.ledger("wms")
    codes = await asyncio.to_thread(shop.terminate, SERVICES)
    assert codes == dict.fromkeys(SERVICES, 0)
    findings = check(shop.run_dir, bank, wms)
    assert list(findings.broken) == []
    states = book(shop)
    assert traffic.promised <= set(states), "an accepted order is not in the book"
    done = {order_id for order_id in traffic.promised if states[order_id] == "DONE"}
    assert done == traffic.promised, {states[one] for one in traffic.promised - done}
    assert done <= set(bank["debits"]), "an order without its debit"
    assert done <= set(wms["shipments"]), "an order without its shipment"


async def test_a_rolling_restart_of_all_loses_nothing(shop: Shop) -> None:
    """Each process ends with 0 within 30 s, and comes back; no request breaks, and the ledgers add up."""
    await shop.start_all()
    traffic = Traffic(shop.url("order"))
    stops: dict[str, tuple[int, float]] = {}
    async with traffic.flowing():
        await asyncio.sleep(1.5)
        for name in SERVICES:
            stops[name] = await stop(shop, name)
            shop.start(name)
            await shop.wait_ready(name)
            await asyncio.sleep(1.5)
    assert traffic.broken == []
    assert set(traffic.answers) <= {201, 202}, traffic.answers
    assert len(traffic.promised) > 100
    assert {code for code, _ in stops.values()} == {0}, stops
    assert max(took for _, took in stops.values()) < LONGEST_STOP_S, stops
    await add_up(shop, traffic)


async def test_a_hook_that_hangs_and_a_request_that_never_ends_hold_up_nothing(
    shop: Shop, tmp_path: Path
) -> None:
    """Both are cut within the budget and named in the log; what else was accepted is answered."""
    (tmp_path / "hanging.py").write_text(WRAPPER)
    await shop.start_all()
    await stop(shop, "order")
    _serve_instead(shop, tmp_path)
    await shop.wait_ready("order")
    traffic = Traffic(shop.url("order"))
    async with traffic.flowing():
        await asyncio.sleep(1.0)
        never = asyncio.create_task(_ask(f"{shop.url('order')}/never"))
        await asyncio.sleep(0.3)
        code, took = await stop(shop, "order")
        assert took < LONGEST_STOP_S
        await never
    assert traffic.broken == []
    log = shop.log("order")
    assert code == 0, "a stop within its budget is in order"
    assert "request cut, the grace is used up" in log
    assert "hanging.py" in log, "the log names the place where it waits"
    assert "component hang was cut" in log
    shop.start("order")
    await shop.wait_ready("order")
    await add_up(shop, traffic)


def _serve_instead(shop: Shop, folder: Path) -> None:
    """Start the order service from the wrapper, with no deadline on its requests."""
    process = shop.processes["order"]
    words = ["hanging:app" if word.startswith("shop.order.") else word for word in process.command]
    words[words.index("--timeout") + 1] = "0"
    shop.processes["order"] = replace(
        process, command=tuple(words), pythonpath=(*process.pythonpath, folder)
    )
    shop.start("order")
    shop.processes["order"] = process


async def _ask(url: str) -> None:
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as reply:
            await reply.read()
    except (OSError, aiohttp.ClientError):
        pass
