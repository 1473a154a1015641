"""A processor profile of a real process opens in a real speedscope, in a real browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from local_servers import local_services
from static_site import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def speedscope() -> Path:
    """Have the viewer, or skip."""
    from local_speedscope import speedscope_folder

    try:
        return speedscope_folder()
    except local_services.Missing as missing:
        if os.environ.get("BACKSTAY_REQUIRE_SERVICES") == "1":
            pytest.fail(f"BACKSTAY_REQUIRE_SERVICES=1, and {missing}", pytrace=False)
        pytest.skip(f"no speedscope: {missing}")


@pytest.fixture
def site(speedscope: Path, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Serve a copy of the viewer, with room for a file beside it."""
    folder = tmp_path / "site"
    shutil.copytree(speedscope, folder)
    with serving(folder) as url:
        yield url, folder


def test_a_cpu_profile_opens_in_speedscope(
    browser: Browser, watched: Any, site: tuple[str, Path]
) -> None:
    """The file that the command writes is read there, and its frames are listed."""
    url, folder = site
    words = ["profile", str(watched.pid), "--seconds", "2", "-o", str(folder / "cpu.pb.gz")]
    subprocess.run(
        [sys.executable, "-m", "backstay", *words],
        env=watched.environment,
        check=True,
        capture_output=True,
        timeout=60,
    )
    page = browser.page()
    page.goto(f"{url}/index.html#profileURL=/cpu.pb.gz")
    page.until("document.title.startsWith('cpu.pb.gz')")
    page.sees("Left Heavy")
    page.key("3")  # the sandwich view is a table, in text
    page.sees("rank_orders")
    assert page.complaints == []
    page.close()
