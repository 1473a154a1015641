"""The other channels there are for Python, behind one face, for benchmarks and the table of semantics."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiochan
import aiochannel
import anyio
import asyncio_channel
import culsans
import janus

from backstay import Channel

Make = Callable[[int], Any]


@dataclass(frozen=True)
class Peer:
    """How to make one, and how its two ends are called.

    Attributes:
        name: as people know it.
        make: makes one of a capacity, inside a running loop.
        send: an async call, or what returns an awaitable.
        recv: the same.
        close: closes it; None where it cannot be closed.
        unbuffered: whether capacity 0 makes send and receive meet.
        tidy: releases what `make` took; awaited after use.
    """

    name: str
    make: Make
    send: Callable[[Any, Any], Awaitable[Any]]
    recv: Callable[[Any], Awaitable[Any]]
    close: Callable[[Any], Any] | None = None
    unbuffered: bool = False
    tidy: Callable[[Any], Awaitable[Any]] | None = None


async def _close_janus(queue: Any) -> None:
    queue.close()
    await queue.wait_closed()


async def _close_anyio(pair: Any) -> None:
    pair[0].close()
    pair[1].close()


PEERS: tuple[Peer, ...] = (
    Peer(
        "asyncio.Queue",
        asyncio.Queue,
        asyncio.Queue.put,
        asyncio.Queue.get,
        close=(lambda q: q.shutdown()) if sys.version_info >= (3, 13) else None,
    ),
    Peer(
        "aiochannel",
        aiochannel.Channel,
        aiochannel.Channel.put,
        aiochannel.Channel.get,
        close=lambda c: c.close(),
    ),
    Peer(
        "janus",
        janus.Queue,
        lambda q, item: q.async_q.put(item),
        lambda q: q.async_q.get(),
        close=lambda q: q.shutdown(),
        tidy=_close_janus,
    ),
    Peer(
        "culsans",
        culsans.Queue,
        lambda q, item: q.async_q.put(item),
        lambda q: q.async_q.get(),
        close=lambda q: q.shutdown(),
    ),
    Peer(
        "aiochan",
        lambda capacity: aiochan.Chan(capacity or None),
        aiochan.Chan.put,
        aiochan.Chan.get,
        close=lambda c: c.close(),
        unbuffered=True,
    ),
    Peer(
        "asyncio-channel",
        asyncio_channel.create_channel,
        lambda c, item: c.put(item),
        lambda c: c.take(),
        close=lambda c: c.close(),
    ),
    Peer(
        "anyio",
        anyio.create_memory_object_stream,
        lambda pair, item: pair[0].send(item),
        lambda pair: pair[1].receive(),
        close=lambda pair: pair[0].close(),
        unbuffered=True,
        tidy=_close_anyio,
    ),
    Peer("backstay", Channel, Channel.send, Channel.recv, close=Channel.close, unbuffered=True),
)
