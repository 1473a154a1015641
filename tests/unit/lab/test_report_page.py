"""The report and the table: everything said, nothing fetched."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_up_comparison import comparison, load_result, run

from backstay.errors import UsageError
from backstay.lab.compare import write_result
from backstay.lab.report import (
    ansi_paint,
    page,
    rows,
    to_text,
    write_page,
    write_picture,
)

VOID = {"meta", "br"}


class Checker(HTMLParser):
    """Checks that every element is closed in order, and collects what would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what is opened, and what it points to."""
        if tag not in VOID:
            self.open.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Accept an element that closes itself."""

    def handle_endtag(self, tag: str) -> None:
        """Refuse an end without its beginning."""
        assert self.open.pop() == tag


def check(html: str) -> Checker:
    """Return the checked page."""
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    return checker


def test_the_report_is_whole_and_fetches_nothing() -> None:
    """Valid nesting, no address outside, and all its parts."""
    html = page(comparison())
    assert check(html).fetched == []
    for part in [
        "PASS",
        "14.5×",
        "naive.py:52",
        "The figures",
        "why it is fair",
        "9f3c1a",
        "Made-up CPU",
    ]:
        assert part in html


def test_the_raw_data_can_be_read_back() -> None:
    """The embedded document holds the result and every curve."""
    html = page(comparison())
    raw = html.partition('id="data">')[2].partition("</script>")[0]
    document = json.loads(raw)
    assert document["result"]["verdict"] == "PASS"
    assert set(document["series"]) == {"naive", "governed"}
    assert len(document["series"]["naive"]["p99_ms"]) == 60


def test_hostile_words_stay_words() -> None:
    """Names from logs and sources cannot become markup or end the data early."""
    hostile = "</script><script>alert(1)</script>"
    cause = replace(run("naive").root_causes[0], owner=hostile, function="<b>")
    html = page(comparison(run("naive", root_causes=(cause,)), run("governed")))
    check(html)
    assert hostile not in html
    assert "&lt;b&gt;" in html


def test_a_failure_with_a_log_is_reported() -> None:
    """The log's tail stands in the report and in the text, and nothing is missing around it."""
    fallen = replace(
        run("naive"), load=None, root_causes=(), failures=("naive: order ended\n    | Traceback",)
    )
    found = comparison(fallen)
    html = page(found)
    check(html)
    assert "Traceback" in html
    assert "INCONCLUSIVE" in html
    text = to_text(found, out=Path("out"))
    assert "? naive: order ended\n    | Traceback" in text


def test_a_late_run_says_so_in_the_report() -> None:
    """INCONCLUSIVE comes with its reason."""
    late = load_result(p99=0.1, valid=False)
    html = page(comparison(run("naive", load=late), run("governed")))
    assert "9.0 ms late" in html


def test_the_table_compares_figure_by_figure() -> None:
    """Ratios stand only where more or less is better."""
    table = {row.label: row for row in rows(comparison())}
    assert table["Tasks, peak"].change == "14.5× fewer"
    assert table["Latency, p99"].baseline == "2.8 s"
    assert table["Latency, p99"].candidate == "121 ms"
    assert table["Memory growth"].change == ""


def test_a_variant_without_figures_gets_dashes() -> None:
    """One variant alone stands in its own column."""
    alone = {row.label: row for row in rows(comparison(run("governed")))}
    assert alone["Tasks, peak"].baseline == "–"
    assert alone["Tasks, peak"].candidate == "940"
    other = {row.label: row for row in rows(comparison(run("naive")))}
    assert other["Tasks, peak"].candidate == "–"


def test_the_text_has_table_line_reasons_and_verdict() -> None:
    """What a terminal shows is complete without the report."""
    text = to_text(replace(comparison(), notes=("it rained",)), out=Path("out"))
    for part in [
        "13,586",
        ">    52 │",
        "advice: start it with",
        "★ goal met",
        "note: it rained",
        "PASS  after 171 s; open out/report.html",
    ]:
        assert part in text
    assert "\x1b[" not in text
    assert "\x1b[32m" in to_text(comparison(), out=Path("out"), paint=ansi_paint)


def test_a_folder_that_cannot_be_written_is_a_slip(tmp_path: Path) -> None:
    """Each writer names the file and the cure."""
    for write in (write_page, write_picture):
        with pytest.raises(UsageError, match="--out"):
            write(comparison(), tmp_path / "none")
    with pytest.raises(UsageError, match="--out"):
        write_result(comparison(), tmp_path / "none")


def test_what_is_written_is_found_beside_each_other(tmp_path: Path) -> None:
    """result.json, report.html and demo.svg are the three files of a comparison."""
    found = comparison()
    paths = {
        write_result(found, tmp_path),
        write_page(found, tmp_path),
        write_picture(found, tmp_path),
    }
    assert {path.name for path in paths} == {"result.json", "report.html", "demo.svg"}
    assert json.loads((tmp_path / "result.json").read_text())["scenario"] == "leaky-checkout"
