"""Keys: bytes to names, and names to what is seen."""

from __future__ import annotations

import pytest
import top_documents as make
from hypothesis import given
from hypothesis import strategies as st

from backstay.cli import _top
from backstay.observe.top import ORDERS, Group, Keys, View, compare


def rows(*sites: str) -> tuple[Group, ...]:
    told = [make.group(site, 100 - number, 0) for number, site in enumerate(sites)]
    return compare(None, make.top(1.0, told), make.guards(), []).groups


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"q", ["q"]),
        ("é日".encode(), ["é", "日"]),
        (b"\r\n\x7f\b\t", ["enter", "enter", "backspace", "backspace", "tab"]),
        (b"\x1b[A\x1bOB\x1b[5~\x1b[6~", ["up", "down", "page up", "page down"]),
        (b"\x1b[H\x1b[4~\x1b[C\x1b[D", ["home", "end", "right", "left"]),
        (b"\x1b[1;5Cx", ["x"]),  # with Ctrl: nothing of ours
        (b"\x1bq", ["escape", "q"]),
        (b"\x1b\x1b[A", ["escape", "up"]),
        (b"\xff", ["\ufffd"]),
    ],
)
def test_bytes_are_keys(data: bytes, keys: list[str]) -> None:
    """Whole, and a byte at a time, as a slow line sends them."""
    assert Keys().feed(data) == keys
    slow = Keys()
    assert [key for one in data for key in slow.feed(bytes([one]))] == keys
    assert not slow.waits


def test_escape_alone_is_a_key_when_nothing_follows() -> None:
    """Only time can tell; and a sequence that never ends is given up."""
    keys = Keys()
    assert keys.feed(b"\x1b") == []
    assert keys.waits
    assert keys.flush() == ["escape"]
    assert not keys.waits
    assert keys.flush() == []
    assert keys.feed(b"\x1b[" + b"0" * 40 + b"q")[-1] == "q"


@given(st.binary(max_size=200))
def test_any_bytes_are_harmless(data: bytes) -> None:
    """Whatever is typed or pasted: names of one character or known words."""
    keys = Keys()
    view = View()
    for key in [*keys.feed(data), *keys.flush()]:
        view.press(key, rows("a.py:1", "b.py:2"))
    assert len(view.filter) <= 200
    assert view.order in ORDERS


def test_the_flag_knows_all_orders() -> None:
    """It has the names of its own, so that --help loads nothing."""
    assert tuple(ORDERS) == _top._ORDERS


def test_orders_are_gone_through_in_turn() -> None:
    """And back again; `r` turns each round."""
    view = View()
    seen: list[str] = []
    for _ in ORDERS:
        seen.append(view.order)
        view.press("s", ())
    assert seen == list(ORDERS)
    assert view.order == "alive"
    view.press("S", ())
    assert view.order == list(ORDERS)[-1]
    view.press("r", ())
    assert view.reverse


def test_each_order_sorts() -> None:
    """The most, the oldest and the fastest first; words by the alphabet."""
    told = [
        make.group("b.py:1", 5, 20, oldest_s=1.0, owner="x", blocked_on="b"),
        make.group("a.py:1", 9, 9, oldest_s=9.0, owner="y", blocked_on="a"),
    ]
    before = compare(None, make.top(1.0, [make.group("b.py:1", 5, 5)]), make.guards(), [])
    groups = compare(before, make.top(2.0, told), make.guards(), []).groups
    first = {order: View(order=order).rows(groups)[0].site.partition(".")[0] for order in ORDERS}
    assert first == {
        "alive": "a",
        "growth": "a",
        "born": "b",
        "ended": "b",
        "oldest": "a",
        "site": "a",
        "blocked": "a",
        "owner": "b",
    }
    assert View(order="alive", reverse=True).rows(groups)[0].site == "b.py:1"


def test_the_filter_counts_while_it_is_typed() -> None:
    """Enter keeps it, Esc drops it, backspace takes one back; the keys of the table are letters meanwhile."""
    groups = rows("a.py:1", "b.py:2")
    view = View()
    for key in "/b.qx":
        view.press(key, groups)
    assert view.filter == "b.qx"
    assert view.rows(groups) == []
    assert not view.quits
    for key in ("backspace", "backspace", "p", "up", "enter"):
        view.press(key, groups)
    assert (view.words, view.typing) == ("b.p", None)
    assert [one.site for one in view.rows(groups)] == ["b.py:2"]
    view.press("escape", groups)
    assert view.words == ""
    view.press("f", groups)
    view.press("x", groups)
    view.press("escape", groups)
    assert (view.words, view.typing) == ("", None)
    view.words = "HANDLER /orders waiting"
    assert len(view.rows(groups)) == 2


def test_a_choice_stays_with_its_site() -> None:
    """Though rows change their places; when it is gone, the first one is chosen."""
    groups = rows("a.py:1", "b.py:2", "c.py:3")
    view = View(height=2)
    view.press("down", groups)
    assert view.site == "b.py:2"
    again = rows("c.py:3", "b.py:2")
    assert view.place(view.rows(again)) == 1
    assert view.place(view.rows(rows("x.py:1"))) == 0
    for key, site in (("end", "c.py:3"), ("k", "b.py:2"), ("home", "a.py:1"), ("up", "a.py:1")):
        view.press(key, groups)
        assert view.site == site
    view.press("page down", groups)
    assert view.site == "b.py:2"
    view.press("j", ())
    assert view.site == "b.py:2"


def test_enter_leads_to_a_site_and_back() -> None:
    """Without a choice to the first; not where there is none."""
    view = View()
    view.press("enter", ())
    assert view.page == "table"
    view.press("enter", rows("a.py:1"))
    assert (view.page, view.detail_of) == ("site", "a.py:1")
    view.press("down", ())
    assert view.offset == 1
    view.press("up", ())
    view.press("up", ())
    assert view.offset == 0
    view.press("p", ())
    assert view.paused
    view.press("q", ())
    assert (view.page, view.quits, view.detail_of) == ("table", False, "")
    view.press("h", ())
    assert view.page == "help"
    view.press("?", ())
    assert view.page == "table"
    view.press("q", ())
    assert view.quits


def test_the_interval_has_bounds() -> None:
    """Nobody asks a process a hundred times a second by leaning on a key."""
    view = View()
    for _ in range(20):
        view.press("+", ())
    assert view.interval == 0.25
    for _ in range(20):
        view.press("-", ())
    assert view.interval == 60.0
