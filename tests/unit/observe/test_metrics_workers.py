"""Workers found by their sockets, and read as one page."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from backstay.observe.admin import AdminServer, default_directory
from backstay.observe.metrics import Collector
from backstay.observe.workers import _siblings as module
from backstay.observe.workers import gather, scrape_workers, siblings


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give this process a runtime directory of its own."""
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return default_directory()


def values(families: object) -> dict[tuple[str, ...], float]:
    return {
        (family.name, *(value for _, value in row.labels)): row.value
        for family in families  # type: ignore[attr-defined]
        for row in family.samples
    }


def test_this_process_is_its_own_sibling(runtime: Path) -> None:
    """Its socket is there, and those of strangers and of processes that are gone are not counted."""
    assert siblings() == []
    with AdminServer(leak_interval=0) as plane:
        (runtime / "1.sock").touch()
        (runtime / "4194305.sock").touch()
        (runtime / "other.sock").touch()
        (runtime / "note.txt").touch()
        assert siblings() == [Path(plane.address)]


def test_a_child_is_no_sibling(runtime: Path) -> None:
    """It has another parent: a helper process is not a worker."""
    script = (
        "from backstay.observe.admin import AdminServer\n"
        "with AdminServer(leak_interval=0): print('up', flush=True); input()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        assert (runtime / f"{child.pid}.sock").exists()
        assert siblings() == []
    finally:
        child.communicate(b"\n", timeout=10)


def test_without_proc_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other systems do not tell whose child a process is; there, the sockets are named."""

    def absent(*_: object) -> object:
        raise FileNotFoundError

    monkeypatch.setattr(module, "open", absent, raising=False)
    assert siblings() == []


def test_a_worker_that_does_not_answer_is_counted(runtime: Path, tmp_path: Path) -> None:
    """The page is of those who answer; the silent ones are a figure to alert on."""
    with AdminServer(leak_interval=0) as plane:
        found = values(gather([plane.address, tmp_path / "gone.sock"]))
    assert found["backstay_workers",] == 1
    assert found["backstay_workers_silent",] == 1
    assert found["backstay_process_threads", str(os.getpid())] >= 1


def test_who_answers_reads_itself_without_its_socket(runtime: Path) -> None:
    """So it is on its page once, whether it has a plane or not."""
    own = Collector()
    with AdminServer(leak_interval=0) as plane:
        _, text = scrape_workers([plane.address], own=own, accept="application/openmetrics-text")
    rows = [
        row
        for family in text_string_to_metric_families(text.decode())
        for row in family.samples
        if row.name == "backstay_metrics_scrapes_total"
    ]
    assert [(row.labels, row.value) for row in rows] == [({"worker": str(os.getpid())}, 1)]
    assert values(gather([], own=own))["backstay_workers",] == 1
