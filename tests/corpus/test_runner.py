"""The runner of the corpus can fail: each wrong expectation is noticed, and told in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from corpus_runner import Played, Seen, differences
from corpus_stage import Expect

HERE, WAITS = "tests/corpus/programs/p.py:10", "tests/corpus/programs/p.py:20"
MARKED = {"spawn": HERE, "waits": WAITS}
STUCK = Seen("STUCK", 3, HERE, "serve", WAITS, "queue get")
PLAYED = Played(leak=(STUCK,), fix=(), census={HERE: 3})
EXPECT = Expect("STUCK", count=3)


def test_what_is_as_expected_passes() -> None:
    """The one case in which nothing is wrong."""
    assert differences((EXPECT,), MARKED, PLAYED) == []


@pytest.mark.parametrize(
    ("expect", "says"),
    [
        (replace(EXPECT, verdict="LEAKED"), "LEAKED is not said at tests/corpus/programs/p.py:10"),
        (replace(EXPECT, count=2), "counts 3 tasks, not 2"),
        (replace(EXPECT, count=4), "the census does not count 4"),
        (replace(EXPECT, spawn="waits"), "is not said at tests/corpus/programs/p.py:20"),
        (replace(EXPECT, waits="spawn"), "they wait at tests/corpus/programs/p.py:20, not at"),
        (replace(EXPECT, waits="elsewhere"), "(no mark 'elsewhere')"),
        (replace(EXPECT, spawn="aiohttp/web.py serve"), "is not said at aiohttp/web.py serve"),
    ],
)
def test_a_wrong_expectation_is_noticed(expect: Expect, says: str) -> None:
    """Verdict, number, either line: whatever is expected wrongly turns the test red."""
    assert says in "\n".join(differences((expect,), MARKED, PLAYED))


@pytest.mark.parametrize(
    ("played", "says"),
    [
        (replace(PLAYED, leak=()), "STUCK is not said at tests/corpus/programs/p.py:10: nothing"),
        (replace(PLAYED, fix=(STUCK,)), "the cured program is accused: STUCK of 3"),
        (
            replace(PLAYED, leak=(STUCK, replace(STUCK, site="x.py:1"))),
            "somebody else is accused: STUCK of 3 at x.py:1",
        ),
        (
            replace(PLAYED, leak=(STUCK, replace(STUCK, verdict="UNDEAD"))),
            "somebody else is accused: UNDEAD of 3",
        ),
        (replace(PLAYED, census={}), "the census does not count 3"),
    ],
)
def test_a_wrong_detector_is_noticed(played: Played, says: str) -> None:
    """One that is silent, one that accuses the cured, bystanders, or the guilty of something else."""
    assert says in "\n".join(differences((EXPECT,), MARKED, played))


def test_a_second_expectation_is_no_less_than_the_first() -> None:
    """All of them must be met."""
    two = (EXPECT, replace(EXPECT, verdict="ORPHAN"))
    assert "ORPHAN is not said" in "\n".join(differences(two, MARKED, PLAYED))


def test_growth_may_have_gone_on() -> None:
    """Of GROWING the number is the least; of all else it is exact."""
    growing = replace(PLAYED, leak=(replace(STUCK, verdict="GROWING", count=40),))
    growing = replace(growing, census={HERE: 40})
    assert differences((Expect("GROWING", count=20),), MARKED, growing) == []
    assert differences((Expect("GROWING", count=50),), MARKED, growing) != []


def test_a_site_in_a_library_goes_by_file_and_function() -> None:
    """Its line moves with each release."""
    seen = replace(
        STUCK, site=".venv/lib/aiohttp/web_protocol.py:333", function="R.connection_made"
    )
    played = Played((seen,), (), {seen.site: 3})
    expect = replace(EXPECT, spawn="aiohttp/web_protocol.py connection_made")
    assert differences((expect,), MARKED, played) == []
    assert differences((replace(expect, spawn="aiohttp/web.py start"),), MARKED, played) != []
