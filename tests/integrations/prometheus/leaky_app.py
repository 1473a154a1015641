"""A service with real traffic of its own and an admin plane on loopback, leaky or healthy.

    python leaky_app.py PORT leaky|healthy

Both have workers that stay, sessions that end after seconds, and short requests. In the leaky one each fifth request
starts a task that waits for what never comes.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys

import backstay
from backstay.guard import Breaker, Policy
from backstay.observe.admin import AdminServer
from backstay.observe.metrics import Collector
from backstay.observe.recorder import Recorder

AUDITS: list[asyncio.Task[bool]] = []
POLICY = Policy("pay", breaker=Breaker(name="bank"))
JOBS = backstay.Channel[int](8, name="jobs")  # nobody names it for the metrics


async def forever() -> None:
    await asyncio.Event().wait()


async def session() -> None:
    await asyncio.sleep(random.uniform(0.2, 4.0))


async def pay() -> None:
    await asyncio.sleep(0.01)


async def request(number: int, *, leaky: bool) -> None:
    """Serve one request, of a trace of its own."""
    async with backstay.Scope("request", trace_id=f"{number:032x}"):
        await POLICY.call(pay)
        if leaky and not number % 5:
            AUDITS.append(asyncio.create_task(asyncio.Event().wait()))  # LEAK


async def main(port: int, *, leaky: bool) -> None:
    """Serve until killed."""
    backstay.install()
    stay = [asyncio.create_task(forever()) for _ in range(30)]
    running: set[asyncio.Task[None]] = set()
    collector = Collector(older_than=(1.0, 600.0))
    with Recorder(), AdminServer(f"127.0.0.1:{port}", leak_interval=0, metrics=collector):
        for number in itertools.count(1):
            if number % 10 == 0:
                running.add(asyncio.create_task(session()))
            running.add(asyncio.create_task(request(number, leaky=leaky)))
            running = {task for task in running if not task.done()}
            await asyncio.sleep(0.02)
    await asyncio.gather(*stay)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), leaky=sys.argv[2] == "leaky"))
