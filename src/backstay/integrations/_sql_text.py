"""What may be told of a SQL statement: its text without values, and a name of few different values."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

__all__ = ["Statement", "read_statement"]

_LOOKED_AT = 4_000  # characters; a longer text is cut before anything else is done with it
_TOLD = 1_000  # characters of the text
_KEPT = 512  # statements that are remembered

# In the order in which a reader of SQL takes them; what has no end within the cut ends with it.
_TOKEN = re.compile(
    r"""
      (?P<comment> --[^\n]* | /\*.*?(?:\*/|\Z) )
    | (?P<name> "(?:[^"]|"")*(?:"|\Z) | `[^`]*(?:`|\Z) )
    | (?P<value>
          \b[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)
        | (?:\b[nNbBxX])?'(?:[^']|'')*(?:'|\Z)
        | \$(?P<tag>[A-Za-z_]\w*|)\$.*?(?:\$(?P=tag)\$|\Z)
        | (?<![\w$.:@])(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)
      )
    """,
    re.VERBOSE | re.DOTALL,
)
_SPACE = re.compile(r"\s+")
_FIRST = re.compile(r"[A-Za-z]+")
_TABLE = re.compile(
    r"""\b(?:FROM|INTO|UPDATE|JOIN|TABLE)\s+(?:ONLY\s+|IF\s+(?:NOT\s+)?EXISTS\s+)?(["`\w.]+)""",
    re.IGNORECASE,
)


class Statement(NamedTuple):
    """A statement as a span tells it."""

    summary: str  # "SELECT orders"
    operation: str  # "SELECT"
    text: str  # "" where it cannot be told without values


def read_statement(sql: str, *, standard: bool = True) -> Statement:
    """Return what a span tells of a statement.

    Values that stand in the text become "?", comments go, and it is cut to 1,000 characters; placeholders stay.

    Args:
        sql: of the statement.
        standard: whether strings are in single quotes and know no backslash, as in PostgreSQL and SQLite. Of other
            servers a statement with double quotes or a backslash is told without its text.

    Cost: a look into a table for a statement that came lately; tens of microseconds for a new one.
    """
    return _read(sql[:_LOOKED_AT], standard)


@lru_cache(_KEPT)
def _read(sql: str, standard: bool) -> Statement:
    text = _SPACE.sub(" ", _TOKEN.sub(_without_value, sql)).strip()
    first = _FIRST.search(text)
    operation = first[0].upper() if first else "SQL"
    table = _TABLE.search(text)
    target = "" if table is None else table[1].replace('"', "").replace("`", "")
    summary = f"{operation} {target}"[:100] if target else operation
    if not standard and ('"' in sql or "\\" in sql):
        return Statement(operation, operation, "")
    return Statement(summary, operation, text if len(text) <= _TOLD else f"{text[: _TOLD - 1]}…")


def _without_value(token: re.Match[str]) -> str:
    if token.lastgroup == "comment":
        return " "
    return token[0] if token["name"] is not None else "?"
