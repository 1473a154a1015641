"""What a person has chosen to see, and what each key changes: plain state, without a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from backstay.observe.top._figures import Group
from backstay.observe.top._table import ORDERS, chosen

__all__ = ["HELP", "View"]

#: The help page: key and what it does.
HELP: Final = (
    ("q", "quit"),
    ("s, S", "order by the next column, by the one before"),
    ("r", "the other way round"),
    ("f, /", "filter: words that must all occur in a row; Enter keeps it, Esc drops it"),
    ("p, space", "pause: what is seen stays, and the process is not asked"),
    ("up, down, PgUp, PgDn, Home, End, j, k", "choose a spawn site"),
    ("Enter", "its tasks: what they wait for, and the chain of calls; Esc or q goes back"),
    ("+, -", "look twice as often, half as often"),
    ("h, ?", "this page"),
)

#: Seconds between looks that the keys can choose.
_OFTENEST_S: Final = 0.25
_SELDOM_S: Final = 60.0
_LONGEST_FILTER: Final = 200


@dataclass(slots=True)
class View:
    """What is chosen.

    Attributes:
        interval: seconds between looks.
        order: by which column, one of `ORDERS`.
        reverse: the other way round.
        words: the filter.
        typing: the filter that is being typed; None when none is.
        paused: whether the process is left alone.
        page: "table", "site" or "help".
        site: of the chosen row; "" for the first.
        offset: lines that the page of a site is scrolled by.
        height: rows that fit; set by who draws.
        quits: whether the person has seen enough.
    """

    interval: float = 1.0
    order: str = "alive"
    reverse: bool = False
    words: str = ""
    typing: str | None = None
    paused: bool = False
    page: str = "table"
    site: str = ""
    offset: int = 0
    height: int = 20
    quits: bool = False

    @property
    def filter(self) -> str:
        """The words that count now: also those that are being typed."""
        return self.words if self.typing is None else self.typing

    @property
    def detail_of(self) -> str:
        """The site whose tasks are looked at; "" for none."""
        return self.site if self.page == "site" else ""

    def rows(self, groups: Sequence[Group]) -> list[Group]:
        """Return the rows, filtered and in order."""
        return chosen(groups, self.order, reverse=self.reverse, words=self.filter)

    def place(self, rows: Sequence[Group]) -> int:
        """Return the place of the chosen row; the first when it is gone, or none was chosen."""
        return next((place for place, one in enumerate(rows) if one.site == self.site), 0)

    def press(self, key: str, groups: Sequence[Group]) -> None:
        """Take a key, by its name: a character, or a word such as "enter" and "page down".

        Args:
            key: its name; one that means nothing changes nothing.
            groups: all rows, as they were seen last.
        """
        if self.typing is not None:
            self._type(key)
        elif self.page == "table":
            self._press_in_table(key, groups)
        elif key in ("escape", "q", "backspace", "left") or (self.page == "help" and key in "h?"):
            self.page, self.offset = "table", 0
        elif key in _MOVES:
            self.offset = max(0, self.offset + _MOVES[key] * self._stride(key))
        else:
            self._press_anywhere(key)

    def _press_in_table(self, key: str, groups: Sequence[Group]) -> None:
        if key == "q":
            self.quits = True
        elif key in ("s", "S"):
            names = list(ORDERS)
            step = 1 if key == "s" else -1
            self.order = names[(names.index(self.order) + step) % len(names)]
        elif key == "r":
            self.reverse = not self.reverse
        elif key in ("f", "/"):
            self.typing = self.words
        elif key == "escape":
            self.words = ""
        elif key in ("enter", "right"):
            self._open(groups)
        elif key in _MOVES:
            self._move(_MOVES[key] * self._stride(key), groups)
        else:
            self._press_anywhere(key)

    def _press_anywhere(self, key: str) -> None:
        if key in ("p", " "):
            self.paused = not self.paused
        elif key in ("+", "="):
            self.interval = max(_OFTENEST_S, self.interval / 2)
        elif key == "-":
            self.interval = min(_SELDOM_S, self.interval * 2)
        elif key in ("h", "?"):
            self.page, self.offset = "help", 0

    def _type(self, key: str) -> None:
        typed = self.typing or ""
        if key == "enter":
            self.words, self.typing = typed, None
        elif key == "escape":
            self.words, self.typing = "", None
        elif key == "backspace":
            self.typing = typed[:-1]
        elif len(key) == 1 and key.isprintable():
            self.typing = (typed + key)[:_LONGEST_FILTER]

    def _open(self, groups: Sequence[Group]) -> None:
        rows = self.rows(groups)
        if rows:
            self.site = rows[self.place(rows)].site
            self.page, self.offset = "site", 0

    def _move(self, by: int, groups: Sequence[Group]) -> None:
        rows = self.rows(groups)
        if rows:
            self.site = rows[min(len(rows) - 1, max(0, self.place(rows) + by))].site

    def _stride(self, key: str) -> int:
        return max(1, self.height - 1) if key.startswith("page") else 1


_FAR: Final = 1_000_000
_MOVES: Final = {
    "up": -1,
    "k": -1,
    "down": 1,
    "j": 1,
    "page up": -1,
    "page down": 1,
    "home": -_FAR,
    "end": _FAR,
}
