"""The screen as lines: what it says, that it fits, and that nothing of an application moves the cursor."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import top_documents as make
from hypothesis import given
from hypothesis import strategies as st

from backstay.observe.top import Line, Look, Looker, Scene, View, compare, draw, flat, live, plain
from backstay.observe.top import sheet as page
from backstay.observe.top._cells import (
    age,
    clean,
    fit,
    fit_left,
    memory,
    per_second,
    short_time,
    signed,
    width_of,
)
from backstay.observe.top._terminal import paint_for, speaks_unicode


def look(groups: list[dict[str, Any]] | None = None, **more: Any) -> Look:
    told = [make.group("app.py:9", 10, 10)] if groups is None else groups
    before = compare(None, make.top(1.0, []), make.guards(), [])
    findings: list[dict[str, Any]] = more.pop("findings", [])
    rows: list[dict[str, Any]] = more.pop("rows", [])
    return Look(compare(before, make.top(2.0, told, **more), make.guards(*rows), findings))


def shown(scene: Scene, view: View | None = None, width: int = 120, height: int = 24) -> list[str]:
    lines = draw(scene, view or View(), width, height)
    assert len(lines) == height
    return [flat(line) for line in lines]


def test_the_head_says_how_the_process_is() -> None:
    """Tasks, processor, memory, files, collections, loops; what is tight, what blocks, what leaks."""
    steps = make.steps(100, {14: 100}, {20: 100}, 0.95)
    text = "\n".join(
        shown(
            Scene(
                look(
                    loops=[make.loop(steps=steps), make.loop("shop-0", lag_s=None, running=False)],
                    rows=[make.guard("bank", "full", 9, limit=20, in_flight=20, queued=7)],
                    findings=[make.finding("app.py:9")],
                    blocked={"function": "parse", "site": "app.py:3", "duration_s": 1.25},
                    multiloops=[
                        {"name": "shop", "procs": 4, "running": 2, "waiting": 1, "queued": 5}
                    ],
                )
            )
        )
    )
    for words in (
        "backstay top · 4711 demo.py · up ",
        " · Python 3.11.7 · every 1 s, by alive",
        "10 tasks  +10.0/s −0/s · 10 waiting",
        "cpu 10% · memory 50 MB · files 13/1,024 · threads 4 · gc 10.0/s 10.0/s 10.0/s",
        "loop 0 asyncio · lag 100 µs · free 5% · ready p50 32.8 µs p99 32.8 µs · step p99 2.1 ms",
        "loop shop-0 asyncio · stopped · 12 tasks",
        "multiloop shop · 4 loops · 2 jobs under way · 6 in line",
        "BLOCKED for 1.25 s by parse at app.py:3",
        "bulkhead bank full 20/20, 7 in line, 9 refused",
        "ORPHAN 3 tasks from app.py:9 · Await it.",
        "  ALIVE▼      +/s      −/s   OLDEST  LEAK     SITE",
        "      10     10.0        0      12s  ORPHAN   app.py:9 call_bank",
    ):
        assert words in text, text


def test_many_loops_guards_and_verdicts_are_a_number() -> None:
    """The table keeps its room; a page without end tells them all."""
    many = look(
        loops=[make.loop(str(number)) for number in range(9)],
        loops_left_out=1_000,
        rows=[make.guard(f"g{number}", "open", 1) for number in range(9)],
        findings=[make.finding(f"a.py:{number}") for number in range(9)],
    )
    text = "\n".join(shown(Scene(many), height=50))
    for words in (
        "… and 6 more loops",
        "… and 7 more guards",
        "… and 7 more verdicts",
        "and 1,000 loops",
    ):
        assert words in text
    whole = "\n".join(flat(line) for line in page(many, View(), rows=None, width=0))
    assert "loop 8" in whole
    assert "more guards" not in whole


def test_trouble_is_told_and_the_figures_stay() -> None:
    """In the second line, so that no screen is too small for it; before the first look it is all there is."""
    scene = Scene(look(), "process 4711 is gone")
    assert shown(scene)[1] == "no figures since: process 4711 is gone"
    assert any("app.py:9" in line for line in shown(scene))
    assert shown(scene, height=5)[1] == "no figures since: process 4711 is gone"
    assert shown(Scene(None, "process 4711 is gone"))[0] == "process 4711 is gone"
    assert shown(Scene())[0] == "asking …"
    assert shown(Scene(look(), waited_s=3.2))[1] == "the process has not answered for 3 s"
    first = compare(None, make.top(1.0, [], pid=1), make.guards(), [])
    another = compare(first, make.top(1.0, []), make.guards(), [])
    assert shown(Scene(Look(another)))[1] == "another process answers now: pid 4711"


def test_rows_say_what_most_of_a_site_do() -> None:
    """A share where not all wait for the same; how many other owners; what has ended is not shown."""
    groups = [
        make.group("a.py:1", 10, 0, blocked_share=0.6, owners=3),
        make.group("b.py:2", 4, 0, states={"running": 1, "ready": 3}, blocked_on="", owner=""),
        make.group("gone.py:3", 0, 0),
        make.group("other", 3, 0, coroutine=""),
    ]
    text = "\n".join(shown(Scene(look(groups)), width=160))
    assert "60% event wait at app.py:7" in text
    assert "request POST /orders +2" in text
    assert "ready, running" in text
    assert "gone.py" not in text
    assert shown(Scene(look([])))[-10].strip() == ""
    assert "no tasks" in "\n".join(shown(Scene(look([]))))


def test_waits_of_some_time_ago_are_told_as_such() -> None:
    """With many tasks the counts are of now, and what they wait for is not."""
    assert "10 waiting 7s ago" in "\n".join(shown(Scene(look(looked_s=7.5))))
    assert "ago" not in "\n".join(shown(Scene(look(looked_s=1.0))))


def test_columns_give_way_from_the_right() -> None:
    """Of a path the end stays; the numbers stay always."""
    groups = [
        make.group(f"src/shop/orders/views_{number}.py:12", 9 - number, 0) for number in range(3)
    ]
    for width, heads in ((120, "SITE BLOCKED OWNER"), (75, "SITE BLOCKED"), (50, "SITE"), (30, "")):
        lines = shown(Scene(look(groups)), width=width)
        heading = next(line for line in lines if "ALIVE" in line)
        for head in ("SITE", "BLOCKED", "OWNER"):
            assert (head in heading) == (head in heads.split()), (width, heading)
        assert all(width_of(line) <= width for line in lines)
    assert any("0.py:12" in line for line in shown(Scene(look(groups)), width=70))


def test_the_table_follows_the_choice() -> None:
    """The chosen row is on the screen wherever it stands."""
    groups = [make.group(f"a.py:{number}", 1000 - number, 0) for number in range(100)]
    scene = Scene(look(groups))
    view = View()
    draw(scene, view, 100, 24)
    for key in ("page down", "page down", "end", "up", "home"):
        view.press(key, look(groups).figures.groups)
        lines = draw(scene, view, 100, 24)
        (picked,) = [line for line in lines if line and line[0].look == "picked"]
        assert f"{view.site} " in flat(picked)


def detail(tasks: int = 3) -> dict[str, Any]:
    family = {"count": tasks, "state": "waiting", "age_min_s": 1.0, "age_max_s": 70.0}
    return {
        "site": "app.py:9",
        "families": [{**family, "blocked_on": "event wait at app.py:7", "owner": "main/shop"}],
        "families_left_out": 2,
        "members": [
            {
                "name": f"Task-{number}",
                "age_s": 70.0,
                "blocked_on": "event wait",
                "trace_id": "ab12",
            }
            for number in range(tasks)
        ],
        "stack": [{"function": "call_bank", "place": "app.py:7"}],
    }


def test_a_site_shows_its_tasks() -> None:
    """Families, the chain of one, members with their traces, the whole advice; it scrolls."""
    view = View(page="site", site="app.py:9")
    advice = "Nobody-awaits-them. " * 8
    found = look(findings=[make.finding("app.py:9", advice=advice)])
    scene = Scene(Look(found.figures, "app.py:9", detail()))
    text = "\n".join(shown(scene, view, height=40))
    for words in (
        "site  app.py:9",
        "10 alive · +10.0/s −0/s · oldest 12s · handler starts call_bank",
        "       3  waiting           1s..1m10s  event wait at app.py:7  ·  main/shop",
        "… and 2 more groups",
        "  call_bank  app.py:7",
        "   1m10s  Task-0  event wait  trace ab12",
    ):
        assert words in text, text
    assert text.count("Nobody-awaits-them.") == 8
    long = Scene(Look(found.figures, "app.py:9", detail(60)))
    view.offset = 10_000
    assert "Task-59" in "\n".join(shown(long, view))
    assert view.offset < 100
    waits = shown(Scene(Look(found.figures)), view)
    assert "asking …" in "\n".join(waits)
    ended = shown(Scene(Look(look([]).figures, "app.py:9", None)), view)
    assert "none of its tasks is alive" in "\n".join(ended)


def test_the_help_explains_the_keys() -> None:
    """All of them, and what the figures mean; it scrolls where it is too long."""
    view = View(page="help")
    assert "who" in "\n".join(shown(Scene(look()), view))
    view.press("page down", ())
    assert shown(Scene(look()), view, height=6)[0] != shown(Scene(look()), View(page="help"))[0]


def test_the_foot_tells_what_keys_do() -> None:
    """And what is being typed, in place of it."""
    assert shown(Scene(look()))[-1].startswith("q quit")
    assert shown(Scene(look()), View(typing="abc"))[-1] == "filter: abc "
    assert "no spawn site has these words" in "\n".join(shown(Scene(look()), View(words="xyz")))
    assert "PAUSED" in shown(Scene(look()), View(paused=True))[0]
    assert "filter 'app'" in shown(Scene(look()), View(words="app"))[0]


@given(
    st.text(max_size=60),
    st.integers(1, 150),
    st.integers(1, 30),
    st.sampled_from(["table", "site", "help"]),
)
def test_nothing_moves_the_cursor_or_is_too_wide(
    text: str, width: int, height: int, where: str
) -> None:
    """Names come from applications and from whoever sends them requests."""
    groups = [make.group(text, 5, 0, function=text, coroutine=text, owner=text, blocked_on=text)]
    named = look(
        groups,
        program=text,
        rows=[make.guard(text, text, 3, queued=1)],
        findings=[make.finding(text, text, text)],
    )
    chain = detail()
    chain["members"][0].update(name=text, blocked_on=text, trace_id=text)
    chain["stack"][0].update(function=text, place=text)
    scene = Scene(Look(named.figures, text, chain), text)
    view = View(page=where, site=text, words="", typing=text if width % 2 else None)
    lines: list[Line] = [
        *draw(scene, view, width, height),
        *page(named, View(), rows=None, width=width),
    ]
    for line in lines:
        assert all(one.isprintable() for one in flat(line)), line
        assert width_of(flat(line)) <= width
        assert plain(flat(line)).isascii()


def test_cells() -> None:
    """Wide signs take two cells, accents none; what is cut says so."""
    assert fit("abc", 5) == "abc  "
    assert fit("abc", 5, right=True) == "  abc"
    assert fit("abcdef", 4) == "abc…"
    assert fit("日本語", 4) == "日… "
    assert fit_left("a/b/c.py:7", 6) == "….py:7"
    assert fit("abc", 0) == ""
    assert width_of("e\u0301") == 1
    assert clean("a\x1b[2Jb\u202ec\n") == "a?[2Jb?c?"
    assert plain("… µ − 日") == "~ u - ?"


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (age(59.9), "59s"),
        (age(61), "1m01s"),
        (age(3_700), "1h01m"),
        (age(90_000), "1d01h"),
        (age(None), "-"),
        (memory(512), "512 B"),
        (memory(1_500), "1.5 kB"),
        (memory(2_500_000_000), "2.5 GB"),
        (signed(1_000_000), "+1 MB"),
        (signed(-1_000_000), "−1 MB"),
        (per_second(0), "0"),
        (per_second(0.01), "<0.1"),
        (per_second(1234.5), "1,234"),
        (short_time(2.5e-9), "2 ns"),
        (short_time(0.25), "250 ms"),
    ],
)
def test_numbers_are_short(told: str, words: str) -> None:
    """A person reads them at a glance."""
    assert told == words


def test_paint_and_signs() -> None:
    """NO_COLOR takes the colours and leaves bold; an ASCII terminal gets ASCII."""
    assert paint_for({})("bad", "x") == "\x1b[1;31mx\x1b[0m"
    assert paint_for({"NO_COLOR": "1"})("bad", "x") == "\x1b[1mx\x1b[0m"
    assert paint_for({"NO_COLOR": "1"})("good", "x") == "x"
    assert paint_for({})("", "x") == "x"
    assert paint_for({})("bad", "") == ""
    assert speaks_unicode("utf-8")
    assert not speaks_unicode("ascii")
    assert not speaks_unicode("latin-1")
    assert not speaks_unicode(None)
    assert not speaks_unicode("no-such-encoding")


class FakeScreen:
    """Types one list of keys after each look, and keeps what was shown."""

    def __init__(self, *keys: list[str]) -> None:
        self.ended_by = 0
        self.size = (100, 20)
        self.keys = list(keys)
        self.seen: list[str] = []
        self._woken = threading.Event()

    def wait(self, seconds: float) -> list[str]:
        self._woken.wait(5.0)
        self._woken.clear()
        keys = self.keys.pop(0) if self.keys else ["q"]
        if keys == ["ctrl c"]:
            raise KeyboardInterrupt
        return keys

    def wake(self) -> None:
        self._woken.set()

    def show(self, lines: list[Line]) -> None:
        self.seen.append("\n".join(flat(line) for line in lines))


def test_live_looks_again_and_again() -> None:
    """A look, a key, a look; the details of a site are asked for at once."""
    process = make.Process()
    process.details = detail()
    looker = Looker(process)
    screen = FakeScreen([], ["enter"], [], ["q", "q"])
    assert live(looker, screen, View(interval=0.05), looker.look()) == ""
    assert any("site  app.py:9" in one for one in screen.seen)
    assert "/v1/top?site=app.py%3A9" in process.asked


def test_live_tells_trouble_and_ends_with_it() -> None:
    """The figures stay; whoever started it learns why."""
    process = make.Process()
    looker = Looker(process)
    first = looker.look()
    process.gone = "process 4711 is gone"
    screen = FakeScreen([], ["ctrl c"])
    assert live(looker, screen, View(interval=0.05), first) == "process 4711 is gone"
    assert "no figures since: process 4711 is gone" in screen.seen[-1]


def test_a_paused_view_asks_nothing() -> None:
    """But the details of a site, when they are wanted."""
    process = make.Process()
    process.details = detail()
    looker = Looker(process)
    first = looker.look()
    asked = len(process.asked)
    view = View(interval=0.05, paused=True)
    screen = FakeScreen()
    timer = threading.Timer(0.2, lambda: (setattr(screen, "ended_by", 15), screen.wake()))
    screen.keys = [[]]
    timer.start()
    assert live(looker, screen, view, first) == ""
    timer.join()
    assert len(process.asked) == asked
