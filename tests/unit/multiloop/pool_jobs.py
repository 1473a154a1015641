"""What tests of the multiloop share: a job that says where it runs, and patience for threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from backstay._base import now

__all__ = ["until", "where"]


async def where(value: Any = None) -> tuple[str, Any]:
    """Say on which thread this runs."""
    return threading.current_thread().name, value


async def until(condition: Callable[[], object]) -> None:
    """Give other threads up to five seconds."""
    end = now() + 5.0
    while not condition():
        assert now() < end, "this took too long"
        await asyncio.sleep(0.002)
