"""What the tests of workers share: a log of what began and ended, and what became of an await."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from backstay import context as ambient


class Log:
    """What began and ended, when."""

    def __init__(self) -> None:
        self.began: list[Any] = []
        self.ended: list[Any] = []
        self.most = 0
        self.inside = 0

    async def work(self, what: Any, seconds: float = 1.0) -> Any:
        self.began.append(what)
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.inside -= 1
        self.ended.append(what)
        return what


async def outcome(awaitable: Awaitable[Any]) -> Any:
    """Return the result, or the error."""
    try:
        return await awaitable
    except Exception as error:
        return error


class ambient_deadline:
    """An ambient deadline that nobody enforces."""

    def __init__(self, at: float) -> None:
        self.at = at

    def __enter__(self) -> None:
        self.token = ambient.enter(ambient.Context(self.at, "edge", None))

    def __exit__(self, *_: object) -> None:
        ambient.leave(self.token)
