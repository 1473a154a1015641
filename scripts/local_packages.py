"""Programs of real servers: from PATH, or from Debian packages that are unpacked and not installed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path

__all__ = ["Missing", "locked", "services_dir", "unpacked", "with_libraries"]

ROOT = Path(__file__).resolve().parent.parent
DEBIAN_STATUS = Path("/var/lib/dpkg/status")


class Missing(Exception):
    """A server cannot be had on this machine; the message says what to do."""


def services_dir() -> Path:
    """Return where everything of ours lies: `.services`, or BACKSTAY_SERVICES_DIR."""
    return Path(os.environ.get("BACKSTAY_SERVICES_DIR") or ROOT / ".services")


def with_libraries(root: Path) -> dict[str, str]:
    """Return the environment in which a program finds the libraries that are unpacked with it."""
    libraries = sorted({str(path.parent) for path in root.rglob("*.so*")})
    before = os.environ.get("LD_LIBRARY_PATH")
    search = os.pathsep.join([*libraries, *([before] if before else [])])
    return {**os.environ, "LD_LIBRARY_PATH": search}


def unpacked(package: str, elsewhere: str, why: str, *, alone: bool = False) -> Path:
    """Return the folder in which a Debian package and what it needs are unpacked.

    Args:
        package: its name at Debian.
        elsewhere: its name in other package managers.
        why: why it is needed.
        alone: without what it needs.
    """
    root = services_dir() / "packages" / package
    with locked():
        if not root.is_dir():
            _fetch(package, elsewhere, root, why, alone)
    return root


@contextlib.contextmanager
def locked() -> Generator[None]:
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
