"""How a scenario is blocked for real and then asked what it waits for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import pytest
import uvloop

from backstay.leak import prove
from backstay.tasks._blocked_on import BlockedOn, blocked_on
from backstay.tasks._wait_reader import WaitReader

Scenario = Callable[[contextlib.AsyncExitStack], Awaitable[object]]
Classify = Callable[..., BlockedOn]

# Waits that end from outside of the program, or in time; so nobody can be proved to be stuck in one.
OUTSIDE = {"db", "executor", "grpc", "http", "process", "signal", "socket", "timer"}


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_name(request: pytest.FixtureRequest) -> str:
    """Run the test on the stock loop and on uvloop."""
    return str(request.param)


@pytest.fixture
def classify(loop_name: str) -> Iterator[Classify]:
    """Run a scenario until it blocks with the expected label (or three seconds), and return the answer.

    A scenario that waits more than once under one label says what is told of the wait it means.
    """

    def run(scenario: Scenario, expected: str, says: str = "") -> BlockedOn:
        factory = asyncio.new_event_loop if loop_name == "asyncio" else uvloop.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(_observe(scenario, expected, says))

    yield run
    assert threading.active_count() < 40, "a scenario left its threads behind"


async def _observe(scenario: Scenario, expected: str, says: str) -> BlockedOn:
    async with contextlib.AsyncExitStack() as stack:
        task = asyncio.create_task(_scene(scenario, stack))
        seen: BlockedOn | None = None
        for _ in range(600):
            await asyncio.sleep(0.005)
            seen = blocked_on(task)
            if seen is not None and seen.label == expected and says in seen.detail:
                assert WaitReader().read(task) == replace(seen, detail=""), "dumps read it likewise"
                break
            if task.done():
                task.result()
                raise AssertionError("the scenario ended instead of blocking")
        proof = prove(per_site=0)
        task.cancel()
        await asyncio.wait([task], timeout=0.5)
    accused = [one for one in proof.proved if one.wait_kind in OUTSIDE]
    assert not accused, "whatever the world outside will answer is no leak"
    assert seen is not None, "the scenario did not block"
    return seen


async def _scene(scenario: Scenario, stack: contextlib.AsyncExitStack) -> None:
    await scenario(stack)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Offer a TCP port that accepts and never says a word: what a client blocks on for real."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


def _postgres_message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _log_in_and_fall_silent(peer: socket.socket, done: threading.Event) -> None:
    with peer:
        opening = peer.recv(65536)  # no TLS is asked for, so this is the start-up message ...
        if opening[4:8] == struct.pack("!i", 80877102):
            return  # ... or the request to cancel a query, which is answered by hanging up
        settings = {
            "server_version": "16.4",
            "client_encoding": "UTF8",
            "server_encoding": "UTF8",
            "standard_conforming_strings": "on",
            "integer_datetimes": "on",
            "TimeZone": "UTC",
        }
        peer.sendall(
            _postgres_message(b"R", struct.pack("!i", 0))
            + b"".join(_postgres_message(b"S", f"{k}\0{v}\0".encode()) for k, v in settings.items())
            + _postgres_message(b"K", struct.pack("!ii", 1, 1))
            + _postgres_message(b"Z", b"I")
        )
        done.wait(20)


@pytest.fixture
def silent_postgres() -> Iterator[int]:
    """Offer a port that speaks PostgreSQL as far as the log-in, and never answers a query."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        listener.settimeout(0.2)

        def accept() -> None:
            while not done.is_set():
                with contextlib.suppress(TimeoutError, OSError):
                    peer, _ = listener.accept()
                    peer.setblocking(True)
                    threads.append(
                        threading.Thread(target=_log_in_and_fall_silent, args=(peer, done))
                    )
                    threads[-1].start()

        threads: list[threading.Thread] = []
        acceptor = threading.Thread(target=accept)
        acceptor.start()
        yield listener.getsockname()[1]
        done.set()
        acceptor.join()
        for thread in threads:
            thread.join()
