"""A folder with the guide's service in it, beside the servers that it needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adopted import Adopted


@pytest.fixture
def adopted(
    tmp_path: Path, postgres: Any, redis_server: Any, nats_server: Any
) -> Iterator[Adopted]:
    """Provide empty tables and an empty stream; whatever was started is killed at the end."""
    (tmp_path / "runtime").mkdir(mode=0o700)
    made = Adopted(tmp_path, postgres.url, redis_server.url, nats_server.url)
    made.prepare()
    yield made
    made.kill()
