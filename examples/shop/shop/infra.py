"""The infra process: the shop's message bus, `python -m shop.infra --port N --data DIR`.

A process of its own even though everything in it is embedded, so that it can be killed, hung and
restarted alone: "no servers to install" must not mean "no failures".
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import grpc.aio

from shop.bus import SCHEMA, SERVER_OPTIONS, Broker, BusService
from shop.contracts import bus_pb2_grpc
from shop.process import Flags, StartError, bind, port_number, run
from shop.storage import Store, StoreError

NAME = "shop.infra"
# Waiting pulls are answered at once; this is for calls that wait for the disk.
STOP_GRACE_S = 2.0


async def serve(host: str, port: int, data: Path, max_attempts: int, stop: asyncio.Event) -> None:
    """Serve the bus on host:port with its state in `data`, until `stop` is set.

    Raises:
        StartError: the database or the port cannot be used.
    """
    # gRPC reports a taken port in five lines of its own; asking first keeps it to one of ours.
    bind(host, port).close()
    try:
        store = await Store(data / "bus.db", SCHEMA).start()
    except StoreError as error:
        raise StartError(f"cannot keep the bus in {data}: {error}") from error
    try:
        broker = Broker(store, max_attempts=max_attempts)
        await broker.open()
        service = BusService(broker)
        server = grpc.aio.server(options=SERVER_OPTIONS)
        bus_pb2_grpc.add_BusServicer_to_server(service, server)
        try:
            server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise StartError(f"cannot listen on {host}:{port}: {error}") from error
        await server.start()
        try:
            await stop.wait()
        finally:
            broker.close()
            await server.stop(STOP_GRACE_S)
            await service.wait_idle()
    finally:
        await store.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the flags and serve; the exit code."""
    flags = Flags(prog=NAME, description="The shop's embedded message bus.")
    flags.add_argument("--port", type=port_number, required=True, help="gRPC port")
    flags.add_argument("--host", default="127.0.0.1")
    flags.add_argument("--data", type=Path, required=True, help="directory for the bus's database")
    flags.add_argument(
        "--max-attempts", type=int, default=5, help="deliveries before the dead letter (default 5)"
    )
    given = flags.parse_args(arguments)
    if given.max_attempts < 1:
        flags.error(f"--max-attempts is {given.max_attempts}, expected 1 or more")
    try:
        given.data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        flags.error(f"cannot make the directory {given.data}: {error.strerror}")
    # gRPC tells stderr about every client that went away; it reads this with the first server.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    return run(
        NAME, lambda stop: serve(given.host, given.port, given.data, given.max_attempts, stop)
    )


if __name__ == "__main__":
    sys.exit(main())
