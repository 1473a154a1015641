"""A one-core HTTP service that freezes, whole, for a while: python stalling_server.py STALL_AT STALL_FOR.

It prints its port when it listens. The stall is counted from the first request
and is a `time.sleep` on the loop, so nothing is accepted, read or answered.
"""

import asyncio
import sys
import time

REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Service(asyncio.Protocol):
    """Answers each packet, since each request of these tests is one packet."""

    first = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to answer."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer; the first request of all arms the stall."""
        if Service.first and float(sys.argv[2]):
            Service.first = False
            stall_at_s, stall_for_s = float(sys.argv[1]), float(sys.argv[2])
            asyncio.get_running_loop().call_later(stall_at_s, time.sleep, stall_for_s)
        assert isinstance(self.transport, asyncio.Transport)
        self.transport.write(REPLY)


async def main() -> None:
    """Listen on a free port and say which."""
    server = await asyncio.get_running_loop().create_server(Service, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
