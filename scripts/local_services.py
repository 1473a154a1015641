"""Real servers for tests and benchmarks, on loopback ports of our own; nothing is installed.

    scripts/services start [NAME ...]     all that are known, when none is named
    scripts/services stop [NAME ...]
    scripts/services status

A program that is on PATH is used. Otherwise its Debian package is fetched with apt and
unpacked below `.services/`, which needs no root, starts no system service and leaves the
machine as it was. Addresses are written to `.services/addresses.env` and `.json`.

Tests start a server of their own with `RedisServer`, `PrometheusServer`, `PostgresServer`,
`NatsServer` or `EtcdCluster`, and may kill, pause and restart it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

if str(Path(__file__).parent) not in sys.path:  # loaded by its path, as tests do
    sys.path.append(str(Path(__file__).parent))

from local_etcd import EtcdCluster, EtcdNode
from local_kinds import (
    NatsServer,
    PostgresServer,
    PrometheusServer,
    RedisServer,
    promtool_program,
)
from local_packages import Missing, locked, services_dir
from local_server import LocalServer, free_port

__all__ = [
    "KNOWN",
    "EtcdCluster",
    "EtcdNode",
    "LocalServer",
    "Missing",
    "NatsServer",
    "PostgresServer",
    "PrometheusServer",
    "RedisServer",
    "free_port",
    "main",
    "promtool_program",
]

KNOWN: dict[str, Callable[[Path], LocalServer | EtcdCluster]] = {
    "redis": RedisServer,
    "prometheus": PrometheusServer,
    "postgres": PostgresServer,
    "nats": NatsServer,
    "etcd": EtcdCluster,
}


def _recorded() -> dict[str, dict[str, str | int]]:
    path = services_dir() / "addresses.json"
    if not path.exists():
        return {}
    found: dict[str, dict[str, str | int]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _record(services: dict[str, dict[str, str | int]]) -> None:
    lines = [f"BACKSTAY_{name.upper()}_URL={where['url']}" for name, where in services.items()]
    texts = {
        "addresses.json": json.dumps(services, indent=2) + "\n",
        "addresses.env": "".join(f"{line}\n" for line in lines),
    }
    for name, text in texts.items():
        path = services_dir() / name
        if services:
            path.write_text(text, encoding="utf-8")
        else:
            path.unlink(missing_ok=True)


def _recall(name: str) -> tuple[LocalServer | EtcdCluster, bool]:
    """Return what an earlier command has started under that name, and whether all of it lives."""
    where = _recorded().get(name)
    server = KNOWN[name](services_dir() / name)
    return server, where is not None and server.resume(where)


def start(names: Sequence[str]) -> None:
    """Start those that do not run, and write down where they are."""
    for name in names:
        server, lives = _recall(name)
        if not lives:
            server.stop()  # what is left of one that has died, or of a cluster that has in part
            server = KNOWN[name](services_dir() / name)
            server.start(outlive=True)
        with locked():
            _record({**_recorded(), name: server.addresses()})
        print(f"{name}: {server.url}")


def stop(names: Sequence[str]) -> None:
    """Stop those that run, and remove all traces but the unpacked packages."""
    for name in names:
        server, lives = _recall(name)
        server.stop()
        if _recorded():
            with locked():
                _record({key: at for key, at in _recorded().items() if key != name})
        print(f"{name}: {'stopped' if lives else 'was not running'}")


def status(names: Sequence[str]) -> bool:
    """Tell which run; True when all do."""
    alive = []
    for name in names:
        server, lives = _recall(name)
        alive.append(lives)
        print(f"{name}: {f'{server.url}, pid {server.pids}' if lives else 'not running'}")
    return all(alive)


def main(arguments: Sequence[str]) -> int:
    """Return 0 when done, 1 when `status` misses one, 2 when a server cannot be had."""
    parser = argparse.ArgumentParser(prog="scripts/services", description="real servers for tests")
    parser.add_argument("verb", choices=["start", "stop", "status"])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(KNOWN)}; or all")
    options = parser.parse_args(arguments)
    strangers = [name for name in options.names if name not in KNOWN]
    if strangers:
        parser.error(f"no service is called {strangers[0]!r}; there are: {', '.join(KNOWN)}")
    names = options.names or list(KNOWN)
    try:
        if options.verb == "status":
            return 0 if status(names) else 1
        (start if options.verb == "start" else stop)(names)
    except (Missing, RuntimeError) as error:
        print(f"services: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
