"""The front door of the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backstay import cli
from backstay.cli import _ps, main
from backstay.errors import UsageError


def outcome(run: Callable[[], object]) -> object:
    """Return the exit code, however it comes."""
    try:
        return run()
    except SystemExit as error:
        return error.code


@pytest.mark.parametrize("verb", ["run", "ps", "leaks"])
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody who types --help wants to see a line to copy."""
    assert outcome(lambda: main([verb, "--help"])) == 0
    assert f"examples:\n  backstay {verb} " in capsys.readouterr().out


def test_version_and_general_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The two flags without a verb."""
    assert outcome(lambda: main(["--version"])) == 0
    assert outcome(lambda: main(["--help"])) == 0
    out = capsys.readouterr().out
    assert out.startswith("backstay 0.")
    assert "TARGET is a pid" in out


@pytest.mark.parametrize("argv", [[], ["nonverb"], ["ps"], ["ps", "1", "--wait", "x"], ["--wat"]])
def test_wrong_use_is_one_line_and_two(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """One line on stderr, nothing on stdout, exit code 2."""
    assert outcome(lambda: main(argv)) == 2
    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err.count("\n") == 1
    assert "--help" in seen.err


def test_a_slip_is_one_line_whatever_it_holds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Line breaks inside a message would break the promise of one line."""

    def slip(args: object) -> int:
        raise UsageError("no\nsuch  thing")

    monkeypatch.setattr(_ps, "execute", slip)
    assert main(["ps", "1"]) == 2
    assert capsys.readouterr().err == "backstay ps: no such thing\n"


def test_interrupts_are_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is no error of the program."""

    def interrupt(args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(_ps, "execute", interrupt)
    assert main(["ps", "1"]) == 130


def test_a_reader_that_has_seen_enough_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`backstay ps 1 | head -1` ends quietly."""

    def broken(args: object) -> int:
        raise BrokenPipeError

    copied: list[int] = []
    monkeypatch.setattr(_ps, "execute", broken)
    monkeypatch.setattr(os, "dup2", lambda _, to: copied.append(to))
    assert main(["ps", "1"]) == 0
    assert copied == [sys.stdout.fileno()]


def test_the_console_script_exits_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """`entry` is what pip installs."""
    monkeypatch.setattr("sys.argv", ["backstay", "leaks", "/none/at/all"])
    assert outcome(cli.entry) == 2


def test_a_verb_that_is_not_installed_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A build without the lab still has the others."""
    from backstay.cli import _main

    monkeypatch.setattr(_main, "_VERBS", ("ps", "absent"))
    assert outcome(lambda: main(["absent"])) == 2
    assert "invalid choice: 'absent'" in capsys.readouterr().err
