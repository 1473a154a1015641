"""The metrics mounted in an application, and handed to a registry of prometheus_client."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_open
from prometheus_client.parser import text_string_to_metric_families

from backstay import Scope
from backstay.integrations.metrics_app import metrics
from backstay.integrations.prometheus import BackstayCollector, as_metrics
from backstay.observe.metrics import (
    Collector,
    Exemplar,
    Page,
    from_document,
    openmetrics,
    side_by_side,
    to_document,
)
from backstay.tasks import install

pytestmark = pytest.mark.real_loop


async def ask(
    app: Any, method: str = "GET", **headers: str
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Send a request as a server does, and return what comes back."""
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("a request for metrics has no body")

    async def send(message: Any) -> None:
        sent.append(message)

    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    await app({"type": "http", "method": method, "headers": fields}, receive, send)
    start, body = sent
    return start["status"], dict(start["headers"]), body["body"]


async def test_each_get_is_a_scrape() -> None:
    """In the older text, or in OpenMetrics for who accepts it."""
    app = metrics()
    status, headers, body = await ask(app)
    assert status == 200
    assert headers[b"content-type"].startswith(b"text/plain; version=0.0.4")
    assert int(headers[b"content-length"]) == len(body)
    assert b"backstay_metrics_scrapes_total 1\n" in body
    _, headers, body = await ask(app, accept="application/openmetrics-text")
    assert headers[b"content-type"].startswith(b"application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


async def test_a_head_has_no_body_and_nothing_else_is_allowed() -> None:
    """As HTTP has it."""
    status, _, body = await ask(metrics(), "HEAD")
    assert (status, body) == (200, b"")
    status, headers, _ = await ask(metrics(), "POST")
    assert (status, headers[b"allow"]) == (405, b"GET, HEAD")


@pytest.mark.parametrize("said", ["", "secret", "Bearer", "Bearer other", "Basic secret"])
async def test_a_token_is_asked_for(said: str) -> None:
    """Whoever does not know it learns nothing."""
    app = metrics(token="secret")
    status, headers, body = await ask(app, **({"authorization": said} if said else {}))
    assert (status, headers[b"www-authenticate"]) == (401, b"Bearer")
    assert b"backstay_" not in body
    assert (await ask(app, authorization="bearer secret"))[0] == 200


def test_an_empty_token_is_refused() -> None:
    """It is a setting that is missing, and would let everybody in."""
    with pytest.raises(ValueError, match="everybody would know it"):
        metrics(token="")


async def test_it_lives_with_a_server_and_takes_no_sockets() -> None:
    """Alone under a server it answers the lifespan; a websocket is closed."""
    sent: list[str] = []
    came = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Any:
        return {"type": next(came)}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await metrics()({"type": "lifespan"}, receive, send)
    await metrics()({"type": "websocket"}, receive, send)
    assert sent == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
        "websocket.close",
    ]


async def test_a_scrape_that_is_given_up_leaves_the_next_one_alone() -> None:
    """A scraper that hangs up cancels its request; nothing is sent, and the next scrape works."""
    app = metrics()
    given_up = asyncio.create_task(ask(app))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert (await ask(app))[0] == 200


async def test_workers_may_be_named() -> None:
    """By a function that returns their sockets; this process is on the page in any case."""
    _, _, body = await ask(metrics(workers=lambda: ["/nonexistent.sock"]))
    assert b"\nbackstay_workers 1\n" in body
    assert b"\nbackstay_workers_silent 1\n" in body
    assert f'backstay_process_threads{{worker="{os.getpid()}"}}'.encode() in body


async def test_the_loop_is_asked_how_late_it_is() -> None:
    """The scrape waits in a thread, so the loop comes round and answers."""
    install()
    _, _, body = await ask(metrics())
    (lag,) = [line for line in body.splitlines() if line.startswith(b"backstay_loop_lag_s")]
    assert 0 < float(lag.split()[1]) < 5


async def test_a_registry_shows_them_beside_its_own() -> None:
    """Through `prometheus_client`, in both of its formats, exemplars included."""
    install()
    collector = Collector()
    registry = CollectorRegistry()
    registry.register(BackstayCollector(collector))
    async with Scope("request", trace_id="abc123"):
        task = asyncio.create_task(asyncio.sleep(1))
        await asyncio.sleep(0)
        text = generate_latest(registry).decode()
        names = {one.name for one in text_string_to_metric_families(text)}
        assert {
            "backstay_tasks_alive",
            "backstay_build_info",
            "backstay_process_cpu_seconds",
        } <= names
        with_cases = generate_open(registry).decode()
        task.cancel()
    assert '# {trace_id="abc123"} 1.0' in with_cases


def test_a_case_keeps_its_time() -> None:
    """Of a block, when it was."""
    page = Page()
    page.counter("calls", "Calls.", 1, Exemplar("ab", 0.5, 1000.25))
    (metric,) = as_metrics(page.families())
    case = metric.samples[0].exemplar
    assert case is not None
    assert case.timestamp is not None
    assert (case.labels, case.value) == ({"trace_id": "ab"}, 0.5)
    assert float(case.timestamp) == 1000.25


def test_pages_stand_side_by_side() -> None:
    """Each row says which worker it is of, and families of one name are one family."""
    pages = {}
    for pid in ("1", "2"):
        page = Page()
        page.counter("calls", "Calls.", int(pid), Exemplar("ab", 1, 5.0), policy="x")
        page.gauge(f"only_{pid}", "One of them.", 1)
        pages[pid] = from_document(to_document(page.families()))
        assert pages[pid] == page.families()
    joined = side_by_side("worker", pages)
    text = openmetrics(joined)
    assert 'calls_total{worker="1",policy="x"} 1 # {trace_id="ab"}' in text
    assert 'calls_total{worker="2",policy="x"} 2' in text
    assert text.count("# TYPE calls counter") == 1
    assert 'only_2{worker="2"} 1' in text


def test_a_family_that_is_another_kind_elsewhere_is_left_out() -> None:
    """Two versions side by side: a page with both would be refused whole."""
    first, second = Page(), Page()
    first.counter("calls", "Calls.", 1)
    second.gauge("calls", "Calls.", 1)
    (joined,) = side_by_side("worker", {"1": first.families(), "2": second.families()})
    assert [row.labels for row in joined.samples] == [(("worker", "1"),)]


@pytest.mark.parametrize(
    "document",
    [
        None,
        [1],
        [{}],
        [{"name": "a", "kind": "odd", "help": "", "unit": "", "samples": []}],
        [
            {
                "name": "a",
                "kind": "gauge",
                "help": "",
                "unit": "",
                "samples": [{"labels": [], "value": "x", "suffix": "", "exemplar": None}],
            }
        ],
    ],
)
def test_what_is_no_document_is_refused(document: Any) -> None:
    """It comes from another process."""
    with pytest.raises(ValueError, match="no document of metrics"):
        from_document(document)
