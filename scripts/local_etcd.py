"""A cluster of three etcd nodes of our own, each of which can be killed, hung and brought back.

Heartbeats are 100 ms and elections 1000 ms, the defaults of etcd: a killed leader costs a second or two.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local_packages import unpacked
from local_server import LocalServer, free_port, says

__all__ = ["EtcdCluster", "EtcdNode", "etcd_program"]

OLDEST = (3, 4, 0)
# Members that are killed under load can lose what they have acknowledged: etcd issue 13766.
LOSES_WRITES = ((3, 5, 0), (3, 5, 2))
HEARTBEAT_MS, ELECTION_MS = 100, 1000
QUORUM_S = 20.0  # until three processes have met and elected; 0.3 s to 3 s are usual


def etcd_program() -> tuple[str, dict[str, str]]:
    """Return the path of an etcd that keeps what it acknowledges, and the environment for it.

    Raises:
        Missing: there is none, and none can be fetched.
    """
    # What ETCD_… variables say, for instance those of a cluster of this machine, would win silently.
    environment = {name: at for name, at in os.environ.items() if not name.startswith("ETCD_")}
    found = shutil.which("etcd")
    why = "etcd is not on PATH"
    if found:
        said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
        why = f"{found} {wrong_version(said.stdout) or ''}"
        if not wrong_version(said.stdout):
            return found, environment
    root = unpacked("etcd-server", "etcd", why, alone=True)
    return str(root / "usr/bin/etcd"), environment


def wrong_version(said: str) -> str | None:
    """Return why an etcd will not do, or None.

    Args:
        said: what `etcd --version` has printed.
    """
    match = re.search(r"etcd Version: (\d+)\.(\d+)\.(\d+)", said)
    if match is None:
        return f"does not tell its version ({said.strip()[:40]!r})"
    version = (int(match[1]), int(match[2]), int(match[3]))
    name = ".".join(str(number) for number in version)
    if version < OLDEST:
        return f"is version {name}, and 3.4 is the oldest that will do"
    if LOSES_WRITES[0] <= version <= LOSES_WRITES[1]:
        return f"is version {name}, which can lose acknowledged writes when it is killed"
    return None


class EtcdNode(LocalServer):
    """One member of a cluster; what it has written it keeps over kills.

    Attributes:
        node: its name within the cluster.
        peer_port: where the other members find it.
        cluster: all members, as etcd wants to read it; set before the first start.
    """

    name = "etcd"
    program_name = "etcd"

    def __init__(self, home: Path, node: str, peer_port: int) -> None:
        """Describe it; nothing runs yet."""
        super().__init__(home)
        self.node = node
        self.peer_port = peer_port
        self.cluster = ""

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    def program(self) -> tuple[str, dict[str, str]]:
        """Return an etcd."""
        return etcd_program()

    def options(self, port: int) -> list[str]:
        """Meet the others; all addresses are of the loopback."""
        clients, peers = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{self.peer_port}"
        settings = {
            "name": self.node,
            "data-dir": str(self.home / "data"),
            "listen-client-urls": clients,
            "advertise-client-urls": clients,
            "listen-peer-urls": peers,
            "initial-advertise-peer-urls": peers,
            "initial-cluster": self.cluster,
            "initial-cluster-state": "new",
            "heartbeat-interval": HEARTBEAT_MS,
            "election-timeout": ELECTION_MS,
            "logger": "zap",
        }
        return [f"--{name}={value}" for name, value in settings.items()]

    def answers(self, port: int) -> bool:
        """Tell whether it listens; it may yet be without a leader, see `healthy`."""
        return says(port, b"", b"")

    def healthy(self) -> bool:
        """Tell whether it can answer with what a majority agrees upon."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=1) as answer:
                return json.load(answer).get("health") == "true"
        except (OSError, ValueError):
            return False

    def status(self) -> dict[str, Any] | None:
        """Return what it says of itself: its member id, its leader, its term; None when it is away."""
        request = urllib.request.Request(f"{self.url}/v3/maintenance/status", b"{}")
        try:
            with urllib.request.urlopen(request, timeout=1) as answer:
                said: dict[str, Any] = json.load(answer)
                return said
        except (OSError, ValueError):
            return None


class EtcdCluster:
    """Three members of our own.

    Attributes:
        home: the folder of their folders; removed when the cluster stops.
        nodes: the members, each a server that can be killed, hung and started again.
    """

    name = "etcd"

    def __init__(self, home: Path, size: int = 3) -> None:
        """Describe it; nothing runs yet."""
        self.home = home
        names = [f"n{number}" for number in range(1, size + 1)]
        self.nodes = [EtcdNode(home / name, name, 0) for name in names]

    @property
    def endpoints(self) -> list[str]:
        """Where clients find the members: "host:port" of each."""
        return [f"127.0.0.1:{node.port}" for node in self.nodes]

    @property
    def url(self) -> str:
        """All addresses, divided by commas."""
        return ",".join(self.endpoints)

    @property
    def pids(self) -> str:
        """The processes, for people to read."""
        return ", ".join(str(node.pid or 0) for node in self.nodes)

    def start(self, *, outlive: bool = False) -> None:
        """Start those members that do not run, and wait until all answer for a majority.

        Raises:
            Missing: there is no etcd to be had.
            RuntimeError: they do not come to an agreement.
        """
        if not any(node.peer_port for node in self.nodes):
            for node in self.nodes:
                node.peer_port = free_port()
            members = [f"{node.node}=http://127.0.0.1:{node.peer_port}" for node in self.nodes]
            for node in self.nodes:
                node.cluster = ",".join(members)
        for node in self.nodes:
            if not node.alive():
                node.start(outlive=outlive)
        self.wait()

    def wait(self) -> None:
        """Wait until every member answers for a majority.

        Raises:
            RuntimeError: one does not.
        """
        until = time.monotonic() + QUORUM_S
        while sick := [node.node for node in self.nodes if not node.healthy()]:
            if time.monotonic() > until:
                raise RuntimeError(
                    f"etcd: {', '.join(sick)} did not become healthy within {QUORUM_S:g} s; "
                    f"the logs are in {self.home}"
                )
            time.sleep(0.05)

    def leader(self) -> EtcdNode:
        """Return the member which a member that answers calls its leader, once there is one.

        Raises:
            RuntimeError: none answers and has a leader.
        """
        until = time.monotonic() + QUORUM_S
        while time.monotonic() < until:
            said = {node.node: status for node in self.nodes if (status := node.status())}
            for status in said.values():
                for node in self.nodes:
                    its = said.get(node.node, {}).get("header", {}).get("member_id")
                    if its is not None and its == status.get("leader"):
                        return node
            time.sleep(0.05)
        raise RuntimeError(f"etcd: no member has a leader; the logs are in {self.home}")

    def heal(self) -> None:
        """Let all that hang go on, start all that are away, and wait until all is well."""
        for node in self.nodes:
            if node.alive():
                node.send(signal.SIGCONT)
        self.start()

    def stop(self) -> None:
        """End all members, whatever state they are in, and remove what they have written."""
        for node in self.nodes:
            node.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def addresses(self) -> dict[str, str | int]:
        """Return what clients may want to know, and what `resume` needs."""
        found: dict[str, str | int] = {"url": self.url}
        for node in self.nodes:
            found[f"{node.node}_pid"] = node.pid or 0
            found[f"{node.node}_port"] = node.port
            found[f"{node.node}_peer_port"] = node.peer_port
        return found

    def resume(self, where: Mapping[str, str | int]) -> bool:
        """Take over what an earlier command has started; False when not all of it lives.

        Args:
            where: what its `addresses` said then.
        """
        lives = []
        for node in self.nodes:
            mine = {key: where.get(f"{node.node}_{key}", 0) for key in ("pid", "port")}
            node.peer_port = int(where.get(f"{node.node}_peer_port", 0))
            lives.append(node.resume(mine))
        return all(lives)
