"""Real servers for tests and benchmarks, on loopback ports of our own; nothing is installed.

    scripts/services start [NAME ...]     all that are known, when none is named
    scripts/services stop [NAME ...]
    scripts/services status

A program that is on PATH is used. Otherwise its Debian package is fetched with apt and
unpacked below `.services/`, which needs no root, starts no system service and leaves the
machine as it was. Addresses are written to `.services/addresses.env` and `.json`.

Tests start a server of their own with `RedisServer`, `PrometheusServer` or `PostgresServer`, and may
kill, pause and restart it.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

__all__ = [
    "KNOWN",
    "LocalServer",
    "Missing",
    "PostgresServer",
    "PrometheusServer",
    "RedisServer",
    "main",
]

ROOT = Path(__file__).resolve().parent.parent
READY_S = 10.0  # until a server answers; a tenth of a second is usual
STOP_S = 5.0
OLDEST_REDIS = 7
DEBIAN_STATUS = Path("/var/lib/dpkg/status")
PR_SET_PDEATHSIG = 1


class Missing(Exception):
    """A server cannot be had on this machine; the message says what to do."""


def services_dir() -> Path:
    """Return where everything of ours lies: `.services`, or BACKSTAY_SERVICES_DIR."""
    return Path(os.environ.get("BACKSTAY_SERVICES_DIR") or ROOT / ".services")


# -- programs ------------------------------------------------------------------------------


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
    root = _unpacked("redis-server", "redis", why)
    return str(root / "usr/bin/redis-server"), _with_libraries(root)


def prometheus_program() -> tuple[str, dict[str, str]]:
    """Return the path of a prometheus, and the environment that it needs.

    Raises:
        Missing: there is none, and none can be fetched.
    """
    found = shutil.which("prometheus")
    if found:
        return found, dict(os.environ)
    # The program needs nothing; what its package asks for is its pages, ten times as large.
    root = _unpacked("prometheus", "prometheus", "prometheus is not on PATH", alone=True)
    return str(root / "usr/bin/prometheus"), dict(os.environ)


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
    root = _unpacked("postgresql", "postgresql", "postgres is not on PATH")
    return next(root.glob("usr/lib/postgresql/*/bin")), _with_libraries(root)


def _with_libraries(root: Path) -> dict[str, str]:
    libraries = sorted({str(path.parent) for path in root.rglob("*.so*")})
    before = os.environ.get("LD_LIBRARY_PATH")
    search = os.pathsep.join([*libraries, *([before] if before else [])])
    return {**os.environ, "LD_LIBRARY_PATH": search}


def _unpacked(package: str, elsewhere: str, why: str, *, alone: bool = False) -> Path:
    """Return the folder in which a Debian package and what it needs are unpacked.

    Args:
        package: its name at Debian.
        elsewhere: its name in other package managers.
        why: why it is needed.
        alone: without what it needs.
    """
    root = services_dir() / "packages" / package
    with _locked():
        if not root.is_dir():
            _fetch(package, elsewhere, root, why, alone)
    return root


@contextlib.contextmanager
def _locked() -> Generator[None]:
    """Let one process at a time fetch or write: test workers start together."""
    services_dir().mkdir(parents=True, exist_ok=True)
    with (services_dir() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(package: str, elsewhere: str, root: Path, why: str, alone: bool) -> None:
    cure = (
        f"put {package} on PATH with the package manager of this machine "
        f"(for example 'brew install {elsewhere}' or 'dnf install {elsewhere}')"
    )
    if not (shutil.which("apt-get") and shutil.which("dpkg") and shutil.which("dpkg-deb")):
        raise Missing(f"{why}, and there is no apt-get to fetch it with: {cure}")
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        folder = Path(scratch)
        said = ""
        # With the lists that the machine has; then, as they may be old or missing, with lists of
        # our own, which anybody may fetch and which leave those of the machine alone.
        for options, refresh in (([], False), (_own_lists(folder), True)):
            try:
                if refresh:
                    _apt([*options, "update"], folder)
                _download(package, options, folder, alone)
                break
            except subprocess.CalledProcessError as error:
                said = next(iter((error.stderr or error.stdout or "").splitlines()[-1:]), "")
        else:
            raise Missing(f"{why}, and apt could not fetch it ({said}): {cure}")
        unpacked = folder / "root"
        for archive in sorted(folder.glob("*.deb")):
            subprocess.run(["dpkg", "-x", str(archive), str(unpacked)], check=True)
        unpacked.rename(root)


def _own_lists(folder: Path) -> list[str]:
    for name in ("lists/partial", "archives/partial"):
        (folder / "apt" / name).mkdir(parents=True, exist_ok=True)
    state = folder / "apt"
    options = {
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": DEBIAN_STATUS,
        "Dir::Cache": state,
        "Debug::NoLocking": "1",
    }
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


def _download(package: str, options: Sequence[str], folder: Path, alone: bool) -> None:
    """Fetch the archive of a package, and unless `alone` of what it needs and the machine lacks."""
    if alone:
        _apt([*options, "download", package], folder)
        return
    plan = _apt([*options, "-s", "install", "--no-install-recommends", package], folder)
    names = re.findall(r"^Inst (\S+)", plan, re.MULTILINE)
    # Nothing to install: it is installed, and yet not on PATH.
    _apt([*options, "download", *(names or [package])], folder)


def _apt(words: Sequence[str], folder: Path) -> str:
    command = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", *words]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True, timeout=300
    )
    return done.stdout


# -- servers ---------------------------------------------------------------------------------


class LocalServer:
    """One server of our own, without persistence, on a free port of the loopback address.

    Attributes:
        home: its folder; removed when it stops.
        port: where it listens; chosen at the first start, and kept over restarts.
        pid: its process, or None.
    """

    name = ""
    program_name = ""

    def __init__(self, home: Path) -> None:
        """Describe it; nothing runs yet."""
        self.home = home
        self.port = 0
        self.pid: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients find it."""
        raise NotImplementedError

    def program(self) -> tuple[str, dict[str, str]]:
        """Return the path of the program, and the environment that it needs.

        Raises:
            Missing: it cannot be had.
        """
        raise NotImplementedError

    def options(self, port: int) -> list[str]:
        """Return the words after the program; its folder is there."""
        raise NotImplementedError

    def answers(self, port: int) -> bool:
        """Tell whether it is ready."""
        raise NotImplementedError

    def addresses(self) -> dict[str, str | int]:
        """Return what clients may want to know."""
        return {"url": self.url, "host": "127.0.0.1", "port": self.port, "pid": self.pid or 0}

    def start(self, *, outlive: bool = False) -> None:
        """Start it and wait until it answers.

        Args:
            outlive: let it run when this process ends; otherwise it ends as well, even if this
                process is killed (on Linux).

        Raises:
            Missing: the program is not to be had.
            RuntimeError: it does not answer.
        """
        program, environment = self.program()
        self.home.mkdir(parents=True, exist_ok=True)
        for _ in range(3):  # another process may take the port between the look and the start
            port = self.port or _free_port()
            if self._try(program, environment, port, outlive):
                self.port = port
                return
        raise RuntimeError(f"{self.program_name} does not answer on port {port}; {self.last_words}")

    def _try(self, program: str, environment: dict[str, str], port: int, outlive: bool) -> bool:
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, *self.options(port)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=outlive,
                preexec_fn=None if outlive else _die_with_parent(),  # noqa: PLW1509
            )
        self.pid = self._process.pid
        until = time.monotonic() + READY_S
        while time.monotonic() < until and self._process.poll() is None:
            if self.answers(port):
                return True
            time.sleep(0.02)
        log_text = (self.home / f"{self.name}.log").read_text(encoding="utf-8", errors="replace")
        self.last_words = f"its log ends:\n{log_text[-800:]}"
        self.stop()
        return False

    last_words = "it has said nothing"

    def send(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP hangs it, SIGCONT lets it go on."""
        assert self.pid is not None
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a crash would; `start` brings it back, empty, on the same port."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it, whatever state it is in, and remove its folder."""
        self._end(signal.SIGTERM)
        shutil.rmtree(self.home, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        if self.pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
            os.kill(self.pid, signal.SIGCONT)  # one that is stopped heeds nothing else
        until = time.monotonic() + STOP_S
        while self._alive():
            if time.monotonic() > until:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.01)
        self.pid = self._process = None

    def _alive(self) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        return self.pid is not None and is_ours(self.pid, self.port, self.program_name)


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
        return _says(port, b"PING\r\n", b"+PONG")


class PrometheusServer(LocalServer):
    """One prometheus of our own; what it has scraped goes when it stops.

    Attributes:
        targets: "host:port" of each exporter that it scrapes.
        interval: seconds between two scrapes.
    """

    name = "prometheus"
    program_name = "prometheus"

    def __init__(self, home: Path, targets: Sequence[str] = (), interval: float = 0.5) -> None:
        """Describe it; nothing runs yet."""
        super().__init__(home)
        self.targets = targets
        self.interval = interval

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    def program(self) -> tuple[str, dict[str, str]]:
        """Return a prometheus."""
        return prometheus_program()

    def options(self, port: int) -> list[str]:
        """Write what it scrapes, and where it listens."""
        settings = {
            "global": {"scrape_interval": f"{round(self.interval * 1000)}ms"},
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
        """Tell whether it takes connections: it refuses to speak TLS, politely."""
        return _says(port, b"\x00\x00\x00\x08\x04\xd2\x16\x2f", b"N")


KNOWN: dict[str, Callable[[Path], LocalServer]] = {
    "redis": RedisServer,
    "prometheus": PrometheusServer,
    "postgres": PostgresServer,
}


def _says(port: int, asked: bytes, answer: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5) as probe:
            probe.sendall(asked)
            return probe.recv(len(answer)) == answer
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> Callable[[], object] | None:
    if not sys.platform.startswith("linux"):
        return None
    set_option = ctypes.CDLL(None).prctl
    return lambda: set_option(PR_SET_PDEATHSIG, signal.SIGKILL)


def is_ours(pid: int, port: int, program: str) -> bool:
    """Tell whether a process is the server that we started there, and no stranger with its number."""
    if Path("/proc/self/cmdline").exists():  # slim containers have no ps
        try:
            said = (
                Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            )  # "" of a zombie
        except OSError:
            return False
    else:
        words = ["ps", "-o", "args=", "-p", str(pid)]
        said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    return program in said and re.search(rf"\b{port}\b", said) is not None


# -- the command -------------------------------------------------------------------------------


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


def _running(name: str) -> LocalServer | None:
    """Return the server of that name which an earlier command has started, if it lives."""
    where = _recorded().get(name)
    server = KNOWN[name](services_dir() / name)
    if where is None or not is_ours(int(where["pid"]), int(where["port"]), server.program_name):
        return None
    server.port, server.pid = int(where["port"]), int(where["pid"])
    return server


def start(names: Sequence[str]) -> None:
    """Start those that do not run, and write down where they are."""
    for name in names:
        server = _running(name)
        if server is None:
            server = KNOWN[name](services_dir() / name)
            server.start(outlive=True)
        with _locked():
            _record({**_recorded(), name: server.addresses()})
        print(f"{name}: {server.url}")


def stop(names: Sequence[str]) -> None:
    """Stop those that run, and remove all traces but the unpacked packages."""
    for name in names:
        server = _running(name)
        if server is not None:
            server.stop()
        shutil.rmtree(services_dir() / name, ignore_errors=True)
        if _recorded():
            with _locked():
                _record({key: at for key, at in _recorded().items() if key != name})
        print(f"{name}: {'stopped' if server else 'was not running'}")


def status(names: Sequence[str]) -> bool:
    """Tell which run; True when all do."""
    servers = {name: _running(name) for name in names}
    for name, server in servers.items():
        print(f"{name}: {f'{server.url}, pid {server.pid}' if server else 'not running'}")
    return all(servers.values())


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
