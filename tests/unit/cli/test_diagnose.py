"""How `backstay diagnose` reads its arguments, and what it prints."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

import pytest

from backstay.cli import main
from backstay.cli._diagnose_listen import endpoint
from backstay.observe.admin import AdminServer
from backstay.observe.profile import from_pprof
from backstay.tasks import install


async def diagnose(tmp_path: Path, *arguments: str) -> int:
    """Run the verb against this very process."""
    install()
    with AdminServer(tmp_path / "a.sock", leak_interval=0):
        return await asyncio.to_thread(
            main, ["diagnose", str(tmp_path / "a.sock"), "--seconds=0.2", *arguments]
        )


@pytest.mark.real_loop
async def test_a_healthy_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0 and a text; growth cannot be judged so soon, and that is said."""
    assert await diagnose(tmp_path) == 0
    seen = capsys.readouterr()
    assert "nothing found" in seen.out
    assert "growth could not be judged" in seen.out
    assert seen.err == "", "no progress where no terminal is"


@pytest.mark.real_loop
async def test_one_document_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line of JSON on stdout, the page in the file."""
    page = tmp_path / "r.html"
    assert await diagnose(tmp_path, "--json", "--prove", "-o", str(page)) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out)["findings"] == []
    assert "NOTHING FOUND" in page.read_text()


@pytest.mark.real_loop
async def test_lines_that_allocate_what_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Traced when the looks are over, and told with the memory that they hold."""
    kept: list[bytes] = []

    async def hoard() -> None:
        while True:
            kept.append(bytes(100_000))  # hoard
            await asyncio.sleep(0.01)

    install()
    hoarding = asyncio.create_task(hoard())
    assert await diagnose(tmp_path, "--json", "--heap", "--seconds=0.5") == 0
    hoarding.cancel()
    lines = Path(__file__).read_text().splitlines()
    line = next(n for n, text in enumerate(lines, 1) if text.endswith("# hoard"))
    first = json.loads(capsys.readouterr().out)["memory"][0]
    assert first["site"].endswith(f"test_diagnose.py:{line}")
    assert first["bytes"] >= 500_000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "expected one TARGET"),
        (["x.sock", "--target", "y.sock"], "expected one TARGET"),
        (["x.sock", "--token-file", "t"], "expected one TARGET"),
        (["--listen", "127.0.0.1:0"], "--listen needs whom to look at"),
        (["--listen", "127.0.0.1:0", "--json", "x.sock"], "--json and --listen contradict"),
        (["--listen", "127.0.0.1:0", "--heap", "x.sock"], "--heap slows the target down"),
        (["--listen", "127.0.0.1:0", "x.sock", "--target", "y"], "write NAME=TARGET"),
        (["--listen", "127.0.0.1:0", "--target", "a=x", "--target", "a=y"], "two targets 'a'"),
        (["--listen", "127.0.0.1:0", "--target", "a="], "is not TARGET or NAME=TARGET"),
        (["--listen", "127.0.0.1:0", "x", "--token-file", "none"], "cannot read a token"),
        (["--listen", "127.0.0.1:0", "x", "--token-file", "short"], "16 characters or more"),
        (["--listen", "0.0.0.0:0", "x", "-o", "out"], "give a token with --token-file"),
    ],
)
def test_a_slip_is_one_line(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It names what was seen and the cure; exit code 2."""
    monkeypatch.chdir(tmp_path)
    Path("short").write_text("secret\n")
    assert main(["diagnose", *arguments]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("127.0.0.1:9411", ("127.0.0.1", 9411)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:80", ("localhost", 80)),
    ],
)
def test_addresses_that_are_understood(text: str, read: tuple[str, int]) -> None:
    """IPv6 stands in brackets."""
    assert endpoint(text) == read


@pytest.mark.parametrize("text", ["9411", ":9411", "::1:9411", "127.0.0.1:", "a:99999", "[]:1"])
def test_addresses_that_are_not(text: str) -> None:
    """The error shows how to write one."""
    with pytest.raises(argparse.ArgumentTypeError):
        endpoint(text)


@pytest.mark.real_loop
async def test_a_folder_with_everything_it_stands_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Profiles that open, the report in three forms, and an index that tells what could not be had."""
    folder = tmp_path / "found"
    assert await diagnose(tmp_path, "--folder", str(folder)) == 0
    assert "begin with report.html" in capsys.readouterr().err
    index = json.loads((folder / "index.json").read_text())
    named = {one["name"]: one["bytes"] for one in index["files"]}
    assert named == {
        one.name: one.stat().st_size for one in folder.iterdir() if one.name != "index.json"
    }
    for name in ("tasks-before", "tasks-after", "tasks-delta", "cpu", "block"):
        assert from_pprof((folder / f"{name}.pb.gz").read_bytes()).kinds, name
    assert json.loads((folder / "report.json").read_text())["findings"] == []
    assert "NOTHING FOUND" in (folder / "report.html").read_text()
    assert [one["name"] for one in index["missing"]] == ["trace.pftrace"]
    assert "no flight recorder" in index["missing"][0]["why"]
    assert not [one for one in tmp_path.iterdir() if one.name.startswith(".found")]


@pytest.mark.real_loop
async def test_a_folder_that_is_there_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nobody has to wait for a report to hear so; nothing is left of one that came to nothing."""
    (tmp_path / "found").mkdir()
    assert await diagnose(tmp_path, "--folder", str(tmp_path / "found")) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["diagnose", str(tmp_path / "none.sock"), "--folder", str(tmp_path / "new")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(one.name for one in tmp_path.iterdir() if "new" in one.name) == []


def test_flags_of_one_report_do_not_go_with_listening(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, and exit code 2."""
    words = ["diagnose", "--listen", "127.0.0.1:0", "--target", "1", "--folder", "x"]
    assert main(words) == 2
    assert "for one report" in capsys.readouterr().err
    assert main(["diagnose", "1", "--trace-url", "ftp://x/{trace_id}"]) == 2
    assert "is not the address of a request" in capsys.readouterr().err
