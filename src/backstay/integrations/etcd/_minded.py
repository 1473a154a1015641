"""A task that minds something for as long as a block lasts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from backstay.tasks import Scope

__all__ = ["minded"]


@asynccontextmanager
async def minded(
    name: str, kind: str, mind: Callable[[Scope], Awaitable[None]]
) -> AsyncGenerator[Scope]:
    """Run `mind` beside a block, and beside all that is started in it; it is cancelled after them.

    Two scopes, as the task must outlast what the block has started, and must not be waited for.

    Args:
        name: of both.
        kind: of both.
        mind: is given the scope of the block, which it may cancel. If it fails, the block is cancelled,
            and left with its error.
    """
    async with (
        Scope(name, kind=kind, on_exit="cancel", unwrap=True) as outer,
        Scope(name, kind=kind, unwrap=True) as inner,
    ):
        outer.go(mind, inner)
        yield inner
