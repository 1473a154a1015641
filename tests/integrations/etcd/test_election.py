"""Candidates in processes of their own, which are killed and hung: one leads, and never two."""

from __future__ import annotations

import asyncio
import itertools
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backstay.integrations.etcd import EtcdClient, Event

pytestmark = pytest.mark.slow


PROGRAM = Path(__file__).with_name("candidate.py")


class Candidate:
    """A process of `candidate.py`, and what it has printed."""

    def __init__(self, name: str, ttl: float, endpoints: list[str]) -> None:
        self.name = name
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), name, str(ttl), *endpoints],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.strip())

    def wait_for(self, word: str, seconds: float = 15.0) -> str:
        """Return the first line that begins so, when it has come."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for line in list(self.lines):
                if line.startswith(word):
                    return line
            time.sleep(0.01)
        raise AssertionError(f"{self.name} did not say {word!r} within {seconds} s: {self.lines}")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def candidates(cluster: Any, request: pytest.FixtureRequest) -> Iterator[list[Candidate]]:
    """Two that stand, with leases of three seconds or what is asked for; the first of them leads."""
    ttl = getattr(request, "param", 3)
    first = Candidate("a", ttl, cluster.endpoints)
    made = [first]
    try:
        first.wait_for("leads")
        made.append(Candidate("b", ttl, cluster.endpoints))
        made[1].wait_for("stands")
        time.sleep(0.5)  # its key is put
        yield made
    finally:
        for one in made:
            one.end()


async def swept(cluster: Any) -> list[Event]:
    """Return all that leaders have written since the election began."""
    async with EtcdClient(cluster.endpoints) as etcd:
        end = await etcd.put("end", b"")
        found: list[Event] = []
        async with etcd.watch("", revision=1) as events:
            async for event in events:
                if event.revision == end:
                    return found
                if event.key == "swept":
                    found.append(event)
    raise AssertionError("a watch does not end")


def terms(events: list[Event]) -> list[tuple[str, int]]:
    """Return who wrote, one entry for each change."""
    said = [event.value.decode().split() for event in events]
    return [(name, int(token)) for (name, token), _ in itertools.groupby((a, b) for a, b in said)]


def test_the_killed_leader_is_replaced_once(cluster: Any, candidates: list[Candidate]) -> None:
    """Within the life of its lease and what an election takes; nobody writes after a later one."""
    before, after = candidates
    first = int(before.wait_for("leads").split()[1])
    before.process.kill()
    killed = time.monotonic()
    second = int(after.wait_for("leads").split()[1])
    assert time.monotonic() - killed < 3 + 4
    time.sleep(0.5)
    assert second > first
    assert terms(asyncio.run(swept(cluster)))[-2:] == [("a", first), ("b", second)]
    assert [line for line in after.lines if line.startswith("leads")] == [f"leads {second}"]


def test_a_leader_that_hangs_knows_that_it_leads_no_more(
    cluster: Any, candidates: list[Candidate]
) -> None:
    """When it goes on, what it still writes is refused, and it stands again behind the other."""
    before, after = candidates
    first = int(before.wait_for("leads").split()[1])
    before.process.send_signal(signal.SIGSTOP)
    second = int(after.wait_for("leads").split()[1])
    time.sleep(0.3)
    before.process.send_signal(signal.SIGCONT)
    before.wait_for("lost", 5)
    time.sleep(0.5)
    assert terms(asyncio.run(swept(cluster)))[-2:] == [("a", first), ("b", second)]
    after.process.send_signal(signal.SIGTERM)  # it resigns, and need not be waited for
    told = time.monotonic()
    until = told + 10
    while sum(line.startswith("leads") for line in before.lines) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert time.monotonic() - told < 2
    third = int(before.lines[-1].split()[1])
    assert third > second


@pytest.mark.parametrize("candidates", [8], indirect=True)
@pytest.mark.parametrize("how", ["kill", "hang"])
def test_the_leader_leads_on_when_the_cluster_loses_its_own(
    cluster: Any, candidates: list[Candidate], how: str
) -> None:
    """A lease of eight elections outlives one."""
    before, after = candidates
    token = before.wait_for("leads")
    victim = cluster.leader()
    if how == "kill":
        victim.kill()
    else:
        victim.send(signal.SIGSTOP)
    time.sleep(5)
    cluster.heal()
    time.sleep(1)
    assert before.lines == ["stands", token]
    assert after.lines == ["stands"]
    written = asyncio.run(swept(cluster))
    assert {int(event.value.split()[1]) for event in written[-20:]} == {int(token.split()[1])}
