"""A PostgreSQL and a Redis of our own for the pools behind gates."""

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


def _run(server: Any) -> Iterator[str]:
    try:
        server.start()
    except local_services.Missing as missing:
        if os.environ.get("BACKSTAY_REQUIRE_SERVICES") == "1":
            pytest.fail(f"BACKSTAY_REQUIRE_SERVICES=1, and {missing}", pytrace=False)
        pytest.skip(f"no real {server.name}: {missing}")
    try:
        yield str(server.url)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a PostgreSQL, as `scripts/services` does."""
    yield from _run(local_services.PostgresServer(tmp_path_factory.mktemp("postgres") / "pg"))


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a redis-server, as `scripts/services` does."""
    yield from _run(local_services.RedisServer(tmp_path_factory.mktemp("redis")))
