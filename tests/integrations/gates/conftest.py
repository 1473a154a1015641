"""A PostgreSQL and a Redis of our own for the pools behind gates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from local_servers import local_services, running


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run a PostgreSQL; see its `PostgresServer`."""
    yield from running(local_services.PostgresServer(tmp_path_factory.mktemp("postgres") / "pg"))


@pytest.fixture
def postgres_url(postgres: Any) -> str:
    """Return its address."""
    return str(postgres.url)


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run a redis-server; see its `RedisServer`."""
    yield from running(local_services.RedisServer(tmp_path_factory.mktemp("redis")))


@pytest.fixture
def redis_url(redis_server: Any) -> str:
    """Return its address."""
    return str(redis_server.url)
