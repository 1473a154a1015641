"""Concurrent acks share one call.

A consumer that works on 64 messages at once finishes them one by one. One call per message would
cost more than the work, so: while a call is under way the next acks gather, and leave together.
No timer and no task is involved; whoever comes first carries the others' ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class _Batch:
    ids: list[int] = field(default_factory=list)
    sent: bool = False
    error: Exception | None = None


class SharedAck:
    """Gathers ids and sends them with `send`, one call at a time."""

    def __init__(self, send: Callable[[list[int]], Awaitable[None]]) -> None:
        self._send = send
        self._open = _Batch()
        self._turn = asyncio.Lock()

    async def add(self, ids: Sequence[int]) -> None:
        """Return once `ids` were sent.

        Raises:
            Exception: what `send` raised; every ack of that call hears it.
        Cancelled: the ids may or may not have been sent. When the carrier of a call is cancelled
            the next ack of the same batch sends it again; repeating an ack is harmless.
        """
        batch = self._open
        batch.ids.extend(ids)
        async with self._turn:
            if batch.sent:
                return
            if batch.error is not None:
                raise batch.error
            if batch is self._open:
                self._open = _Batch()
            try:
                await self._send(batch.ids)
            except Exception as error:
                batch.error = error
                raise
            batch.sent = True
