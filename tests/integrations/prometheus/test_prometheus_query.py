"""`PrometheusQuery` against a real Prometheus, killed and hung, and against fakes that answer nonsense."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest

from backstay import Scope, timeout
from backstay.errors import DeadlineExceeded
from backstay.guard import AdaptiveRate, Throughput, ThroughputLimit
from backstay.integrations.prometheus_query import PrometheusAnswerError, PrometheusQuery

GOOD = 'sum(rate(calls_total{outcome="ok"}[$window]))'
ASKED = "sum(rate(calls_total[$window]))"

CLIENTS: dict[str, Callable[[], Any]] = {
    "aiohttp": aiohttp.ClientSession,
    "httpx": httpx.AsyncClient,
    "httpx2": httpx2.AsyncClient,
}


def query(client: Any, url: str, good: str = GOOD, asked: str = ASKED) -> PrometheusQuery:
    return PrometheusQuery(client, url, good=good, asked=asked, window=3.0)


async def until(met: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.05)


# -- the real thing --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.real_loop
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_real_prometheus_tells_the_throughput(
    client: str, server: Any, exporter: Any
) -> None:
    """Through each client: 50 a second of 60 ended well."""
    exporter.set(50, 10)
    async with CLIENTS[client]() as http:
        source = query(http, server.url)
        end = time.monotonic() + 20
        while True:
            try:
                seen = await source.measure(0.0)
                if seen.asked == pytest.approx(60, rel=0.1):
                    break
            except PrometheusAnswerError:
                pass  # it has not scraped twice yet
            assert time.monotonic() < end
            await asyncio.sleep(0.2)
    assert seen.good == pytest.approx(50, rel=0.1)
    assert seen.bad == pytest.approx(1 / 6, abs=0.02), "both at one and the same time"
    assert seen.span == 3.0


@pytest.mark.slow
@pytest.mark.real_loop
@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("sum(", "status 400: bad_data"),
        ("no_such_series", "found no series: add 'or vector(0)'"),
        ("vector(0) / 0", "yields NaN"),
        ("vector(1) / 0", "yields +Inf"),
        ("vector(-1)", "yields -1"),
        ('"words"', "yields a string"),
        ("up[1m]", "yields a matrix"),
    ],
)
async def test_a_real_prometheus_is_asked_nonsense(asked: str, says: str, server: Any) -> None:
    """The error says which query it was, what came back and what to do."""
    async with aiohttp.ClientSession() as http:
        plain = await query(http, server.url, good="1", asked="vector(2)").measure(0.0)
        assert plain == Throughput(1.0, 2.0, 3.0), "a scalar, and a vector of one"
        source = query(http, server.url, asked=asked)
        with pytest.raises(PrometheusAnswerError) as caught:
            await source.measure(0.0)
    assert says in str(caught.value)
    assert f"asked={asked!r} at 127.0.0.1:{server.port}" in str(caught.value)


@pytest.mark.slow
@pytest.mark.real_loop
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_prometheus_that_dies_and_hangs_never_troubles_the_callers(
    client: str, server: Any, exporter: Any
) -> None:
    """Killed, back, stopped, continued: the limit holds, then the floor, then the limit again."""
    exporter.set(100, 0)
    async with CLIENTS[client]() as http, Scope("rates", on_exit="cancel") as scope:
        rate = AdaptiveRate(
            ThroughputLimit(50.0, ceiling=60.0, minimum=1.0, window=3.0),
            query(http, server.url),
            every=0.1,
            timeout=0.5,
            stale_after=3.0,
            burst=10,
            warm_up=None,
            name="followed",
        )
        scope.go(rate.follow)
        await until(lambda: rate.statistics().rate == 60.0)
        server.kill()
        await until(lambda: rate.statistics().source == "failing")
        assert rate.statistics().rate == 60.0
        assert rate.try_acquire()
        server.start()
        await until(lambda: rate.statistics().source == "fresh")
        server.send(signal.SIGSTOP)
        await until(lambda: rate.statistics().source == "failing")
        seen = rate.statistics()
        assert seen.rate == 60.0
        assert "Timeout" in seen.error or "DeadlineExceeded" in seen.error
        await until(lambda: rate.statistics().rate == 5.0)
        assert rate.statistics().source == "stale"
        await rate.acquire()
        server.send(signal.SIGCONT)
        await until(lambda: rate.statistics().rate == 60.0)
        assert rate.statistics().source == "fresh"


@pytest.mark.slow
@pytest.mark.real_loop
async def test_what_a_real_prometheus_measures_moves_the_limit(server: Any, exporter: Any) -> None:
    """Up while all ends well; down when half of it ends badly; up again."""
    async with aiohttp.ClientSession() as http, Scope("rates", on_exit="cancel") as scope:
        exporter.set(100, 0)
        rate = AdaptiveRate(
            ThroughputLimit(50.0, floor=5.0, minimum=1.0, window=3.0),
            query(http, server.url),
            every=0.1,
            warm_up=None,
        )
        scope.go(rate.follow)
        await until(lambda: 100.0 <= rate.statistics().rate <= 130.0)
        exporter.set(50, 50)
        await until(lambda: 45.0 <= rate.statistics().rate <= 65.0)
        exporter.set(80, 0)
        await until(lambda: 75.0 <= rate.statistics().rate <= 130.0)
        assert rate.statistics().source == "fresh"


# -- fakes -------------------------------------------------------------------------------------


@asynccontextmanager
async def fake(answer: bytes | None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Serve `answer` to each request, or nothing at all; yield the address and what was asked."""
    asked: list[bytes] = []
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        if answer is not None:
            writer.write(answer)
            await writer.drain()
        else:
            await reader.read()  # until the client closes
            gone.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}", asked
        if answer is None:
            await asyncio.wait_for(gone.wait(), 10)
    finally:
        server.close()


def http(status: int, body: bytes, kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


def vector(*samples: Any) -> bytes:
    result = [{"metric": {}, "value": sample} for sample in samples]
    said = {"status": "success", "data": {"resultType": "vector", "result": result}}
    return json.dumps(said).encode()


@pytest.mark.real_loop
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (http(200, b"<html>sign in</html>", "text/html"), "no JSON, but b'<html>sign in"),
        (http(200, b"\xff\xfe\x00"), "no JSON"),
        (http(200, b"[1, 2]"), "is it a Prometheus?"),
        (
            http(503, b'{"status": "error", "errorType": "timeout", "error": "slow"}'),
            "timeout: slow",
        ),
        (http(500, vector([1, "2"])), "failed with status 500"),
        (http(200, b'{"status": "success"}'), "no answer to a query"),
        (http(200, b'{"status": "success", "data": []}'), "no answer to a query"),
        (http(200, vector()), "found no series"),
        (http(200, vector([1, "2"], [1, "3"])), "yields 2 numbers"),
        (http(200, vector([1, "NaN"])), "yields NaN"),
        (http(200, vector([1, "many"])), "no answer to a query"),
        (http(200, vector([1])), "no answer to a query"),
        (http(200, vector(None)), "no answer to a query"),
        (http(200, b" " * 100_000), "more than 65536 bytes"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
async def test_an_answer_that_is_none_is_a_clear_error(
    client: str, answer: bytes, says: str
) -> None:
    """Whatever stands where Prometheus should, and through each client."""
    async with fake(answer) as (url, _), CLIENTS[client]() as session:
        with pytest.raises(PrometheusAnswerError) as caught:
            await query(session, url).measure(0.0)
    assert says in str(caught.value)


@pytest.mark.real_loop
@pytest.mark.parametrize("client", CLIENTS)
async def test_it_tells_how_much_time_is_left_and_asks_both_for_one_time(client: str) -> None:
    """So the server gives up as well, and the share is no artefact of two times."""
    answer = http(200, vector([1700000000.25, "7"]))
    async with fake(answer) as (url, asked), CLIENTS[client]() as session, timeout(5.0):
        seen = await query(session, url + "/prefix/").measure(0.0)
    assert seen == Throughput(7.0, 7.0, 3.0)
    assert all(request.startswith(b"GET /prefix/api/v1/query?query=") for request in asked)
    assert all(b"3000ms" in request and b"timeout=4" in request for request in asked)
    assert b"time=1700000000.250" in asked[1]


@pytest.mark.real_loop
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_server_that_says_nothing_is_left_in_time_and_its_connection_closed(
    client: str,
) -> None:
    """By the time limit, and by a cancel; the fake waits until the connection is gone."""
    async with fake(None) as (url, _), CLIENTS[client]() as session:
        with pytest.raises(DeadlineExceeded):
            async with timeout(0.3):
                await query(session, url).measure(0.0)
    async with fake(None) as (url, asked), CLIENTS[client]() as session:
        asking = asyncio.ensure_future(query(session, url).measure(0.0))
        await until(lambda: bool(asked))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking


@pytest.mark.parametrize("url", ["prometheus:9090", "ftp://prometheus", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """With an example of one."""
    with pytest.raises(ValueError, match="'http://prometheus:9090', not at"):
        PrometheusQuery(CLIENTS["httpx"](), url, good="", asked="")


def test_a_window_that_is_none_is_refused() -> None:
    """Prometheus counts in whole scrapes."""
    with pytest.raises(ValueError, match="at least 1 second"):
        PrometheusQuery(CLIENTS["httpx"](), "http://x", good="", asked="", window=0)


def test_an_error_keeps_credentials_to_itself() -> None:
    """The address in a message has no user and no password."""
    made = PrometheusQuery(CLIENTS["httpx"](), "http://me:secret@x:1", good="", asked="")
    assert made._place == "x:1"
