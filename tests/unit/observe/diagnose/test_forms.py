"""The diagnosis for people: a terminal and a page."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from target_documents import END, block, finding, group, guard, look, report

from backstay.errors import UsageError
from backstay.observe.diagnose import Allocation, Diagnosis, judge, page, to_text, write_page

EVIL = '"><script src=//evil.example/x></script>\x1b[2J\r'


def diagnosis(word: str = "fetch", *, found: bool = True) -> Diagnosis:
    """Return one with everything in it, or with nothing."""
    if not found:
        return judge(look(), look(END), [report()], target="4711")
    accused = finding(
        "GROWING",
        f"{word}.py:5",
        function=word,
        owner=word,
        blocked_on=word,
        held_by=word,
        advice=word,
        page=word,
        detail=[word],
        trace_ids=[word],
        impact=900.0,
        slope_per_s=0.05,
        bytes_held=81_000_000,
    )
    blocks = [block(2.0, site=word, function=word, task=word, stack=[word])]
    after = look(
        END,
        groups=[group(word, 9, function=word, blocked_on=word)],
        guards=[guard(name=word, kind="breaker", state="open")],
        blocked={"recent": blocks},
        version=word,
    )
    made = judge(look(), after, [report(accused, growth=word)], target=word, alert=((word, word),))
    return replace(made, memory=(Allocation(word, 3, 2_000_000),))


def test_the_text_says_what_where_who_and_what_to_do() -> None:
    """One block a finding, worst first."""
    text = to_text(diagnosis())
    assert text.startswith("backstay diagnose · process 7 · 30 s · 3 findings\n")
    assert "1. GROWING  fetch.py:5  in fetch()" in text
    assert "how much   40 held, +180.0/h, 81.0 MB of memory at least" in text
    assert re.search(r"how sure   nearly certain; score [\d.]+ of 100", text)
    assert "requests   fetch" in text
    assert "do         fetch" in text
    assert text.index("1. GROWING") < text.index("2. BLOCKED") < text.index("3. OPEN")
    assert "2.0 MB in        3 blocks  fetch" in text
    assert text.endswith("\n")


def test_nothing_found_is_said_in_a_sentence() -> None:
    """In the text and on the page."""
    assert "Nothing to accuse: no line leaks" in to_text(diagnosis(found=False))
    made = page(diagnosis(found=False))
    assert "NOTHING FOUND" in made
    assert "<h1>Nothing to accuse" in made


@pytest.mark.parametrize(
    ("reports", "blocks", "guards", "title"),
    [
        (
            [report(finding("GROWING"))],
            [],
            [],
            "40 tasks started at app.py:5 do not end, and more keep coming.",
        ),
        ([], [block(2.0)], [], "The loop was blocked for 2.0 s by render() at app.py:20."),
        (
            [],
            [],
            [guard("breaker", state="open")],
            "The breaker db is open: it lets no call through.",
        ),
    ],
)
def test_the_title_says_it_all(
    reports: list[dict[str, Any]],
    blocks: list[dict[str, Any]],
    guards: list[dict[str, Any]],
    title: str,
) -> None:
    """Whoever reads one line has read the most important thing, with its place."""
    after = look(END, blocked={"recent": blocks}, guards=guards)
    assert f"<h1>{title}</h1>" in page(judge(look(), after, reports))


@pytest.mark.parametrize(
    ("advice", "shown"),
    [
        ("use `go(a < b)`, or `x`", "use <code>go(a &lt; b)</code>, or <code>x</code>"),
        ("one ` alone", "one ` alone"),
        ("`<script>`", "<code>&lt;script&gt;</code>"),
    ],
)
def test_code_in_an_advice_looks_like_code(advice: str, shown: str) -> None:
    """What stands between backticks; escaped like everything."""
    made = judge(look(), look(END), [report(finding("GROWING", advice=advice))])
    assert f"<b>Do:</b> {shown}</p>" in page(made)


def test_what_a_stranger_has_sent_moves_no_cursor() -> None:
    """Control characters are shown as question marks."""
    text = to_text(diagnosis(EVIL))
    assert "\x1b" not in text
    assert "\r" not in text


class _Elements(HTMLParser):
    """Notes all elements, and the attributes that could fetch or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        assert not {name for name, _ in attrs} & {"src", "href", "onload", "onerror", "action"}
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("word", ["fetch", EVIL, "<img onerror=alert(1)>", "a & b 'c'"])
def test_the_page_runs_and_fetches_nothing(word: str) -> None:
    """Every text is escaped, elements are closed, and there is neither script nor address."""
    made = page(diagnosis(word))
    elements = _Elements()
    elements.feed(made)
    elements.close()
    assert elements.open == []
    assert not elements.seen & {"script", "img", "link", "iframe", "a"}
    assert "default-src 'none'" in made
    assert "prefers-color-scheme:dark" in made
    assert "url(" not in made


def test_a_page_that_cannot_be_written_is_a_wrong_use(tmp_path: Path) -> None:
    """The error names the file and the flag."""
    assert write_page(diagnosis(), tmp_path / "r.html").read_text().startswith("<!doctype html>")
    with pytest.raises(UsageError, match="name another file with -o"):
        write_page(diagnosis(), tmp_path / "none" / "r.html")
