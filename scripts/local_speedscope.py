"""speedscope, the viewer of profiles, for a test that ours open in it: one package of npm, unpacked."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from local_packages import Missing, locked, services_dir

__all__ = ["speedscope_folder"]

_VERSION = "1.25.0"
_SHA512 = (
    "7297fd1d64d97f58a32d7049ae4f3b55eff9e2d9d8c7aae57f48144e1be7de8a"
    "24ea1eb784b5d539088c7f8e0f4fe5e8579d3770f7ef7e24f980fe6fa23a7a02"
)


def speedscope_folder() -> Path:
    """Return the folder with its page.

    Raises:
        Missing: it cannot be fetched, or is not what it was.
    """
    root = services_dir() / "packages" / f"speedscope-{_VERSION}"
    with locked():
        if not root.is_dir():
            _fetch(root)
    return root / "package" / "dist" / "release"


def _fetch(root: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("npm is not on PATH, to fetch speedscope with: install nodejs and npm")
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        command = [npm, "pack", "--silent", f"speedscope@{_VERSION}"]
        try:
            subprocess.run(command, cwd=scratch, capture_output=True, check=True, timeout=120)
        except (subprocess.SubprocessError, OSError) as error:
            raise Missing(f"npm could not fetch speedscope {_VERSION} ({error})") from error
        archive = Path(scratch) / f"speedscope-{_VERSION}.tgz"
        found = hashlib.sha512(archive.read_bytes()).hexdigest()
        if found != _SHA512:
            raise Missing(f"speedscope {_VERSION} of npm is not what it was: sha512 {found[:16]}…")
        unpacked = Path(scratch) / "root"
        with tarfile.open(archive) as tar:
            tar.extractall(unpacked, filter="data")
        unpacked.rename(root)
