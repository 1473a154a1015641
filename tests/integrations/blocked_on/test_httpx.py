"""Conformance: what waiting inside httpx2 (and httpx, which it succeeds) is called."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import socket
import threading
from typing import Any

import pytest

Stack = contextlib.AsyncExitStack


@pytest.fixture(params=["httpx2", "httpx"])
def library(request: pytest.FixtureRequest) -> Any:
    """Run the test with both generations of the library."""
    return pytest.importorskip(request.param)


def test_waits_for_the_response(classify: Any, library: Any, silent_port: int) -> None:
    """A request to a server that never answers is named with its method and origin, and no more."""

    async def call(stack: Stack) -> None:
        client = await stack.enter_async_context(library.AsyncClient(timeout=None, trust_env=False))
        await client.get(f"http://127.0.0.1:{silent_port}/secret-path?token=secret")

    seen = classify(call, "http request: waiting for the response")
    assert (seen.kind, seen.label) == ("http", "http request: waiting for the response")
    assert seen.detail == f"GET http://127.0.0.1:{silent_port}"
    assert seen.site.startswith(f"{__file__}:")


def test_waits_for_a_free_connection(classify: Any, library: Any, silent_port: int) -> None:
    """An exhausted connection pool is told from a slow server."""

    async def call(stack: Stack) -> None:
        limits = library.Limits(max_connections=1)
        client = await stack.enter_async_context(
            library.AsyncClient(timeout=None, limits=limits, trust_env=False)
        )
        url = f"http://127.0.0.1:{silent_port}/"
        first = asyncio.create_task(client.get(url))
        stack.callback(first.cancel)
        await asyncio.sleep(0.05)
        await client.get(url)

    seen = classify(call, "http request: waiting for a free connection")
    assert (seen.kind, seen.label) == ("http", "http request: waiting for a free connection")


def test_response_body(classify: Any, library: Any) -> None:
    """A body that stops half way, read as a stream, is a wait for the body."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = threading.Event()

        def half() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
                done.wait(10)

        thread = threading.Thread(target=half)
        thread.start()

        async def call(stack: Stack) -> None:
            stack.callback(done.set)
            client = await stack.enter_async_context(
                library.AsyncClient(timeout=None, trust_env=False)
            )
            async with client.stream(
                "GET", f"http://127.0.0.1:{server.getsockname()[1]}/"
            ) as response:
                await response.aread()

        try:
            seen = classify(call, "http response body")
        finally:
            done.set()
            thread.join()
    assert (seen.kind, seen.label) == ("http", "http response body")


def test_both_names_are_known() -> None:
    """The rules of the two generations cannot drift apart, since they are made by one function."""
    rules = importlib.import_module("backstay.tasks._wait_rules_web").WEB_RULES
    assert rules["httpx._client"].keys() == rules["httpx2._client"].keys()
