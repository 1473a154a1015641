"""A Redis that has after a kill what it had before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from local_servers import local_services, running


class DurableRedis(local_services.RedisServer):  # type: ignore[misc, name-defined]
    """A redis-server that appends everything to a file."""

    def options(self, port: int) -> list[str]:
        """Append everything to a file, which the kernel has even when the server is killed."""
        words = super().options(port)
        words[words.index("--appendonly") + 1] = "yes"
        return [str(word) for word in words]


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run a redis-server that keeps what it has acknowledged."""
    yield from running(DurableRedis(tmp_path_factory.mktemp("redis")))
