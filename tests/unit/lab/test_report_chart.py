"""The charts: well-formed, honest about gaps, nothing outside of the frame."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

from made_up_comparison import comparison, run

from backstay.lab.compare import Comparison
from backstay.lab.load import SecondRecord
from backstay.lab.report import picture
from backstay.lab.report._chart import Chart, Line, draw
from backstay.lab.report._charts import charts_of
from backstay.lab.report._scale import linear
from backstay.lab.report._series import Span, series_of, spans_of


def chart(*lines: Line) -> Chart:
    """Return a small chart of these lines."""
    return Chart(
        key="tasks", title="A < B", unit="u", lines=lines, spans=[], y=linear(100), duration_s=10,
        write=lambda v: f"{v:g}",
    )  # fmt: skip


def test_every_chart_is_well_formed_and_inside_its_frame() -> None:
    """XML that parses, and no point of a curve outside of the axes."""
    for one in charts_of(comparison()):
        root = ET.fromstring(draw(one))
        for path in root.iter("{http://www.w3.org/2000/svg}path"):
            if not path.get("class", "").startswith("line"):
                continue
            for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path.get("d", "")):
                assert one.left - 0.1 <= float(x) <= one.width - one.right + 0.1
                assert one.top - 0.1 <= float(y) <= one.height - one.bottom + 0.1


def test_a_gap_in_the_values_is_a_gap_in_the_line() -> None:
    """Nothing is drawn where nothing was seen."""
    line = Line("a", "a", ((0.0, 1.0), (1.0, 2.0), (2.0, None), (3.0, 4.0)), "")
    drawn = re.search(r'class="line a" d="([^"]+)"', draw(chart(line)))
    assert drawn is not None
    assert [letter for letter in drawn[1] if letter.isalpha()] == ["M", "L", "M"]


def test_an_empty_curve_is_no_line_and_no_name() -> None:
    """A variant that never ran leaves no trace in the chart."""
    drawn = draw(chart(Line("ghost", "a", (), "0")))
    assert 'class="line' not in drawn
    assert ">ghost<" not in drawn


def test_names_do_not_touch_each_other() -> None:
    """Two curves that end at the same place get names one above the other, inside the frame."""
    curve = ((0.0, 0.0), (10.0, 0.0))
    drawn = draw(chart(Line("one", "a", curve, "1"), Line("two", "b", curve, "2")))
    ys = [float(y) for y in re.findall(r'class="name [^"]+" x="[\d.]+" y="([\d.]+)"', drawn)]
    assert abs(ys[0] - ys[1]) >= 30
    assert max(ys) < 268


def test_words_from_outside_are_escaped() -> None:
    """A title cannot break the markup."""
    assert "A &lt; B" in draw(chart())


def test_faults_at_the_same_time_share_one_span() -> None:
    """Two things that break together are one stretch with both names."""
    spans = spans_of(comparison())
    assert spans == [
        Span(0.0, 8.0, "warm-up", "warm-up"),
        Span(12.0, 52.0, "fault", "the gateway hangs + the bank is slow"),
    ]


def test_a_second_without_replies_is_a_gap() -> None:
    """Neither latency nor success is invented for it."""
    silent = SecondRecord(0, 5, 0, 0, 0, None, None, 5)
    series = series_of(run("naive", seconds=(silent,)), 60)
    assert series.p99_ms == ((0.5, None),)
    assert series.success_pct == ((0.5, None),)


def test_a_long_fault_label_is_cut_and_a_short_warm_up_has_none() -> None:
    """Labels never run out of the picture."""
    label = "x" * 300
    one = replace(chart(), spans=[Span(0, 0.2, "warm-up", "warm-up"), Span(4, 10, "fault", label)])
    drawn = draw(one)
    assert "…" in drawn
    assert label not in drawn
    assert ">warm-up<" not in drawn


def test_the_picture_is_self_contained() -> None:
    """It is one SVG with its own style and nothing to fetch."""
    drawn = picture(comparison())
    ET.fromstring(drawn)
    assert "14.5× fewer tasks" in drawn
    assert "url(" not in drawn
    assert "href" not in drawn


def test_a_broken_off_comparison_can_still_be_drawn() -> None:
    """A report of a failure is worth most."""
    broken: Comparison = comparison(
        replace(run("naive"), load=None, samples=(), seconds=(), failures=("x",))
    )
    for one in charts_of(broken):
        ET.fromstring(draw(one))
    ET.fromstring(picture(broken))
