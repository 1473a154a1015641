"""One of the replicas that share a job: writes a line when a run begins and when it ends.

    python leasing_process.py URL NAME TTL SECONDS

Times are of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict

from backstay.integrations.redis_lease import RedisLease
from backstay.lifecycle import Every, Run, Schedule


async def main(url: str, name: str, ttl: float, seconds: float) -> None:
    lease = RedisLease.from_url(url)
    number = 0

    async def work(run: Run) -> None:
        nonlocal number
        number += 1
        began, length = time.monotonic(), (1.3 * ttl if number % 3 else 0.3)
        print(json.dumps({"token": run.token, "began": began}), flush=True)
        try:
            await asyncio.sleep(length)
        finally:
            told = {
                "token": run.token,
                "planned": run.planned_at,
                "began": began,
                "would_end": began + length,
                "ended": time.monotonic(),
            }
            print(json.dumps(told), flush=True)

    schedule = Schedule(
        name, Every(0.25), work, lease=lease, ttl=ttl, late=1.0, drain=1.0, look=0.5
    )
    async with schedule:
        await asyncio.sleep(seconds)
    print(json.dumps(asdict(schedule.statistics())), flush=True)
    await lease.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))
