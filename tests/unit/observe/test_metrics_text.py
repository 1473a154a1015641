"""Families as text: whatever is in them, the parsers of prometheus_client read it back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import parser as plain_parser
from prometheus_client.openmetrics import parser as open_parser

from backstay.observe.metrics import (
    OPENMETRICS,
    PLAIN_TEXT,
    Exemplar,
    Family,
    Page,
    encode,
    openmetrics,
    plain_text,
    wanted,
)
from backstay.observe.metrics._families import LONGEST_LABEL, MOST_ROWS, label
from backstay.sync._durations import Durations

EDGES = (0.001024, 0.065536, 1.048576)

names = st.from_regex(r"[a-z][a-z0-9_]{0,20}[a-z]", fullmatch=True).filter(
    lambda name: (
        not name.endswith(
            ("_total", "_info", "_bucket", "_count", "_sum", "_created", "seconds", "bytes")
        )
    )
)
texts = st.text(max_size=30) | st.text(max_size=8).map(lambda text: text * 40)
# The parser strips a help text, and no help of ours begins or ends with a blank.
helps = st.text(alphabet='ab é\\"\n{}#', max_size=20).map(str.strip)
values = st.one_of(
    st.integers(0, 10**18), st.floats(min_value=0, allow_nan=False, allow_infinity=False)
)
exemplars = st.none() | st.builds(
    Exemplar,
    st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
    st.floats(0, 1e6),
    st.none() | st.floats(0, 2e9),
)


@st.composite
def pages(draw: st.DrawFn) -> list[Family]:
    page = Page()
    for name in draw(st.lists(names, unique=True, max_size=3)):
        help_text = draw(helps)
        for _ in range(draw(st.integers(1, 3))):
            page_labels: Any = {"site": draw(texts), "kind": draw(st.sampled_from(["a", "b"]))}
            if name < "m":
                page.counter(name, help_text, draw(values), draw(exemplars), **page_labels)
            else:
                page.gauge(name, help_text, draw(values), most=False, **page_labels)
    took = Durations()
    for seconds in draw(st.lists(st.floats(0, 1e5), max_size=4)):
        took.record(seconds)
    page.histogram("took_seconds", "How long.", took.spread(), EDGES, policy=draw(texts))
    return page.families()


def flat(families: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (row.name, tuple(sorted(row.labels.items()))): float(row.value)
        for family in families
        for row in family.samples
    }


def ours(families: list[Family]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (family.name + row.suffix, tuple(sorted(row.labels))): float(row.value)
        for family in families
        for row in family.samples
    }


@given(pages())
def test_openmetrics_is_read_back_whole(families: list[Family]) -> None:
    """The strict parser finds the same rows with the same values, exemplars among them."""
    read = list(open_parser.text_string_to_metric_families(openmetrics(families)))
    assert flat(read) == ours(families)
    by_name = {one.name: one for one in read}
    for family in families:
        found = by_name[family.name]
        assert (found.type, found.unit) == (family.kind, family.unit)
        assert found.documentation == family.help
        for row, parsed in zip(family.samples, found.samples, strict=True):
            if row.exemplar is not None:
                assert parsed.exemplar is not None
                assert parsed.exemplar.labels == {"trace_id": row.exemplar.trace_id}
                assert parsed.exemplar.value == row.exemplar.value


@given(pages())
def test_plain_text_is_read_back_whole(families: list[Family]) -> None:
    """The same rows in the older text, which has no exemplars."""
    text = plain_text(families)
    assert flat(plain_parser.text_string_to_metric_families(text)) == ours(families)
    assert " # {" not in "\n".join(line for line in text.splitlines() if "trace_id" in line)


@given(texts)
def test_a_label_is_one_short_printable_line(text: str) -> None:
    """Whatever an application puts in a name."""
    shown = label(text)
    assert len(shown) <= LONGEST_LABEL
    assert shown.isprintable()
    assert shown == text or len(text) > LONGEST_LABEL or not text.isprintable()


def test_of_a_long_path_the_end_is_kept() -> None:
    """It has the file and the line."""
    shown = label("/a" * 200 + "/shop/notify.py:12")
    assert shown.startswith("…")
    assert shown.endswith("/shop/notify.py:12")
    assert len(shown) == LONGEST_LABEL


def test_rows_of_a_family_are_bounded() -> None:
    """A name for each user is a mistake that must not become a million series."""
    page = Page()
    for user in range(MOST_ROWS + 7):
        page.counter("calls", "Calls.", 1, policy=f"user-{user}")
    (family,) = page.families()
    assert len(family.samples) == MOST_ROWS
    assert page.left_out == 7


def test_histograms_are_bounded_as_well() -> None:
    """The rows of one are many, so fewer of them fit."""
    page = Page()
    for user in range(3 * MOST_ROWS):
        page.histogram("took_seconds", "How long.", Durations().spread(), EDGES, policy=user)
    (family,) = page.families()
    assert len(family.samples) <= 4 * MOST_ROWS + 6
    assert page.left_out


def test_equal_labels_are_one_row() -> None:
    """Two rows of the same labels make a page that no scraper takes: they are added, or the larger counts."""
    page = Page()
    page.counter("calls", "Calls.", 2, Exemplar("ab", 1), policy="x")
    page.counter("calls", "Calls.", 3, policy="x")
    page.gauge("age_seconds", "Age.", 2, most=True, policy="x")
    page.gauge("age_seconds", "Age.", 3, most=True, policy="x")
    calls, age = page.families()
    assert [row.value for row in calls.samples] == [5]
    assert calls.samples[0].exemplar == Exemplar("ab", 1)
    assert [row.value for row in age.samples] == [3]


@pytest.mark.parametrize("trace_id", ["", "x" * 65, 'a"b', "ümläut", "a b"])
def test_a_trace_id_that_is_none_is_not_shown(trace_id: str) -> None:
    """It came with a request, and may be anything; the count is shown without it."""
    page = Page()
    page.counter("calls", "Calls.", 1, Exemplar(trace_id, 1))
    assert page.families()[0].samples[0].exemplar is None


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_no_number_is_no_row(value: float | None) -> None:
    """What is not known is left out, and is not 0."""
    page = Page()
    page.gauge("age_seconds", "Age.", value)
    assert page.families()[0].samples == ()


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", PLAIN_TEXT),
        ("*/*", PLAIN_TEXT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", PLAIN_TEXT),
        ("application/json", PLAIN_TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ('application/openmetrics-text; version="1.0.0"; charset=utf-8', OPENMETRICS),
        ("application/openmetrics-text;version=2.0.0, text/plain;q=0.2", PLAIN_TEXT),
        ("application/openmetrics-text;q=0.2,text/plain;version=0.0.4;q=0.5", PLAIN_TEXT),
        ("application/openmetrics-text;q=0,text/plain;version=1.0.0", PLAIN_TEXT),
        ("application/openmetrics-text;q=much", PLAIN_TEXT),
        (  # Prometheus 2.42
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
            "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            OPENMETRICS,
        ),
        (  # Prometheus 3
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
            "application/openmetrics-text;version=0.0.1;q=0.4,"
            "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            OPENMETRICS,
        ),
        (",;,=;q=" * 100, PLAIN_TEXT),
    ],
)
def test_who_asks_gets_what_is_accepted(accept: str, kind: str) -> None:
    """OpenMetrics for who names it as good as any; the older text for everybody else."""
    assert wanted(accept) == kind
    assert encode([], accept) == (kind, b"# EOF\n" if kind == OPENMETRICS else b"")


@given(st.text(max_size=300))
def test_no_accept_header_breaks_it(accept: str) -> None:
    """It comes from outside."""
    assert wanted(accept) in (OPENMETRICS, PLAIN_TEXT)


def test_an_info_is_a_gauge_in_the_older_text() -> None:
    """It does not know the word."""
    page = Page()
    page.info("app", "What runs.", version="1")
    families = page.families()
    assert "# TYPE app_info gauge\n" in plain_text(families)
    assert 'app_info{version="1"} 1\n' in plain_text(families)
    assert "# TYPE app info\n" in openmetrics(families)
