"""The last good configuration in a file, for a start while the cluster is away."""

from __future__ import annotations

import logging
import os
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["keep_copy", "read_copy"]

_log = logging.getLogger("backstay.etcd")


def keep_copy(path: Path, value: bytes) -> None:
    """Put `value` in the place of what the file held, at once or not at all; a failure is logged and harms nothing.

    Blocks for a small write; it is not forced to the disk, since what a crash of the machine leaves is parsed
    before it is used.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(value)
            os.replace(name, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        _log.warning("config: no copy is kept at %s: %s", path, error)


def read_copy(path: Path) -> bytes | None:
    """Return what the file holds; None when there is none, or it cannot be read, which is logged."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning("config: the copy at %s cannot be read: %s", path, error)
        return None
