"""The lifespan of the application, with the app scope around it.

Order at shutdown: adopted tasks drain first, since they may need what the
application is about to close; then the application's own shutdown runs; then
the app scope is closed.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from backstay.integrations.asgi._answers import App, Message, Receive, Send
from backstay.integrations.asgi._life import Life
from backstay.tasks import inside

__all__ = ["serve_lifespan"]


async def serve_lifespan(
    app: App,
    life: Life,
    drain_timeout: float,
    scope: MutableMapping[str, Any],
    receive: Receive,
    send: Send,
) -> None:
    """Run the application's lifespan; its errors leave unchanged, so servers react as ever.

    An application without lifespan support raises here at once, as ASGI has it;
    the app scope then stays open, and ends with the loop.

    Cancelled: as the application without a guard; the app scope is closed.
    """
    await life.home.opened()
    started = False

    async def hear(message: Message) -> None:
        nonlocal started
        if message["type"] == "lifespan.startup.complete":
            started = True
        await send(message)

    async def tell() -> Message:
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            life.census.look(settle=0.0)
            await life.home.drain(drain_timeout, life.census.cancelled())
        return message

    try:
        with inside(life.home.scope):
            await app(scope, tell, hear)
    finally:
        if started:
            await life.home.close()
