"""Where the admin socket of a process lives, and who may reach it.

The place is private by construction: a socket of mode 0600 in a directory of
mode 0700 that belongs to us. Both are checked instead of hoped for, because
`/tmp` is shared: somebody else could have made `/tmp/backstay-1000` first and
wait for our socket to appear in it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from backstay.errors import UsageError

__all__ = [
    "default_directory",
    "default_socket",
    "find_socket",
    "known_sockets",
    "private_directory",
]


def default_directory(uid: int | None = None) -> Path:
    """Return the directory in which the processes of a user put their sockets.

    `$XDG_RUNTIME_DIR/backstay` when the session has such a directory of its
    own, else `/tmp/backstay-<uid>`. Nothing is created.

    Args:
        uid: whose directory; None means this process's effective user.
    """
    me = os.geteuid()
    if uid is None or uid == me:
        runtime = os.environ.get("XDG_RUNTIME_DIR", "")
        if runtime.startswith("/") and _is_own_directory(runtime, me):
            return Path(runtime) / "backstay"
        uid = me
    return Path("/tmp") / f"backstay-{uid}"  # noqa: S108 - its ownership is checked before use


def default_socket(pid: int, uid: int | None = None) -> Path:
    """Return the socket path that process `pid` of user `uid` uses unless told otherwise."""
    return default_directory(uid) / f"{pid}.sock"


def known_sockets(pid: int) -> list[Path]:
    """Return the paths at which the socket of process `pid` may be, likeliest first.

    The process may belong to somebody else (root looks at a service), or may
    have been started without the session's environment, so more than one place
    is worth a look.
    """
    owners = [os.geteuid()]
    try:
        owners.insert(0, os.stat(f"/proc/{pid}").st_uid)
    except OSError:
        pass  # no such process, or no /proc here: our own places remain
    places = [default_socket(pid)]
    for uid in dict.fromkeys(owners):
        places.append(Path(f"/run/user/{uid}/backstay/{pid}.sock"))
        places.append(Path("/tmp") / f"backstay-{uid}" / f"{pid}.sock")  # noqa: S108
    return list(dict.fromkeys(places))


def find_socket(pid: int) -> Path | None:
    """Return the socket of process `pid` at one of the places we know; None where there is none."""
    for path in known_sockets(pid):
        try:
            if stat.S_ISSOCK(path.lstat().st_mode):
                return path
        except OSError:
            continue
    return None


def private_directory(path: Path) -> Path:
    """Create `path` with mode 0700, or make sure that it already is ours alone.

    Raises:
        UsageError: it cannot be made, is a link, belongs to another user, or
            others may enter it.
    """
    cure = "or choose a place of your own with --admin SOCKET"
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise UsageError(
            f"cannot make the directory {path} for the admin socket ({error.strerror}): "
            f"make it with mode 0700, {cure}"
        ) from error
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise UsageError(
            f"{path} should be a directory for admin sockets but is a "
            f"{'link' if stat.S_ISLNK(found.st_mode) else 'file'}: remove it, {cure}"
        )
    if found.st_uid != os.geteuid():
        raise UsageError(
            f"the directory {path} for admin sockets belongs to user {found.st_uid}, not to us "
            f"({os.geteuid()}), so whoever made it could read them: have it removed, {cure}"
        )
    if found.st_mode & 0o077:
        raise UsageError(
            f"the directory {path} for admin sockets has mode {stat.S_IMODE(found.st_mode):04o} "
            f"and should be 0700: run chmod 700 {path}, {cure}"
        )
    return path


def _is_own_directory(path: str, uid: int) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid
