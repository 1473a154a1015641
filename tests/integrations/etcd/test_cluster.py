"""The cluster that the tests run on: it loses members, and nothing that it has acknowledged."""

from __future__ import annotations

import base64
import json
import signal
import sys
import urllib.error
import urllib.request
from typing import Any

import pytest
from local_servers import local_services

local_etcd = sys.modules[local_services.EtcdCluster.__module__]


def ask(node: Any, method: str, **fields: str) -> dict[str, Any]:
    """Ask a member through its JSON door."""
    body = {name: base64.b64encode(text.encode()).decode() for name, text in fields.items()}
    request = urllib.request.Request(f"{node.url}/v3/kv/{method}", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return dict(json.load(answer))


def test_a_member_that_was_killed_comes_back_with_what_it_knew(cluster: Any) -> None:
    """On its port, from its own disk, and the others went on without it."""
    leader = cluster.leader()
    ask(leader, "put", key="a", value="1")
    url, term = leader.url, int(leader.status()["raftTerm"])
    leader.kill()
    with pytest.raises(urllib.error.URLError):
        ask(leader, "range", key="a")
    heir = cluster.leader()
    assert heir is not leader
    ask(heir, "put", key="b", value="2")
    leader.start()
    cluster.wait()
    assert leader.url == url
    assert int(leader.status()["raftTerm"]) > term
    assert [ask(leader, "range", key=key)["count"] for key in "ab"] == ["1", "1"]


def test_a_leader_that_hangs_is_replaced(cluster: Any) -> None:
    """And follows the new one when it goes on."""
    leader = cluster.leader()
    leader.send(signal.SIGSTOP)
    heir = cluster.leader()
    assert heir is not leader
    leader.send(signal.SIGCONT)
    cluster.wait()
    assert cluster.leader() is not None
    assert leader.status()["leader"] != leader.status()["header"]["member_id"]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("etcd Version: 3.4.23\nGit SHA: x", None),
        ("etcd Version: 3.5.6\n", None),
        ("etcd Version: 3.5.1\n", "lose acknowledged writes"),
        ("etcd Version: 3.3.25\n", "3.4 is the oldest"),
        ("bash: etcd: what?", "does not tell its version"),
    ],
)
def test_an_etcd_that_loses_writes_is_refused(said: str, why: str | None) -> None:
    """Tests on it would accuse the client of what the server has lost."""
    verdict = local_etcd.wrong_version(said)
    assert (verdict is None) if why is None else (why in verdict)
