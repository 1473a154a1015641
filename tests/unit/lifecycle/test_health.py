"""Health asks dependencies now and then, tells what it found, and holds the readiness back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backstay import now
from backstay._base import HealthMoved, health_moved
from backstay.errors import LifecycleMisuse
from backstay.lifecycle import Health, Readiness, Service, health_document, running_health


class Dependency:
    """Something that is up or down, slow, deaf or both."""

    def __init__(self, takes: float = 0.0) -> None:
        self.takes = takes
        self.error: BaseException | None = None
        self.deaf_until = 0.0
        self.asked: list[float] = []
        self.at_once = self.most_at_once = 0

    async def __call__(self) -> str:
        self.asked.append(now())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            while True:
                try:
                    await asyncio.sleep(max(self.takes, self.deaf_until - now()))
                    break
                except asyncio.CancelledError:
                    if now() >= self.deaf_until:
                        raise
            if self.error is not None:
                raise self.error
            return "fine"
        finally:
            self.at_once -= 1


def states(health: Health) -> dict[str, str]:
    return {record.name: record.state for record in health.records}


async def test_the_start_gate_opens_when_all_critical_ones_are_up() -> None:
    """Not ready until each has passed once; one that is not critical keeps nobody waiting."""
    readiness, database, cache = Readiness(), Dependency(), Dependency()
    health = Health(readiness=readiness)
    database.error, cache.error = OSError("not yet"), OSError("cold")
    health.add("database", database, fail_after=100)
    health.add("cache", cache, critical=False, fail_after=100)
    readiness.succeed()
    assert (readiness.ready, readiness.reason) == (False, "not up yet: database")
    async with health:
        await asyncio.sleep(3)
        assert (health.state, health.ready, readiness.ready) == ("starting", False, False)
        assert len(database.asked) >= 6, "what has not been up yet is asked again soon"
        database.error = None
        await asyncio.sleep(0.7)
        assert (health.state, health.ready, readiness.ready) == ("up", True, True)
        assert health.reason == ""
    assert running_health() == ()


async def test_it_takes_some_failures_to_fall_and_some_passes_to_rise() -> None:
    """Three and two, each interval apart; the readiness goes with it, events tell of it."""
    told: list[HealthMoved] = []
    unsubscribe = health_moved.subscribe(told.append)
    readiness, database = Readiness(), Dependency()
    readiness.succeed()
    health = Health("shop", readiness=readiness)
    health.add("database", database, interval=10.0)
    try:
        async with health:
            await asyncio.sleep(5)
            assert readiness.ready
            database.error = OSError("gone: postgres://u:secret@db")
            before = len(database.asked)
            while readiness.ready:
                await asyncio.sleep(0.1)
            assert len(database.asked) - before == 3
            assert readiness.reason == "database down"
            database.error = None
            before = len(database.asked)
            while not readiness.ready:
                await asyncio.sleep(0.1)
            assert len(database.asked) - before == 2
    finally:
        unsubscribe()
    assert [(one.check, one.before, one.after) for one in told] == [
        ("database", "starting", "up"), ("database", "up", "down"), ("database", "down", "up"),
    ]  # fmt: skip
    assert told[1].error == "OSError: gone: postgres://***@db"
    gaps = [
        after - before for before, after in zip(database.asked, database.asked[1:], strict=False)
    ]
    assert all(9.0 <= gap <= 11.1 for gap in gaps)
    assert len(set(gaps)) == len(gaps), "spread"


async def test_what_is_not_critical_degrades() -> None:
    """It is told, and traffic comes all the same."""
    readiness, cache = Readiness(), Dependency()
    health = Health(readiness=readiness)
    health.add("database", Dependency())
    health.add("cache", cache, critical=False, fail_after=1)
    readiness.succeed()
    async with health:
        await asyncio.sleep(1)
        cache.error = OSError("cold")
        await asyncio.sleep(6)
        assert (health.state, health.ready, readiness.ready) == ("degraded", True, True)
        assert states(health) == {"database": "up", "cache": "down"}
        assert health.statistics().state == "degraded"


async def test_a_check_has_a_time_out_and_there_is_never_a_second_one_beside_it() -> None:
    """Slow: a failure after the time-out. Deaf to its cancel: down at once, and not asked again before it ends."""
    slow, deaf = Dependency(100.0), Dependency()
    deaf.deaf_until = 60.0
    health = Health()
    health.add("slow", slow, timeout=1.0, fail_after=2)
    health.add("deaf", deaf, timeout=1.0, fail_after=5)
    async with health:
        await asyncio.sleep(2.5)
        record = health.records[1]
        assert (record.state, "hangs" in record.error) == ("down", True)
        await asyncio.sleep(50)
        assert states(health) == {"slow": "down", "deaf": "down"}
        assert "timeout of 1 s" in health.records[0].error
        assert len(deaf.asked) == 1
        await asyncio.sleep(20)
        assert len(deaf.asked) > 1
        assert states(health)["deaf"] == "up"
    assert (slow.most_at_once, deaf.most_at_once) == (1, 1)


async def test_however_many_ask_a_dependency_is_asked_once() -> None:
    """A thousand readers of the document cause no check."""
    database = Dependency(0.5)
    health = Health()
    health.add("database", database, interval=5.0)
    async with health:
        for _ in range(1000):
            health_document()
            await asyncio.sleep(0.01)
    assert len(database.asked) == 2
    assert database.most_at_once == 1


async def test_a_check_that_is_cancelled_by_somebody_fails_and_comes_again() -> None:
    """By another task, before its first step too, or by itself."""
    database = Dependency(1.0)
    health = Health()
    health.add("database", database, interval=1.0, fail_after=50)
    async with health:
        await asyncio.sleep(0.5)
        (task,) = [one for one in asyncio.all_tasks() if one.get_name() == "health check database"]
        task.cancel()
        await asyncio.sleep(0.1)
        assert health.records[0].error == "the check was cancelled"
        database.error = asyncio.CancelledError("a driver's way to say no")
        await asyncio.sleep(5)
        assert health.records[0].error == "CancelledError: a driver's way to say no"
        database.error = None
        await asyncio.sleep(5)
        assert health.state == "up"


async def test_the_document_says_what_people_ask_at_three_in_the_morning() -> None:
    """State, since when, what error, how long it took, how old the answer is."""
    readiness, database = Readiness(), Dependency(0.25)
    health = Health(readiness=readiness)
    health.add("database", database, fail_after=1)
    readiness.succeed()
    async with health:
        await asyncio.sleep(1.25)
        assert health_document([health], readiness) == {
            "state": "up",
            "ready": True,
            "reason": "",
            "checks": {
                "database": {
                    "state": "up", "critical": True, "since": "2026-01-01T00:00:00+00:00", "checked_s_ago": 1.0,
                    "took_s": 0.25, "failures": 0, "error": "", "detail": "fine",
                }
            },
        }  # fmt: skip
        database.error = OSError("password=hunter2")
        await asyncio.sleep(8)
        found = health_document(readiness=readiness)
        assert (found["state"], found["ready"], found["reason"]) == ("down", False, "database down")
        assert found["checks"]["database"]["error"] == "OSError: password=***"
        readiness.drain("draining")
        assert health_document(readiness=readiness)["state"] == "draining"
    assert health_document(readiness=Readiness())["state"] == "starting"
    assert health_document()["checks"] == {}


async def test_as_a_part_of_a_service_it_leaves_at_once() -> None:
    """The service is ready when its parts run and the dependencies are up; told to leave, no check is alive."""
    slow = Dependency(3.0)
    service = Service("shop")
    health = Health(readiness=service.readiness)
    health.add("database", slow, timeout=10.0)
    service.task("health", health.run)
    running = asyncio.get_running_loop().create_task(service.run())
    await asyncio.sleep(1)
    assert (service.state, service.readiness.ready) == ("running", False)
    await asyncio.sleep(3)
    assert service.readiness.ready
    await asyncio.sleep(6)
    service.stop()
    began = now()
    record = await running
    assert (record.exit_code, now() - began) == (0, 0.0)
    assert not [one for one in asyncio.all_tasks() if "health" in one.get_name()]


async def test_two_healths_share_a_document() -> None:
    """A library brings one, and the program another: both are asked, names are kept apart."""
    one, two = Health("one"), Health("two")
    one.add("database", Dependency())
    two.add("database", Dependency(), critical=False)
    async with one, two:
        await asyncio.sleep(1)
        assert set(health_document()["checks"]) == {"database", "database 2"}
        assert len(running_health()) == 2


async def test_it_can_be_used_again_and_begins_anew() -> None:
    """What was found before says nothing about now."""
    readiness, database = Readiness(), Dependency()
    readiness.succeed()
    health = Health(readiness=readiness)
    health.add("database", database)
    async with health:
        await asyncio.sleep(1)
        assert (health.state, readiness.ready) == ("up", True)
    database.error = OSError("gone")
    async with health:
        await asyncio.sleep(0.1)
        assert (health.state, readiness.ready) == ("starting", False)
        with pytest.raises(LifecycleMisuse, match="runs already"):
            await health.run()
        with pytest.raises(LifecycleMisuse, match="checks have begun"):
            health.add("late", database)
    with pytest.raises(LifecycleMisuse, match="one of that name"):
        health.add("database", database)
    with pytest.raises(ValueError, match="more than 0"):
        health.add("other", database, timeout=0)
    assert repr(health) == "<Health 'health' starting checks=1>"


@pytest.mark.parametrize("after", [0.0, 0.2, 3.0])
async def test_a_cancel_leaves_no_check_behind(after: float) -> None:
    """Before the first step, amid a check, between two."""
    database = Dependency(0.5)
    health = Health()
    health.add("database", database, interval=100.0)
    task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(health.run())
    await asyncio.sleep(after)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (database.at_once, running_health()) == (0, ())
