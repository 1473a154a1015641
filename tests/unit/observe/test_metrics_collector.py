"""The collector: what each room says becomes rows, nothing is kept alive, and one bad part hides no other."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics import parser

from backstay import Channel, Scope, leak
from backstay._base import BlockRecord, Roster
from backstay.channels import Ticker, after
from backstay.errors import FullError
from backstay.guard import (
    Admission,
    Breaker,
    Budget,
    Bulkhead,
    Deadline,
    Fallback,
    Gate,
    Guard,
    Hedge,
    KeyedRate,
    MemoryStore,
    Policy,
    Pool,
    Rate,
    Retry,
    SharedRate,
    Throttle,
    thread_workers,
)
from backstay.lifecycle import Consumer, Every, Health, Schedule, Service
from backstay.multiloop import Multiloop, SysmonStatistics
from backstay.observe.admin import AdminServer
from backstay.observe.metrics import (
    Collector,
    Page,
    _collector,
    _life_figures,
    unwatch,
    watch,
)
from backstay.observe.metrics._gc_pauses import GcPauses
from backstay.observe.metrics._guard_figures import _ROWS
from backstay.observe.readings import _guard_table
from backstay.tasks import install
from backstay.testing import MemoryQueue

Rows = Mapping[tuple[str, tuple[str, ...]], float]


@pytest.fixture(autouse=True)
def _only_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests leave guards behind until they are collected."""
    theirs = set(map(id, _guard_table.guards()))
    every = _guard_table.guards
    monkeypatch.setattr(
        _guard_table, "guards", lambda: tuple(one for one in every() if id(one) not in theirs)
    )
    lists = (_life_figures.CHANNELS, _life_figures.SERVICES, _life_figures.STEERED)
    others: list[Any] = [one for each in lists for one in each.living()]  # held: ids are used again
    known = set(map(id, others))
    living = Roster.living
    monkeypatch.setattr(
        Roster, "living", lambda self: [one for one in living(self) if id(one) not in known]
    )


def rows(collector: Collector) -> Rows:
    """Scrape, read the text with the strict parser, and return the rows by name and label values."""
    _, text = collector.scrape("application/openmetrics-text")
    return {
        (row.name, tuple(row.labels.values())): row.value
        for family in parser.text_string_to_metric_families(text.decode())
        for row in family.samples
    }


async def test_a_policy_and_its_parts() -> None:
    """Calls by outcome, refusals by reason, durations, and each guard by its kind."""
    policy = Policy("pay", bulkhead=Bulkhead(1, queue=0, name="pay-room"))

    async def call(fails: bool) -> None:
        if fails:
            raise OSError("away")
        await asyncio.sleep(1)

    first = asyncio.create_task(policy.call(call, False))
    await asyncio.sleep(0)
    with pytest.raises(FullError):
        await policy.call(call, False)
    await first
    for _ in range(7):
        await policy.call(call, False)
    with pytest.raises(OSError, match="away"):
        await policy.call(call, True)
    found = rows(Collector())
    assert found["backstay_policy_calls_total", ("pay", "ok")] == 8
    assert found["backstay_policy_calls_total", ("pay", "fail")] == 1
    assert found["backstay_policy_calls_total", ("pay", "rejected")] == 1
    assert found["backstay_policy_rejections_total", ("pay", "full")] == 1
    assert found["backstay_bulkhead_limit", ("pay-room",)] == 1
    assert found["backstay_guard_rejections_total", ("bulkhead", "pay-room")] == 1
    assert found["backstay_policy_duration_seconds_bucket", ("pay", "+Inf")] == 1
    assert found["backstay_policy_duration_seconds_sum", ("pay",)] == pytest.approx(1.0)


def test_the_states_of_a_breaker() -> None:
    """One row for each state, so that a rule can ask for one of them."""
    breaker = Breaker(name="bank")
    breaker.force_open()
    found = rows(Collector())
    states = {
        labels[1]: value for (name, labels), value in found.items() if "breaker_state" in name
    }
    assert states == {
        "closed": 0,
        "open": 0,
        "half_open": 0,
        "forced_open": 1,
        "forced_closed": 0,
    }


async def test_every_kind_of_guard_has_rows() -> None:
    """What the table names is what the statistics have: a field that was renamed is found here."""

    async def make() -> object:
        return object()

    async with thread_workers(1, name="k") as workers:
        made: list[Guard] = [
            Admission(name="k"),
            Breaker(name="k"),
            Budget(name="k"),
            Bulkhead(1, name="k"),
            Deadline(1.0, name="k"),
            Fallback(value="x", name="k"),
            Gate(1, name="k"),
            Hedge(after=1.0, name="k"),
            KeyedRate(1, name="k"),
            Policy("k"),
            Pool(make, max_open=1, name="k"),
            Rate(1, name="k"),
            Retry(name="k"),
            SharedRate("k", MemoryStore(), rate=1),
            Throttle(name="k"),
            workers,
        ]
        assert {one.kind for one in made} >= set(_ROWS)
        for guard in made:
            fields = dir(guard.statistics())
            assert {row.field for row in _ROWS.get(guard.kind, ())} <= set(fields), guard.kind
        names = {name for name, _ in rows(Collector())}
    for kind in ("bulkhead", "pool", "rate", "workers", "admission", "retry", "hedge", "throttle"):
        assert any(name.startswith(f"backstay_{kind}_") for name in names), kind


async def test_what_lives_is_found_and_not_kept() -> None:
    """Services, consumers, schedules and channels need nobody to name them, and go when they go."""

    async def handle(_: object) -> None: ...

    async def run(_: object) -> None: ...

    service, channel = Service("shop"), Channel[int](4, name="jobs")
    consumer = Consumer("orders", MemoryQueue(), handle)
    schedule = Schedule("nightly", Every(60.0), run)
    channel.send_nowait(1)
    found = rows(Collector())
    assert found["backstay_service_state", ("shop", "new")] == 1
    assert found["backstay_service_ready", ("shop",)] == 0
    assert found["backstay_channels", ("jobs",)] == 1
    assert found["backstay_channel_length", ("jobs",)] == 1
    assert found["backstay_consumer_in_hand", ("orders",)] == 0
    assert found["backstay_consumer_acked_total", ("orders",)] == 0
    assert found["backstay_schedule_runs_total", ("nightly", "missed")] == 0
    gone = [weakref.ref(one) for one in (service, channel, consumer, schedule)]
    del service, channel, consumer, schedule
    gc.collect()
    assert [one() for one in gone] == [None] * 4
    labels = {label for _, label in rows(Collector())}
    for name in ("shop", "jobs", "orders", "nightly"):
        assert all(name not in label for label in labels)


async def test_what_lives_can_be_hidden_and_shown_again() -> None:
    """By whom it disturbs; not everything can be."""
    service, channel = Service("shop"), Channel[int](4, name="jobs")
    unwatch(service, channel)
    unwatch(service)
    names = {(name, label) for name, label in rows(Collector())}
    assert ("backstay_service_ready", ("shop",)) not in names
    assert ("backstay_channels", ("jobs",)) not in names
    watch(service, channel)
    found = rows(Collector())
    assert found["backstay_service_ready", ("shop",)] == 0
    assert found["backstay_channels", ("jobs",)] == 1


async def test_a_kind_of_service_may_define_equality() -> None:
    """Two that are equal are two, of which one can be hidden."""

    class Equal(Service):
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Equal)

    first, second = Equal("first"), Equal("second")
    unwatch(first)
    names = {label for name, label in rows(Collector()) if name == "backstay_service_ready"}
    assert names == {(second.name,)}


async def test_channels_of_one_line_are_one_row() -> None:
    """Those without a name have that of the line; time-outs and tickers are not told at all."""
    crowd = [Channel[int](2) for _ in range(50)]
    line = crowd[0].name
    for channel in crowd[:3]:
        channel.send_nowait(1)
    crowd[3].close()
    moments = [after(10.0), after(None), Ticker(10.0)]
    found = rows(Collector())
    assert line.startswith("test_metrics_collector.py:")
    assert found["backstay_channels", (line,)] == 50
    assert found["backstay_channel_length", (line,)] == 3
    assert found["backstay_channel_capacity", (line,)] == 100
    assert found["backstay_channel_closed", (line,)] == 1
    shown = {label[0] for name, label in found if name == "backstay_channels"}
    assert not any("after" in name or "ticker" in name.lower() for name in shown)
    del moments


def test_names_of_channels_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row stays with its name; one for each user, by mistake, leads to a row of all others."""
    monkeypatch.setattr(_life_figures, "CHANNELS", alive := Roster[Any]())

    def make(name: str) -> Channel[int]:
        channel = Channel[int](1, name=name)
        alive.add(channel)
        return channel

    chosen = _life_figures.ChannelRows(3)

    def shown() -> dict[str, float]:
        page = Page()
        chosen.put(page)
        (family,) = [one for one in page.families() if one.name == "backstay_channels"]
        return {row.labels[0][1]: row.value for row in family.samples}

    first = [make("jobs"), make("jobs"), make("b")]
    assert shown() == {"jobs": 2, "b": 1}
    users = [make(f"user-{number}") for number in range(5)]
    assert shown() == {"jobs": 2, "b": 1, "user-0": 1, "other": 4}
    many = [make("busy") for _ in range(10)]
    assert shown() == {"jobs": 2, "b": 1, "user-0": 1, "other": 14}
    del first[-1]
    assert shown() == {"jobs": 2, "busy": 10, "user-0": 1, "other": 4}
    users.clear()
    many.clear()
    assert shown() == {"jobs": 2}


async def test_the_components_of_a_service_are_shown() -> None:
    """How many are in which state, and how long each took to stop."""

    async def work(leave: asyncio.Event) -> None:
        await leave.wait()

    service = Service("shop", grace=5.0)
    service.task("poller", work)
    running = asyncio.create_task(service.run())
    await asyncio.sleep(1)
    found = rows(Collector())
    assert found["backstay_service_components", ("shop", "running")] == 1
    assert found["backstay_service_ready", ("shop",)] == 1
    service.stop("test")
    await running
    found = rows(Collector())
    assert found["backstay_service_state", ("shop", "exited")] == 1
    assert ("backstay_service_stop_seconds", ("shop", "poller")) in found


def test_one_that_cannot_tell_hides_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It changed under the hands of the thread that reads, perhaps; the others are shown."""

    def broken(_: object) -> None:
        raise RuntimeError("dictionary changed size during iteration")

    channel, service = Channel[int](1, name="fine"), Service("broken")
    monkeypatch.setattr(Service, "record", broken)
    mute = Channel[int](1, name="mute")
    says = Channel.statistics
    monkeypatch.setattr(
        Channel, "statistics", lambda one: broken(one) if one is mute else says(one)
    )
    found = rows(Collector())
    assert found["backstay_channel_capacity", ("fine",)] == 1
    assert service.name
    assert channel.name
    assert "could not tell its statistics" in caplog.text


@pytest.mark.real_loop
async def test_lost_tasks_are_counted() -> None:
    """With the trace of a request that lost one."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    install()

    async def wait() -> None:
        await loop.create_future()

    async with Scope("request", trace_id="abc"):
        task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    del task
    gc.collect()
    _, text = Collector().scrape("application/openmetrics-text")
    (row,) = [one for one in text.splitlines() if one.startswith(b"backstay_tasks_lost_total{")]
    assert row.endswith(b'} 1 # {trace_id="abc"} 1')


def test_a_tree_that_was_never_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """And says so."""

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    _collector._version.cache_clear()
    monkeypatch.setattr(metadata, "version", absent)
    assert b'version="unknown"' in Collector().scrape()[1]
    _collector._version.cache_clear()


def test_only_some_kinds_are_watched() -> None:
    """Anything else has no rows, and is told so at once."""
    with pytest.raises(TypeError, match="services, consumers, schedules and channels, not int"):
        watch(3)  # type: ignore[arg-type]


async def test_health_checks_are_found() -> None:
    """Those that run need not be named."""

    async def check() -> None: ...

    health = Health("shop")
    health.add("redis", check)
    async with health:
        await asyncio.sleep(1)
        found = rows(Collector())
    assert found["backstay_health_check_state", ("shop", "redis", "up")] == 1
    assert found["backstay_health_check_failures_total", ("shop", "redis")] == 0


@pytest.mark.real_loop
async def test_multiloops_are_found() -> None:
    """Those that are open need not be named."""
    async with Multiloop("many", procs=1):
        found = rows(Collector())
    assert found["backstay_multiloop_procs", ("many",)] == 1
    assert found["backstay_multiloop_started_total", ("many",)] == 0


@dataclass
class Asgi:
    """What an ASGI guard says, in short."""

    requests: int = 7
    in_flight: int = 2
    websockets: int = 1
    websockets_total: int = 5
    note: str = "secret"


def block(trace_id: str | None) -> BlockRecord:
    return BlockRecord("a.py:1", "f", 0.5, 1000.0, True, "main", None, (), trace_id, ())


def test_what_the_process_knows_besides() -> None:
    """Readiness, requests, blocks with the trace that blocked, and the verdicts of the leak detector."""
    collector = Collector()
    collector.sources.ready = lambda: True
    collector.sources.requests = Asgi
    collector.sources.blocked = lambda: SysmonStatistics(
        True, 0.1, 3, 1.5, 0.9, None, (block("abc"),), 0, 9, 0.0
    )
    seen = leak.Watch().statistics()
    collector.sources.leaks = lambda: leak.WatchStatistics(
        1, 1, 0, {"ORPHAN": 1}, {("ORPHAN", "a.py:3"): 4}, seen.bytes_held
    )
    found = rows(collector)
    assert found["backstay_ready", ()] == 1
    assert found["backstay_asgi_requests_total", ()] == 7
    assert found["backstay_asgi_in_flight", ()] == 2
    assert found["backstay_asgi_websockets", ()] == 1
    assert found["backstay_asgi_websockets_opened_total", ()] == 5
    assert found["backstay_loop_blocks_total", ()] == 3
    assert found["backstay_loop_blocked_seconds_total", ()] == 1.5
    assert found["backstay_loop_blocked_now_seconds", ()] == 0
    assert found["backstay_leak_tasks", ("ORPHAN", "a.py:3")] == 4
    _, text = collector.scrape("application/openmetrics-text")
    assert b'backstay_loop_blocks_total 3 # {trace_id="abc"} 0.5 1000.000' in text
    assert b"secret" not in text


def test_a_mapping_of_requests_is_as_good() -> None:
    """Servers of one's own need no record."""
    collector = Collector()
    collector.sources.requests = lambda: {"requests": 3, "odd name": 1, "text": "x"}
    found = rows(collector)
    assert found["backstay_asgi_requests_total", ()] == 3
    assert not [name for name, _ in found if "odd" in name or "text" in name]


def test_a_part_that_fails_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """It is counted and logged; the scrape goes on."""

    def broken() -> object:
        raise RuntimeError("away")

    collector = Collector()
    collector.sources.requests = broken
    with caplog.at_level(logging.ERROR, "backstay.metrics"):
        found = rows(collector)
    assert found["backstay_metrics_failed_parts", ()] == 1
    assert found["backstay_process_threads", ()] >= 1
    assert "a part of the metrics could not be read" in caplog.text


async def test_a_scrape_keeps_nothing_alive() -> None:
    """Not a task, not a scope, not a guard, not a channel."""
    install(exact=True)
    collector = Collector()
    guard, channel = Bulkhead(1, name="gone"), Channel[int](1, name="gone")

    async def wait() -> None:
        await asyncio.sleep(100)

    async with Scope("request", trace_id="aa") as scope:
        task = asyncio.create_task(wait())
    rows(collector)
    gone = [weakref.ref(one) for one in (task, scope, guard, channel)]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    del task, scope, guard, channel
    await asyncio.sleep(0)
    gc.collect()
    assert [one() for one in gone] == [None] * 4
    rows(collector)


def test_pauses_are_timed_only_while_it_is_started() -> None:
    """Nothing hangs on the garbage collector before `start` and after `stop`."""
    before = list(gc.callbacks)
    with Collector() as collector:
        assert len(gc.callbacks) == len(before) + 1
        collector.start()
        assert len(gc.callbacks) == len(before) + 1, "harmless when repeated"
        gc.collect()
        found = rows(collector)
        assert found["backstay_gc_pause_seconds_total", ("2",)] > 0
        assert found["backstay_gc_longest_pause_seconds", ("2",)] > 0
    assert gc.callbacks == before
    collector.stop()


def test_the_end_of_a_collection_that_began_before_is_no_pause() -> None:
    """Its begin is not known."""
    pauses = GcPauses()
    pauses("stop", {"generation": 0})
    pauses("start", {})
    pauses("stop", {"generation": 7})
    assert pauses.seconds == [0.0, 0.0, 0.0]


def test_the_process_is_told_as_the_system_tells_it() -> None:
    """Memory, descriptors, threads, processor time and the start, under one prefix."""
    found = rows(Collector())
    assert found["backstay_process_resident_bytes", ()] > 1e6
    assert found["backstay_process_open_fds", ()] > 2
    assert found["backstay_process_cpu_seconds_total", ()] > 0
    assert found["backstay_process_start_time_seconds", ()] > 0


def test_what_the_system_does_not_tell_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other systems have no /proc; a missing row is honest, and 0 would not be."""

    def absent(*_: object) -> object:
        raise FileNotFoundError

    from backstay.observe.metrics import _process

    monkeypatch.setattr(_process, "open", absent, raising=False)
    monkeypatch.setattr(os, "listdir", absent)
    _process.started_at.cache_clear()
    names = {name for name, _ in rows(Collector())}
    _process.started_at.cache_clear()
    assert "backstay_process_start_time_seconds" not in names
    assert "backstay_process_open_fds" not in names
    assert "backstay_process_threads" in names


@pytest.mark.parametrize("sites", [0, 201])
def test_rows_for_sites_are_few(sites: int) -> None:
    """At least one, and not as many as there are lines in a program."""
    with pytest.raises(ValueError, match="1 to 200"):
        Collector(sites=sites)


@pytest.mark.parametrize("ages", [(0.0,), (float("inf"),), (1, 2, 3, 4, 5, 6)])
def test_ages_are_seconds(ages: tuple[float, ...]) -> None:
    """Each is a label of every site, so they are few."""
    with pytest.raises(ValueError, match="up to five ages"):
        Collector(older_than=ages)


# -- on the admin plane ------------------------------------------------------------------


def ask(address: str, accept: str = "") -> tuple[str, bytes]:
    """GET /metrics as a scraper does."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(address)
        field = f"Accept: {accept}\r\n" if accept else ""
        sock.sendall(f"GET /metrics HTTP/1.1\r\nHost: x\r\n{field}\r\n".encode())
        reply = b""
        while chunk := sock.recv(65536):
            reply += chunk
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    (kind,) = [line for line in head.split(b"\r\n") if line.startswith(b"Content-Type: ")]
    return kind.removeprefix(b"Content-Type: ").decode(), body


def test_the_admin_plane_serves_them(tmp_path: Path) -> None:
    """In the format that was asked for, and the older one when nothing was."""
    before = {id(one) for one in gc.callbacks}  # collectors of tests that ran before, perhaps
    with AdminServer(tmp_path / "a.sock", leak_interval=0, ready=lambda: False) as plane:
        kind, body = ask(plane.address)
        assert kind == "text/plain; version=0.0.4; charset=utf-8"
        assert b"\nbackstay_ready 0\n" in body
        kind, body = ask(plane.address, "application/openmetrics-text")
        assert kind.startswith("application/openmetrics-text; version=1.0.0")
        assert body.endswith(b"# EOF\n")
    assert {id(one) for one in gc.callbacks} <= before


@pytest.mark.real_loop
async def test_it_answers_while_the_loop_is_blocked(tmp_path: Path) -> None:
    """The lag is then as old as the block, and the guards are shown as they were, with their age."""
    install()
    breaker = Breaker(name="bank")
    with AdminServer(tmp_path / "a.sock", leak_interval=0) as plane:
        await asyncio.to_thread(ask, plane.address)
        answers: list[bytes] = []
        asked = threading.Thread(target=lambda: answers.append(ask(plane.address)[1]))
        asked.start()
        asked.join(5)  # the loop's own thread waits: it is blocked
        assert answers
        assert b'backstay_breaker_state{breaker="bank",state="closed"} 1\n' in answers[0]
        lag = next(
            line for line in answers[0].splitlines() if line.startswith(b"backstay_loop_lag_s")
        )
        assert float(lag.split()[1]) >= 0.04
    del breaker


@pytest.mark.real_loop
async def test_on_the_thread_of_a_loop_it_does_not_wait() -> None:
    """A scrape inside the application reads its guards at once, and holds the loop up for nothing."""
    install()
    bulkhead = Bulkhead(3, name="here")
    before = asyncio.get_running_loop().time()
    found = rows(Collector())
    assert found["backstay_bulkhead_limit", ("here",)] == 3
    assert found["backstay_loop_lag_seconds", ()] >= 0
    assert asyncio.get_running_loop().time() - before < 5
    del bulkhead
