"""Servers of our own for a module of tests, as `scripts/services` runs them."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

__all__ = ["local_services", "running", "start_again"]

_SCRIPT = Path(__file__).parents[2] / "scripts" / "local_services.py"


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("local_services", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


local_services = _load()


def running(server: Any) -> Iterator[Any]:
    """Run a server for as long as a fixture lasts; skip where it cannot be had, unless it must be."""
    try:
        server.start()
    except local_services.Missing as missing:
        if os.environ.get("BACKSTAY_REQUIRE_SERVICES") == "1":
            pytest.fail(f"BACKSTAY_REQUIRE_SERVICES=1, and {missing}", pytrace=False)
        pytest.skip(f"no real {server.name}: {missing}")
    try:
        yield server
    finally:
        server.stop()


def start_again(server: Any) -> None:
    """Start one that was killed; what it had forked needs a moment to notice."""
    until = time.monotonic() + 20
    while True:
        try:
            server.start()
            return
        except RuntimeError:
            if time.monotonic() > until:
                raise
