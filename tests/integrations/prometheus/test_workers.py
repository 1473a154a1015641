"""Two real workers of uvicorn on one port: each scrape shows both, whoever answers it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local_servers import local_services
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.slow


def get(port: int, path: str) -> str:
    """Ask over a connection of its own, so that any worker may answer."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return str(answer.read().decode())


def rows(port: int, name: str) -> dict[tuple[str, ...], float]:
    """Scrape, and return the rows of a metric by their labels, the worker first."""
    return {
        tuple(row.labels.values()): row.value
        for family in text_string_to_metric_families(get(port, "/metrics/"))
        for row in family.samples
        if row.name == name
    }


def until(met: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            if met():
                return
        except OSError:
            pass  # it does not listen yet
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Run two workers, with a runtime directory of their own."""
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    free = local_services.free_port()
    words = [sys.executable, "-m", "uvicorn", "worker_app:app", "--workers", "2"]
    words += ["--port", str(free), "--app-dir", str(Path(__file__).parent)]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(runtime)}
    process = subprocess.Popen(
        [*words, "--log-level", "warning"], env=environment, start_new_session=True
    )
    try:
        yield free
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        finally:
            os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None


def test_every_scrape_shows_every_worker(port: int) -> None:
    """Counters of each worker are its own and never fall; one that dies goes from the page, the other stays."""
    until(lambda: rows(port, "backstay_workers") == {(): 2})
    served: Counter[str] = Counter()
    before: dict[tuple[str, ...], float] = {}
    for _ in range(20):
        served.update(get(port, "/work") for _ in range(5))
        found = rows(port, "backstay_policy_calls_total")
        assert {labels[0] for labels in found} >= set(served)
        assert all(found[labels] >= value for labels, value in before.items())
        before = found
    by_worker = {worker: n for (worker, _, outcome), n in before.items() if outcome == "ok"}
    assert len(by_worker) == 2
    assert by_worker == {worker: served[worker] for worker in by_worker}, (
        "all is counted, and nothing twice"
    )
    victim, other = sorted(by_worker)
    os.kill(int(victim), signal.SIGKILL)
    until(lambda: victim not in {worker for worker, *_ in rows(port, "backstay_ready")})
    until(lambda: rows(port, "backstay_workers") == {(): 2})  # uvicorn has started another
    found = rows(port, "backstay_policy_calls_total")
    assert found[other, "work", "ok"] == served[other]
    assert victim not in {worker for worker, *_ in found}
