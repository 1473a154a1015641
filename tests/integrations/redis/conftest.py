"""A private redis-server for each module of tests here, which may kill, hang and flush it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from local_servers import local_services, running


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run a redis-server; see its `RedisServer`."""
    yield from running(local_services.RedisServer(tmp_path_factory.mktemp("redis")))


@pytest.fixture
def redis_url(redis_server: Any) -> str:
    """Return the address of a server that runs, whatever the test before has done to it."""
    if not redis_server._alive():
        redis_server.start()
    return str(redis_server.url)
