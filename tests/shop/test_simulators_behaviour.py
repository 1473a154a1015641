"""How outsiders misbehave: slow, failing, limited, hanging, losing replies; and their HTTP manners."""

from __future__ import annotations

import asyncio
import logging
import random

import pytest
from shop.simulators import Bank, Gateway, Script
from simulator_client import Client, serving

pytestmark = pytest.mark.real_loop


def notify(client: Client, number: int) -> asyncio.Task:
    """A notification under way."""
    document = {"id": f"n{number}", "order": "o", "kind": "k"}
    return asyncio.create_task(client.call("POST", "/notifications", document))


async def sent(client: Client) -> list[str]:
    """Ids of the notifications that really happened, in order."""
    return list((await client.call("GET", "/ledger"))[1]["notifications"])


async def test_latency():
    """A request takes its scripted time, its effect comes at the end of it."""
    async with serving(Gateway(), Script(latency_ms=60)) as gateway:
        loop = asyncio.get_running_loop()
        began = loop.time()
        task = notify(gateway, 1)
        await gateway.until(working=1)
        assert await sent(gateway) == []
        assert (await task)[0] == 202
        assert loop.time() - began >= 0.059


async def test_effect_happens_without_the_client():
    """A client that gives up does not undo what is being worked on: its result is unknown to it."""
    async with serving(Gateway(), Script(latency_ms=60)) as gateway:
        task = notify(gateway, 1)
        await gateway.until(working=1)
        task.cancel()
        await gateway.until(working=0, gone=1)
        assert await sent(gateway) == ["n1"]


async def test_errors():
    """Scripted errors carry the scripted status, have no effect and follow the seed."""
    async with serving(Gateway(), Script(error_rate=0.5, error_status=502)) as gateway:
        statuses = [(await notify(gateway, number))[0] for number in range(40)]
        dice = random.Random(1)
        assert statuses == [502 if dice.random() < 0.5 else 202 for _ in range(40)]
        assert len(await sent(gateway)) == statuses.count(202)
        assert (await gateway.traffic())["errors"] == statuses.count(502)


async def test_rate_limit():
    """Beyond the limit a request is answered 429 with Retry-After and has no effect."""
    async with serving(Gateway(), Script(rate_limit=5)) as gateway:
        statuses = [(await notify(gateway, number))[0] for number in range(12)]
        assert 5 <= statuses.count(202) < 12
        assert statuses[:5] == [202] * 5
        status, head, _ = await gateway.call_full(
            "POST", "/notifications", {"id": "x", "order": "o"}
        )
        assert (status, b"retry-after: 1" in head) == (429, True)
        assert (await gateway.traffic())["limited"] == statuses.count(429) + 1


async def test_max_concurrency_queues_in_order():
    """Requests beyond the limit wait their turn; one whose client left meanwhile is never worked on."""
    async with serving(Gateway(), Script(latency_ms=800, max_concurrency=1)) as gateway:
        tasks = [notify(gateway, 0)]
        await gateway.until(working=1)
        await gateway.control(latency_ms=0)  # for those that follow
        for number in range(1, 4):
            tasks.append(notify(gateway, number))
            await gateway.until(queued=number)
        tasks[2].cancel()
        await gateway.until(queued=2, gone=1, working=1)
        assert [(await task)[0] for task in (tasks[0], tasks[1], tasks[3])] == [202] * 3
        assert await sent(gateway) == ["n0", "n1", "n3"]
        assert (await gateway.traffic())["queued"] == 0


async def test_raising_max_concurrency_fills_the_places():
    """What queues begins at once when the limit is lifted."""
    async with serving(Gateway(), Script(latency_ms=600_000, max_concurrency=1)) as gateway:
        tasks = [notify(gateway, number) for number in range(3)]
        await gateway.until(working=1, queued=2)
        await gateway.control(max_concurrency=None)
        await gateway.until(working=3, queued=0)
        for task in tasks:
            task.cancel()


async def test_hang_holds_and_releases(monkeypatch: pytest.MonkeyPatch):
    """A hanging outsider answers nobody; those still there when it recovers are served in order, the others never."""
    monkeypatch.setattr("shop.simulators._simulator.RELEASED_AT_ONCE", 3)
    async with serving(Gateway()) as gateway:
        await gateway.control(hang=True)
        tasks = []
        for number in range(8):
            tasks.append(notify(gateway, number))
            await gateway.until(hung=number + 1)
        assert not any(task.done() for task in tasks)
        assert await gateway.call("GET", "/readyz") == (200, {"ready": True})
        tasks[1].cancel()
        tasks[5].cancel()
        await gateway.until(hung=6, gone=2)
        assert await sent(gateway) == []
        await gateway.control(hang=False)
        rest = [task for number, task in enumerate(tasks) if number not in (1, 5)]
        assert [(await task)[0] for task in rest] == [202] * 6
        assert await sent(gateway) == ["n0", "n2", "n3", "n4", "n6", "n7"]


@pytest.mark.parametrize("how", ["hang", "drop"])
async def test_lost_reply(how: str):
    """The effect happens and the reply is lost; a repetition and a question find the truth."""
    async with serving(Bank()) as bank:
        await bank.control(lose_reply_rate=1, lose_reply=how)
        task = asyncio.create_task(
            bank.call("POST", "/debits", {"id": "p", "order": "o", "amount": 5})
        )
        await bank.until(lost_replies=1)
        if how == "drop":
            assert (await task)[0] == 0
        else:
            assert not task.done()
            task.cancel()
            await bank.until(gone=1)
        assert (await bank.call("GET", "/debits/p"))[1]["state"] == "settled"
        assert (await bank.call("POST", "/debits", {"id": "p", "order": "o", "amount": 5}))[
            0
        ] == 200
        assert (await bank.call("GET", "/ledger?summary=1"))[1]["summary"]["debits"] == 1


async def test_control_refuses_and_resets():
    """A bad script is a 400 that changes nothing; reset goes back to the flags, further fields on top."""
    async with serving(Gateway(), Script(latency_ms=5)) as gateway:
        await gateway.control(hang=True, latency_ms=50)
        for bad, complaint in (
            (b"{hang: true}", "not JSON"),
            (b"[" * 100_000, "not JSON"),
            (b"", "not JSON"),
            ({"hang": False, "hangg": 1}, "unknown field 'hangg'"),
            ({"reset": False}, "reset can only be true"),
        ):
            status, reply = await gateway.call("POST", "/control", bad)
            assert (status, complaint in reply["error"]) == (400, True), reply
        assert (await gateway.call("GET", "/control"))[1]["hang"] is True
        status, script = await gateway.call("POST", "/control", {"reset": True, "error_rate": 1})
        assert (status, script["latency_ms"], script["hang"], script["error_rate"]) == (
            200,
            5.0,
            False,
            1.0,
        )


async def test_pipelined_requests_are_answered_in_order():
    """Requests sent ahead on one connection are answered one after the other, also beyond the read-ahead limit."""
    async with serving(Gateway(), Script(latency_ms=1, jitter=1)) as gateway:
        request = b"POST /notifications HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n%s\r\n%s"
        ahead = b""
        for number in range(40):
            body = b'{"id":"n%02d","order":"o"}' % number
            ahead += request % (len(body), b"connection: close\r\n" if number == 39 else b"", body)
        async with asyncio.timeout(5):
            answer = await gateway.raw(ahead)
        assert answer.count(b"HTTP/1.1 202 Accepted") == 40
        positions = [answer.index(b'"n%02d"' % number) for number in range(40)]
        assert positions == sorted(positions)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000, 431),
        (
            b"POST /control HTTP/1.1\r\nhost: x\r\ncontent-length: 1048577\r\n\r\n"
            + b"y" * 1_048_577,
            413,
        ),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n", 400),
    ],
    ids=["garbage", "upgrade", "long head", "long body", "bad length"],
)
async def test_bad_http(data: bytes, status: int, caplog: pytest.LogCaptureFixture):
    """What is not HTTP, or too much of it, gets a status, a reason and a closed connection; the server lives on."""
    caplog.set_level(logging.WARNING)
    async with serving(Gateway()) as gateway:
        async with asyncio.timeout(5):
            answer = await gateway.raw(data)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b'{"error":"' in answer
        assert (await gateway.call("GET", "/readyz"))[0] == 200
    assert caplog.records == []


async def test_body_in_pieces_and_expect_continue():
    """A body may come slowly, chunked, and after the client was told to go on."""
    async with serving(Gateway()) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(
            b"POST /notifications HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
            b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        )
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        for piece in (b'{"id":', b'"n1","or', b'der":"o"}'):
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await asyncio.sleep(0.005)
        writer.write(b"0\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 202")
        writer.close()
        assert await sent(gateway) == ["n1"]
