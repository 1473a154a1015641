"""The last good configuration stays in use, whatever is pushed and whatever becomes of the cluster."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from backstay.errors import LifecycleMisuse
from backstay.integrations.etcd import (
    EtcdClient,
    EtcdError,
    EtcdRefused,
    EtcdUnavailable,
    LiveConfig,
    MemoryEtcd,
)


def positive(value: bytes) -> int:
    """Read a number, and want it to be more than 0."""
    number = int(value)
    if number <= 0:
        raise ValueError(f"{number} is not more than 0")
    return number


async def test_a_good_push_is_swapped_in_and_a_bad_one_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Bad ones are counted, and change nothing; so does a deletion."""
    cluster = MemoryEtcd()
    async with EtcdClient(cluster.members) as etcd:
        await etcd.put("c", b"1")
        config = LiveConfig(etcd, "c", parse=positive)
        with pytest.raises(LifecycleMisuse, match="async with"):
            _ = config.current
        told: list[int] = []
        config.on_change(lambda _: 1 / 0)
        async with config:
            config.on_change(told.append)
            assert config.current == 1
            bad = await etcd.put("c", b"-1")
            await asyncio.sleep(0.1)
            assert config.current == 1
            seen = config.statistics()
            assert seen.last_rejected == f"revision {bad}: ValueError: -1 is not more than 0"
            assert (seen.accepted, seen.rejected, seen.following) == (1, 1, True)
            assert f"config c is rejected: revision {bad}" in caplog.text
            good = await etcd.put("c", b"2")
            await etcd.delete("c")
            await asyncio.sleep(0.1)
            seen = config.statistics()
            assert (config.current, seen.revision, seen.deleted) == (2, good, 1)
            assert seen.last_rejected == ""
            assert told == [2]
        assert not config.statistics().following
        with pytest.raises(LifecycleMisuse, match="entered before"):
            await config.__aenter__()


@pytest.mark.parametrize("value", [None, b"x"])
async def test_without_a_good_one_there_is_no_start(value: bytes | None) -> None:
    """Unless there is a default, which is in use until a good one comes."""
    cluster = MemoryEtcd()
    async with EtcdClient(cluster.members) as etcd:
        if value is not None:
            await etcd.put("c", value)
        with pytest.raises(EtcdRefused, match="no good value, and no default"):
            async with LiveConfig(etcd, "c", parse=positive):
                pass
        async with LiveConfig(etcd, "c", parse=positive, default=7) as config:
            assert config.current == 7
            await etcd.put("c", b"8")
            await asyncio.sleep(0.1)
            assert config.current == 8


async def test_a_cluster_that_is_away_at_the_start_is_found_later() -> None:
    """With a default; without one it is an error, in time."""
    cluster = MemoryEtcd()
    async with EtcdClient(cluster.members) as etcd:
        await etcd.put("c", b"3")
        for member in cluster.members:
            member.mood = "away"
        with pytest.raises(EtcdUnavailable):
            async with LiveConfig(etcd, "c", parse=positive, start=1.0):
                pass
        async with LiveConfig(etcd, "c", parse=positive, default=7, start=1.0) as config:
            assert config.current == 7
            await asyncio.sleep(30)
            for member in cluster.members:
                member.mood = "well"
            await asyncio.sleep(2)
            assert config.current == 3


async def test_the_last_good_one_outlives_the_process(tmp_path: Path) -> None:
    """In a file: used while the cluster is away or holds nothing good, before the default, and parsed anew."""
    cluster, copy = MemoryEtcd(), tmp_path / "limit"
    async with EtcdClient(cluster.members) as etcd:
        await etcd.put("c", b"3")
        async with LiveConfig(etcd, "c", parse=positive, copy=copy) as config:
            await etcd.put("c", b"4")
            await etcd.put("c", b"-1")
            await asyncio.sleep(0.1)
            assert (config.statistics().source, copy.read_bytes()) == ("etcd", b"4")
        async with LiveConfig(etcd, "c", parse=positive, copy=copy) as config:
            assert (config.current, config.statistics().source) == (4, "copy")
        for member in cluster.members:
            member.mood = "away"
        async with LiveConfig(etcd, "c", parse=positive, default=7, start=1.0, copy=copy) as config:
            assert (config.current, config.statistics().source) == (4, "copy")
            for member in cluster.members:
                member.mood = "well"
            await etcd.put("c", b"5")
            await asyncio.sleep(2)
            assert (config.current, config.statistics().source) == (5, "etcd")
    assert [one.name for one in tmp_path.iterdir()] == ["limit"]


async def test_a_copy_that_cannot_be_used_harms_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Torn, absent, or in a place where nothing can be written: told in the log."""
    cluster, torn = MemoryEtcd(), tmp_path / "torn"
    torn.write_bytes(b"")
    async with EtcdClient(cluster.members) as etcd:
        async with LiveConfig(etcd, "c", parse=positive, default=7, copy=torn) as config:
            assert (config.current, config.statistics().source) == (7, "default")
        assert f"the copy at {torn} is not good" in caplog.text
        await etcd.put("c", b"3")
        async with LiveConfig(etcd, "c", parse=positive, copy=tmp_path / "no" / "where") as config:
            assert config.current == 3
        assert "no copy is kept at" in caplog.text
        with pytest.raises(EtcdRefused):
            async with LiveConfig(etcd, "d", parse=positive, copy=tmp_path):  # a folder
                pass
        assert "cannot be read" in caplog.text


async def test_what_was_forgotten_is_read_anew() -> None:
    """A push that nobody can tell of any more, and one that was a deletion."""
    cluster = MemoryEtcd()
    async with EtcdClient(cluster.members[:1]) as etcd, EtcdClient(cluster.members[1:]) as other:
        await etcd.put("c", b"3")
        async with LiveConfig(etcd, "c", parse=positive) as config:
            await asyncio.sleep(0.1)
            for last in (b"4", None):
                cluster.members[0].mood = "away"
                await other.put("c", b"9")
                await (other.delete("c") if last is None else other.put("c", last))
                await other.compact(cluster.revision)
                cluster.members[0].mood = "well"
                await asyncio.sleep(2)
            assert config.current == 4
            assert config.statistics().deleted == 1


async def test_entering_and_following_can_be_cancelled_at_each_wait() -> None:
    """No stream is left."""

    async def follow(etcd: EtcdClient) -> None:
        async with LiveConfig(etcd, "c", parse=positive):
            await asyncio.sleep(0.1)

    for steps in range(25):
        cluster = MemoryEtcd()
        async with EtcdClient(cluster.members) as etcd:
            await etcd.put("c", b"1")
            task = asyncio.get_running_loop().create_task(follow(etcd))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not any(member.streams for member in cluster.members)


def test_a_start_takes_time() -> None:
    """And the errors of etcd are of one kind."""
    with pytest.raises(ValueError, match="more than 0 seconds"):
        LiveConfig(EtcdClient(MemoryEtcd().members), "c", parse=positive, start=0)
    assert issubclass(EtcdUnavailable, EtcdError)
