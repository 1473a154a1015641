"""A service with an admin plane, in two ways of writing: `service.py VARIANT PORT ADMIN BANK`.

It stands in for a real one in tests of the lab: small, started in a blink, and
sick in a way that can be counted.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

MB = 1024 * 1024
HERE = Path(__file__).resolve()
hoard: list[bytearray] = []


async def ask_bank(port: int) -> None:
    """Wait for the bank, however long it takes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /pay HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await reader.read()
    writer.close()


def leak_line() -> int:
    """Return the number of the line below that is marked as the leak."""
    mark = "# leak" + ":"
    return next(n for n, line in enumerate(HERE.read_text().splitlines(), 1) if mark in line)


class Service:
    """Answers GET /work; the naive way leaves a task behind while the bank is slow."""

    def __init__(self, variant: str, bank: int) -> None:
        self.variant = variant
        self.bank = bank
        self.background: set[asyncio.Task[None]] = set()

    async def work(self) -> None:
        if self.variant == "naive":
            task = asyncio.create_task(ask_bank(self.bank))  # leak: nobody waits for it
            self.background.add(task)
            task.add_done_callback(self.background.discard)
            if len(self.background) > 20:
                hoard.append(bytearray(MB // 20))
                await asyncio.sleep(0.4)
        else:
            await asyncio.sleep(0.002)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].decode()
                if path == "/work":
                    await self.work()
                body = json.dumps(self.document(path)).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def document(self, path: str) -> dict[str, object]:
        if path == "/v1/statistics":
            rss = (60 * MB) + sum(len(block) for block in hoard)
            return {"tasks": len(asyncio.all_tasks()), "rss_bytes": rss}
        if path == "/v1/leaks" and self.variant == "naive":
            finding = {
                "site": f"{HERE}:{leak_line()}",
                "function": "work",
                "verdict": "ORPHAN",
                "count": len(self.background),
                "blocked_on": {"kind": "socket", "label": "socket read"},
                "owner": "request",
                "trace_ids": ["abc"],
                "advice": "give it an owner",
            }
            return {"findings": [finding]}
        return {"findings": []} if path == "/v1/leaks" else {"ok": True}


async def main(variant: str, port: int, admin: str, bank: int) -> None:
    """Serve until SIGTERM."""
    service = Service(variant, bank)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    servers = [
        await asyncio.start_unix_server(service.answer, admin),
        await asyncio.start_server(service.answer, "127.0.0.1", port, backlog=1000),
    ]
    await stop.wait()
    for server in servers:
        server.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
