"""Go's own `go tool pprof`, from PATH or from Debian's package, to judge our files with."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import lru_cache
from typing import Any

import pytest
from local_servers import local_services

__all__ = ["go_pprof"]

# Found by name: the scripts stand on the path once local_servers has loaded one of them.
_packages: Any = __import__("local_packages")


def go_pprof(*arguments: str) -> str:
    """Run `go tool pprof ARGUMENTS` and return what it prints; skip where it cannot be had."""
    try:
        command = _command()
    except local_services.Missing as missing:
        if os.environ.get("BACKSTAY_REQUIRE_SERVICES") == "1":
            pytest.fail(f"BACKSTAY_REQUIRE_SERVICES=1, and {missing}", pytrace=False)
        pytest.skip(f"no go tool pprof: {missing}")
    environment = {**os.environ, "PPROF_TMPDIR": os.environ.get("TMPDIR", "/tmp")}
    done = subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@lru_cache(maxsize=1)
def _command() -> tuple[str, ...]:
    go = shutil.which("go")
    if go:
        return (go, "tool", "pprof")
    name = _debian_name()
    root = _packages.unpacked(name, "go", "go is not on PATH", alone=True)
    found = sorted(root.glob("usr/lib/go-*/pkg/tool/*/pprof"))
    if not found:
        raise local_services.Missing(f"{name} of Debian holds no pprof: put go on PATH")
    return (str(found[0]),)


def _debian_name() -> str:
    """Return the package of the Go that this Debian has; `golang-go` itself is empty."""
    if not shutil.which("apt-cache"):
        return "golang-go"
    said = subprocess.run(
        ["apt-cache", "depends", "golang-go"], capture_output=True, text=True, check=False
    ).stdout
    found = re.search(r"Depends: (golang-[\d.]+-go)\b", said)
    return found[1] if found else "golang-go"
