"""A private redis-server for each module of tests here, which may kill, hang and flush it."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_SCRIPT = Path(__file__).parents[3] / "scripts" / "local_services.py"


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("local_services", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


local_services = _load()


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run a redis-server, as `scripts/services` does; see its `RedisServer`."""
    server = local_services.RedisServer(tmp_path_factory.mktemp("redis"))
    try:
        server.start()
    except local_services.Missing as missing:
        if os.environ.get("BACKSTAY_REQUIRE_SERVICES") == "1":
            pytest.fail(f"BACKSTAY_REQUIRE_SERVICES=1, and {missing}", pytrace=False)
        pytest.skip(f"no real Redis: {missing}")
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def redis_url(redis_server: Any) -> str:
    """Return the address of a server that runs, whatever the test before has done to it."""
    if not redis_server._alive():
        redis_server.start()
    return str(redis_server.url)
