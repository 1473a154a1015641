"""What the simulators' tests share: a simulator on a real socket, and a client that sees every byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from shop.simulators import Script, Simulator, Trade


class Client:
    """Talks to one simulator over keep-alive connections, one per call under way."""

    def __init__(self, simulator: Simulator, port: int) -> None:
        self.simulator = simulator
        self.port = port

    async def raw(self, data: bytes) -> bytes:
        """Send bytes, read until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            return await reader.read()
        finally:
            writer.close()

    async def call(self, method: str, path: str, document: object = None) -> tuple[int, Any]:
        """One request; the status and the JSON of its reply. Status 0: the connection was cut."""
        status, _, body = await self.call_full(method, path, document)
        return status, body

    async def call_full(
        self, method: str, path: str, document: object = None
    ) -> tuple[int, bytes, Any]:
        """One request; the status, the head and the JSON of its reply."""
        body = (
            b""
            if document is None
            else document
            if isinstance(document, bytes)
            else json.dumps(document).encode()
        )
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        try:
            answer = await self.raw(head.encode() + body)
        except ConnectionResetError:
            answer = b""
        if not answer:
            return 0, b"", None
        lines, _, payload = answer.partition(b"\r\n\r\n")
        return int(lines.split()[1]), lines, json.loads(payload)

    async def control(self, **fields: object) -> None:
        """Change the script."""
        status, reply = await self.call("POST", "/control", fields)
        assert status == 200, reply

    async def traffic(self) -> dict[str, int]:
        """The traffic counts."""
        _, reply = await self.call("GET", "/ledger?summary=1")
        found: dict[str, int] = reply["traffic"]
        return found

    async def until(self, **wanted: int) -> None:
        """Wait until the traffic counts show these numbers."""
        async with asyncio.timeout(5):
            while {name: (await self.traffic())[name] for name in wanted} != wanted:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(trade: Trade, script: Script | None = None) -> AsyncIterator[Client]:
    """A simulator of `trade` on a free port of this loop."""
    simulator = Simulator(trade, script or Script(), seed=1)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(simulator.server.connect, "127.0.0.1", 0)
    try:
        yield Client(simulator, server.sockets[0].getsockname()[1])
    finally:
        server.close()
        simulator.server.cut_all()
        await server.wait_closed()
