"""The verbs that look at a process, and how `run` reads its arguments."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from pathlib import Path

import pytest

from backstay.cli import _run, main
from backstay.cli._main import OneLineParser
from backstay.errors import UsageError
from backstay.observe.admin import AdminServer
from backstay.tasks import Scope, install


async def look(tmp_path: Path, *arguments: str) -> int:
    """Run a verb against this very process, which has one waiting task."""
    install()
    with AdminServer(tmp_path / "a.sock", leak_interval=0):
        waiting = asyncio.create_task(asyncio.Event().wait(), name="waiting")
        await asyncio.sleep(0)
        code = await asyncio.to_thread(
            main, [arguments[0], str(tmp_path / "a.sock"), *arguments[1:]]
        )
        waiting.cancel()
    return code


@pytest.mark.real_loop
@pytest.mark.parametrize("flag", ["--tree", "--stacks", "--wait=5"])
async def test_ps_prints_for_people(
    flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Table, tree and stacks name the spawn site."""
    assert await look(tmp_path, "ps", flag) == 0
    seen = capsys.readouterr()
    assert "test_verbs.py:" in seen.out
    assert seen.err == ""


@pytest.mark.real_loop
async def test_ps_prints_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line of JSON, nothing else."""
    assert await look(tmp_path, "ps", "--json") == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out)["pid"] == os.getpid()


@pytest.mark.real_loop
async def test_top_without_a_terminal_prints_a_page_or_a_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rates count from a look before; a batch is so many lines; without UTF-8 signs are spelled."""
    assert await look(tmp_path, "top", "--interval=0.1", "--rows=5") == 0
    out = capsys.readouterr().out
    assert f"backstay top · {os.getpid()} " in out
    assert "test_verbs.py:" in out
    assert await look(tmp_path, "top", "--interval=0.1", "--batch=2", "--json") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert json.loads(first)["pid"] == json.loads(second)["pid"] == os.getpid()
    assert json.loads(second)["span_s"] > 0
    monkeypatch.setattr("backstay.observe.top._terminal.speaks_unicode", lambda encoding: False)
    assert await look(tmp_path, "top", "--interval=0.1", "--batch=2") == 0
    out = capsys.readouterr().out
    assert out.isascii()
    assert out.count("backstay top | ") == 2


@pytest.mark.real_loop
async def test_leaks_without_findings_is_fine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 0 and a page that says so."""
    assert await look(tmp_path, "leaks") == 0
    assert "backstay leaks" in capsys.readouterr().out
    assert await look(tmp_path, "leaks", "--json") == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []


@pytest.mark.real_loop
async def test_leaks_alive_names_what_keeps_the_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page for people and a document for machines; information, so the exit code is 0."""
    asyncio.get_running_loop().call_later(100, print)
    assert await look(tmp_path, "leaks", "--alive") == 0
    out = capsys.readouterr().out
    assert out.startswith("backstay leaks --alive")
    assert "timers:" in out
    assert await look(tmp_path, "leaks", "--alive", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["format"] == 1
    assert {"print"} <= {one["name"] for one in document["found"]}


@pytest.mark.real_loop
async def test_leaks_with_findings_exits_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An orphan older than the grace is accused."""
    install(exact=True)
    async with Scope("request POST /orders"):
        orphan = asyncio.create_task(asyncio.Event().wait(), name="orphan")
        await asyncio.sleep(0)
    later = asyncio.get_running_loop().time() + 60
    for module in ("leak._census", "leak._report", "tasks._info"):
        monkeypatch.setattr(f"backstay.{module}.now", lambda: later)
    assert await look(tmp_path, "leaks", "--json") == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["verdict"] == "ORPHAN"
    orphan.cancel()


def parse(*arguments: str) -> argparse.Namespace:
    parser = OneLineParser(prog="backstay")
    _run.add_parser(parser.add_subparsers())
    made = parser.parse_args(["run", *arguments])
    made.prog = "backstay run"
    return made


def test_flags_may_stand_behind_the_application() -> None:
    """As in `uvicorn app:app --port 80`; what stands behind counts."""
    args = _run._with_late_flags(parse("--port", "1", "web:app", "--port", "2", "--no-probes"))
    assert (args.port, args.probes, args.host) == (2, False, None)
    args = _run._with_late_flags(parse("--port", "1", "web:app"))
    assert args.port == 1
    with pytest.raises(UsageError, match="'extra' is not a flag"):
        _run._with_late_flags(parse("web:app", "extra"))


def test_what_stands_behind_a_script_is_its_own() -> None:
    """Also flags that look like ours."""
    args = parse("--admin", "off", "script.py", "--port", "x", "-m", "y")
    assert (args.target, args.arguments) == ("script.py", ["--port", "x", "-m", "y"])
    args = parse("-m", "module", "--port", "x")
    assert (args.module, args.target) == (["module", "--port", "x"], None)


def test_applications_and_scripts_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their look, and by what there is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tool").touch()
    assert _run._is_script("absent.py")
    assert _run._is_script("tool")
    assert not _run._is_script("web:app")
    with pytest.raises(UsageError, match="did you mean web:app, or -m web"):
        _run._is_script("web")
    with pytest.raises(UsageError, match=r"neither MODULE:APP nor a file$"):
        _run._is_script("no/such-file")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name what to run"),
        (("-m",), "-m needs the name of a module"),
        (("--grace", "1", "-m", "json.tool"), "--grace is for an application"),
    ],
)
def test_arguments_that_do_not_fit(arguments: tuple[str, ...], words: str) -> None:
    """Before anything is started."""
    with pytest.raises(UsageError, match=words):
        _run.execute(parse(*arguments))
