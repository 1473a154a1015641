"""Baselines, marks and options of the check for leaks, in pytest runs of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from leaky_runs import run_pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

LEAKS = """
def start(seconds=3600):
    kept.append(asyncio.get_running_loop().create_task(asyncio.sleep(seconds)))

async def twice():
    start()
    start()

@pytest.mark.parametrize("n", range(2))
def test_known(n):
    asyncio.run(twice())
"""
MENDED = LEAKS.replace("def start(seconds=3600)", "\n\ndef start(seconds=0)")
NEW = """
async def other():
    kept.append(asyncio.get_running_loop().create_task(asyncio.sleep(3600)))

def test_new():
    asyncio.run(other())
"""


def test_a_baseline_goes_round(tmp_path: Path) -> None:
    """What is written is known afterwards, also when lines have moved; new leaks fail; mended ones are named."""
    baseline = ["--leaks-baseline", "known.txt"]
    run = run_pytest(tmp_path, LEAKS, *baseline, "--leaks-write-baseline")
    assert run.code == 0, run.text
    lines = (tmp_path / "known.txt").read_text(encoding="utf-8").splitlines()
    assert lines[2:] == ["test_it.py:start <- test_it.py::test_known"]

    moved = run_pytest(tmp_path, "\n\n\n" + LEAKS + NEW, *baseline)
    assert moved.outcomes() == {"passed": 3, "error": 1}, moved.text
    assert "ERROR test_it.py::test_new - Failed: 1 task outlived" in moved.text
    assert "start()  (known)" in moved.text

    part = run_pytest(
        tmp_path, LEAKS + NEW, *baseline, "--leaks-write-baseline", "-k", "new", "-n", "2"
    )
    assert part.code == 0, part.text
    lines = (tmp_path / "known.txt").read_text(encoding="utf-8").splitlines()
    assert lines[2:] == [
        "test_it.py:other <- test_it.py::test_new",
        "test_it.py:start <- test_it.py::test_known",
    ]

    mended = run_pytest(tmp_path, MENDED, *baseline)
    assert mended.code == 0, mended.text
    told = mended.text.partition("known leaks that did not happen; delete their lines:\n")[2]
    assert told.startswith("  test_it.py:start <- test_it.py::test_known\n=")


def test_marks_expect_and_allow(tmp_path: Path) -> None:
    """Marks work without --leaks: a number that must be met, patterns that may be left, and an off switch."""
    source = """
async def listener():
    await asyncio.sleep(3600)

async def main(count):
    for _ in range(count):
        kept.append(asyncio.create_task(listener()))

@pytest.mark.leaks(expect=2)
def test_expects():
    asyncio.run(main(2))

@pytest.mark.leaks(expect=2)
def test_expects_more():
    asyncio.run(main(1))

@pytest.mark.leaks(expect=1)
def test_expects_one():
    pass

@pytest.mark.leaks(allow="listener")
def test_allows_function():
    asyncio.run(main(1))

@pytest.mark.leaks(allow=["creator=test_it.py:main"])
def test_allows_creator():
    asyncio.run(main(1))

@pytest.mark.leaks(allow="owner=*test_allows_owner*")
def test_allows_owner():
    asyncio.run(main(1))

@pytest.mark.leaks(allow="nothing.like.it")
def test_allows_another():
    asyncio.run(main(1))

@pytest.mark.no_leaks
def test_has_none():
    asyncio.run(main(1))

@pytest.mark.leaks(check=False)
def test_is_not_checked():
    asyncio.run(main(1))

def test_bears_no_mark():
    asyncio.run(main(1))
"""
    run = run_pytest(tmp_path, source)
    wrong = {line.split()[1] for line in run.text.splitlines() if line.startswith("ERROR test_it")}
    assert {name.partition("::")[2] for name in wrong} == {
        "test_expects_more",
        "test_expects_one",
        "test_allows_another",
        "test_has_none",
    }, run.text
    assert "expects 2 to outlive the test; there were: 1 task" in run.text
    assert "expects 1 to outlive the test; there were: none" in run.text


def test_ini_options(tmp_path: Path) -> None:
    """The ini file switches it on and names what every test may leave; the command line has the last word."""
    ini = "backstay_leaks = true\nbackstay_leaks_ignore =\n    creator=*:start\n"
    run = run_pytest(tmp_path, LEAKS + NEW, ini=ini)
    assert run.outcomes() == {"passed": 3, "error": 1}, run.text
    off = run_pytest(tmp_path, LEAKS + NEW, "--leaks=off", ini=ini)
    assert off.outcomes() == {"passed": 3}, off.text
    tells = run_pytest(tmp_path, LEAKS + NEW, ini=ini.replace("true", "report"))
    assert tells.outcomes() == {"passed": 3}, tells.text
    assert "other()" in tells.text


@pytest.mark.parametrize(
    ("words", "ini", "told"),
    [
        (["--leaks", "test_it.py"], "", "--leaks is one of fail, report and off, not 'test_it.py'"),
        (
            [],
            "backstay_leaks = maybe",
            "backstay_leaks is one of fail, report and off, not 'maybe'",
        ),
        (["--leaks-write-baseline"], "", "add --leaks-baseline FILE"),
        (["--leaks-baseline", "none.txt"], "", "write it with --leaks-write-baseline"),
        (["--leaks-baseline", "test_it.py"], "", "test_it.py:1 reads 'import asyncio', expected"),
        (
            ["--leaks=fail", "--leaks-also=sockets"],
            "",
            "knows timers, threads, generators, not sockets",
        ),
        (["--leaks=fail"], "backstay_leaks_ignore = kind=x", "before '=' stands one of"),
        (["--leaks=fail"], "backstay_leaks_ignore = *", "would fit every leak"),
    ],
)
def test_bad_options_are_usage_errors(
    tmp_path: Path, words: list[str], ini: str, told: str
) -> None:
    """What cannot be meant ends the run at once, says what was seen and what to write."""
    run = run_pytest(tmp_path, LEAKS, *words, ini=ini)
    assert run.code == 4, run.text
    assert told in run.text, run.text


def test_bad_marks_are_told_at_their_test(tmp_path: Path) -> None:
    """A mark that cannot be read is an error of its test, and of no other."""
    source = """
@pytest.mark.leaks(expect="one")
def test_number():
    pass

@pytest.mark.leaks(3)
def test_positional():
    pass

@pytest.mark.leaks(pattern="x")
def test_unknown():
    pass

@pytest.mark.no_leaks(allow=3)
def test_allow():
    pass

@pytest.mark.no_leaks
def test_good():
    pass
"""
    run = run_pytest(tmp_path, source)
    assert run.outcomes() == {"passed": 1, "error": 4}, run.text
    assert "expect= is a number of leaks, not 'one'" in run.text
    assert "knows the keywords allow, also, check, expect, not pattern=" in run.text
