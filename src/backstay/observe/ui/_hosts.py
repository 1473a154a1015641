"""The other processes of this user on this host: who is there, and what they say."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from backstay.errors import BackstayError
from backstay.observe.desk import Reply, refusal
from backstay.observe.target import AdminClient, default_directory, default_socket

__all__ = ["forward", "processes"]

#: Sockets looked at, asked at once, and seconds for each to answer.
_MOST: Final = 64
_AT_ONCE: Final = 8
_PATIENCE_S: Final = 2.0
#: Seconds for a document of another process, and its bytes.
_FORWARD_S: Final = 45.0
_MOST_BYTES: Final = 32 * 1024 * 1024
#: What may be asked of another process through this one.
_READABLE: Final = re.compile(r"/(v1|debug/pprof)/[\w./-]*|/(metrics|livez|readyz|healthz)")
_PLAIN: Final = re.compile(r"[\w./:@-]{1,100}")
_TOLD: Final = (
    "version",
    "python",
    "loop",
    "uptime_s",
    "rss_bytes",
    "tasks",
    "loop_lag_s",
    "ready",
)


def processes() -> dict[str, Any]:
    """Return who has a socket in this user's runtime directory, and how each is doing.

    Cost: asks up to 64 processes, eight at a time, for at most 2 s each; call it from a thread of
    its own, since two that ask each other from their only thread would wait for ever.
    """
    pids = _pids()
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="backstay-hosts") as threads:
        told = list(threads.map(_ask, pids[:_MOST]))
    return {"me": os.getpid(), "processes": told, "left_out": max(0, len(pids) - _MOST)}


def forward(pid: str, path: str, query: str) -> Reply:
    """Ask another process of this user, and hand on what it answers.

    Args:
        pid: which one.
        path: of the document.
        query: as sent, without the question mark.
    """
    # No pid has ten digits, and a number of thousands of them cannot even be read.
    if not (pid.isascii() and pid.isdecimal() and len(pid) < 10) or int(pid) not in _pids():
        return refusal(404, f"no process {pid[:20]!r} has a socket in {default_directory()}")
    if not _READABLE.fullmatch(path) or path.startswith("/v1/processes"):
        return refusal(404, f"{path[:100]!r} cannot be asked of another process")
    try:
        return AdminClient(default_socket(int(pid)), timeout=_FORWARD_S).ask(
            f"{path}?{query}" if query else path, most_bytes=_MOST_BYTES
        )
    except BackstayError as error:
        return refusal(502, str(error))


def _pids() -> list[int]:
    try:
        names = os.listdir(default_directory())
    except OSError:
        return []
    stems = [name.removesuffix(".sock") for name in names if name.endswith(".sock")]
    return sorted(
        int(stem) for stem in stems if stem.isascii() and stem.isdecimal() and len(stem) < 10
    )


def _ask(pid: int) -> dict[str, Any]:
    known: dict[str, Any] = {"pid": pid, "name": _name(pid)}
    try:
        told = AdminClient(default_socket(pid), timeout=_PATIENCE_S).get("/v1/statistics")
    except (BackstayError, OSError) as error:
        return {**known, "error": str(error)}
    blocked: dict[str, Any] = told.get("blocked") or {}
    present: dict[str, Any] | None = blocked.get("now")
    requests = told.get("requests")
    return {
        **known,
        **{name: told.get(name) for name in _TOLD},
        "requests": requests if isinstance(requests, dict) else None,
        "blocked": f"{present.get('function')} at {present.get('site')}" if present else None,
    }


def _name(pid: int) -> str:
    """Return the program and its first plain words; anything that may hold a secret is left out."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(4096).decode("utf-8", "replace").split("\0")
    except OSError:
        return ""
    name = [words[0].rpartition("/")[2]]
    for word in words[1:5]:
        if word.startswith("--") or not _PLAIN.fullmatch(word):
            break
        name.append(word.rpartition("/")[2] if word.startswith("/") else word)
    return " ".join(name)
