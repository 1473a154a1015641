"""Recordings made by themselves: written once, bounded, private, and never anybody's trouble."""

from __future__ import annotations

import asyncio
import gc
import gzip
import io
import json
import logging
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import backstay
from backstay import Scope
from backstay._base import (
    BlockRecord,
    DeadlineHit,
    ShutdownOverrun,
    deadline_hit,
    loop_blocked,
    shutdown_overrun,
    wall,
)
from backstay.errors import UsageError
from backstay.observe.desk import Errand, Reply, Request
from backstay.observe.recorder import (
    Recorder,
    RecorderDesk,
    Recordings,
    current_recorder,
    current_recordings,
    read_recording,
    record,
    understand,
)

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def hit(number: int = 0) -> DeadlineHit:
    return DeadlineHit(("app", f"job {number}"), "app", 1.0, TRACE)


def made(path: Path, events: int, **options: Any) -> Recordings:
    """Record on a tracked loop while so many deadlines pass; return when all is written."""

    async def main() -> Recordings:
        backstay.install()
        with record("deadline", path, settle=0, **options) as found:
            async with Scope("orders") as scope:
                scope.go(asyncio.sleep, 0)
            for number in range(events):
                deadline_hit.emit(hit(number))
        return found

    return asyncio.run(main())


def answer(path: str) -> Reply:
    """Ask the desk, and wait for an errand."""
    told = RecorderDesk().answer(Request(path))
    return told._make(lambda _: False) if isinstance(told, Errand) else told


def test_a_file_says_what_when_and_whose(tmp_path: Path) -> None:
    """In its name, its index and itself; readable by its owner alone."""
    found = made(tmp_path / "kept", 1)
    (row,) = found.list()
    assert (row["kind"], row["trace_id"], row["pid"]) == ("deadline", TRACE, os.getpid())
    assert row["name"].endswith(f"Z-deadline-{TRACE}-{os.getpid()}.recording")
    assert abs(row["at"] - wall()) < 60
    assert "passed while app/job 0 was at work" in row["text"]
    file = tmp_path / "kept" / row["name"]
    assert file.stat().st_size == row["bytes"]
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert found.statistics().written == 1


def test_a_file_holds_what_the_recorder_knew(run: Any, make: Callable[..., Recorder]) -> None:
    """Steps, tasks, regions that are open and over: all come back."""

    async def main() -> None:
        with make() as recorder, backstay.region("outer"):
            async with Scope("orders", trace_id=TRACE) as scope:
                with backstay.region("inner"):
                    scope.go(asyncio.sleep, 0).set_name("napper")
                    await asyncio.sleep(0)
            capture = recorder.capture()
            packed = io.BytesIO()
            from backstay.observe.recorder._file import write_recording

            write_recording(packed, {"kind": "slow"}, capture)
            packed.seek(0)
            found = read_recording(packed, "it")
            assert found.about == {"kind": "slow"}
            assert understand(found.capture) == understand(capture)
            trace = understand(found.capture)
            assert {task.name for task in trace.tasks} >= {"napper"}
            assert [(one.name, one.lasts) for one in trace.regions] == [
                ("outer", True),
                ("inner", False),
            ]

    run(main)


def test_events_that_follow_soon_are_counted(tmp_path: Path) -> None:
    """One incident makes one file, whatever it sets off."""
    found = made(tmp_path, 50)
    assert len(found.list()) == 1
    assert found.statistics().passed_over == {"deadline": 49}


def test_the_newest_stay(tmp_path: Path) -> None:
    """So many files, and what is not ours is left alone; halves of the dead go."""
    (tmp_path / "mine.txt").write_text("kept")
    half = tmp_path / ".20200101T000000.000Z-slow-notrace-1.recording.half"
    half.write_bytes(b"")
    os.utime(half, (0, 0))
    for _ in range(4):
        found = made(tmp_path, 1, keep=2)
    assert len(found.list()) == 2
    assert (tmp_path / "mine.txt").exists()
    assert not half.exists()
    assert found.list()[0]["text"]


def test_what_goes_wrong_is_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full, or a directory that has gone, is no trouble of who is observed."""
    monkeypatch.setattr(os, "open", _full)
    with caplog.at_level(logging.WARNING, "backstay.recorder"):
        found = made(tmp_path, 1)
    monkeypatch.undo()
    assert found.statistics().failed == 1
    assert "could not be written: No space left on device" in caplog.text
    assert list(tmp_path.iterdir()) == []


def _full(*_: object, **__: object) -> int:
    raise OSError(28, "No space left on device")


def test_the_lines_that_blocked_meanwhile_are_told(tmp_path: Path) -> None:
    """As they were last told of, and none from before."""

    async def main() -> None:
        backstay.install()
        with record("deadline", tmp_path, settle=0):
            loop_blocked.emit(BlockRecord("old.py:1", "old", 0.2, wall() - 100))
            began = wall() - 1
            for lasted, over in ((0.1, False), (0.4, True)):
                loop_blocked.emit(BlockRecord("pay.py:7", "charge", lasted, began, over))
            deadline_hit.emit(hit())

    asyncio.run(main())
    (file,) = tmp_path.iterdir()
    with file.open("rb") as packed:
        about = read_recording(packed, file.name).about
    assert [(one["site"], one["duration_s"]) for one in about["blocks"]] == [("pay.py:7", 0.4)]


def test_the_last_event_of_a_process_is_written_before_it_returns(tmp_path: Path) -> None:
    """Whoever ends the process waits for the file, and not for the seconds after the event."""

    async def main() -> None:
        backstay.install()
        with record("shutdown", tmp_path, settle=1000):
            shutdown_overrun.emit(ShutdownOverrun("too late", last=True))
            assert len(list(tmp_path.iterdir())) == 1

    asyncio.run(main())


def test_it_keeps_nothing_alive(tmp_path: Path) -> None:
    """Neither a task nor what its coroutine holds."""

    class Thing:
        pass

    async def main() -> None:
        backstay.install()
        thing = Thing()

        async def holds(held: Thing) -> None:
            with backstay.region("holds"):
                await asyncio.sleep(0)
            deadline_hit.emit(hit())

        with record("deadline", tmp_path, settle=0):
            task = asyncio.create_task(holds(thing))
            await task
            watched, gone = weakref.ref(task), weakref.ref(thing)
            del task, thing
            await asyncio.sleep(0)  # the step that the task has woken holds it
        gc.collect()
        assert watched() is None
        assert gone() is None

    asyncio.run(main())


def test_there_is_one_at_a_time(tmp_path: Path) -> None:
    """A second is refused; the recorder that was there stays, one of its own goes."""
    with record("deadline", tmp_path) as found:
        assert current_recordings() is found
        assert current_recorder() is not None
        with pytest.raises(UsageError, match="one at a time"), record("leak", tmp_path):
            pass
    assert current_recorder() is None
    assert current_recordings() is None
    with Recorder() as recorder:
        with record("deadline", tmp_path):
            assert current_recorder() is recorder
        assert recorder.attached


@pytest.mark.parametrize("wrong", [{"keep": 0}, {"every": -1}, {"last": 0}, {"settle": -1}])
def test_numbers_that_cannot_be_meant(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Are refused before anything is made."""
    with pytest.raises(ValueError, match="keep is 1 or more"):
        record("deadline", tmp_path / "kept", **wrong)
    assert not (tmp_path / "kept").exists()


def test_the_admin_plane_lists_and_serves_them(tmp_path: Path) -> None:
    """An index, each file as it is, and nothing else of the disk."""
    nothing = json.loads(answer("/v1/recordings").body)
    assert nothing["recordings"] == []
    assert "--record-on" in nothing["why"]
    assert answer("/v1/recordings/x").status == 409
    made(tmp_path, 1)
    with record("deadline", tmp_path):
        told = json.loads(answer("/v1/recordings").body)
        name = told["recordings"][0]["name"]
        assert told["triggers"] == ["deadline"]
        assert answer(f"/v1/recordings/{name}").body == (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        (tmp_path / name).symlink_to("/etc/passwd")
        for other in (name, "../x", "mine.txt", name.replace("deadline", "slow")):
            assert answer(f"/v1/recordings/{other}").status == 404


@pytest.mark.parametrize("cut", [0, 10, 100, 300])
def test_a_broken_file_is_refused(tmp_path: Path, cut: int) -> None:
    """Cut off anywhere, changed, or of something else: one sentence."""
    made(tmp_path, 1)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for body in (
        whole[:cut],
        gzip.compress(gzip.decompress(whole)[:cut]),
        gzip.compress(b'{"format": "other"}\n'),
        gzip.compress(b"[" * 100_000 + b"\n"),
    ):
        with pytest.raises(UsageError, match=r"it\.recording is not a recording of ours"):
            read_recording(io.BytesIO(body), "it.recording")
