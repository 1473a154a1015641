"""Finding the line of a key in a TOML file."""

from __future__ import annotations

from pathlib import Path

import pytest

from backstay.errors import UsageError
from backstay.lab.scenario._section import Section, locate

TEXT = """\
top = 1
[load] # comment
rate = 2
[[process]]
"name" = "a"
[[process]]
name = "b"
env.X = "1"
"""


@pytest.mark.parametrize(
    ("table", "index", "key", "line"),
    [
        ("", 0, "top", 1),
        ("load", 0, "rate", 3),
        ("load", 0, None, 2),
        ("load", 0, "missing", 2),
        ("process", 0, "name", 5),
        ("process", 1, "name", 7),
        ("process", 1, "env", 8),
        ("process", 2, "name", None),
        ("", 0, "missing", None),
    ],
)
def test_a_key_is_found_in_its_table(
    table: str, index: int, key: str | None, line: int | None
) -> None:
    """The line is that of the key in the right one of several tables, or of the table."""
    assert locate(TEXT, table, index, key) == line


def test_a_long_value_is_cut_in_the_message() -> None:
    """A message stays one readable line however long the value is."""
    section = Section(Path("x.toml"), "", "", {"name": "y" * 500})
    with pytest.raises(UsageError) as caught:
        section.number("name", "a number", 0, 1)
    assert len(str(caught.value)) < 140
    assert "..." in str(caught.value)
