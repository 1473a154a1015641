"""The baseline file, as text, and what a run says at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from backstay.integrations.pytest_leaks._baseline import Baseline, Entry, plain, stable
from backstay.integrations.pytest_leaks._summary import Row, Tally

MAIL = Entry("app/mail.py:Mailer.start", "tests/test_mail.py::test_*")
POOL = Entry("app/pool.py:open", "tests/test_pool.py::TestPool::test_close")


def row(status: str = "new", place: str = MAIL.place) -> Row:
    return Row(status=status, verdict="ORPHAN", site="app/mail.py:7", function="start", place=place)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Lines are sorted, and reading gives back what was written."""
    path = tmp_path / "known.txt"
    assert Baseline().write(path, [POOL, MAIL], []) == 2
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert lines[2:] == [str(MAIL), str(POOL)]
    assert Baseline.read(path, must_exist=True).entries == {MAIL, POOL}


def test_entries_of_tests_that_did_not_run_stay(tmp_path: Path) -> None:
    """A partial run replaces what it has seen, and keeps the rest."""
    path = tmp_path / "known.txt"
    Baseline([MAIL, POOL]).write(path, [], ["tests/test_mail.py::test_sends"])
    assert Baseline.read(path, must_exist=True).entries == {POOL}


def test_a_pattern_speaks_for_many_tests() -> None:
    """Known is what has the place and a test that fits."""
    known = Baseline([MAIL])
    assert known.knows(MAIL.place, "tests/test_mail.py::test_sends")
    assert not known.knows(MAIL.place, "tests/test_pool.py::test_sends")
    assert not known.knows(POOL.place, "tests/test_mail.py::test_sends")


def test_only_tests_that_passed_tell_that_a_leak_is_gone() -> None:
    """A test that did not run, or failed before it leaked, proves nothing."""
    known, seen = Baseline([MAIL, POOL]), Entry(MAIL.place, "tests/test_mail.py::test_sends")
    assert known.gone([], []) == []
    assert known.gone([], [POOL.test]) == [POOL]
    assert known.gone([seen], [POOL.test, "tests/test_mail.py::test_sends"]) == [POOL]


@pytest.mark.parametrize("line", ["app/mail.py:start", " <- test", "app/mail.py:start <- "])
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, line: str) -> None:
    """File, number, what stands there and what was expected."""
    path = tmp_path / "known.txt"
    path.write_text(f"# head\n\n{line}\n", encoding="utf-8")
    with pytest.raises(
        pytest.UsageError, match=r"known\.txt:3 reads .* expected 'path:function <- test'"
    ):
        Baseline.read(path, must_exist=True)


def test_a_folder_is_no_baseline(tmp_path: Path) -> None:
    """What cannot be read at all is a usage error, and no traceback."""
    with pytest.raises(pytest.UsageError, match="cannot read"):
        Baseline.read(tmp_path, must_exist=False)


def test_places_read_the_same_everywhere(tmp_path: Path) -> None:
    """Relative to the root of the run, or to the packages that a library lives in."""
    assert stable(f"{tmp_path}/app/mail.py:start", tmp_path) == "app/mail.py:start"
    assert stable("/usr/lib/site-packages/lib/pool.py:open", tmp_path) == "lib/pool.py:open"
    assert stable("/elsewhere/pool.py:open", tmp_path) == "/elsewhere/pool.py:open"
    assert plain("test_it.py::test_a[x[0]]") == "test_it.py::test_a"


def test_the_table_counts_by_line() -> None:
    """Most leaks first, with how many tests, one of them named; what is known says so."""
    tally = Tally()
    assert tally.table() == []
    tally.add("t.py::test_a[0]", [row(), row()])
    tally.add("t.py::test_a[1]", [row()])
    tally.add("t.py::test_b", [row("known", POOL.place)])
    lines = tally.table()
    assert lines[1].split() == ["3", "2", "ORPHAN", "app/mail.py:7", "start()"]
    assert lines[2].strip() == "t.py::test_a[0] and 1 more"
    assert lines[3].endswith("start()  (known)")
    assert tally.checked == {"t.py::test_a", "t.py::test_b"}


def test_what_was_expected_is_no_baseline() -> None:
    """Only what would fail a test is written."""
    tally = Tally()
    tally.add("t.py::test_a[0]", [row("expected"), row()])
    tally.add("t.py::test_b", [row("expected", POOL.place)])
    assert tally.entries() == {Entry(MAIL.place, "t.py::test_a")}
