"""What the client does when members are away, hang, or do not answer: in virtual time, on a cluster in memory."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from backstay import now
from backstay.errors import ExpiredError, LifecycleMisuse
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
from backstay.integrations.etcd._records import prefix_end
from backstay.integrations.etcd._turns import Turns
from backstay.tasks import timeout


@asynccontextmanager
async def well() -> AsyncIterator[tuple[MemoryEtcd, EtcdClient]]:
    """Give a cluster of three and a client."""
    cluster = MemoryEtcd()
    async with EtcdClient(cluster.members) as etcd:
        yield cluster, etcd


async def test_what_was_put_is_there_with_its_revisions() -> None:
    """Keys, prefixes and old revisions read as etcd has them."""
    async with well() as (_, etcd):
        first = await etcd.put("a/1", b"x")
        assert await etcd.put("a/1", b"y") == first + 1
        await etcd.put("a/2", b"z")
        await etcd.put("b", b"z")
        found = await etcd.get("a/1")
        assert found is not None
        assert (found.value, found.create_revision, found.mod_revision) == (b"y", first, first + 1)
        assert found.version == 2
        then = await etcd.get_prefix("a/", revision=first)
        assert {key: one.value for key, one in then.items.items()} == {"a/1": b"x"}
        whole = await etcd.get_prefix("")
        assert list(whole.items) == ["a/1", "a/2", "b"]
        assert whole.revision == first + 3
        assert await etcd.delete("b")
        assert not await etcd.delete("b")
        assert await etcd.delete_prefix("a/") == 2
        assert await etcd.get("a/1") is None


async def test_a_transaction_does_one_thing_or_the_other() -> None:
    """Each kind of condition and of operation, in one step."""
    async with well() as (_, etcd):
        made = await etcd.txn([absent("k")], [Put("k", b"1")], [Get("k")])
        assert made.succeeded
        assert made.answers == (None,)
        again = await etcd.txn([absent("k")], [Put("k", b"2")], [Get("k")])
        assert not again.succeeded
        ((found,),) = again.answers  # type: ignore[misc]
        assert found.value == b"1"  # type: ignore[union-attr]
        right = [
            created_at("k", made.revision),
            modified_at("k", made.revision),
            value_is("k", b"1"),
        ]
        done = await etcd.txn(right, [Delete("k"), Put("l", b"")])
        assert done.succeeded
        assert done.answers == (1, None)
        assert not (await etcd.txn([value_is("k", b"1")])).succeeded


async def test_a_member_that_is_away_costs_nothing_but_a_question() -> None:
    """A write that was not sent is asked of the next member, with which the client stays."""
    async with well() as (cluster, etcd):
        cluster.members[0].mood = "away"
        await etcd.put("k", b"1")
        assert now() == pytest.approx(0, abs=0.01)
        await etcd.put("k", b"2")
        seen = etcd.statistics()
        assert (seen.member, seen.calls, seen.again) == ("memory-2", 2, 1)


async def test_a_write_that_may_have_happened_says_so_and_is_not_made_twice() -> None:
    """The member did it, and its answer was lost: the caller must look."""
    async with well() as (cluster, etcd):
        cluster.members[0].mood = "mute"
        with pytest.raises(EtcdUnsure, match=r"Put was sent to memory-1 and may have happened"):
            await etcd.put("k", b"1")
        assert now() == pytest.approx(1.0, abs=0.01)
        found = await etcd.get("k")
        assert found is not None
        assert found.version == 1
        assert etcd.statistics().unsure == 1


async def test_a_read_of_a_member_that_hangs_is_asked_of_the_next() -> None:
    """After the time that a member has."""
    async with well() as (cluster, etcd):
        await etcd.put("k", b"1")
        cluster.members[0].mood = "hung"
        assert await etcd.get("k") is not None
        assert now() == pytest.approx(1.0, abs=0.01)


async def test_without_any_member_a_call_fails_in_time_and_names_each() -> None:
    """It goes round, at a growing distance, until its time is over."""
    async with well() as (cluster, etcd):
        for member in cluster.members:
            member.mood = "away"
        with pytest.raises(
            EtcdUnavailable, match=r"memory-1: cannot connect; memory-2: .*memory-3"
        ):
            await etcd.put("k", b"1")
        assert now() == pytest.approx(2.0, abs=0.01)
        assert 15 < etcd.statistics().again < 40


async def test_the_ambient_deadline_bounds_a_call() -> None:
    """Whoever has 300 ms gets an answer in 295 ms; whoever has none left asks nobody."""
    async with well() as (cluster, etcd):
        for member in cluster.members:
            member.mood = "hung"
        async with timeout(0.3):
            with pytest.raises(EtcdUnavailable):
                await etcd.get("k")
            assert now() == pytest.approx(0.295, abs=0.002)
            await asyncio.sleep(0.001)
            with pytest.raises(ExpiredError):
                await etcd.put("k", b"1")
        assert etcd.statistics().calls == 1


async def test_a_no_is_told_with_its_code() -> None:
    """And is not asked of others."""
    async with well() as (_, etcd):
        with pytest.raises(EtcdRefused, match="requested lease not found") as refused:
            await etcd.put("k", b"1", lease=7)
        assert refused.value.code == "NOT_FOUND"
        last = [await etcd.put("k", bytes([number])) for number in range(5)][-1]
        await etcd.compact(last)
        with pytest.raises(EtcdCompacted, match="compacted"):
            await etcd.get_prefix("", revision=last - 2)
        with pytest.raises(EtcdRefused, match="future"):
            await etcd.get_prefix("", revision=last + 2)
        assert etcd.statistics().again == 0


async def test_it_is_used_inside_of_its_block() -> None:
    """And says so."""
    cluster = MemoryEtcd()
    etcd = EtcdClient(cluster.members)
    with pytest.raises(LifecycleMisuse, match="async with"):
        await etcd.get("k")
    async with etcd:
        await etcd.get("k")
    with pytest.raises(LifecycleMisuse, match="async with"):
        await etcd.get("k")


@pytest.mark.parametrize("options", [{"timeout": 0}, {"try_timeout": float("nan")}])
def test_times_are_more_than_nothing(options: dict[str, float]) -> None:
    """What cannot work is refused before anything is asked."""
    with pytest.raises(ValueError, match="more than 0 seconds"):
        EtcdClient(["localhost:1"], **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a list of 'host:port'"):
        EtcdClient([])
    with pytest.raises(ValueError, match="a list of 'host:port'"):
        EtcdClient("localhost:1")


CALLS: dict[str, Callable[[EtcdClient], Awaitable[object]]] = {
    "get": lambda etcd: etcd.get("k"),
    "put": lambda etcd: etcd.put("k", b"1"),
    "txn": lambda etcd: etcd.txn([absent("k")], [Put("k", b"1")]),
    "delete": lambda etcd: etcd.delete("k"),
}


@pytest.mark.parametrize("mood", ["well", "away", "hung", "mute"])
@pytest.mark.parametrize("name", CALLS)
async def test_a_call_can_be_cancelled_at_each_of_its_waits(name: str, mood: str) -> None:
    """The cancel goes through at once, nothing is left, and the next call is made as ever."""
    for steps in range(8):
        async with well() as (cluster, etcd):
            for member in cluster.members:
                member.mood = mood  # type: ignore[assignment]
            task = asyncio.get_running_loop().create_task(CALLS[name](etcd))  # type: ignore[arg-type]
            for _ in range(steps):
                await asyncio.sleep(0)
            began, ended = now(), task.done()
            task.cancel()
            if ended:
                await asyncio.wait([task])
                task.exception()
            else:
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert now() - began < 0.001
            for member in cluster.members:
                member.mood = "well"
            await etcd.put("other", b"")
            assert not any(member.streams for member in cluster.members)


def test_whose_turn_it_is() -> None:
    """One member as long as it answers; a pause after each round, that grows to half a second."""
    turns = Turns(3)
    turns.failed(0)
    turns.failed(0)  # of another call, that had asked the same member
    assert turns.at == 1
    turns.failed(1)
    turns.failed(2)
    assert turns.at == 0
    assert [turns.pause(count) for count in range(8)] == [0, 0, 0, 0.05, 0, 0, 0.1, 0]
    assert turns.pause(3000) == 0.5


@pytest.mark.parametrize(
    ("prefix", "end"), [(b"a", b"b"), (b"a\xff", b"b"), (b"", b"\0"), (b"\xff", b"\0")]
)
def test_the_end_of_a_prefix(prefix: bytes, end: bytes) -> None:
    """It is the first key that does not begin so."""
    assert prefix_end(prefix) == end


def test_errors_survive_pickling() -> None:
    """With what they know."""
    refused = pickle.loads(pickle.dumps(EtcdRefused("no", code="NOT_FOUND")))
    assert (str(refused), refused.code) == ("no", "NOT_FOUND")
    gone = pickle.loads(pickle.dumps(EtcdCompacted("gone", compact_revision=9)))
    assert (str(gone), gone.compact_revision) == ("gone", 9)
