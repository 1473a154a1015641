"""The directory of recordings: private, bounded, each file named after what has happened."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from backstay._base import wall
from backstay.errors import UsageError

__all__ = ["SUFFIX", "Shelf"]

SUFFIX: Final = ".recording"
_NAME: Final = re.compile(
    r"(\d{8}T\d{6}\.\d{3}Z)-([a-z]{2,16})-([0-9a-f]{32}|notrace)-(\d{1,10})\.recording"
)
_HALF: Final = re.compile(r"\." + _NAME.pattern + r"\.half")
#: Seconds after which the half of a file belongs to a process that has died over it.
_HALF_IS_DEAD_S: Final = 600.0


class Shelf:
    """Keeps the newest so many recordings of a directory; several processes may share it."""

    def __init__(self, path: Path, keep: int) -> None:
        """Make the directory, for its owner alone, unless it is there.

        Args:
            path: the directory.
            keep: files that stay, >= 1; of all processes that write there.

        Raises:
            UsageError: it cannot be made or written.
        """
        self.path = path
        self.keep = keep
        cure = "name another directory with --record-dir"
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot make the directory {path} for recordings ({error.strerror}): {cure}"
            ) from error
        if not os.access(path, os.W_OK | os.X_OK):
            raise UsageError(f"cannot write into {path}: {cure}")

    def put(self, kind: str, trace_id: str, write: Callable[[IO[bytes]], None]) -> str:
        """Write a file and return its name; the oldest go when there are too many.

        Args:
            kind: of the trigger.
            trace_id: of the request; "" for none.
            write: writes the content.

        Raises:
            OSError: it cannot be written; nothing of it stays.
        """
        stamp = datetime.fromtimestamp(wall(), UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
        trace = trace_id if re.fullmatch("[0-9a-f]{32}", trace_id) else "notrace"
        name = f"{stamp}Z-{kind}-{trace}-{os.getpid()}{SUFFIX}"
        half = self.path / f".{name}.half"
        # Nobody else's file and no link is ever written to, whoever may write into the directory.
        number = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with open(number, "wb") as file:
                write(file)
            half.replace(self.path / name)
        except BaseException:
            half.unlink(missing_ok=True)
            raise
        self._clear()
        return name

    def _clear(self) -> None:
        """Remove the oldest of our files; what others have put here stays."""
        names = os.listdir(self.path)
        for name in sorted(filter(_NAME.fullmatch, names))[: -self.keep]:
            (self.path / name).unlink(missing_ok=True)
        for name in filter(_HALF.fullmatch, names):
            path = self.path / name
            try:
                if wall() - path.lstat().st_mtime > _HALF_IS_DEAD_S:
                    path.unlink(missing_ok=True)
            except FileNotFoundError:
                continue

    def list(self) -> list[dict[str, Any]]:
        """Return name, time, trigger, trace id and size of each, the newest first."""
        found: list[dict[str, Any]] = []
        for name in sorted(os.listdir(self.path), reverse=True):
            match = _NAME.fullmatch(name)
            try:
                if match:
                    found.append(_row(match, os.lstat(self.path / name).st_size))
            except FileNotFoundError:  # an older one, which has just gone
                continue
        return found

    def read(self, name: str) -> bytes | None:
        """Return a file of ours, or None where there is none of that name."""
        if not _NAME.fullmatch(name):
            return None
        try:
            number = os.open(self.path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        with open(number, "rb") as file:
            return file.read() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None


def _row(match: re.Match[str], size: int) -> dict[str, Any]:
    at = datetime.strptime(match[1], "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
    return {
        "name": match[0],
        "at": at.timestamp(),
        "kind": match[2],
        "trace_id": "" if match[3] == "notrace" else match[3],
        "pid": int(match[4]),
        "bytes": size,
    }
