"""`scripts/services`: real servers on ports of our own, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[3] / "scripts"


def services(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command with a folder of its own, and the packages of the repository."""
    return subprocess.run(
        [sys.executable, str(SCRIPTS / "local_services.py"), *words],
        env={**os.environ, "BACKSTAY_SERVICES_DIR": str(folder), **variables},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path, redis_server: Any) -> Path:
    """A services folder that has the unpacked packages, if the machine needs them."""
    packages = SCRIPTS.parent / ".services" / "packages"
    made = tmp_path / "services"
    made.mkdir()
    if packages.is_dir():
        (made / "packages").symlink_to(packages)
    return made


def test_start_tells_where_and_stop_leaves_nothing(folder: Path) -> None:
    """Addresses are written, a second start changes nothing, and the server is gone afterwards."""
    try:
        assert services(folder, "start").returncode == 0
        where = json.loads((folder / "addresses.json").read_text())["redis"]
        assert f"BACKSTAY_REDIS_URL={where['url']}\n" in (folder / "addresses.env").read_text()
        with socket.create_connection(("127.0.0.1", where["port"]), timeout=5) as client:
            client.sendall(b"CONFIG GET save\r\n")
            assert b"save\r\n$0" in client.recv(100), "nothing is written to disk"
        again = services(folder, "start", "redis")
        assert where["url"] in again.stdout
        assert services(folder, "status").returncode == 0
        os.kill(where["pid"], signal.SIGSTOP)  # one that hangs is stopped as well
    finally:
        assert services(folder, "stop").returncode == 0
    assert services(folder, "status").returncode == 1
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", where["port"]), timeout=5)
    assert sorted(path.name for path in folder.iterdir() if path.name != "packages") == ["lock"]


def listens(port: int) -> bool:
    """Tell whether anybody is there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_cluster_of_which_a_part_has_died_is_started_anew(folder: Path) -> None:
    """NATS and three etcd members run side by side; nothing of the old cluster is left."""
    try:
        assert services(folder, "start", "nats", "etcd").returncode == 0
        before = json.loads((folder / "addresses.json").read_text())
        assert before["nats"]["url"].startswith("nats://127.0.0.1:")
        assert len(before["etcd"]["url"].split(",")) == 3
        os.kill(before["etcd"]["n2_pid"], signal.SIGKILL)
        assert services(folder, "status", "etcd").returncode == 1
        assert services(folder, "start", "etcd").returncode == 0
        after = json.loads((folder / "addresses.json").read_text())
        assert not listens(before["etcd"]["n1_port"])
        assert services(folder, "status", "nats", "etcd").returncode == 0
    finally:
        assert services(folder, "stop", "nats", "etcd").returncode == 0
    assert not any(listens(after["etcd"][f"n{number}_port"]) for number in (1, 2, 3))


def test_without_a_server_and_without_apt_it_says_what_to_do(tmp_path: Path) -> None:
    """One line, the cure, and exit code 2."""
    done = services(tmp_path / "services", "start", PATH=str(tmp_path))
    assert done.returncode == 2
    assert "no apt-get" in done.stderr
    assert "put redis-server on PATH" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_name_that_is_not_known_is_refused(tmp_path: Path) -> None:
    """With the names that are."""
    done = services(tmp_path / "services", "start", "memcached")
    assert done.returncode == 2
    assert "there are: redis" in done.stderr


def test_a_server_that_was_killed_comes_back_on_its_port(redis_server: Any) -> None:
    """As a client that reconnects needs it."""
    before = redis_server.url
    redis_server.kill()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", redis_server.port), timeout=5)
    redis_server.start()
    assert redis_server.url == before
