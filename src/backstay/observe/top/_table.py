"""The table of spawn sites: which rows, in which order, in which columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from backstay.observe.top._cells import (
    Line,
    Span,
    age,
    clean,
    fit,
    fit_left,
    per_second,
    width_of,
)
from backstay.observe.top._figures import Group

__all__ = ["ORDERS", "Columns", "chosen"]

#: What rows can be ordered by, and in which order `s` goes through them.
ORDERS: Final[Mapping[str, Callable[[Group], Any]]] = {
    "alive": lambda one: (-one.alive, one.site),
    "growth": lambda one: (-one.grows_per_s, -one.alive, one.site),
    "born": lambda one: (-(one.born_per_s or 0.0), -one.alive, one.site),
    "ended": lambda one: (-(one.ended_per_s or 0.0), -one.alive, one.site),
    "oldest": lambda one: (-one.oldest_s, one.site),
    "site": lambda one: (one.site, -one.alive),
    "blocked": lambda one: (one.blocked_on, -one.alive),
    "owner": lambda one: (one.owner, -one.alive),
}

_GAP: Final = "  "
_NUMBERS: Final = (
    ("alive", "ALIVE", 8),
    ("born", "+/s", 7),
    ("ended", "−/s", 7),
    ("oldest", "OLDEST", 7),
)
_WORDS: Final = (("site", "SITE"), ("blocked", "BLOCKED ON"), ("owner", "OWNER"))
#: Cells below which a column of words says nothing, and the share of each when there is too little room.
_LEAST: Final = 12
_SHARES: Final = (4, 4, 3)
#: The longest verdict has seven letters.
_VERDICT: Final = 7


def chosen(groups: Sequence[Group], order: str, *, reverse: bool, words: str) -> list[Group]:
    """Return the rows to show.

    Args:
        groups: all of them.
        order: one of `ORDERS`.
        reverse: the other way round.
        words: that must all occur somewhere in a row; "" for every row.
    """
    wanted = words.lower().split()
    found = [one for one in groups if _moves(one) and _has(one, wanted)]
    return sorted(found, key=ORDERS[order], reverse=reverse)


def _moves(group: Group) -> bool:
    """Tell whether there is anything to see of a line: one whose tasks have all ended keeps its count."""
    return bool(group.alive or group.born_per_s or group.ended_per_s)


def _has(group: Group, wanted: Sequence[str]) -> bool:
    told = (group.site, group.function, group.coroutine, group.blocked_on, group.owner)
    text = "\n".join((*told, group.verdict, *group.states)).lower()
    return all(word in text for word in wanted)


class Columns:
    """How wide the columns are for some rows and a terminal.

    Cost: looks at each row once.
    """

    def __init__(self, rows: Sequence[Group], width: int) -> None:
        """Divide `width` cells.

        Args:
            rows: what will be shown.
            width: of the terminal; 0 for as much as the rows need.
        """
        self._verdicts = any(one.verdict for one in rows)
        used = sum(size + len(_GAP) for _, _, size in _NUMBERS)
        used += (_VERDICT + len(_GAP)) * self._verdicts
        words = [_words(one) for one in rows]
        wanted = [
            max([width_of(head) + 1, *(width_of(row[place]) for row in words)])
            for place, (_, head) in enumerate(_WORDS)
        ]
        self._widths = _divided(wanted, width - used) if width else wanted

    def heading(self, order: str, *, reverse: bool) -> Line:
        """Return the line above the rows; the column they are ordered by is marked."""
        mark = "▲" if reverse else "▼"

        def named(key: str, head: str) -> str:
            return f"{head}{mark}" if key == order else head

        cells = [fit(named(key, head), size, right=True) for key, head, size in _NUMBERS]
        if self._verdicts:
            cells.append(fit("LEAK", _VERDICT))
        heads = [head for _, head in zip(self._widths, _WORDS, strict=False)]
        cells += [fit(named(*head), size) for head, size in zip(heads, self._widths, strict=True)]
        return (Span(_GAP.join(cells), "head"),)

    def row(self, group: Group, *, picked: bool = False) -> Line:
        """Return the line of a group."""
        numbers = [
            f"{group.alive:,}",
            per_second(group.born_per_s),
            per_second(group.ended_per_s),
            age(group.oldest_s) if group.alive else "-",
        ]
        cells = [
            fit(text, size, right=True)
            for text, (_, _, size) in zip(numbers, _NUMBERS, strict=True)
        ]
        spans = [Span(_GAP.join(cells) + _GAP)]
        if self._verdicts:
            spans.append(
                Span(fit(clean(group.verdict), _VERDICT) + _GAP, "bad" if group.verdict else "")
            )
        texts = [fit(text, size) for text, size in zip(_words(group), self._widths, strict=False)]
        if self._widths and width_of(_words(group)[0]) > self._widths[0]:
            # The line tells more than the name; of its path, the end.
            texts[0] = fit_left(clean(group.site), self._widths[0])
        spans.append(Span(_GAP.join(texts)))
        if picked:  # one look over the whole row
            return (Span("".join(span.text for span in spans), "picked"),)
        return tuple(spans)


def _words(group: Group) -> tuple[str, str, str]:
    runs = f" {group.coroutine}" if group.coroutine else ""
    blocked = group.blocked_on or ", ".join(sorted(group.states)) or "-"
    if group.states and group.blocked_share < 1.0:
        blocked = f"{group.blocked_share:.0%} {blocked}"
    owner = group.owner or "-"
    if group.owners > 1:
        owner = f"{owner} +{group.owners - 1:,}"
    return clean(f"{group.site}{runs}"), clean(blocked), clean(owner)


def _divided(wanted: Sequence[int], room: int) -> list[int]:
    """Divide what room there is; columns from the right are left out until the others can be read."""
    for count in range(len(wanted), 0, -1):
        free = room - len(_GAP) * (count - 1)
        if free >= _LEAST * count or count == 1:
            return _shared(wanted[:count], max(1, free))
    return []


def _shared(wanted: Sequence[int], room: int) -> list[int]:
    """Give each what it wants while there is enough; else the shy ones first, and the rest by their shares."""
    given = [0] * len(wanted)
    open_ = set(range(len(wanted)))
    while open_:
        whole = sum(_SHARES[place] for place in open_)
        shy = [place for place in open_ if wanted[place] <= room * _SHARES[place] // whole]
        if not shy:
            for place in sorted(open_):
                given[place] = room * _SHARES[place] // whole
            break
        for place in shy:
            given[place] = wanted[place]
            room -= wanted[place]
            open_.discard(place)
    return given
