"""The open loop in virtual time: latency from the intended start, whatever the service does."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping

import pytest
from load_fakes import HEAD, FakeService, Fixed, Reply

from backstay._base import now
from backstay.errors import TargetGone, UsageError
from backstay.lab.load import LoadOptions, LoadResult, Request, SecondRecord, generate
from backstay.tasks import live_tasks

BASE = "http://service:80"


def options(rate: float = 10.0, duration_s: float = 2.0, **changes: object) -> LoadOptions:
    """Return options with constant arrivals, changed."""
    fields: dict[str, object] = {"arrivals": "constant", "timeout_s": 5.0, **changes}
    return LoadOptions(BASE, rate, duration_s, **fields)  # type: ignore[arg-type]


async def offer(
    service: FakeService, asked: LoadOptions, workload: Fixed | None = None
) -> LoadResult:
    """Offer a load to the fake service."""
    service.plug_in()
    return await generate(asked, workload or Fixed())


async def test_a_quick_service_gets_every_request_on_time() -> None:
    """Twenty requests, twenty successes of one millisecond each, no lag."""
    service = FakeService()
    found = await offer(service, options())
    assert (found.planned, found.overall.ok, found.overall.failed) == (20, 20, 0)
    assert found.overall.latency.p99_s == pytest.approx(0.001, rel=1e-3)
    assert found.lag.max_s < 1e-6
    assert found.valid
    assert [record.sent for record in found.seconds] == [10, 10]
    assert service.open == 0


async def test_a_stall_is_charged_to_every_request_it_delayed() -> None:
    """Coordinated omission: of 400 requests the 100 due in a stall of 1 s are late, not just one.

    The stall covers a quarter of the run, so p90 must show most of it; a client
    that waits for each reply would have sent one request in that second.
    """

    def stalled(request: bytes) -> Reply:
        at_s = now() - begin
        return Reply(delay_s=2.0 - at_s if 1.0 <= at_s < 2.0 else 0.001)

    service = FakeService(stalled).plug_in()
    begin = 0.0

    def remember(at: float) -> None:
        nonlocal begin
        begin = at

    found = await generate(options(100.0, 4.0), Fixed(), on_start=remember)
    assert sum(record.sent for record in found.seconds) == 400
    assert found.overall.latency.p50_s < 0.01
    assert found.overall.latency.p90_s == pytest.approx(0.6, abs=0.02)
    assert found.overall.latency.p99_s == pytest.approx(0.96, abs=0.02)
    assert service.most_open >= 100


async def test_waiting_for_a_connection_counts_as_latency() -> None:
    """With one connection and 0.3 s a reply, a queue builds up and every wait in it is counted."""
    service = FakeService(lambda request: Reply(delay_s=0.3))
    found = await offer(service, options(10.0, 1.0, connections=1))
    assert service.most_open == 1
    assert found.connection_waits == 9
    assert found.overall.ok == 10
    assert found.overall.latency.max_s == pytest.approx(0.3 * 10 - 0.9, abs=0.01)
    assert "waited for one of 1 connections" in found.notes[-1]


async def test_patience_ends_at_the_timeout_from_the_intended_start() -> None:
    """A reply that does not come is a failure of exactly the user's patience, and its place is freed."""
    service = FakeService(lambda request: Reply(delay_s=100.0))
    workload = Fixed()
    found = await offer(service, options(10.0, 1.0, connections=1, timeout_s=0.5), workload)
    assert dict(found.overall.errors) == {"timeout": 10}
    assert found.overall.latency.p50_s == 0.5
    assert found.overall.latency.max_s == 0.5
    assert workload.seen == [(None, b"")] * 10
    assert service.open == 0


async def test_a_late_reply_to_a_given_up_request_is_not_taken_for_the_next() -> None:
    """The connection of a timed-out request is closed, so replies cannot shift by one."""
    slow_first = iter([0.6] + [0.001] * 99)
    service = FakeService(lambda request: Reply(delay_s=next(slow_first)))
    found = await offer(service, options(10.0, 1.0, connections=1, timeout_s=0.5))
    assert found.overall.errors["timeout"] == 1
    assert found.overall.ok == 9
    assert found.connections_opened == 2


@pytest.mark.parametrize(
    ("data", "then_close", "error"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", False, "503"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", False, "5xx"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", False, "unexpected"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", True, "reset"),
        (b"", True, "reset"),
        (b"this is not http\r\n\r\n", False, "unexpected"),
    ],
)
async def test_failures_are_told_apart(data: bytes, then_close: bool, error: str) -> None:
    """Shed, broken, refused by the workload, torn and garbled replies each have their word."""
    service = FakeService(lambda request: Reply(data=data, then_close=then_close))
    found = await offer(service, options(10.0, 1.0))
    assert dict(found.overall.errors) == {error: 10}
    assert service.open == 0


@pytest.mark.parametrize(
    ("data", "then_close"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"ok", False),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", True),
    ],
)
async def test_every_lawful_framing_is_understood(data: bytes, then_close: bool) -> None:
    """Chunks, interim replies, bodies that end with the connection, and HTTP/1.0."""
    workload = Fixed()
    service = FakeService(lambda request: Reply(data=data, then_close=then_close))
    found = await offer(service, options(10.0, 1.0), workload)
    assert found.overall.ok == 10
    assert set(workload.seen) == {(200, b"ok")}


async def test_a_head_request_does_not_wait_for_the_announced_body() -> None:
    """A reply to HEAD has a length and no body."""
    service = FakeService(
        lambda request: Reply(data=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    )
    found = await offer(service, options(10.0, 1.0), Fixed(Request("HEAD")))
    assert found.overall.ok == 10


async def test_an_oversized_reply_is_refused() -> None:
    """A body beyond the limit is a failure and not a way to fill the memory."""
    size = 9 * 1024 * 1024
    data = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode() + b"x" * size
    found = await offer(FakeService(lambda request: Reply(data=data)), options(1.0, 1.0))
    assert dict(found.overall.errors) == {"unexpected": 1}


async def test_nobody_listening_is_one_clear_error() -> None:
    """The run ends before it began, with the address and the remedy."""
    with pytest.raises(TargetGone, match=r"nothing listens on service:80 \(Connection refused\)"):
        await offer(FakeService(refuse=True), options())


async def test_a_service_that_never_accepts_is_named_too() -> None:
    """A connection that hangs is given up after the user's patience."""
    with pytest.raises(TargetGone, match="no answer in time"):
        await offer(FakeService(connect_s=1000.0), options())


async def test_a_service_that_goes_away_at_once_ends_the_run() -> None:
    """When the first twenty requests are all refused there is nothing to measure."""
    service = FakeService(lambda request: Reply(delay_s=100.0))
    service.plug_in()

    def go_away(at: float) -> None:
        service.refuse = True

    with pytest.raises(TargetGone, match="first 20 requests were refused"):
        await generate(options(200.0, 5.0, connections=300), Fixed(), on_start=go_away)


async def test_a_service_that_dies_later_is_measured_as_failing() -> None:
    """Refusals after a success are results, and the run goes on to its end."""
    service = FakeService()

    def answer(request: bytes) -> Reply:
        service.refuse = len(service.received) >= 5
        return Reply(then_close=service.refuse)

    service.answer = answer
    found = await offer(service, options(20.0, 2.0, connections=4))
    assert found.overall.requests == 40
    assert found.overall.errors["refused"] > 20


async def test_a_rested_connection_is_not_trusted() -> None:
    """After four seconds of rest a new connection is made, since servers close old ones."""
    service = FakeService()
    found = await offer(service, options(0.2, 20.0))
    assert found.overall.ok == 4
    assert found.connections_opened == 4 + 3


async def test_idle_connections_that_the_server_closed_are_replaced() -> None:
    """A server that hangs up after each reply costs connections and no failures."""
    service = FakeService(lambda request: Reply(then_close=True))
    found = await offer(service, options(10.0, 2.0))
    assert found.overall.ok == 20
    assert found.connections_opened == 20


async def test_progress_comes_once_a_second_and_ends_with_the_run() -> None:
    """Live records are the very ones of the result, drain seconds included."""
    seen: list[SecondRecord] = []
    service = FakeService(lambda request: Reply(delay_s=1.5))
    service.plug_in()
    found = await generate(options(10.0, 2.0), Fixed(), progress=seen.append)
    assert tuple(seen) == found.seconds
    assert [record.done for record in seen] == [0, 5, 10, 5]
    assert seen[1].outstanding == 15


@pytest.mark.parametrize("broken", ["next", "observe"])
async def test_a_workload_that_raises_ends_the_run(broken: str) -> None:
    """An error in the workload is its author's to fix, and is not counted as a failing service."""

    class Broken(Fixed):
        def next(self) -> Request:
            return 1 / 0 if broken == "next" else Request()  # type: ignore[return-value]

        def observe(self, request: Request, status: int | None, body: bytes) -> bool:
            return bool(1 / 0)

    with pytest.raises(UsageError, match=rf"{broken}\(\) raised ZeroDivisionError"):
        await offer(FakeService(), options(), Broken())


async def test_a_cancelled_run_leaves_nothing() -> None:
    """No connection, timer or task survives the cancellation."""
    service = FakeService(lambda request: Reply(delay_s=100.0)).plug_in()
    task = asyncio.create_task(generate(options(100.0, 60.0, connections=20), Fixed()))
    await asyncio.sleep(2)
    assert service.open == 20
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert service.open == 0
    assert live_tasks(asyncio.get_running_loop()) == [asyncio.current_task()]


async def test_a_late_loop_is_refused() -> None:
    """A generator that is held up for 50 ms knows, and its run is not valid."""

    class Slow(Fixed):
        def observe(self, request: Request, status: int | None, body: bytes) -> bool:
            clock.advance(0.05)
            return True

    clock = asyncio.get_running_loop().clock  # type: ignore[attr-defined]
    found = await offer(FakeService(), options(100.0, 2.0), Slow())
    assert not found.valid
    assert "generator itself was late" in found.reasons[0]


async def test_two_runs_of_a_seed_ask_the_same() -> None:
    """Bytes, order and schedule of two runs are equal, even when the services differ."""
    quick, slow = FakeService(), FakeService(lambda request: Reply(delay_s=0.7))
    one = await offer(quick, options(50.0, 2.0, arrivals="poisson", seed=4))
    two = await offer(slow, options(50.0, 2.0, arrivals="poisson", seed=4))
    assert one.schedule == two.schedule
    assert quick.received == slow.received


def test_the_workload_contract_is_what_the_generator_calls() -> None:
    """The two workloads here satisfy the Protocol by their shape."""

    class FromScenario:
        def __init__(self, seed: int, options: Mapping[str, object]) -> None:
            self.seed = seed

    assert FromScenario(3, {}).seed == 3


async def test_without_the_parser_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra to install stands in the one-line error."""
    monkeypatch.setitem(sys.modules, "httptools", None)
    with pytest.raises(UsageError, match=r"pip install 'backstay\[lab\]'"):
        await offer(FakeService(), options())
