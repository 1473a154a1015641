"""Binding the port, and who holds it."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from backstay.cli import _port
from backstay.cli._port import bind, port_in_use, url_of
from backstay.errors import UsageError


def test_port_zero_is_any_free_one() -> None:
    """The URL names the port that the system chose."""
    with bind("127.0.0.1", 0) as sock:
        assert url_of(sock) == f"http://127.0.0.1:{sock.getsockname()[1]}"
        assert not sock.get_inheritable()


def test_what_is_accepted_sends_small_answers_at_once() -> None:
    """asyncio sets TCP_NODELAY where the listener says that it is TCP."""

    async def main() -> int:
        seen = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = writer.get_extra_info("socket")
            seen.set_result(peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()
            await writer.wait_closed()

        sock = bind("127.0.0.1", 0)
        async with await asyncio.start_server(serve, sock=sock):
            _, writer = await asyncio.open_connection(*sock.getsockname())
            nodelay = int(await seen)
            writer.close()
            await writer.wait_closed()
        return nodelay

    assert asyncio.run(main())


def test_ipv6_urls_have_brackets() -> None:
    """Or a browser would not open them."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        sock = bind("::1", 0)
    except UsageError:
        pytest.skip("no IPv6 here")
    with sock:
        assert url_of(sock).startswith("http://[::1]:")


def test_a_taken_port_names_its_holder() -> None:
    """Pid and command line of whoever listens there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} .* is in use by process {os.getpid()} "):
            bind("127.0.0.1", port)


def test_an_unknown_holder_is_not_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's process may not be looked into."""
    monkeypatch.setattr(_port, "_listening_inodes", lambda _: iter(["socket:[0]"]))
    assert "by a process that we may not look into" in str(port_in_use("h", 1))
    monkeypatch.setattr(_port, "_listening_inodes", lambda _: iter([]))
    assert "by a process that we may not look into" in str(port_in_use("h", 1))


def test_hosts_that_are_not_ours() -> None:
    """Unknown names and addresses of other machines."""
    with pytest.raises(UsageError, match="is it an address of this machine"):
        bind("192.0.2.1", 0)
    with pytest.raises(UsageError, match="is not a host of this machine"):
        bind("no host", 0)


def test_reserved_ports_name_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports below 1024 need a capability."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(UsageError, match="port 80 is reserved for root"):
        bind("127.0.0.1", 80)
