"""Spans read back: what a file may hold, where the time of a request went, the table and the waterfall."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.cli import main
from backstay.errors import UsageError
from backstay.observe.spans import (
    SpanRecord,
    Tree,
    critical_path,
    read_spans,
    service_table,
    table_to_text,
    trees,
    waterfall,
    waterfall_to_text,
)

TRACE = "a" * 32
MS = 1_000_000


def span(
    number: int,
    parent: int,
    start: float,
    end: float,
    *,
    service: str = "order",
    kind: str = "internal",
    error: str = "",
    trace: str = TRACE,
) -> SpanRecord:
    """Make a span of some milliseconds."""
    parent_id = f"{parent:016x}" if parent else ""
    times = round(start * MS), round(end * MS)
    return SpanRecord(
        trace, f"{number:016x}", parent_id, service, f"op-{number}", kind, *times, error
    )


CHECKOUT = [
    span(1, 0, 0, 100, kind="server"),
    span(2, 1, 10, 40, kind="client"),
    span(3, 2, 12, 38, service="stock", kind="server"),
    span(4, 1, 10, 90, kind="client"),
    span(5, 4, 15, 85, service="payment", kind="server", error="card"),
    span(6, 5, 20, 80, service="payment"),
]


def test_the_critical_path_is_what_was_waited_for() -> None:
    """Of two calls at once the longer one counts; what is nobody else's is the span's own."""
    (tree,) = trees(CHECKOUT)
    told = [(piece.span.name, piece.start // MS, piece.end // MS) for piece in critical_path(tree)]
    assert told == [
        ("op-1", 0, 10),
        ("op-4", 10, 15),
        ("op-5", 15, 20),
        ("op-6", 20, 80),
        ("op-5", 80, 85),
        ("op-4", 85, 90),
        ("op-1", 90, 100),
    ]


@st.composite
def forests(draw: st.DrawFn) -> list[SpanRecord]:
    """Any spans: children outside of their parents, parents that are not there, rings."""
    count = draw(st.integers(1, 25))
    found = []
    for number in range(1, count + 1):
        start = draw(st.integers(0, 50))
        found.append(
            span(number, draw(st.integers(0, count + 2)), start, start + draw(st.integers(0, 30)))
        )
    return found


@given(forests())
def test_the_pieces_are_the_whole_and_do_not_overlap(spans: list[SpanRecord]) -> None:
    """For every tree, and every span is in one tree."""
    roots = trees(spans)
    assert sorted(tree.span for root in roots for _, tree in root.walk()) == sorted(spans)
    for root in roots:
        at = root.span.start
        for piece in critical_path(root):
            assert piece.start == at
            assert piece.end > piece.start
            at = piece.end
        assert at == root.span.end


def test_a_deep_tree_is_walked_without_recursion() -> None:
    """A file may hold anything, also a chain of 20,000 spans."""
    chain = [span(n, n - 1, 0, 100) for n in range(1, 20_001)]
    (root,) = trees(chain)
    assert [piece.span.name for piece in critical_path(root)] == ["op-20000"]
    assert max(depth for depth, _ in root.walk()) == 19_999


def test_the_table_names_what_keeps_each_service() -> None:
    """The order service waits for the payment's own work, and its row says so."""
    rows = {row.service: row for row in service_table(CHECKOUT)}
    order, payment, stock = rows["order"], rows["payment"], rows["stock"]
    assert (order.requests, order.spans_each, order.p50_s, order.errors) == (1, 3.0, 0.1, 0.0)
    assert (order.bottleneck, order.bottleneck_share) == ("payment: op-6", pytest.approx(0.6))
    assert (payment.requests, payment.errors, payment.p99_s) == (1, 1.0, 0.07)
    assert (stock.bottleneck, stock.bottleneck_share) == ("stock: op-3", 1.0)
    assert next(iter(rows)) == "order", "the slowest first"


def test_percentiles_are_values_that_were_seen() -> None:
    """By the nearest rank: of a hundred requests the 99th is the last but one."""
    many = [span(n, 0, 0, n, kind="server", trace=f"{n:032x}") for n in range(1, 101)]
    (row,) = service_table(many)
    assert (row.p50_s, row.p99_s) == (0.05, 0.099)
    assert "60 %" not in table_to_text([row])


def test_the_table_as_text() -> None:
    """One line a service, in columns."""
    assert table_to_text(service_table(CHECKOUT)).splitlines() == [
        "service   requests  spans each       p50       p99   errors  main bottleneck",
        "order            1         3.0    100 ms    100 ms     0.0%   60% payment: op-6",
        "payment          1         2.0     70 ms     70 ms   100.0%   86% payment: op-6",
        "stock            1         1.0     26 ms     26 ms     0.0%  100% stock: op-3",
    ]


def test_the_waterfall_as_text() -> None:
    """Bars in time; dark where the request was kept; errors and lost parents said."""
    lost = span(9, 77, 95, 100, service="audit")
    text = waterfall_to_text(waterfall([*CHECKOUT, lost], TRACE), 70)
    lines = text.splitlines()
    assert lines[0] == f"trace {TRACE}, 7 spans in 100 ms"
    assert lines[6].startswith("      payment: op-6")
    assert "██████" in lines[6]
    assert "▒" in lines[3]
    assert lines[5].startswith("    payment: op-5  ! card")
    assert "(its parent is not here)" in lines[7]
    assert max(map(len, lines)) <= 85
    assert waterfall_to_text(waterfall(CHECKOUT, "b" * 32)) == ""


def document(*spans: dict[str, Any], service: str | None = "order") -> str:
    """Return one line as an exporter writes it."""
    attributes = (
        [] if service is None else [{"key": "service.name", "value": {"stringValue": service}}]
    )
    group = {"resource": {"attributes": attributes}, "scopeSpans": [{"spans": list(spans)}]}
    return json.dumps({"resourceSpans": [group]})


ONE: dict[str, Any] = {
    "traceId": TRACE.upper(),
    "spanId": "b" * 16,
    "name": "GET /\x1b[31m",
    "kind": 2,
    "startTimeUnixNano": "1000",
    "endTimeUnixNano": "3000",
    "status": {"code": 2},
}


def test_what_exporters_write_is_read(tmp_path: Path) -> None:
    """Numbers as text, kinds and codes as numbers or words, ids in capitals; names cannot paint the terminal."""
    other = {**ONE, "spanId": "c" * 16, "parentSpanId": "b" * 16, "kind": "SPAN_KIND_CLIENT"}
    other |= {"status": {"code": "STATUS_CODE_ERROR", "message": "no"}, "name": "call"}
    (tmp_path / "a.jsonl").write_text(document(ONE, other) + "\n\n")
    (tmp_path / "b.jsonl").write_text(document({**ONE, "status": {}, "kind": 77}, service=None))
    (tmp_path / "notes.txt").write_text("not ours")
    read = read_spans([tmp_path])
    assert (read.broken, read.left_out) == (0, 0)
    first, second, third = read.spans
    assert first == SpanRecord(
        TRACE, "b" * 16, "", "order", "GET /?[31m", "server", 1000, 3000, "error"
    )
    assert (second.kind, second.error, second.parent_id) == ("client", "no", "b" * 16)
    assert (third.kind, third.error, third.service) == ("internal", "", "(no service.name)")
    assert read_spans([tmp_path], trace_id="b" * 32).spans == []


def test_cut_lines_are_counted_and_left_out(tmp_path: Path) -> None:
    """As the last one of a process that was killed; a clock that went back makes no negative time."""
    path = tmp_path / "s.jsonl"
    good = document({**ONE, "endTimeUnixNano": "10"})
    broken = [
        good[: len(good) // 2],
        "[1]",
        "{}",
        document({**ONE, "traceId": "xyz"}),
        "[" * 99_999,
    ]
    path.write_text("\n".join([good, *broken]))
    read = read_spans([path])
    assert read.broken == len(broken)
    assert [one.seconds for one in read.spans] == [0.0]


@pytest.mark.parametrize("body", ["what", "[]", "{}", '{"resourceSpans": 7}'])
def test_a_file_of_something_else_is_refused(tmp_path: Path, body: str) -> None:
    """With one line that says what was expected."""
    path = tmp_path / "x.json"
    path.write_text(body)
    with pytest.raises(UsageError, match="OTLP in JSON"):
        read_spans([path])


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["resourceSpans", "scopeSpans", "spans", "resource", "attributes", "traceId"]
                ),
                inner,
                max_size=4,
            )
        ),
    )
)
def test_no_document_brings_it_down(tmp_path_factory: pytest.TempPathFactory, tree: Any) -> None:
    """Whatever stands in the places of ours, it is read or counted as broken."""
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text(document(ONE) + "\n" + json.dumps({"resourceSpans": tree}))
    assert len(read_spans([path]).spans) >= 1


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table, one trace, the slowest; as text and as documents; wrong use is one line."""
    path = tmp_path / "s.jsonl"
    path.write_text(document(ONE) + "\n" + "{")
    assert main(["spans", str(path)]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("service")
    assert "1 lines are no document" in told.err
    assert main(["spans", str(path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["service"], row["requests"], row["errors"]) == ("order", 1, 1.0)
    assert main(["spans", str(path), "--trace", TRACE]) == 0
    assert "order: GET /?[31m  ! error" in capsys.readouterr().out
    assert main(["spans", str(path), "--slowest", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0][0]["own_s"] == pytest.approx(2e-6)
    for words in (
        ["--trace", "x"],
        ["--trace", "b" * 32],
        [str(tmp_path / "none")],
        [str(tmp_path)],
    ):
        files = [] if words[0] == str(tmp_path) else [str(path)]
        if words[0].startswith(str(tmp_path)):
            (tmp_path / "s.jsonl").rename(tmp_path / "s.other")
        assert main(["spans", *files, *words]) == 2, words
        assert capsys.readouterr().err.count("\n") == 1
        if words[0].startswith(str(tmp_path)):
            (tmp_path / "s.other").rename(tmp_path / "s.jsonl")


def test_a_tree_is_made_of_what_is_there() -> None:
    """A span that was written twice counts once, and a ring is cut."""
    ring = [span(1, 2, 0, 10), span(2, 1, 0, 10), span(3, 3, 0, 5), span(1, 2, 0, 10)]
    roots = trees(ring)
    assert all(isinstance(root, Tree) for root in roots)
    assert sorted(tree.span.name for root in roots for _, tree in root.walk()) == [
        "op-1",
        "op-2",
        "op-3",
    ]
