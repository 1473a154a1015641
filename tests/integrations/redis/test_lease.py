"""Replicas that share a job by a lease in a real Redis, which is stopped, killed and comes back empty."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backstay.integrations.redis_lease import JustStarted, RedisLease
from backstay.lifecycle import Every, LeaseGrant, Schedule

pytestmark = [pytest.mark.real_loop, pytest.mark.slow, pytest.mark.timeout(120)]

PROCESS = Path(__file__).with_name("leasing_process.py")
TTL = 1.5


async def granted(
    lease: RedisLease, name: str, holder: str, ttl: float = TTL, **options: Any
) -> LeaseGrant | None:
    """Ask until the server has been up for long enough."""
    while True:
        try:
            return await lease.acquire(name, ttl, holder=holder, **options)
        except JustStarted:
            await asyncio.sleep(0.1)


async def test_the_scripts_keep_the_protocol(redis_url: str) -> None:
    """One holder at a time, again for the same one, tokens that grow, an end by itself, a word that is remembered."""
    lease = RedisLease.from_url(redis_url)
    first = await granted(lease, "job", "a")
    assert first is not None
    assert await granted(lease, "job", "b") is None
    again = await granted(lease, "job", "a")
    assert again is not None
    assert again.token > first.token
    await asyncio.sleep(TTL * 0.7)
    assert await lease.renew(first, TTL)
    await asyncio.sleep(TTL * 0.7)
    assert await granted(lease, "job", "b") is None
    await asyncio.sleep(TTL * 0.5)
    assert not await lease.renew(first, TTL)
    second = await granted(lease, "job", "b", once="noon", remember=1.0)
    assert second is not None
    assert second.token > again.token
    await lease.release(first)
    assert await granted(lease, "job", "c") is None
    await lease.release(second)
    assert await granted(lease, "job", "c", once="noon", remember=1.0) is None
    assert await granted(lease, "job", "b", once="noon", remember=1.0) is not None
    await lease.release(second)
    await asyncio.sleep(1.1)
    assert await granted(lease, "job", "c", once="noon", remember=1.0) is not None
    await lease.aclose()


async def test_a_server_that_came_back_empty_grants_nothing_for_a_while(
    redis_server: Any, redis_url: str
) -> None:
    """It may have lost a lease that is not over: it says so until it would be; the next token is greater."""
    lease = RedisLease.from_url(redis_url)
    first = await granted(lease, "empty", "a")
    assert first is not None
    await lease.aclose()
    redis_server.kill()
    redis_server.start()
    began = time.monotonic()
    with pytest.raises(JustStarted, match="may have lost a lease of 'empty'"):
        await lease.acquire("empty", TTL, holder="b")
    assert not await lease.renew(first, TTL)
    second = await granted(lease, "empty", "b")
    assert second is not None
    assert TTL <= time.monotonic() - began <= TTL + 3
    assert second.token > first.token
    await lease.aclose()


def share(
    url: str, name: str, seconds: float, meanwhile: Callable[[], object]
) -> list[list[dict[str, Any]]]:
    """Let two replicas share a job; return what each tells: its runs, and its statistics at the end."""
    running = [
        subprocess.Popen(
            [sys.executable, str(PROCESS), url, name, str(TTL), str(seconds)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        meanwhile()
        told = [process.communicate(timeout=60)[0] for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    return [[json.loads(line) for line in text.splitlines()] for text in told]


def judge(told: list[list[dict[str, Any]]], hung: list[tuple[float, float]]) -> None:
    """No two runs at once, no instant twice, tokens in order; who could not renew has ended in time."""
    runs = sorted(
        (one for lines in told for one in lines if "ended" in one),
        key=lambda one: float(one["began"]),
    )
    assert len(runs) > 5
    for before, after in itertools.pairwise(runs):
        assert before["ended"] <= after["began"]
        assert before["token"] < after["token"]
    planned = [one["planned"] for one in runs]
    assert len(set(planned)) == len(planned)
    assert all(lines[-1]["begun"] + lines[-1]["elsewhere"] > 0 for lines in told), (
        "each of them has tried"
    )
    for began, ended in hung:
        assert all(
            one["ended"] <= began + TTL
            for one in runs
            if one["began"] < began and ended - began > TTL
        )
    assert [one for one in runs if hung and one["began"] > hung[-1][1]], "it went on after"
    outlasted = [
        one
        for began, ended in hung
        for one in runs
        if one["began"] < began and one["would_end"] > began + TTL and ended - began > TTL
    ]
    assert sum(lines[-1]["lost"] for lines in told) >= len(outlasted)
    assert sum(lines[-1]["failed"] for lines in told) == 0


def test_never_two_at_once_while_the_server_hangs(redis_server: Any, redis_url: str) -> None:
    """SIGSTOP for less and for more than a lease: who cannot renew is cancelled before another may begin."""
    hung: list[tuple[float, float]] = []

    def meanwhile() -> None:
        time.sleep(4.0)
        for seconds in (0.4, 2.0, 0.7, 3.0):
            began = time.monotonic()
            redis_server.send(signal.SIGSTOP)
            time.sleep(seconds)
            redis_server.send(signal.SIGCONT)
            hung.append((began, time.monotonic()))
            time.sleep(2.0)

    judge(share(redis_url, "hang", 20.0, meanwhile), hung)


def test_never_two_at_once_while_the_server_is_killed_and_comes_back_empty(
    redis_server: Any, redis_url: str
) -> None:
    """kill -9 amid runs, back at once or after a second, without any memory of the lease."""
    away: list[tuple[float, float]] = []

    def meanwhile() -> None:
        time.sleep(4.0)
        for seconds in (0.0, 1.0, 0.0):
            began = time.monotonic()
            redis_server.kill()
            time.sleep(seconds)
            redis_server.start()
            away.append((began, time.monotonic()))
            time.sleep(4.5)

    judge(share(redis_url, "kill", 20.0, meanwhile), away)


async def test_a_server_that_is_away_costs_a_run_and_not_the_schedule(
    redis_server: Any, redis_url: str
) -> None:
    """Killed for good: "no lease" each time; when it is back, so are the runs."""
    lease = RedisLease.from_url(redis_url)
    done = 0

    async def work(run: object) -> None:
        nonlocal done
        done += 1

    async with Schedule("away", Every(0.2), work, lease=lease, ttl=0.6, late=0.2) as schedule:
        while not done:
            await asyncio.sleep(0.05)
        redis_server.kill()
        await asyncio.sleep(1.0)
        assert schedule.statistics().no_lease > 0
        redis_server.start()
        before = done
        async with asyncio.timeout(10):
            while done == before:
                await asyncio.sleep(0.05)
    assert schedule.statistics().failed == 0
    await lease.aclose()


class Replica:
    """One replica that can be killed and stopped; its lines are read as they come."""

    def __init__(self, url: str, name: str, seconds: float) -> None:
        words = [sys.executable, str(PROCESS), url, name, str(TTL), str(seconds)]
        self.popen = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        self.lines: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        self.lines.extend(json.loads(line) for line in self.popen.stdout)

    @property
    def at_work(self) -> bool:
        return bool(self.lines) and "ended" not in self.lines[-1] and "state" not in self.lines[-1]

    def end(self) -> None:
        self.popen.kill()
        self.popen.wait()
        self._reader.join()
        assert self.popen.stdout is not None
        self.popen.stdout.close()


@pytest.fixture
def replicas(redis_url: str, request: pytest.FixtureRequest) -> Iterator[tuple[Replica, Replica]]:
    """Run two replicas of a job, until the test is over; the first one yielded is at work."""
    both = [Replica(redis_url, request.node.name, 60.0) for _ in range(2)]
    until = time.monotonic() + 20
    try:
        while not any(one.at_work for one in both):
            assert time.monotonic() < until
            time.sleep(0.005)
        both.sort(key=lambda one: not one.at_work)
        yield both[0], both[1]
    finally:
        for one in both:
            one.end()


def test_the_job_of_a_replica_that_is_killed_is_somebody_elses_soon(
    replicas: tuple[Replica, Replica],
) -> None:
    """kill -9 amid a run: nobody gives the lease back, and it is over after its ttl."""
    holder, other = replicas
    killed = time.monotonic()
    holder.popen.kill()
    while not other.at_work:
        assert time.monotonic() < killed + TTL + 2.0
        time.sleep(0.005)
    assert other.lines[-1]["began"] - killed <= TTL + 1.0


def test_a_replica_that_stood_still_amid_its_run_wakes_with_an_old_token(
    replicas: tuple[Replica, Replica],
) -> None:
    """SIGSTOP for longer than the lease: another works by then. Awake again, its run is cancelled at once."""
    holder, other = replicas
    token = holder.lines[-1]["token"]
    holder.popen.send_signal(signal.SIGSTOP)
    time.sleep(TTL + 1.0)
    assert other.lines, "another has begun"
    assert all(one["token"] > token for one in other.lines)
    holder.popen.send_signal(signal.SIGCONT)
    awake = time.monotonic()
    while holder.at_work and holder.lines[-1]["token"] == token:
        assert time.monotonic() < awake + 1.0
        time.sleep(0.005)
