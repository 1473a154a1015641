"""The door in front of uvicorn, on real sockets: what is refused before there is a task, and what is not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgi_harness import hello
from real_server import Reply, raw, request, serving

from backstay.errors import UsageError
from backstay.guard import Admission
from backstay.integrations.asgi import guard
from backstay.integrations.uvicorn_door import door_protocol

pytestmark = [pytest.mark.real_loop, pytest.mark.slow]


async def slow(scope: Any, receive: Any, send: Any) -> None:
    """Answer after a moment with what was sent."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await asyncio.sleep(0.1)
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def test_a_refusal_is_one_answer_and_the_connection_goes_on() -> None:
    """503 with a pause; then the next request on the same connection is served."""
    door = Admission(start=1)
    served = guard(slow, admission=door)
    async with serving(served, http=door_protocol(served), lifespan="off") as server:
        running = asyncio.create_task(request(server.port, "/", method="POST", body=b"first"))
        await asyncio.sleep(0.03)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /x HTTP/1.1\r\nhost: t\r\ncontent-length: 5\r\n\r\nabcde")
        head = await reader.readuntil(b"\r\n\r\n")
        refused = Reply(head)
        assert (refused.status, refused.headers["content-length"]) == (503, "0")
        assert refused.headers["retry-after"] in {"1", "2"}
        assert "server" in refused.headers  # uvicorn's own headers are there
        assert (await running).rest == b"first"
        writer.write(b"POST /x HTTP/1.1\r\nhost: t\r\ncontent-length: 3\r\n\r\nabc")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(3) == b"abc"
        writer.close()
    statistics = served.statistics()
    assert (statistics.requests, statistics.shed, door.in_flight) == (3, 1, 0)


async def test_a_client_that_wants_to_close_is_closed() -> None:
    """Also one that speaks HTTP/1.0."""
    door = Admission(start=1)
    served = guard(slow, admission=door)
    async with serving(served, http=door_protocol(served), lifespan="off") as server:
        running = asyncio.create_task(request(server.port, "/"))
        await asyncio.sleep(0.03)
        for head in (
            b"GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n",
            b"GET / HTTP/1.0\r\n\r\n",
        ):
            reply = Reply(await raw(server.port, head))
            assert reply.status == 503
            assert reply.headers["connection"] == "close"
            assert reply.complete
        await running
    assert door.in_flight == 0


async def test_probes_criticality_and_what_stands_around_the_guard() -> None:
    """The guard is asked as ever, and whoever answers without it keeps no place."""
    door = Admission(start=4)
    served = guard(slow, admission=door)

    async def around(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/own":
            await hello(scope, receive, send)
        else:
            await served(scope, receive, send)

    async with serving(around, http=door_protocol(served), lifespan="off") as server:
        low = "Backstay-Criticality: background\r\n"
        running = [asyncio.create_task(request(server.port, "/", head=low)) for _ in range(2)]
        await asyncio.sleep(0.03)
        assert (await request(server.port, "/own", head=low)).status == 503
        assert (await request(server.port, "/livez", head=low)).status == 200
        assert (await request(server.port, "/own")).status == 200
        assert (await request(server.port, "/%6fwn?q=1")).status == 200
        assert [(await reply).status for reply in running] == [200, 200]
    assert door.in_flight == 0
    assert door.statistics().admitted == 4


async def test_pipelined_requests_are_decided_by_the_guard_when_their_turn_comes() -> None:
    """The door leaves alone what uvicorn queues."""
    door = Admission()
    served = guard(slow, admission=door)
    async with serving(served, http=door_protocol(served), lifespan="off") as server:
        one = b"GET / HTTP/1.1\r\nhost: t\r\n\r\n"
        last = b"GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n"
        answers = await raw(server.port, one + last)
        assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert door.in_flight == 0


async def test_a_request_that_fails_or_is_left_leaves() -> None:
    """Its place is free however it ended."""

    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise OSError

    door = Admission()
    served = guard(fails, admission=door)
    async with serving(served, http=door_protocol(served), lifespan="off") as server:
        assert (await request(server.port, "/")).status == 500
    leaving = guard(slow, admission=door)
    async with serving(leaving, http=door_protocol(leaving), lifespan="off") as server:
        await raw(server.port, b"GET / HTTP/1.1\r\nhost: t\r\n\r\n", read=False)
        await asyncio.sleep(0.2)
    assert door.in_flight == 0
    assert door.statistics().admitted == 2


async def test_a_guard_without_an_admission_has_no_door() -> None:
    """The message says how to get one."""
    with pytest.raises(UsageError, match=r"guard\(app, admission=Admission\(\)\)"):
        door_protocol(guard(hello))


PLAIN = b"GET /x HTTP/1.1\r\nhost: t\r\n\r\n"


@pytest.fixture
def one_place(monkeypatch: pytest.MonkeyPatch) -> Admission:
    """Return an admission whose limit does not move: one at a time, and of what is critical nine."""

    def set_limits(self: Admission) -> None:
        self._limits = {level: 9 if level == "critical" else 1 for level in self._shares}

    monkeypatch.setattr(Admission, "_set_limits", set_limits)
    return Admission()


async def _answers(port: int, *pieces: bytes) -> list[int]:
    """Send pieces one after the other on one connection; return the statuses that came back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.02)
    said = b""
    try:
        while True:  # until there is silence: nothing is said twice
            async with asyncio.timeout(0.15):
                if not (part := await reader.read(65536)):
                    break
            said += part
    except TimeoutError:
        pass
    writer.close()
    await writer.wait_closed()
    return [int(line[9:12]) for line in said.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


@pytest.mark.parametrize(
    ("pieces", "statuses"),
    [
        ([PLAIN], [503]),
        ([PLAIN, PLAIN], [503, 503]),
        ([PLAIN + PLAIN], [503, 503]),
        ([PLAIN[:9], PLAIN[9:], PLAIN], [503, 503]),
        ([b"GET /livez HTTP/1.1\r\nhost: t\r\n\r\n"], [200]),
        ([b"GET /li%76ez?a HTTP/1.1\r\nhost: t\r\n\r\n"], [200]),
        ([b"GET /x HTTP/1.1\r\nBackstay-Criticality: critical\r\n\r\n"], [200]),
        ([b"GET /x HTTP/1.1\r\nhost: t\r\nContent-Length: 3\r\n\r\n", b"abc", PLAIN], [503, 503]),
        ([b"GET /x HTTP/1.1\r\nhost: t\r\nConnection: close\r\n\r\n", PLAIN], [503]),
        ([b"GET /x HTTP/1.0\r\nhost: t\r\n\r\n", PLAIN], [503]),
        ([b"GET \x00 nonsense\r\n\r\n"], [400]),
        ([b"GET  HTTP/1.1\r\n\r\n"], [503]),
        ([b"GET /x HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"], [503]),
    ],
)
async def test_what_is_refused_unread_is_what_reading_would_refuse(
    pieces: list[bytes], statuses: list[int], one_place: Admission
) -> None:
    """Each request gets its one answer, in any pieces; what may be let in is read first."""
    served = guard(hello, admission=one_place, probes=("/livez",))
    async with serving(served, http=door_protocol(served), lifespan="off") as server:
        assert await _answers(server.port, PLAIN) == [200], "the place is free"
        one_place.take("critical")
        assert await _answers(server.port, *pieces) == statuses


async def test_an_idle_connection_is_closed_though_its_requests_were_refused_unread(
    one_place: Admission,
) -> None:
    """The keep-alive time counts from the last of them, as uvicorn's own does."""
    served = guard(hello, admission=one_place)
    protocol = door_protocol(served)
    async with serving(served, http=protocol, lifespan="off", timeout_keep_alive=1) as server:
        one_place.take("critical")
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        began = asyncio.get_running_loop().time()
        for _ in range(2):
            writer.write(PLAIN)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 503")
            await asyncio.sleep(0.6)
        assert await reader.read() == b""
        assert 1.5 < asyncio.get_running_loop().time() - began < 5
        writer.close()
        await writer.wait_closed()
