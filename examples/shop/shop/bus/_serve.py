"""The bus as a server: store, broker and gRPC door, put up and taken down in the right order."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc.aio

from backstay.integrations.grpc import server_options
from shop.bus._broker import Broker
from shop.bus._rows import SCHEMA
from shop.bus._service import BusService
from shop.contracts import bus_pb2_grpc
from shop.process import StartError, bind
from shop.storage import Store, StoreError

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
        server = grpc.aio.server(options=server_options())
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
