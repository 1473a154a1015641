"""A watch tells each event once, whatever becomes of streams, members and readers."""

from __future__ import annotations

import asyncio

import pytest

from backstay import Scope, now
from backstay.integrations.etcd import (
    EtcdClient,
    EtcdCompacted,
    Event,
    MemoryEtcd,
    Put,
    Watch,
)
from backstay.integrations.etcd import rpc_pb2 as rpc


async def take(watch: Watch, count: int) -> list[Event]:
    """Return the next events."""
    return [await anext(watch) for _ in range(count)]


async def test_from_now_on_begins_with_the_block() -> None:
    """What is written in the block is told, even if it is asked for later."""
    cluster = MemoryEtcd()
    async with EtcdClient(cluster.members) as etcd:
        await etcd.put("k/0", b"before")
        async with etcd.watch("k/") as watch:
            revision = await etcd.put("k/1", b"x")
            await etcd.put("other", b"")
            await etcd.put("k/1", b"y")
            await etcd.delete("k/1")
            made, changed, gone = await take(watch, 3)
            assert made == Event("put", "k/1", b"x", revision, created=True, lease=0)
            assert (changed.value, changed.created) == (b"y", False)
            assert (gone.kind, gone.revision) == ("delete", revision + 3)
            assert watch.revision == revision + 3
        assert not any(member.streams for member in cluster.members)
        assert etcd.statistics().watches == 0


async def test_a_broken_stream_is_begun_again_after_the_last_event() -> None:
    """With another member, at once, and without a gap."""
    cluster = MemoryEtcd()
    async with EtcdClient(cluster.members) as etcd, etcd.watch("k") as watch:
        await etcd.put("k", b"1")
        assert (await anext(watch)).value == b"1"
        await etcd.put("k", b"2")
        cluster.members[0].mood = "away"
        await etcd.put("k", b"3")
        assert [event.value for event in await take(watch, 2)] == [b"2", b"3"]
        assert watch.reopened == 1
        assert now() < 0.1


async def test_events_of_one_revision_stay_together() -> None:
    """A stream that breaks within them does not make one come twice."""
    cluster = MemoryEtcd()
    async with EtcdClient(cluster.members) as etcd, etcd.watch("k") as watch:
        await etcd.txn([], [Put("k1", b""), Put("k2", b""), Put("k3", b"")])
        assert (await anext(watch)).key == "k1"
        cluster.members[0].mood = "away"
        await etcd.put("k4", b"")
        assert [event.key for event in await take(watch, 3)] == ["k2", "k3", "k4"]


async def test_a_member_that_hangs_is_left_within_three_seconds() -> None:
    """It keeps the connection, and says nothing even when it is asked."""
    cluster = MemoryEtcd()
    async with EtcdClient(cluster.members) as etcd, etcd.watch("k") as watch:
        await etcd.put("k", b"1")
        await anext(watch)
        cluster.members[0].mood = "hung"
        async with Scope("test") as scope:
            reader = scope.go(anext, watch)
            await asyncio.sleep(0.1)
            async with EtcdClient(cluster.members[1:]) as other:
                await other.put("k", b"2")
                assert (await reader).value == b"2"
        assert now() < 3
        assert watch.reopened == 1


async def test_silence_of_a_member_that_is_well_is_no_reason_to_leave_it() -> None:
    """It answers when it is asked whether it is there."""
    cluster = MemoryEtcd()
    async with EtcdClient(cluster.members) as etcd, etcd.watch("k") as watch:
        async with Scope("test") as scope:
            reader = scope.go(anext, watch)
            await asyncio.sleep(60)
            await etcd.put("k", b"1")
            assert (await reader).value == b"1"
        assert watch.reopened == 0


async def test_a_reader_that_is_cancelled_loses_no_event() -> None:
    """At whatever moment: the next one who asks is told what comes next."""
    for steps in range(12):
        cluster = MemoryEtcd()
        async with EtcdClient(cluster.members) as etcd, etcd.watch("k") as watch:
            await etcd.put("k", b"1")
            await etcd.put("k", b"2")
            task = asyncio.get_running_loop().create_task(take(watch, 2))
            for _ in range(steps):
                await asyncio.sleep(0)
            if not task.cancel():
                continue
            with pytest.raises(asyncio.CancelledError):
                await task
            told = watch.revision
            await etcd.put("k", b"3")
            missing = cluster.revision - max(told, cluster.revision - 3)
            assert [event.revision for event in await take(watch, missing)][-1] == cluster.revision
            assert sum(len(member.streams) for member in cluster.members) == 1


async def test_entering_can_be_cancelled_at_each_of_its_waits() -> None:
    """No stream is left open."""

    async def enter(etcd: EtcdClient) -> None:
        async with etcd.watch("k"):
            await asyncio.sleep(1)

    for steps in range(12):
        cluster = MemoryEtcd()
        async with EtcdClient(cluster.members) as etcd:
            task = asyncio.get_running_loop().create_task(enter(etcd))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not any(member.streams for member in cluster.members)
            assert etcd.statistics().watches == 0


async def test_what_was_forgotten_is_told_as_an_error() -> None:
    """It names the revision; the watch is over, and says so again."""
    cluster = MemoryEtcd()
    async with EtcdClient(cluster.members) as etcd:
        for number in range(5):
            last = await etcd.put("k", bytes([number]))
        await etcd.compact(last)
        async with etcd.watch("k", revision=last - 2) as watch:
            for _ in range(2):
                with pytest.raises(
                    EtcdCompacted, match=f"forgotten what was before {last}"
                ) as gone:
                    await anext(watch)
                assert gone.value.compact_revision == last
            with pytest.raises(EtcdCompacted):
                await watch.ready()
        async with etcd.watch("k", revision=last + 1) as watch:
            await etcd.put("k", b"!")
            assert (await anext(watch)).value == b"!"


async def test_an_answer_to_are_you_there_moves_nothing() -> None:
    """Old members tell a revision in it whose events they have not sent yet."""
    cluster = MemoryEtcd()
    async with EtcdClient(cluster.members) as etcd, etcd.watch("k") as watch:
        before = await watch.ready()
        watch._take(rpc.WatchResponse(header=rpc.Header(revision=before + 10), watch_id=-1))
        assert await watch.ready() == before
        # What a member tells by itself does: it has sent everything by then.
        watch._take(rpc.WatchResponse(header=rpc.Header(revision=before + 10), watch_id=0))
        assert await watch.ready() == before + 11
        # And one that tells again what it has told is not heard twice.
        old = rpc.KeyValue(key=b"k", mod_revision=before)
        watch._take(rpc.WatchResponse(events=[rpc.Event(kv=old)]))
        assert not watch._ahead
        assert await watch.ready() == before + 11


async def test_a_watch_waits_for_a_cluster_that_is_away() -> None:
    """As long as its reader does."""
    cluster = MemoryEtcd()
    async with EtcdClient(cluster.members) as etcd, etcd.watch("k", revision=1) as watch:
        for member in cluster.members:
            member.mood = "away"
        async with Scope("test") as scope:
            reader = scope.go(anext, watch)
            await asyncio.sleep(60)
            for member in cluster.members:
                member.mood = "well"
            await etcd.put("k", b"1")
            assert (await reader).value == b"1"
