"""A schedule's lease in etcd: in virtual time, on a cluster in memory whose members are sick at times."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from backstay.integrations.etcd import EtcdClient, EtcdError, MemoryEtcd
from backstay.integrations.etcd_lease import EtcdLease
from backstay.integrations.health import etcd_answers
from backstay.lifecycle import Every, Lease, Run, Schedule

TTL = 12.0


async def test_it_keeps_the_protocol() -> None:
    """One holder at a time, again for the same one, tokens that grow, an end by itself, a word that is remembered."""
    async with EtcdClient(MemoryEtcd().members) as etcd:
        lease = EtcdLease(etcd)
        assert isinstance(lease, Lease)
        first = await lease.acquire("job", TTL, holder="a")
        assert first is not None
        assert await lease.acquire("job", TTL, holder="b") is None
        assert await lease.acquire("job", TTL, holder="a") == first
        await asyncio.sleep(TTL - 1)
        assert await lease.renew(first, TTL)
        await asyncio.sleep(TTL - 1)
        assert await lease.acquire("job", TTL, holder="b") is None
        await asyncio.sleep(2)
        assert not await lease.renew(first, TTL)
        second = await lease.acquire("job", TTL, holder="b", once="noon", remember=60)
        assert second is not None
        assert second.token > first.token
        await lease.release(first)
        assert await lease.acquire("job", TTL, holder="c") is None
        await lease.release(second)
        assert await lease.acquire("job", TTL, holder="c", once="noon", remember=60) is None
        again = await lease.acquire("job", TTL, holder="b", once="noon", remember=60)
        assert again is not None
        await lease.release(again)
        await asyncio.sleep(61)
        assert await lease.acquire("job", TTL, holder="d", once="noon", remember=60) is not None


async def test_a_lost_answer_is_found() -> None:
    """What was done and not answered is asked again, and is ours; a key that was deleted by hand is not."""
    cluster = MemoryEtcd()
    async with EtcdClient(cluster.members) as etcd:
        lease = EtcdLease(etcd)
        for member in cluster.members:
            member.mood = "mute"
        with pytest.raises(EtcdError):
            await lease.acquire("job", TTL, holder="a", once="noon", remember=60)
        for member in cluster.members:
            member.mood = "well"
        grant = await lease.acquire("job", TTL, holder="a", once="noon", remember=60)
        assert grant is not None
        assert await lease.acquire("job", TTL, holder="b", once="noon", remember=60) is None
        await etcd.delete("backstay/lease/job")
        assert not await lease.renew(grant, TTL)


async def test_of_two_that_ask_at_once_one_is_granted() -> None:
    """Both have read that nobody holds it; the transaction decides, and the other leaves nothing behind."""
    async with EtcdClient(MemoryEtcd().members) as etcd:
        lease = EtcdLease(etcd)
        for number in range(20):
            found = await asyncio.gather(
                *(
                    lease.acquire(
                        "job", TTL, holder=f"{number} {one}", once=str(number), remember=60
                    )
                    for one in "abc"
                )
            )
            granted = [one for one in found if one is not None]
            assert len(granted) == 1
            await lease.release(granted[0])


@pytest.mark.parametrize("mood", ["away", "hung", "mute"])
async def test_two_replicas_while_members_are_sick(mood: str) -> None:
    """One run at a time, each instant once; who cannot renew is cut in time."""
    cluster = MemoryEtcd()
    inside = 0
    seen: Counter[float] = Counter()
    tokens: list[int] = []

    async def work(run: Run) -> None:
        nonlocal inside
        assert inside == 0
        inside += 1
        seen[run.planned_at] += 1
        tokens.append(run.token)
        try:
            await asyncio.sleep(25)
        finally:
            inside -= 1

    async with EtcdClient(cluster.members) as etcd, EtcdClient(cluster.members) as other:
        one = Schedule("job", Every(60), work, lease=EtcdLease(etcd), ttl=TTL)
        two = Schedule("job", Every(60), work, lease=EtcdLease(other), ttl=TTL)
        check = etcd_answers(etcd)
        async with one, two:
            await asyncio.sleep(70)
            cluster.members[0].mood = mood  # type: ignore[assignment]
            await asyncio.sleep(60)
            await check()
            for member in cluster.members:
                member.mood = mood  # type: ignore[assignment]
            with pytest.raises(EtcdError):
                await check()
            await asyncio.sleep(40)
            for member in cluster.members:
                member.mood = "well"
            await asyncio.sleep(120)
    both = (one.statistics(), two.statistics())
    assert max(seen.values()) == 1
    assert tokens == sorted(set(tokens))
    assert sum(each.lost for each in both) == 1
    assert sum(each.failed for each in both) == 0
    assert sum(each.done for each in both) >= 3
