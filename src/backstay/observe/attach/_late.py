"""The last step of a late attachment, in the process itself: the admin plane is opened, the loops are tracked."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterable
from typing import Any

from backstay.observe.admin import AdminServer
from backstay.tasks import install

__all__ = ["open_plane"]

# A loop that does not come round in this time is tracked as soon as it does.
_PATIENCE_S = 1.0

_planes: list[AdminServer] = []
_guard = threading.Lock()


def open_plane(loops: Iterable[asyncio.AbstractEventLoop], **options: Any) -> dict[str, Any]:
    """Open an admin plane in this process, and track what `loops` start from now on.

    Callable from any thread but those of the loops. A plane that was opened before in this way is kept.

    Args:
        loops: running loops; the same one may come several times.
        options: of `AdminServer`.

    Returns:
        `address`, `pid`, `loops` and how many of them are `tracked`.
    """
    with _guard:
        if not _planes:
            _planes.append(AdminServer(**options).start())
        plane = _planes[0]
    found = list(dict.fromkeys(loop for loop in loops if loop.is_running()))
    installed = [threading.Event() for _ in found]
    for loop, done in zip(found, installed, strict=True):
        loop.call_soon_threadsafe(_install, loop, done)
    tracked = sum(done.wait(_PATIENCE_S) for done in installed)
    return {"address": plane.address, "pid": os.getpid(), "loops": len(found), "tracked": tracked}


def _install(loop: asyncio.AbstractEventLoop, done: threading.Event) -> None:
    install(loop)
    done.set()
