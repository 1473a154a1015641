"""Alerts: what is read of a message, whose report it becomes, and where that is put."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from target_documents import END, look

from backstay.errors import TargetGone, UsageError
from backstay.observe.diagnose import (
    Alert,
    AlertQueue,
    Diagnosis,
    Shelf,
    judge,
    read_alerts,
    target_of,
)
from backstay.observe.diagnose._queue import MOST_WAITING, Full


def alert(name: str = "LoopBlocked", key: str = "0" * 12, **labels: str) -> Alert:
    return Alert(name, key, tuple(labels.items()))


# -- messages ----------------------------------------------------------------------


def test_alerts_that_fire_are_read() -> None:
    """Labels and annotations are kept; one that is resolved needs no report."""
    firing = {
        "status": "firing",
        "labels": {"alertname": "Piles", "job": "shop"},
        "annotations": {"summary": "many"},
        "fingerprint": "f1",
        "startsAt": "2026-01-01T00:00:00Z",
    }
    (read,) = read_alerts({"alerts": [firing, {**firing, "status": "resolved"}]})
    assert read.name == "Piles"
    assert read.words == (("alertname", "Piles"), ("job", "shop"), ("annotation summary", "many"))
    assert read_alerts({"alerts": [firing]})[0].key == read.key, "sent again"
    later = {**firing, "startsAt": "2026-01-02T00:00:00Z"}
    assert read_alerts({"alerts": [later]})[0].key != read.key, "fires anew"


def test_a_prometheus_posts_them_itself() -> None:
    """A list without a status: what is over says so by its time, as far as it can be read."""
    firing = {
        "labels": {"alertname": "Piles", "instance": "a:1"},
        "annotations": {"summary": "many"},
        "startsAt": "2026-01-01T00:00:00.123456789Z",
        "endsAt": "2999-01-01T00:00:00.5Z",
        "generatorURL": "http://prometheus.example/graph",
    }
    over = {**firing, "endsAt": "2026-01-01T00:00:00.123Z"}
    (read,) = read_alerts([firing, over])
    assert read.words[:2] == (("alertname", "Piles"), ("instance", "a:1"))
    (again,) = read_alerts([{**firing, "endsAt": "2999-01-01T00:01:00Z"}])
    assert again.key == read.key, "sent again, with another end"
    for odd in ("0001-01-01T00:00:00Z", "soon", "9999-99-99", 5, None):
        assert len(read_alerts([{**firing, "endsAt": odd}])) == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(json_values | st.fixed_dictionaries({"alerts": json_values | st.lists(json_values)}))
def test_no_message_breaks_the_reader(message: Any) -> None:
    """It is read or refused with a sentence; what is kept of it is bounded."""
    refused, read = "expected", list[Alert]()
    try:
        read = read_alerts(message)
    except ValueError as error:
        refused = str(error)
    assert refused.startswith("expected")
    assert all(len(one.key) == 12 and len(one.words) <= 64 for one in read)


def test_what_is_kept_of_a_message_is_bounded() -> None:
    """Sixty-four alerts of thirty-two labels with five hundred characters."""
    huge = {"labels": {f"l{n}": "x" * 10_000 for n in range(100)}}
    read = read_alerts({"alerts": [huge] * 100})
    assert len(read) == 64
    assert len(read[0].words) == 32
    assert max(len(text) for _, text in read[0].words) == 500


@pytest.mark.parametrize(
    ("labels", "target"),
    [
        ({"instance": "web-1", "job": "shop"}, "one.sock"),
        ({"instance": "web-9", "job": "shop"}, "all.sock"),
        ({"job": "bank"}, None),
        ({"instance": "/etc/passwd"}, None),
    ],
)
def test_the_target_comes_from_our_own_list(labels: dict[str, str], target: str | None) -> None:
    """The most exact label that names one of ours; never an address from the message."""
    ours = {"web-1": "one.sock", "shop": "all.sock"}
    assert target_of(alert(**labels), ours) == target
    assert target_of(alert(**labels), {"": "any.sock"}) == "any.sock"


# -- the line ------------------------------------------------------------------------


class Surveys:
    """Surveys that end when they are let, and note whom they looked at."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.running = 0
        self.began = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.error: Exception | None = None

    def __call__(self, target: str, wait: Callable[[float], bool]) -> Diagnosis | None:
        self.running += 1
        assert self.running == 1, "one at a time"
        self.seen.append(target)
        self.began.release()
        while not self.go.acquire(timeout=0.01):
            if wait(0):
                return None
        self.running -= 1
        if self.error is not None:
            raise self.error
        return judge(look(), look(END), target=target)


@pytest.fixture
def surveys() -> Surveys:
    return Surveys()


def wait_for(path: Path, count: int) -> list[Path]:
    """Wait until so many reports are there."""
    pause = threading.Event()
    for _ in range(500):
        found = sorted(path.glob("*.txt"))
        if len(found) >= count:
            return found
        pause.wait(0.01)
    raise AssertionError(f"{len(found)} reports and not {count}")


def test_alerts_about_one_target_share_a_look(surveys: Surveys, tmp_path: Path) -> None:
    """Each gets its own report; those that came too late for the look get the next one."""
    queue = AlertQueue({"": "x", "b": "y"}, surveys, Shelf(tmp_path, 100))
    queue.start()
    assert queue.add([alert("A", "a" * 12)]) == 1
    surveys.began.acquire()
    assert queue.add([alert("B", "b" * 12), alert("C", "c" * 12)]) == 2
    assert queue.add([alert("D", "d" * 12, job="b"), alert("A", "a" * 12)]) == 1
    for _ in range(3):
        surveys.go.release()
    assert [path.name[17:] for path in wait_for(tmp_path, 4)] == [
        f"{name.upper()}-{name * 12}.txt" for name in "abcd"
    ]
    queue.stop()
    assert surveys.seen == ["x", "x", "y"]


def test_the_end_cuts_a_look_short(surveys: Surveys, tmp_path: Path) -> None:
    """Nobody waits for half a minute, and no half report is left."""
    queue = AlertQueue({"": "x"}, surveys, Shelf(tmp_path, 100))
    queue.start()
    queue.add([alert()])
    surveys.began.acquire()
    queue.stop()
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_is_gone_is_an_answer(
    surveys: Surveys, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is written down, and the alert may ask again; a bug of ours is logged and the next one served."""
    caplog.set_level(logging.CRITICAL, "backstay.diagnose")
    queue = AlertQueue({"": "x"}, surveys, Shelf(tmp_path, 100))
    queue.start()
    surveys.error = TargetGone("no process with pid 7")
    assert queue.add([alert("A", "a" * 12)]) == 1
    surveys.go.release()
    (path,) = wait_for(tmp_path, 1)
    assert path.read_text() == "No diagnosis for A: no process with pid 7\n"
    assert queue.add([alert("A", "a" * 12)]) == 1
    surveys.error = RuntimeError("a bug")
    surveys.go.release()
    surveys.began.acquire()
    surveys.began.acquire()
    assert queue.add([alert("B", "b" * 12)]) == 1
    surveys.began.acquire()
    surveys.error = None
    surveys.go.release()
    assert len(wait_for(tmp_path, 2)) == 2
    queue.stop()


def test_too_many_alerts_are_refused_as_a_whole(surveys: Surveys, tmp_path: Path) -> None:
    """Alertmanager sends them again; none was taken, so none is lost then."""
    queue = AlertQueue({"": "x"}, surveys, Shelf(tmp_path, 100))
    keys = [f"{number:012x}" for number in range(MOST_WAITING + 1)]
    with pytest.raises(Full):
        queue.add([alert(key=key) for key in keys])
    assert queue.add([alert(key=key) for key in keys[1:]]) == MOST_WAITING
    with pytest.raises(Full):
        queue.add([alert(key=keys[0])])


def test_an_alert_without_a_target_needs_no_report(surveys: Surveys, tmp_path: Path) -> None:
    """It is logged once."""
    queue = AlertQueue({"shop": "x"}, surveys, Shelf(tmp_path, 100))
    assert queue.add([alert(job="bank")]) == 0


# -- the shelf ------------------------------------------------------------------------


def test_the_oldest_reports_go(tmp_path: Path) -> None:
    """What others have put there stays."""
    shelf = Shelf(tmp_path / "new" / "shelf", keep=2)
    assert (tmp_path / "new" / "shelf").stat().st_mode & 0o077 == 0
    (shelf.path / "notes.txt").write_text("mine")
    for hour in range(4):
        shelf.put(alert(), judge(look(), look(hour * 3_600.0)))
    left = {path.name[:16] for path in shelf.path.iterdir()}
    assert left == {"19700101T020000Z", "19700101T030000Z", "notes.txt"}
    assert len(list(shelf.path.iterdir())) == 7


@given(st.text(max_size=100))
def test_no_name_of_an_alert_leaves_the_directory(name: str) -> None:
    """It is whatever a message said."""
    import tempfile

    with tempfile.TemporaryDirectory() as room:
        shelf = Shelf(Path(room), keep=3)
        path = shelf.put_failure(alert(name or ".."), 0.0, "why")
        assert path.parent == Path(room)
        assert [one.name for one in Path(room).iterdir()] == [path.name]
        shelf._keep = 1
        later = shelf.put_failure(alert(name), 9.0, "why")
        assert [one.name for one in Path(room).iterdir()] == [later.name]


def test_a_place_that_cannot_be_used_is_a_wrong_use(tmp_path: Path) -> None:
    """The error names the flag."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="name another with --out"):
        Shelf(tmp_path / "file", 1)
