"""A simulator with a control door: `bank.py PORT`."""

from __future__ import annotations

import asyncio
import json
import sys

latency_s = 0.001


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request, late when told so."""
    global latency_s
    head = await reader.readuntil(b"\r\n\r\n")
    if b"/control" in head.split(b"\r\n")[0]:
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        latency_s = json.loads(await reader.readexactly(length))["latency_ms"] / 1e3
    else:
        await asyncio.sleep(latency_s if b"/pay" in head else 0)
    try:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=1000)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
