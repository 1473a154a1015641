"""Where a foreign process leaves its answer: a file that we make in its /tmp, and hold open.

The process may live in a container, with files of its own, and may belong to somebody whom we should not
trust. So the file is reached through /proc/PID/root, is made by us and nobody else, and is read by the
descriptor that made it: whatever is put in its place later is not looked at.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from types import TracebackType
from typing import Any, Final

from backstay.errors import TargetGone, UsageError

__all__ = ["ReplyFile"]

_PLACES: Final = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - made with O_EXCL and O_NOFOLLOW
_MOST: Final = 64 * 1024 * 1024


class ReplyFile:
    """One answer of one process; the file is removed at the end of the block."""

    def __init__(self, pid: int) -> None:
        """Make the file.

        Raises:
            UsageError: there is no place for it that both sides can reach.
        """
        self._pid = pid
        name = f"backstay-{os.urandom(8).hex()}.reply"
        for place in _PLACES:
            self.path = f"{place}/{name}"
            self._here = f"/proc/{pid}/root{self.path}"
            try:
                self._file = os.open(
                    self._here,
                    os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC,
                    0o600,
                )
            except OSError:
                continue
            owner = os.stat(f"/proc/{pid}")
            if owner.st_uid != os.geteuid():
                os.fchown(self._file, owner.st_uid, owner.st_gid)
            return
        raise UsageError(
            f"process {pid} has no directory for its answer: none of {', '.join(_PLACES)} can be written"
        )

    def __enter__(self) -> ReplyFile:
        """Keep it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove it."""
        with suppress(OSError):
            os.unlink(self._here)
        os.close(self._file)

    def complete(self) -> bool:
        """Tell whether the answer is there, whole: it ends with a line feed."""
        size = os.fstat(self._file).st_size
        return size > 0 and os.pread(self._file, 1, size - 1) == b"\n"

    def read(self) -> dict[str, Any]:
        """Return the answer.

        Raises:
            TargetGone: it cannot be understood.
            UsageError: the process reports that it could not do it.
        """
        data = os.pread(self._file, _MOST, 0)
        try:
            answer: dict[str, Any] = json.loads(data)
        except ValueError as error:
            raise TargetGone(
                f"process {self._pid} has answered {len(data)} bytes that are no answer"
            ) from error
        if not isinstance(answer, dict):
            raise TargetGone(f"process {self._pid} has answered something that is no answer")
        if "error" in answer:
            raise UsageError(f"process {self._pid} could not do it: {answer['error']}")
        return answer
