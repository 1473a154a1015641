"""Filling the blanks of commands and environments."""

from __future__ import annotations

from pathlib import Path

import pytest

from backstay.lab.scenario import Blanks, fill
from backstay.lab.scenario._placeholders import blanks_in

BLANKS = Blanks(
    python="/py",
    variant="naive",
    run_dir=Path("/out/run"),
    seed=7,
    ports={"bank": 18000},
    admins={"order": Path("/out/run/order.sock")},
)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{python}", "/py"),
        ("{variant}-{seed}", "naive-7"),
        ("{run_dir}/x.db", "/out/run/x.db"),
        ("http://127.0.0.1:{port:bank}/", "http://127.0.0.1:18000/"),
        ("{admin:order}", "/out/run/order.sock"),
        ('{"json": {"a": 1}}', '{"json": {"a": 1}}'),
        ("{unknown}", "{unknown}"),
        ("{seed:bank}", "{seed:bank}"),
        ("{port}", "{port}"),
    ],
)
def test_known_blanks_are_filled_and_other_braces_left_alone(text: str, filled: str) -> None:
    """Only the six blanks of the language are touched."""
    assert fill(text, BLANKS) == filled


def test_blanks_are_listed_for_checking() -> None:
    """The parser sees each blank as a word and a name."""
    assert blanks_in("{python} {port:bank} {") == [("python", None), ("port", "bank")]
