"""The requests that a diagnosis names: links, waterfalls, and what cannot be shown."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from target_documents import END, finding, look, report

from backstay.errors import UsageError
from backstay.observe.diagnose import (
    Diagnosis,
    check_trace_url,
    judge,
    page,
    to_text,
    with_requests,
)
from backstay.observe.spans import SpanRecord

IDS = [letter * 32 for letter in "abcde"]
URL = "http://localhost:16686/trace/{trace_id}"
EVIL = "<script>alert(1)</script>"


def spans(trace: str) -> list[SpanRecord]:
    """Make a request of two spans; the name of the second is a stranger's."""
    return [
        SpanRecord(trace, "1" * 16, "", "order", "POST /orders", "server", 0, 80_000_000),
        SpanRecord(trace, "2" * 16, "1" * 16, "stock", EVIL, "server", 0, 60_000_000, "no & none"),
    ]


@pytest.fixture
def diagnosis() -> Diagnosis:
    """Return one that names five requests."""
    told = report(finding("GROWING", "app.py:5", trace_ids=IDS, impact=900.0, slope_per_s=0.05))
    return judge(look(), look(END), [told], target="4711")


def test_links_to_a_tracing_backend(diagnosis: Diagnosis) -> None:
    """In the text, on the page and in the document."""
    told = with_requests(diagnosis, trace_url=check_trace_url(URL + "?a=1&b=2"))
    assert f"see        http://localhost:16686/trace/{IDS[0]}?a=1&b=2" in to_text(told)
    assert f'href="http://localhost:16686/trace/{IDS[4]}?a=1&amp;b=2"' in page(told)
    assert json.loads(json.dumps(told.to_json()))["trace_url"].startswith("http://localhost:16686/")
    assert "href" not in page(diagnosis)


def test_the_first_three_requests_are_shown_span_by_span(diagnosis: Diagnosis) -> None:
    """In the order of the findings; what a span is called runs nothing."""
    given = [one for trace in reversed(IDS) for one in spans(trace)] + spans("f" * 32)
    told = with_requests(diagnosis, spans=given)
    assert [bars[0].span.trace_id for bars in told.requests] == IDS[:3]
    text, html = to_text(told), page(told)
    assert text.count("order: POST /orders") == 3
    assert "80.0 ms" in html
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert "no &amp; none" in html
    assert len(told.to_json()["requests"]) == 3


def test_requests_without_spans_are_a_doubt(diagnosis: Diagnosis) -> None:
    """And of nobody's requests nothing is said."""
    told = with_requests(diagnosis, spans=spans("f" * 32))
    assert told.requests == ()
    assert "hold no span of the requests" in to_text(told)
    nobody = replace(diagnosis, causes=())
    assert with_requests(nobody, spans=[]).doubts == nobody.doubts


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "jaeger/{trace_id}",
        "javascript:alert({trace_id})",
        "http://x/",
        "http://x/{trace_id}{trace_id}",
        "http://x/ {trace_id}",
        "http://x/{trace_id}\n",
    ],
)
def test_what_is_no_address_of_a_request_is_refused(wrong: str) -> None:
    """With what was expected."""
    with pytest.raises(UsageError):
        check_trace_url(wrong)
