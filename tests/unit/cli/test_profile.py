"""`backstay profile`: files in, files out, tables, and one line for every slip."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backstay.cli import main
from backstay.observe.admin import AdminServer
from backstay.observe.profile import Frame, Profile, Sample, from_pprof, to_pprof

SPIN, ROOT = Frame("spin", "/app/work.py", 7), Frame("split", "/app/work.py", 20)
GET = Frame("Queue.get", "/usr/lib/python3.11/asyncio/queues.py", 158)


def cpu(spin_ms: int, taken_at: float = 100.0) -> Profile:
    return Profile(
        (("samples", "count"), ("cpu", "nanoseconds")),
        (Sample((SPIN, ROOT), (1, spin_ms * 1_000_000)), Sample((ROOT,), (1, 250_000_000))),
        taken_at=taken_at,
        duration_s=2.0,
        comments=("a note",),
        default="cpu",
    )


def tasks(count: int) -> Profile:
    labels = (
        ("site", "/app/a.py:3"),
        ("owner", "shop"),
        ("state", "waiting"),
        ("wait", "queue get"),
    )
    return Profile((("tasks", "count"),), (Sample((GET, ROOT), (count,), labels),))


@pytest.fixture
def saved(tmp_path: Path) -> dict[str, str]:
    """Provide two CPU profiles and one of tasks as files."""
    files = {"a": cpu(1500), "b": cpu(500, taken_at=160.0), "tasks": tasks(3)}
    for name, profile in files.items():
        (tmp_path / f"{name}.pb.gz").write_bytes(to_pprof(profile))
    return {name: str(tmp_path / f"{name}.pb.gz") for name in files}


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[str]:
    """Provide the socket of a process without any loop: ourselves."""
    with AdminServer(tmp_path / "a.sock", leak_interval=0) as server:
        yield server.address


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["profile", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_diff_shows_what_grew_and_what_shrank(saved: Any, capsys: Any) -> None:
    """The first file is before, the second is after; percentages of a change mean nothing."""
    code, out, _ = said(capsys, "diff", saved["a"], saved["b"])
    lines = out.splitlines()
    assert (code, lines[0]) == (0, "diff: -1.00 s cpu in 60.0 s, 1 stacks")
    assert lines[2].split() == ["-1.00", "s", "-", "-1.00", "s", "-", "spin", "/app/work.py:7"]


def test_merged_profiles_are_written_for_pprof(saved: Any, tmp_path: Path, capsys: Any) -> None:
    """The sum of all files, and how to open it."""
    target = tmp_path / "all.pb.gz"
    code, out, _ = said(capsys, "merge", saved["a"], saved["b"], saved["b"], "-o", str(target))
    assert code == 0
    assert f"wrote {target}: go tool pprof -http=: {target}" in out
    merged = from_pprof(target.read_bytes())
    assert merged.total() == 3_250_000_000
    assert "80.0" not in out
    assert "76.9   2.50 s" in out.replace("     ", "   ")


def test_speedscope_and_folded_files(saved: Any, tmp_path: Path, capsys: Any) -> None:
    """The other formats, to a file and to standard output, where nothing else then stands."""
    target = tmp_path / "a.json"
    arguments = ("merge", saved["a"], "--format", "speedscope", "-o", str(target))
    assert "speedscope.app" in said(capsys, *arguments)[1]
    assert json.loads(target.read_text())["profiles"][1]["weights"] == [1_500_000_000, 250_000_000]
    _, out, _ = said(capsys, "merge", saved["a"], "--format", "folded", "-o", "-")
    assert out == (
        "split (/app/work.py:20);spin (/app/work.py:7) 1500000000\nsplit (/app/work.py:20) 250000000\n"
    )


def test_tasks_are_shown_by_group(saved: Any, capsys: Any) -> None:
    """What they wait for, the innermost line of the user's own code, owner and spawn site."""
    _, out, _ = said(capsys, "merge", saved["tasks"])
    assert out.splitlines()[1:] == [
        "         3  queue get  split  /app/work.py:20",
        "            owner shop, started at /app/a.py:3",
    ]


def test_the_json_document(saved: Any, capsys: Any) -> None:
    """One document with totals, functions and groups."""
    code, out, _ = said(capsys, "diff", saved["a"], saved["a"], "--json")
    document = json.loads(out)
    assert (code, document["kind"], document["total"], document["stacks"]) == (0, "diff", 0, 0)
    document = json.loads(said(capsys, "merge", saved["a"], "--json")[1])
    assert document["unit"] == "nanoseconds"
    assert document["top"][0]["function"] == "spin"
    assert document["groups"][0]["stack"][0]["line"] == 7
    assert document["comments"] == ["a note"]


def test_a_process_without_tasks_is_fine(plane: str, capsys: Any) -> None:
    """Nothing was counted, and that is said."""
    code, out, _ = said(capsys, plane, "--kind", "tasks")
    assert code == 0
    assert out.startswith("tasks: 0 tasks, 0 stacks\nnothing was counted\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["/nowhere.sock"], "no socket at '/nowhere.sock'"),
        (["1", "extra"], "what is 'extra'?"),
        (["1", "--gc"], "--gc and --frames are about memory, and this is --kind cpu"),
        (["1", "--kind", "heap", "--frames", "3"], "--frames needs --seconds"),
        (["1", "--format", "folded"], "add -o FILE"),
        (["1", "--json", "-o", "-"], "--json and -o - contradict each other"),
        (["diff", "one"], "compares two files, before and after, not 1"),
        (["diff", "/none", "/none"], "cannot read /none (No such file or directory)"),
        (["merge"], "name at least one"),
        (["merge", "/dev/null", "--seconds", "3"], "takes no flags of a running process"),
        (["merge", __file__], "is not a pprof profile"),
    ],
)
def test_slips_are_one_line_and_exit_code_2(arguments: list[str], says: str, capsys: Any) -> None:
    """What was seen, what was expected, what to do."""
    code, out, err = said(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err


def test_what_does_not_go_together_is_refused(saved: Any, plane: str, capsys: Any) -> None:
    """Files of different kinds, a place that cannot be written, and what the plane refuses."""
    assert "do not add up" in said(capsys, "diff", saved["a"], saved["tasks"])[2]
    assert "cannot write" in said(capsys, "merge", saved["a"], "-o", "/nowhere/x")[2]
    code, _, err = said(capsys, plane, "--kind", "leaks")
    assert (code, "no running loop is tracked" in err) == (2, True)
    code, _, err = said(capsys, plane, "--seconds", "1000")
    assert (code, "up to 300" in err) == (2, True)


def test_amounts_have_units(saved: Any, tmp_path: Path, capsys: Any) -> None:
    """Bytes and durations are scaled to be read."""
    sizes = (3 << 30, 5 << 20, 7 << 10, 12)
    heap = Profile(
        (("inuse_objects", "count"), ("inuse_space", "bytes")),
        tuple(Sample((Frame(f"T{size}", "", 0),), (1, size)) for size in sizes),
        default="inuse_space",
    )
    (tmp_path / "h.pb").write_bytes(to_pprof(heap))
    _, out, _ = said(capsys, "merge", str(tmp_path / "h.pb"))
    for amount in ("3.00 GiB", "5.00 MiB", "7.00 KiB", "12 B"):
        assert amount in out
