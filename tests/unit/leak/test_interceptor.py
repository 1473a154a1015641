"""What is done about tasks that a verdict strikes, and who is left alone."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

import backstay
from backstay import Scope, install, leak, uninstall
from backstay.tasks import owner_of

KEPT: set[asyncio.Task[Any]] = set()


def keep(coroutine: Any) -> asyncio.Task[Any]:
    task = asyncio.get_running_loop().create_task(coroutine)
    KEPT.add(task)
    task.add_done_callback(KEPT.discard)
    return task


async def sleep_on() -> None:
    await asyncio.sleep(1e6)


async def worker(queue: asyncio.Queue[int]) -> None:
    await queue.get()


async def deaf() -> None:
    while True:
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            if not KEPT:
                raise


async def orphan() -> asyncio.Task[Any]:
    async with Scope("POST /orders", kind="request", trace_id="4bf92f"):
        return keep(sleep_on())


@pytest.fixture(autouse=True)
def _clean() -> Any:
    yield
    KEPT.clear()


async def end(*tasks: asyncio.Task[Any]) -> None:
    KEPT.clear()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    uninstall()


async def test_it_reports_each_task_once_with_its_trace(caplog: pytest.LogCaptureFixture) -> None:
    """A record for the log, with the fields that a search needs; without a rule nothing else is done."""
    install(exact=True)
    keeper = leak.Interceptor(every=30.0, prove=False)
    task = await orphan()
    await asyncio.sleep(6)
    with caplog.at_level(logging.WARNING, "backstay.leak"):
        assert keeper.look() == 1
        assert keeper.look() == 0
    (record,) = caplog.records
    assert record.getMessage().startswith("ORPHAN: sleep_on, started at tests/unit/leak/test_int")
    assert (record.trace_id, record.verdict, record.action) == ("4bf92f", "ORPHAN", "report")
    seen = keeper.statistics()
    assert (seen.looks, dict(seen.reported), seen.cancelled) == (2, {"ORPHAN": 1}, 0)
    assert list(seen.sites.values()) == [1]
    assert not task.done()
    await end()


async def test_the_first_rule_that_fits_decides() -> None:
    """By site, function and owner; the particular ones stand first."""
    install(exact=True)
    async with Scope("nursery") as nursery:
        keeper = leak.Interceptor(
            leak.Rule("report", owner="request GET *"),
            leak.Rule("adopt", ("ORPHAN",), function="worker"),
            leak.Rule("cancel", ("ORPHAN",), site="tests/unit/leak/*"),
            scope=nursery,
            prove=False,
        )
        ended = await orphan()
        async with Scope("POST /mail", kind="request"):
            adopted = keep(worker(asyncio.Queue()))
        async with Scope("GET /mail", kind="request"):
            left = keep(sleep_on())
        await asyncio.sleep(6)
        assert keeper.look() == 3
        await asyncio.sleep(0)
        assert ended.cancelled()
        assert owner_of(adopted) is nursery
        assert not left.done()
        seen = keeper.statistics()
        assert (seen.cancelled, seen.adopted, seen.reported["ORPHAN"]) == (1, 1, 3)
        adopted.cancel()
    await end()


async def test_stuck_tasks_are_ended_once_they_are_confirmed() -> None:
    """By the second look, on a timer of its own; who has a producer stays."""
    install(exact=True)
    local: asyncio.Queue[int] = asyncio.Queue()
    with leak.Interceptor(leak.Rule("cancel", ("STUCK", "LEAKED")), every=10.0) as keeper:
        stuck, fed = keep(worker(asyncio.Queue())), keep(worker(local))
        await asyncio.sleep(15)
        assert not stuck.done()
        await asyncio.sleep(10)
        assert stuck.cancelled()
        assert not fed.done()
        assert dict(keeper.statistics().reported) == {"STUCK": 1}
    looks = keeper.statistics().looks
    await asyncio.sleep(100)
    assert keeper.statistics().looks == looks
    local.put_nowait(1)
    await end()


async def test_undead_and_overdue_tasks_are_struck() -> None:
    """Each by its own word."""
    install(exact=True)
    keeper = leak.Interceptor(prove=False)
    task = keep(deaf())
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.sleep(6)
    assert keeper.look() == 1
    assert dict(keeper.statistics().reported) == {"UNDEAD": 1}
    await end()


async def test_expected_tasks_are_left_alone() -> None:
    """As long as they are expected."""
    install(exact=True)
    keeper = leak.Interceptor(prove=False)
    with leak.expect(function="sleep_*", why="a test"):
        await orphan()
        await asyncio.sleep(6)
        assert keeper.look() == 0
    assert keeper.look() == 1
    await end()


async def test_a_scope_that_has_ended_adopts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """The task stays as it is, and the log says why."""
    install(exact=True)
    async with Scope("gone") as gone:
        pass
    keeper = leak.Interceptor(leak.Rule("adopt"), scope=gone, prove=False)
    await orphan()
    await asyncio.sleep(6)
    assert keeper.look() == 1
    assert "could not be adopted: scope 'gone' has ended" in caplog.text
    assert keeper.statistics().adopted == 0
    await end()


async def test_a_look_that_fails_is_told_and_followed_by_another(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The loop goes on."""
    keeper = leak.Interceptor(every=1.0, prove=False)
    monkeypatch.setattr(keeper, "_verdict", lambda task, at: 1 / 0)
    with keeper:
        await asyncio.sleep(1.5)
        monkeypatch.undo()
        await asyncio.sleep(2)
    assert "a look for leaked tasks failed" in caplog.text
    assert keeper.statistics().looks == 2


async def test_settings_that_cannot_be_are_refused() -> None:
    """With what was seen and what is wanted."""
    with pytest.raises(ValueError, match="report, cancel or adopt"):
        leak.Rule("kill")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not by 'GROWING'"):
        leak.Rule("cancel", ("GROWING",))
    with pytest.raises(ValueError, match="scope="):
        leak.Interceptor(leak.Rule("adopt"))
    with pytest.raises(ValueError, match="every is more than 0"):
        leak.Interceptor(every=0)
    with pytest.raises(ValueError, match="wants a reason"):
        leak.expect(function="x", why=" ")
    with pytest.raises(ValueError, match="saw no pattern"):
        leak.expect(why="all of them")


async def test_expected_tasks_get_no_verdict_of_any_kind() -> None:
    """Neither of the census nor of a proof; what they hold counts as alive."""
    install(exact=True)
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def listener(fed: asyncio.Queue[int]) -> None:
        await asyncio.Event().wait()
        fed.put_nowait(1)

    async with Scope("POST /x", kind="request"):
        keep(listener(queue))
        keep(worker(queue))
    del queue
    await asyncio.sleep(10)
    assert len(leak.prove().proved) == 2
    with leak.expect(function="*.listener", why="ends with the process"):
        assert leak.prove().proved == ()
        (finding,) = leak.report().findings
        assert (finding.task_name, finding.count) == ("worker", 1)
        assert leak.report().tasks == 3
    with leak.expect(owner="request POST *", why="a test"):
        assert leak.report().findings == ()
    await end()


# -- caps -----------------------------------------------------------------------------------


def spawn() -> asyncio.Task[Any]:
    return keep(sleep_on())


def spawn_other() -> asyncio.Task[Any]:
    task = asyncio.get_running_loop().create_task(sleep_on())
    KEPT.add(task)
    return task


@pytest.mark.parametrize("previous", ["tracked", "exact"])
@pytest.mark.real_loop
async def test_a_site_over_its_cap_spawns_no_more(previous: str) -> None:
    """The error says how many are alive; the coroutine is closed; other lines spawn on."""
    install(exact=previous == "exact")
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    caps = leak.SpawnCaps(10)
    caps.count()
    assert loop.get_task_factory() is before
    for _ in range(10):
        spawn()
    caps.count()
    with pytest.raises(backstay.errors.FullError, match="has 10 tasks alive and may have 10"):
        spawn()
    spawn_other()
    (site,) = caps.statistics().closed
    assert site.startswith("tests/unit/leak/test_interceptor.py:")
    assert caps.statistics().refused == 1
    for task in list(KEPT)[:9]:
        task.cancel()
    await asyncio.sleep(0.01)
    caps.count()
    assert loop.get_task_factory() is before
    spawn()
    assert caps.statistics().closed == ()
    await end()


async def test_a_cap_of_its_own_for_a_site_and_a_shadow() -> None:
    """The first pattern that fits counts; in shadow mode nothing is refused."""
    install(exact=True)
    caps = leak.SpawnCaps(sites={"tests/unit/leak/test_int*": 3}, mode="shadow", every=1.0)
    with caps:
        for _ in range(5):
            spawn()
        await asyncio.sleep(1.5)
        seen = caps.statistics()
        assert (seen.closed, seen.refused, list(seen.over.values())) == ((), 0, [5])
        spawn()
        assert seen.counts == 2
    await end()


async def test_a_cap_stops_when_it_is_told_to_and_keeps_tasks_and_sites() -> None:
    """Tasks that start while it refuses others carry the line that started them."""
    install(exact=True)
    with leak.SpawnCaps(2, every=1.0) as caps:
        spawn()
        spawn()
        await asyncio.sleep(1)
        with pytest.raises(backstay.errors.FullError):
            spawn()
        other = spawn_other()
        site = backstay.tasks.info(other).site
        assert site is not None
        assert site.function == "spawn_other"
    spawn()
    assert caps.statistics().closed == ()
    await end()


async def test_caps_that_cannot_be_are_refused() -> None:
    """None at all, none of a site, or no time between two counts."""
    with pytest.raises(ValueError, match="at least 1"):
        leak.SpawnCaps()
    with pytest.raises(ValueError, match="at least 1"):
        leak.SpawnCaps(0)
    with pytest.raises(ValueError, match="every is seconds"):
        leak.SpawnCaps(1, every=0)
