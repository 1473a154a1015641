"""The corpus: real leak patterns as small programs, and what must be said of each.

Each program runs in a process of its own, on both loops: its leak must be accused of what it
declares, at the marked line, and of nothing else; its cure, of nothing.
"""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from corpus_runner import ROOT, differences, expectations, load, marks, play, program_names

pytestmark = pytest.mark.slow

# Programs that no detector judges yet, and why. Each turns red as soon as one does.
NOT_JUDGED_YET: dict[str, str] = {}

LOOPS = ("stock", "uvloop")


def played_programs() -> list[object]:
    return [
        pytest.param(
            name,
            marks=[pytest.mark.xfail(reason=f"not judged yet: {NOT_JUDGED_YET[name]}")]
            if name in NOT_JUDGED_YET
            else [],
        )
        for name in program_names()
    ]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", played_programs())
def test_what_is_said_is_what_the_program_declares(name: str, loop: str) -> None:
    """Verdict, number and both lines of the leak; silence about the cure."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    program = load(name)
    since = getattr(program, "SINCE", (3, 11))
    if sys.version_info < since:
        pytest.skip(f"Python {since[0]}.{since[1]} and later behave so")
    if loop not in getattr(program, "LOOPS", LOOPS):
        pytest.skip(f"{loop} does not behave so")
    assert differences(expectations(program), marks(program), play(name, loop)) == []


@pytest.mark.parametrize("name", program_names())
def test_each_program_says_what_goes_wrong_where_and_what_cures_it(name: str) -> None:
    """What goes wrong, the real cases, the cure; and a mark for every line that is expected."""
    program = load(name)
    said = program.__doc__ or ""
    assert re.search(r"^Cases: \S", said, re.MULTILINE), said
    assert re.search(r"^Cure: \S", said, re.MULTILINE), said
    marked = marks(program)
    wanted = {one.waits for one in expectations(program)} - {""}
    wanted |= {one.spawn for one in expectations(program) if " " not in one.spawn}
    assert wanted == set(marked)


def test_all_patterns_are_there() -> None:
    """Patterns are numbered from 1, and each has a program."""
    assert [int(name[1:3]) for name in program_names()] == list(range(1, 35))
    assert set(NOT_JUDGED_YET) <= set(program_names())


def test_the_page_is_as_the_programs_say() -> None:
    """Pattern, cases and verdict of each; `python scripts/corpus_page.py --write` makes it so."""
    done = subprocess.run(
        [sys.executable, "scripts/corpus_page.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
