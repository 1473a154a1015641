"""What a pool's check says at once, of a resource whose use has raised."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from inspect import isawaitable
from typing import Any

__all__ = ["asked_at_once"]

_log = logging.getLogger("backstay.pool")


def asked_at_once(check: Callable[[Any], object], value: object, title: str) -> bool | None:
    """Ask a check without waiting.

    Args:
        check: of the pool.
        value: the resource.
        title: of the pool, for the log.

    Returns:
        Whether it works; None when the check would have to be awaited.
    """
    try:
        answer = check(value)
    except Exception as error:
        _log.info("%s: a check failed: %r", title, error)
        return False
    if isawaitable(answer):
        if isinstance(answer, Coroutine):
            answer.close()  # it has not begun
        return None
    return bool(answer)
