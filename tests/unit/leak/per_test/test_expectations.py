"""Patterns of what may be left."""

from __future__ import annotations

import pytest

from backstay.leak.per_test import Left, Pattern
from backstay.leak.per_test._expectations import without
from backstay.leak.per_test._left import told

ONE = Left(
    verdict="ORPHAN",
    name="reader",
    coroutine="Pool.read",
    site="app/pool.py:7",
    function="Pool.open",
    owner="test t.py::test_a",
    age=1.5,
    blocked_on="socket read at app/pool.py:20",
    chain=("Pool.read at app/pool.py:20",),
    held_by=None,
    advice="End it.",
)


@pytest.mark.parametrize(
    "text",
    [
        "Pool.read",
        "Pool.*",
        "app/pool.py:Pool.open",
        "function=Pool.read",
        "creator=Pool.open",
        "creator=app/*:Pool.open",
        "site=app/pool.py:*",
        "owner=test t.py::*",
        "name=reader",
    ],
)
def test_patterns_that_fit(text: str) -> None:
    """By what runs, who started it, where, for whom, and by name."""
    assert Pattern.parse(text).covers(ONE)
    assert without([ONE], [Pattern.parse(text)]) == []


@pytest.mark.parametrize("text", ["pool.read", "function=Pool.open", "site=Pool.*", "name=read"])
def test_patterns_that_do_not(text: str) -> None:
    """Case matters, a field means only itself, and a pattern means the whole word."""
    assert without([ONE], [Pattern.parse(text)]) == [ONE]


@pytest.mark.parametrize("text", ["", "*", "owner=*", "kind=x"])
def test_patterns_that_are_refused(text: str) -> None:
    """What would silence everything, or names no field."""
    with pytest.raises(ValueError, match="pattern"):
        Pattern.parse(text)


def test_alike_ones_are_told_once() -> None:
    """Ten tasks of one line are one paragraph, and endless places are cut short."""
    page = told([ONE] * 10)
    assert page.startswith("10 x ORPHAN  app/pool.py:7  in Pool.open()\n")
    assert page.count("waits for") == 1
    many = [Left(**{**ONE.to_json(), "site": f"a.py:{k}", "chain": ()}) for k in range(25)]
    assert told(many).endswith("… and 5 more places")
