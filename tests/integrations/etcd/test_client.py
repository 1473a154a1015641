"""The client and a real cluster; and whether the cluster in memory does what the real one does."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import pytest

from backstay.integrations.etcd import (
    Delete,
    EtcdClient,
    EtcdCompacted,
    EtcdRefused,
    EtcdUnavailable,
    EtcdUnsure,
    Get,
    MemoryEtcd,
    Put,
    absent,
    created_at,
    modified_at,
    value_is,
)
from backstay.integrations.etcd import rpc_pb2 as rpc
from backstay.integrations.etcd._channel import CHANNEL_OPTIONS, GrpcMember
from backstay.integrations.etcd._member import PUT, RANGE, WATCH, MemberFailed

pytestmark = pytest.mark.real_loop


async def course(etcd: EtcdClient) -> list[object]:
    """Do a bit of everything, and return all that was answered, with revisions from where it began."""
    base = (await etcd.get_prefix("")).revision
    seen: list[object] = []

    def see(*what: object) -> None:
        seen.extend(what)

    see(await etcd.put("k/1", b"a") - base, await etcd.put("k/1", b"b") - base)
    see(await etcd.put("k/\udcff", b"not UTF-8") - base)
    see(await etcd.delete("nothing"), await etcd.delete_prefix("nothing/"))
    done = await etcd.txn([absent("k/2")], [Put("k/2", b"c"), Get("k/1"), Delete("k/1")], [])
    see(done.succeeded, done.revision - base, len(done.answers), done.answers[2])
    made = done.revision
    for condition in (
        created_at("k/2", made),
        modified_at("k/2", made),
        value_is("k/2", b"c"),
        value_is("absent", b""),
        absent("k/2"),
    ):
        answer = await etcd.txn([condition], [], [Get("k/", prefix=True)])
        see(answer.succeeded, answer.revision - base, len(answer.answers))
    async with etcd.lease(5) as lease:
        await etcd.put("k/3", b"", lease=lease.id)
        held = await etcd.get("k/3")
        assert held is not None
        see(held.lease == lease.id, held.version, held.mod_revision - base, lease.ttl)
    see(await etcd.get("k/3"))
    whole = await etcd.get_prefix("k/")
    see(whole.revision - base)
    see(
        *(
            (one.key, one.value, one.create_revision - base, one.mod_revision - base, one.version)
            for one in whole.items.values()
        )
    )
    then = await etcd.get_prefix("k/", revision=base + 2)
    see(then.revision - base, *((one.key, one.value) for one in then.items.values()))
    last = await etcd.put("k/last", b"")
    async with etcd.watch("k/", revision=base + 1) as watch:
        async for event in watch:
            hangs = event.lease != 0
            see((event.kind, event.key, event.value, event.revision - base, event.created, hangs))
            if event.revision == last:
                break
    await etcd.compact(last)
    for refused in (
        etcd.put("k", b"", lease=42),
        etcd.get_prefix("k/", revision=base + 1),
        etcd.get_prefix("k/", revision=last + 100),
        etcd.compact(base + 1),
    ):
        with pytest.raises(EtcdRefused) as said:
            await refused
        see(type(said.value), said.value.code)
    async with etcd.watch("k/", revision=base + 1) as watch:
        with pytest.raises(EtcdCompacted) as gone:
            await anext(watch)
        see(gone.value.compact_revision - base)
    async with etcd.watch("k/", revision=last + 5) as watch:  # later than now
        for _ in range(6):
            await etcd.put("k/later", b"")
        see((await anext(watch)).revision - base)
    return seen


async def test_the_cluster_in_memory_does_what_a_real_one_does(cluster: Any) -> None:
    """A bit of everything ends the same on both, revision by revision."""
    async with EtcdClient(cluster.endpoints) as etcd:
        await etcd.delete_prefix("k")
        real = await course(etcd)
    async with EtcdClient(MemoryEtcd().members) as etcd:
        await etcd.put("x", b"")
        assert await course(etcd) == real


async def test_a_member_that_is_away_is_not_mistaken_for_one_that_was_sent_a_write(
    cluster: Any,
) -> None:
    """Nothing was sent, so the next one is asked; a client of that one alone says so."""
    victim = cluster.nodes[0]
    victim.kill()
    cluster.leader()
    async with (
        EtcdClient([f"127.0.0.1:{victim.port}"]) as alone,
        EtcdClient(cluster.endpoints) as etcd,
    ):
        began = time.monotonic()
        with pytest.raises(EtcdUnavailable, match=r"nothing was written.*cannot connect"):
            await alone.put("k", b"", timeout=0.5)
        assert time.monotonic() - began < 0.8
        await etcd.put("k", b"")
        assert etcd.statistics().again >= 1


async def test_a_write_to_a_member_that_hangs_is_unsure_in_time(cluster: Any) -> None:
    """A second, and the client stands with another one from then on."""
    async with EtcdClient(cluster.endpoints) as etcd:
        await etcd.put("k", b"1")
        victim = cluster.nodes[0]
        leads = cluster.leader() is victim
        victim.send(signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(EtcdUnsure, match=f"127.0.0.1:{victim.port}"):
            await etcd.put("k", b"2")
        assert 0.9 < time.monotonic() - began < 1.5
        if leads:
            await asyncio.sleep(3)
        await etcd.put("k", b"3")


async def test_waits_for_a_connection_can_be_cancelled_and_end_in_time(cluster: Any) -> None:
    """A member that hangs takes connections and says nothing; nothing is left of those who waited."""
    victim = cluster.nodes[0]
    victim.send(signal.SIGSTOP)
    member = GrpcMember(f"127.0.0.1:{victim.port}", None, CHANNEL_OPTIONS)
    request = rpc.RangeRequest(key=b"k")
    with pytest.raises(MemberFailed, match="no connection within") as failed:
        await member.call(RANGE, request, 0.2)
    assert failed.value.effect == "none"
    waiting = [asyncio.ensure_future(member.call(RANGE, request, 5)) for _ in range(20)]
    await asyncio.sleep(0.1)
    for one in waiting:
        one.cancel()
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended)
    victim.send(signal.SIGCONT)
    await asyncio.sleep(0.5)
    assert (await member.call(RANGE, request, 5)).header.revision > 0
    await member.aclose()


async def test_calls_under_way_when_the_client_is_closed_fail_and_are_no_cancellation(
    cluster: Any,
) -> None:
    """Whoever waits was not cancelled by anybody, and is told what has happened."""
    victim = cluster.nodes[0]
    address = f"127.0.0.1:{victim.port}"
    member = GrpcMember(address, None, CHANNEL_OPTIONS)
    await member.call(RANGE, rpc.RangeRequest(key=b"k"), 5)
    stream = await member.open(WATCH, 1)
    victim.send(signal.SIGSTOP)
    call = asyncio.ensure_future(member.call(PUT, rpc.PutRequest(key=b"k"), 5))
    reading = asyncio.ensure_future(stream.read())
    await asyncio.sleep(0.1)
    await member.aclose()
    for one in (call, reading):
        with pytest.raises(MemberFailed, match="closed"):
            await one
    with pytest.raises(MemberFailed, match="closed") as failed:
        await member.call(RANGE, rpc.RangeRequest(key=b"k"), 5)
    assert failed.value.effect == "none"


async def test_a_stream_that_is_over_takes_no_more(cluster: Any) -> None:
    """What is said to nobody is an error, as is what nobody says."""
    member = GrpcMember(cluster.endpoints[0], None, CHANNEL_OPTIONS)
    stream = await member.open(WATCH, 1)
    create = rpc.WatchRequest(create_request=rpc.WatchCreateRequest(key=b"k"))
    await stream.write(create)
    assert (await stream.read()).created
    cluster.nodes[0].kill()
    with pytest.raises(MemberFailed):
        await stream.read()
    with pytest.raises(MemberFailed):
        await stream.write(create)
    await member.aclose()


def test_our_messages_take_nobody_elses_names() -> None:
    """Another client of etcd in this process registers its own under etcd's names."""
    assert rpc.DESCRIPTOR.package == "backstay.etcd.v1"
    assert all(
        one.full_name.startswith("backstay.etcd.v1.")
        for one in rpc.DESCRIPTOR.message_types_by_name.values()
    )
