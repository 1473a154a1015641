"""Real servers, one of its own for each module of tests that asks, which may kill and hang it."""

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
    return _address_of(redis_server)


@pytest.fixture(scope="module")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run a nats-server that keeps its streams on disk."""
    yield from running(local_services.NatsServer(tmp_path_factory.mktemp("nats")))


@pytest.fixture
def nats_url(nats_server: Any) -> str:
    """Return the address of a server that runs, whatever the test before has done to it."""
    return _address_of(nats_server)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run a PostgreSQL."""
    yield from running(
        local_services.PostgresServer(tmp_path_factory.mktemp("postgres") / "server")
    )


@pytest.fixture(scope="module")
def etcd_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run three members of etcd; see `EtcdCluster`."""
    yield from running(local_services.EtcdCluster(tmp_path_factory.mktemp("etcd")))


def _address_of(server: Any) -> str:
    if not server.alive():
        server.start()
    return str(server.url)
