"""One table of a TOML file, read key by key, with errors that name file, line, key and cure.

Why by hand: a person who mistypes `durations_s` at midnight deserves the line
number and the right word, and a schema library would be the first dependency.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from backstay.errors import UsageError

__all__ = ["Section", "locate"]

_HEADER = re.compile(r"^\s*\[\[?\s*([\w.\-\"' ]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"^\s*([\w\-.\"']+)\s*=")

_REQUIRED = object()


def locate(text: str, table: str, index: int, key: str | None) -> int | None:
    """Return the line on which `key` of the `index`-th table called `table` stands.

    A scan over lines, not a parser: a multi-line string that looks like a
    header may fool it, and then the line is wrong and nothing else.

    Args:
        text: the whole file.
        table: dotted name as in the header; "" is the top of the file.
        index: which of several `[[table]]` entries, from 0.
        key: the key, or None for the header itself.

    Returns:
        The line number from 1; the header's line when the key is not in the
        table; None when there is no such table.
    """
    current, seen, header_line = "", 0 if table == "" else -1, None
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header:
            current = header[1].replace('"', "").replace("'", "")
            if current == table:
                seen += 1
                if seen == index:
                    header_line = number
                    if key is None:
                        return number
            continue
        if key is None or current != table or seen != index:
            continue
        pair = _KEY.match(line)
        if pair and pair[1].strip("\"'").split(".")[0] == key:
            return number
    return header_line


class Section:
    """A table being read: each key is taken once, and `finish()` refuses the rest."""

    def __init__(
        self, path: Path, text: str, table: str, values: Mapping[str, object], index: int = 0
    ) -> None:
        """Begin reading.

        Args:
            path: the file, for messages.
            text: its content, to find line numbers in.
            table: dotted name as in the header; "" is the top of the file.
            values: what the TOML reader found there.
            index: which of several `[[table]]` entries this is.
        """
        self.path = path
        self.table = table
        self.source = text
        self._values = values
        self._index = index
        self._known: set[str] = set()

    def error(self, key: str | None, problem: str) -> UsageError:
        """Build the error that names the place and the problem; the caller raises it."""
        line = locate(self.source, self.table, self._index, key)
        where = f"{self.path}:{line}" if line else str(self.path)
        table = f"[{self.table}] " if self.table else ""
        return UsageError(f"{where}: {table}{problem}")

    def has(self, key: str) -> bool:
        """Say whether the key is present, and count it as known."""
        self._known.add(key)
        return key in self._values

    def wrong(self, key: str, expected: str) -> UsageError:
        """Build the error for a value of the wrong kind or out of range."""
        value = self._values.get(key)
        shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."
        return self.error(key, f"{key} = {shown}: expected {expected}")

    def _take(
        self, key: str, default: object, expected: str, check: Callable[[object], bool]
    ) -> object:
        self._known.add(key)
        if key not in self._values:
            if default is _REQUIRED:
                near = difflib.get_close_matches(key, list(self._values), 1, 0.7)
                hint = f" (found {near[0]!r}; did you mean {key!r}?)" if near else ""
                raise self.error(None, f"{key} is missing: expected {expected}{hint}")
            return default
        value = self._values[key]
        if not check(value):
            raise self.wrong(key, expected)
        return value

    def text(
        self, key: str, expected: str, default: object = _REQUIRED, pattern: str = r"(?s).+"
    ) -> str:
        """Take a string that matches `pattern` as a whole."""
        whole = re.compile(pattern)

        def check(value: object) -> bool:
            return isinstance(value, str) and whole.fullmatch(value) is not None

        return cast("str", self._take(key, default, expected, check))

    def choice(self, key: str, options: tuple[str, ...], default: object = _REQUIRED) -> str:
        """Take one of a few words."""
        expected = "one of " + ", ".join(repr(option) for option in options)
        return cast("str", self._take(key, default, expected, lambda v: v in options))

    def number(
        self, key: str, expected: str, low: float, high: float, default: object = _REQUIRED
    ) -> float:
        """Take a number from `low` to `high`, both included; true and false are not numbers."""
        limits = f"{expected}, from {low:g} to {high:g}"

        def check(value: object) -> bool:
            # The comparison also refuses nan, which is no number to anyone.
            return (
                isinstance(value, int | float)
                and not isinstance(value, bool)
                and low <= value <= high
            )

        return float(cast("float", self._take(key, default, limits, check)))

    def whole(
        self, key: str, expected: str, low: int, high: int, default: object = _REQUIRED
    ) -> int:
        """Take a whole number from `low` to `high`, both included."""
        limits = f"{expected}, a whole number from {low} to {high}"

        def check(value: object) -> bool:
            return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

        return cast("int", self._take(key, default, limits, check))

    def flag(self, key: str, default: bool) -> bool:
        """Take true or false."""
        return cast(
            "bool", self._take(key, default, "true or false", lambda v: isinstance(v, bool))
        )

    def texts(self, key: str, expected: str, default: object = _REQUIRED) -> tuple[str, ...]:
        """Take a list of strings."""
        found = self._take(key, default, expected, _is_texts)
        return tuple(cast("list[str]", found))

    def mapping(self, key: str, expected: str, default: object = _REQUIRED) -> Mapping[str, object]:
        """Take a table as it is."""
        found = self._take(key, default, expected, lambda v: isinstance(v, dict))
        return cast("Mapping[str, object]", found)

    def tables(self, key: str) -> list[Mapping[str, object]]:
        """Take an array of tables; absent means empty."""
        expected = f"one or more tables [[{key}]]"
        found = self._take(key, [], expected, lambda v: isinstance(v, list))
        entries = cast("list[object]", found)
        if not all(isinstance(entry, dict) for entry in entries):
            raise self.wrong(key, expected)
        return cast("list[Mapping[str, object]]", entries)

    def text_mapping(self, key: str, expected: str) -> Mapping[str, str]:
        """Take a table of strings; absent means empty."""
        found = self.mapping(key, expected, {})
        for name, value in found.items():
            if not isinstance(value, str):
                raise self.error(key, f"{key}.{name} = {value!r}: expected {expected}")
        return cast("Mapping[str, str]", found)

    def finish(self) -> None:
        """Refuse every key that nobody asked for.

        Raises:
            UsageError: names the key, its line and the nearest word that exists.
        """
        for key in self._values:
            if key not in self._known:
                near = difflib.get_close_matches(key, sorted(self._known), 1, 0.6)
                hint = f"did you mean {near[0]!r}?" if near else "remove it"
                known = ", ".join(sorted(self._known))
                raise self.error(key, f"unknown key {key!r}: expected one of {known}; {hint}")


def _is_texts(value: object) -> bool:
    if not isinstance(value, list | tuple):
        return False
    items = cast("list[object]", value)
    return all(isinstance(item, str) for item in items)
