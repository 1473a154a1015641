"""The kinds of server that are one process: Redis, Prometheus, PostgreSQL and NATS."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Sequence
from pathlib import Path

from local_packages import Missing, unpacked, with_libraries
from local_server import LocalServer, says

__all__ = ["NatsServer", "PostgresServer", "PrometheusServer", "RedisServer", "promtool_program"]

OLDEST_REDIS = 7


def redis_program() -> tuple[str, dict[str, str]]:
    """Return the path of a redis-server that is new enough, and the environment that it needs.

    Raises:
        Missing: there is none, and none can be fetched.
    """
    found = shutil.which("redis-server")
    why = "redis-server is not on PATH"
    if found:
        said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
        version = re.search(r"v=(\d+)", said.stdout)
        if version and int(version[1]) >= OLDEST_REDIS:
            return found, dict(os.environ)
        why = f"{found} is older than Redis {OLDEST_REDIS} ({said.stdout.strip()[:40]})"
    root = unpacked("redis-server", "redis", why)
    return str(root / "usr/bin/redis-server"), with_libraries(root)


def prometheus_program() -> tuple[str, dict[str, str]]:
    """Return the path of a prometheus, and the environment that it needs.

    Raises:
        Missing: there is none, and none can be fetched.
    """
    found = shutil.which("prometheus")
    if found:
        return found, dict(os.environ)
    # The program needs nothing; what its package asks for is its pages, ten times as large.
    root = unpacked("prometheus", "prometheus", "prometheus is not on PATH", alone=True)
    return str(root / "usr/bin/prometheus"), dict(os.environ)


def promtool_program() -> str:
    """Return the path of the promtool that comes with prometheus.

    Raises:
        Missing: there is none, and none can be fetched.
    """
    found = shutil.which("promtool")
    if found:
        return found
    root = unpacked("prometheus", "prometheus", "promtool is not on PATH", alone=True)
    return str(root / "usr/bin/promtool")


def postgres_programs() -> tuple[Path, dict[str, str]]:
    """Return the folder of postgres and initdb, and the environment that they need.

    Raises:
        Missing: there is none, and none can be fetched.
    """
    found = shutil.which("postgres")
    # Debian keeps them off PATH.
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if found or homes:
        return Path(found or homes[-1]).parent, dict(os.environ)
    root = unpacked("postgresql", "postgresql", "postgres is not on PATH")
    return next(root.glob("usr/lib/postgresql/*/bin")), with_libraries(root)


def nats_program() -> tuple[str, dict[str, str]]:
    """Return the path of a nats-server, and the environment that it needs.

    Raises:
        Missing: there is none, and none can be fetched.
    """
    found = shutil.which("nats-server")
    if not found:
        why = "nats-server is not on PATH"
        root = unpacked("nats-server", "nats-server", why, alone=True)
        found = str(root / "usr/sbin/nats-server")
    return found, dict(os.environ)


class RedisServer(LocalServer):
    """One redis-server of our own."""

    name = "redis"
    program_name = "redis-server"

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def program(self) -> tuple[str, dict[str, str]]:
        """Return a redis-server."""
        return redis_program()

    def options(self, port: int) -> list[str]:
        """Keep nothing on disk."""
        words = f"--bind 127.0.0.1 --port {port} --appendonly no --daemonize no".split()
        return [*words, "--save", "", "--dir", str(self.home)]

    def answers(self, port: int) -> bool:
        """Tell whether it answers a PING."""
        return says(port, b"PING\r\n", b"+PONG")


class PrometheusServer(LocalServer):
    """One prometheus of our own; what it has scraped goes when it stops.

    Attributes:
        targets: "host:port" of each exporter that it scrapes.
        interval: seconds between two scrapes, and between two looks at the rules.
        rules: files of rules that it follows.
        alertmanagers: "host:port" of each that is told of alerts.
    """

    name = "prometheus"
    program_name = "prometheus"

    def __init__(
        self,
        home: Path,
        targets: Sequence[str] = (),
        interval: float = 0.5,
        rules: Sequence[Path] = (),
        alertmanagers: Sequence[str] = (),
    ) -> None:
        """Describe it; nothing runs yet."""
        super().__init__(home)
        self.targets = targets
        self.interval = interval
        self.rules = rules
        self.alertmanagers = alertmanagers

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    def program(self) -> tuple[str, dict[str, str]]:
        """Return a prometheus."""
        return prometheus_program()

    def options(self, port: int) -> list[str]:
        """Write what it scrapes, and where it listens."""
        pause = f"{round(self.interval * 1000)}ms"
        settings = {
            "global": {"scrape_interval": pause, "evaluation_interval": pause},
            "rule_files": [str(path) for path in self.rules],
            "alerting": {
                "alertmanagers": [{"static_configs": [{"targets": list(self.alertmanagers)}]}]
            },
            "scrape_configs": [
                {"job_name": "targets", "static_configs": [{"targets": list(self.targets)}]}
            ],
        }
        path = self.home / "prometheus.yml"
        path.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML, too
        return [
            f"--config.file={path}",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--storage.tsdb.path={self.home / 'data'}",
            "--storage.tsdb.retention.time=1h",
            "--enable-feature=exemplar-storage",
        ]

    def answers(self, port: int) -> bool:
        """Tell whether it is ready for queries."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=0.5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False


class PostgresServer(LocalServer):
    """One PostgreSQL of our own, which forgets everything; whoever connects is "tester"."""

    name = "postgres"
    program_name = "postgres"

    def __init__(self, home: Path) -> None:
        """Describe it; nothing runs yet."""
        if os.geteuid() == 0:  # it runs as nobody, who may not enter the folders of root
            mark = zlib.crc32(str(home.resolve()).encode())
            home = Path(tempfile.gettempdir()) / f"backstay-postgres-{mark:08x}"
        super().__init__(home)

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"postgresql://tester@127.0.0.1:{self.port}/postgres"

    def program(self) -> tuple[str, dict[str, str]]:
        """Return a postgres, by way of another user if we are root, as which it does not run."""
        folder, environment = postgres_programs()
        if os.geteuid() != 0:
            return str(folder / "postgres"), environment
        if not shutil.which("setpriv"):
            raise Missing("postgres does not run as root, and there is no setpriv to change user")
        return "setpriv", environment

    def options(self, port: int) -> list[str]:
        """Make an empty cluster, and run it without caring for what a crash would lose."""
        folder, environment = postgres_programs()
        data = self.home / "data"
        as_user: list[str] = []
        if os.geteuid() == 0:
            as_user = ["--reuid=nobody", "--regid=nogroup", "--clear-groups"]
            for path in (self.home, *self.home.iterdir()):
                shutil.chown(path, "nobody", "nogroup")
        if not data.exists():
            words = [str(folder / "initdb"), "-D", str(data), "-U", "tester", "-A", "trust", "-N"]
            words = ["setpriv", *as_user, *words] if as_user else words
            done = subprocess.run(
                words, env=environment, capture_output=True, text=True, cwd="/", check=False
            )
            if done.returncode:
                raise Missing(f"initdb failed in {self.home}: {done.stderr.strip()[-300:]}")
        settings = f"port={port} listen_addresses=127.0.0.1 unix_socket_directories= fsync=off"
        words = [word for setting in settings.split() for word in ("-c", setting)]
        return [*as_user, *([str(folder / "postgres")] if as_user else []), "-D", str(data), *words]

    def answers(self, port: int) -> bool:
        """Tell whether it lets us in: while it recovers from a crash it takes connections to refuse them."""
        words = b"\x00\x03\x00\x00user\x00tester\x00database\x00postgres\x00\x00"
        return says(port, (len(words) + 4).to_bytes(4) + words, b"R")


class NatsServer(LocalServer):
    """One nats-server with JetStream, whose streams are files: a kill loses nothing."""

    name = "nats"
    program_name = "nats-server"

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"nats://127.0.0.1:{self.port}"

    def program(self) -> tuple[str, dict[str, str]]:
        """Return a nats-server."""
        return nats_program()

    def options(self, port: int) -> list[str]:
        """Listen on the loopback address alone, and keep streams in its folder."""
        return ["-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(self.home / "streams")]

    def answers(self, port: int) -> bool:
        """Tell whether it greets."""
        return says(port, b"", b"INFO")
