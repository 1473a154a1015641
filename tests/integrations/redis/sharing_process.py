"""One of the processes that share a limit: uses it as fast as it can, and tells what happened.

    python sharing_process.py URL NAME RATE BURST LEASE ON_STORE_DOWN SECONDS WORKERS

One JSON line at the end: how often it got one, when, the longest call, and the statistics.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict

from backstay.errors import LimitError
from backstay.guard import SharedRate
from backstay.integrations.redis import RedisStore


async def main(
    url: str, name: str, rate: float, burst: float, lease: float | None, down: str, seconds: float,
    workers: int,
) -> None:  # fmt: skip
    store = RedisStore.from_url(url)
    times: list[float] = []
    longest = 0.0
    refused = 0
    limit = SharedRate(name, store, rate=rate, burst=burst, lease=lease, on_store_down=down)  # type: ignore[arg-type]
    async with limit:
        await asyncio.sleep(0.3)
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        until = time.monotonic() + seconds

        async def work() -> None:
            nonlocal longest, refused
            while (began := time.monotonic()) < until:
                try:
                    await limit.acquire()
                    times.append(time.time())
                except LimitError:
                    refused += 1
                    await asyncio.sleep(0.005)
                longest = max(longest, time.monotonic() - began)
                await asyncio.sleep(
                    0.0005
                )  # a call that is admitted at once does not let others run

        await asyncio.gather(*(work() for _ in range(workers)))
        statistics = limit.statistics()
    await store.aclose()
    said = asdict(statistics)
    print(json.dumps({"times": times, "longest": longest, "refused": refused, **said}))


if __name__ == "__main__":
    url, name, rate, burst, lease, down, seconds, workers = sys.argv[1:]
    asyncio.run(
        main(
            url,
            name,
            float(rate),
            float(burst),
            None if lease == "auto" else float(lease),
            down,
            float(seconds),
            int(workers),
        )
    )
