"""A cluster that is well at the begin of each test."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def cluster(etcd_cluster: Any) -> Any:
    """Return a cluster that is well, whatever the test before has done to it."""
    etcd_cluster.heal()
    return etcd_cluster
