"""Two replicas of a schedule share a job by a lease in a real cluster whose members are killed and hung."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from backstay.integrations.etcd import EtcdClient
from backstay.integrations.etcd_lease import EtcdLease
from backstay.lifecycle import Every, Run, Schedule

pytestmark = [pytest.mark.slow, pytest.mark.real_loop, pytest.mark.timeout(120)]

# One thread for the life of this process: a server ends with the thread that has started it.
HANDS = ThreadPoolExecutor(1)
TTL = 12.0


async def aside(work: Callable[[], object]) -> None:
    """Strike or heal members while the loop goes on."""
    await asyncio.get_running_loop().run_in_executor(HANDS, work)


class Alone:
    """Work that notices when it is not alone, or is done twice."""

    def __init__(self) -> None:
        self.inside = 0
        self.takes = 5.0
        self.planned: list[float] = []
        self.tokens: list[int] = []

    async def __call__(self, run: Run) -> None:
        assert self.inside == 0, "two at once"
        assert run.planned_at not in self.planned, "twice"
        self.inside += 1
        self.planned.append(run.planned_at)
        self.tokens.append(run.token)
        try:
            await asyncio.sleep(self.takes)
        finally:
            self.inside -= 1


async def test_never_two_at_once_and_a_dead_leader_costs_no_run(cluster: Any) -> None:
    """The leader is killed, another is hung: runs go on. Without a majority the run is cut, and later comes the next."""
    work = Alone()
    async with (
        EtcdClient(cluster.endpoints) as first,
        EtcdClient(cluster.endpoints[::-1]) as second,
    ):
        one, two = (
            Schedule("job", Every(1.0), work, lease=EtcdLease(etcd), ttl=TTL)
            for etcd in (first, second)
        )
        async with one, two:

            def lost() -> int:
                return one.statistics().lost + two.statistics().lost

            async def runs(count: int) -> None:
                async with asyncio.timeout(40):
                    while len(work.planned) < count:
                        await asyncio.sleep(0.02)

            await runs(1)
            await aside(cluster.leader().kill)
            await runs(2)
            assert lost() == 0
            await aside(cluster.heal)
            victim = cluster.leader()
            await aside(lambda: victim.send(signal.SIGSTOP))
            await runs(3)
            await aside(lambda: victim.send(signal.SIGCONT))
            assert lost() == 0
            work.takes = 30.0
            await runs(len(work.planned) + 1)
            for node in cluster.nodes[:2]:
                await aside(node.kill)
            async with asyncio.timeout(TTL):
                while not lost():
                    await asyncio.sleep(0.02)
            assert work.inside == 0
            work.takes = 0.5
            await aside(cluster.heal)
            await runs(len(work.planned) + 2)
    assert work.tokens == sorted(set(work.tokens))
    assert one.statistics().failed + two.statistics().failed == 0
