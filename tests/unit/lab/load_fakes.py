"""A network and a service made of timers, so that the generator can be tested in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from backstay.lab.load import Request

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


@dataclass
class Reply:
    """What the service does with one request: bytes after a delay, and maybe a hang-up."""

    delay_s: float = 0.001
    data: bytes = HEAD + b"ok"
    then_close: bool = False


class FakeTransport(asyncio.Transport):
    """One connection: writes reach the service, replies reach the protocol by timer."""

    def __init__(self, service: FakeService, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._service = service
        self._protocol = protocol
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Let the service answer."""
        self._service.received.append(bytes(data))
        reply = self._service.answer(bytes(data))
        asyncio.get_running_loop().call_later(reply.delay_s, self._deliver, reply)

    def _deliver(self, reply: Reply) -> None:
        if self._closing:
            return
        if reply.data:
            self._protocol.data_received(reply.data)
        if reply.then_close and not self._closing:
            self.abort()

    def is_closing(self) -> bool:
        """Say whether it was closed."""
        return self._closing

    def abort(self) -> None:
        """Close, and tell the protocol in the next turn of the loop, as real transports do."""
        if not self._closing:
            self._closing = True
            self._service.open -= 1
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)


@dataclass
class FakeService:
    """Stands behind `loop.create_connection` of the running loop.

    Attributes:
        answer: what to do with a request; default is "ok" after 1 ms.
        refuse: connections are refused while True.
        connect_s: how long making a connection takes.
    """

    answer: Callable[[bytes], Reply] = field(default_factory=lambda: lambda request: Reply())
    refuse: bool = False
    connect_s: float = 0.0
    received: list[bytes] = field(default_factory=list)
    open: int = 0
    most_open: int = 0

    async def create_connection(
        self, factory: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """Make a connection as the loop would."""
        await asyncio.sleep(self.connect_s)
        if self.refuse:
            raise ConnectionRefusedError(111, "Connection refused")
        protocol = factory()
        transport = FakeTransport(self, protocol)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        protocol.connection_made(transport)
        return transport, protocol

    def plug_in(self) -> FakeService:
        """Become the network of the running loop."""
        loop: Any = asyncio.get_running_loop()
        loop.create_connection = self.create_connection
        return self


class Fixed:
    """A workload of one request that is content with 200."""

    def __init__(self, request: Request | None = None) -> None:
        self.request = request or Request()
        self.seen: list[tuple[int | None, bytes]] = []

    def next(self) -> Request:
        """Return the request."""
        return self.request

    def observe(self, request: Request, status: int | None, body: bytes) -> bool:
        """Accept 200 only."""
        self.seen.append((status, body))
        return status == 200
