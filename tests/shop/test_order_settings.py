"""Where services find their peers, how they listen, and how probes find them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from shop import rpc
from shop.contracts import payment_pb2, payment_pb2_grpc
from shop.readiness import readiness_door
from shop.settings import SettingMissing, Settings, settle_in


def test_settings_come_from_the_environment() -> None:
    """What is set is taken, what is not needed may be missing."""
    environment = {"SHOP_DATA": "/d", "SHOP_BUS": "h:1", "SHOP_STOCK": "7", "SHOP_BANK_PLACES": "3"}
    settings = Settings.read(environment, "bus")
    assert (settings.data, settings.bus, settings.bank) == (Path("/d"), "h:1", "")
    assert (settings.stock, settings.bank_places) == (7, 3)


def test_a_missing_address_is_named() -> None:
    """The error says which variable to set."""
    with pytest.raises(SettingMissing, match="SHOP_WMS is not set"):
        Settings.read({"SHOP_BUS": "h:1", "SHOP_WMS": ""}, "bus", "wms")


def test_settling_in_makes_the_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service can be started on an empty disk."""
    monkeypatch.setenv("SHOP_DATA", str(tmp_path / "a" / "b"))
    assert settle_in().data.is_dir()


def free_address() -> str:
    """A loopback address nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        return f"127.0.0.1:{held.getsockname()[1]}"


async def probe(address: str, data: bytes) -> bytes:
    """Send bytes, read to the end."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.real_loop
async def test_the_readiness_door_answers_probes_and_no_one_else() -> None:
    """A probe hears 200; garbage is dropped; behind a closed door nobody answers."""
    address = free_address()
    async with readiness_door(address):
        assert (await probe(address, b"GET /readyz HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert await probe(address, b"garbage") == b""
        with pytest.raises(OSError):
            async with readiness_door(address):
                pytest.fail("one address, one door")
    with pytest.raises(OSError):
        await probe(address, b"")
    async with readiness_door(""):
        pass


class Echo(payment_pb2_grpc.PaymentServicer):
    """Answers Query after a moment."""

    async def Query(self, request: payment_pb2.OrderId, context: Any) -> payment_pb2.PaymentReply:
        await asyncio.sleep(0.2)
        return payment_pb2.PaymentReply(outcome=payment_pb2.PaymentReply.SETTLED)


@asynccontextmanager
async def stub_at(address: str) -> AsyncIterator[payment_pb2_grpc.PaymentStub]:
    """A client."""
    channel = rpc.connect(address)
    try:
        yield payment_pb2_grpc.PaymentStub(channel)
    finally:
        await channel.close()


async def ask(stub: payment_pb2_grpc.PaymentStub) -> payment_pb2.PaymentReply:
    """One call."""
    return await stub.Query(payment_pb2.OrderId(order_id="a"), timeout=2.0)


@pytest.mark.real_loop
async def test_a_stopping_server_finishes_its_calls() -> None:
    """The call in flight gets its answer, a taken port is refused in one sentence."""
    address = free_address()

    def register(server: grpc.aio.Server) -> None:
        payment_pb2_grpc.add_PaymentServicer_to_server(Echo(), server)

    server = await rpc.listen(address, register, at_once=4)
    serving = asyncio.create_task(rpc.serve_until_stopped(server, 2.0))
    async with stub_at(address) as stub:
        asking = asyncio.create_task(ask(stub))
        await asyncio.sleep(0.1)
        with pytest.raises(RuntimeError, match="cannot listen on"):
            await rpc.listen(address, register, at_once=4)
        serving.cancel()
        assert (await asking).outcome == payment_pb2.PaymentReply.SETTLED
        await asyncio.wait([serving])
        with pytest.raises(rpc.RpcError):
            await stub.Query(payment_pb2.OrderId(order_id="a"), timeout=0.5)
