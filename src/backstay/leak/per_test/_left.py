"""One thing that a test has left behind, as plain values."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Left", "told"]

_WIDTH = 100
_MOST_TOLD = 20
_MOST_CALLS = 8


@dataclass(frozen=True, slots=True)
class Left:
    """A task, or on request a timer, thread or async generator, that outlived its test."""

    verdict: Literal["LEAKED", "STUCK", "UNDEAD", "ORPHAN", "LOST", "TIMER", "THREAD", "GENERATOR"]
    name: str  # of the task or thread
    coroutine: str  # qualified name of what runs
    site: str  # "path:line" that started it, relative to the working directory when inside it
    function: str  # the function that contains that line
    owner: str  # "test tests/test_mail.py::test_sends", with the scope inside it, if any
    age: float | None  # seconds
    blocked_on: str  # what it waits for, and at which line; "" when it was running
    chain: tuple[str, ...]  # the calls it is inside of, outermost first
    held_by: str | None  # who could cancel it, for STUCK
    advice: str

    @property
    def place(self) -> str:
        """The spawn site without its line: "path:function", the same after lines have moved."""
        return f"{self.site.rpartition(':')[0]}:{self.function}"

    def to_json(self) -> dict[str, Any]:
        """Return the fields as they are, tuples as lists."""
        return {**asdict(self), "chain": list(self.chain)}

    def __str__(self) -> str:
        """Say it as a paragraph."""
        age = "" if self.age is None else f", {self.age:.3g} s old"
        lines = [
            f"{self.verdict:<8}{self.site}  in {self.function}()",
            _row("what", f"{self.name}{age}"),
            _row("owner", self.owner),
        ]
        if self.blocked_on:
            lines.append(_row("waits for", self.blocked_on))
        if self.held_by:
            lines.append(_row("held by", self.held_by))
        chain = self.chain[-_MOST_CALLS:]
        lines += [_row("inside" if k == 0 else "", call) for k, call in enumerate(chain)]
        lines.append(_row("do", self.advice))
        return "\n".join(lines)


def told(left: Iterable[Left]) -> str:
    """Put all of them on a page, alike ones once."""
    alike: dict[tuple[str, str, str, str], list[Left]] = {}
    for one in left:
        alike.setdefault((one.verdict, one.site, one.coroutine, one.blocked_on), []).append(one)
    groups = list(alike.values())
    blocks = [f"{len(group)} x {group[0]}" if group[1:] else str(group[0]) for group in groups]
    blocks = blocks[:_MOST_TOLD]
    if groups[_MOST_TOLD:]:
        blocks.append(f"… and {len(groups) - _MOST_TOLD} more places")
    return "\n\n".join(blocks)


def _row(label: str, text: str) -> str:
    return textwrap.fill(
        text,
        width=_WIDTH,
        initial_indent=f"  {label:<11}",
        subsequent_indent=" " * 13,
        break_long_words=False,
        break_on_hyphens=False,
    )
