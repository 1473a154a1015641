"""The disconnect watch, the shield, and the bodies that must not get lost between them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgi_harness import Exchange, hello
from hypothesis import given, settings
from hypothesis import strategies as st

import backstay
from backstay.errors import ScopeMisuse
from backstay.integrations.asgi import Route, guard, shield
from backstay.testing import run_virtual


async def test_a_client_that_leaves_cancels_the_handler() -> None:
    """Nobody works for a client that is gone, and nothing is logged as a failure."""
    ends: list[float] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(8)
        finally:
            ends.append(backstay.now())

    served = guard(app)
    exchange = Exchange(served)
    task = exchange.start()
    await asyncio.sleep(1)
    exchange.disconnect()
    await task
    assert ends == [1.0]
    assert exchange.sent == []
    stats = served.statistics()
    assert (stats.disconnected, stats.failed, stats.in_flight) == (1, 0, 0)


async def test_a_disconnect_in_the_first_moment_is_noticed_a_little_later() -> None:
    """Quick requests are not watched; a slow one whose client left early is cut at the first look."""
    exchange = Exchange(guard(lambda *_: asyncio.sleep(8)))
    exchange.disconnect()
    await exchange.start()
    assert backstay.now() <= 0.11


async def test_opting_out_by_route_or_altogether() -> None:
    """Where work must go on for a client that left, it does."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(5)
        await hello(scope, receive, send)

    for served in (
        guard(app, routes=[Route("/pay/*", cancel_on_disconnect=False)]),
        guard(app, cancel_on_disconnect=False),
    ):
        exchange = Exchange(served, path="/pay/1")
        task = exchange.start()
        await asyncio.sleep(1)
        exchange.disconnect()
        await task
        assert exchange.status == 200
        assert served.statistics().disconnected == 0


async def test_no_cancel_after_the_answer_is_complete() -> None:
    """Servers report a disconnect once the answer is out; background work is not its victim."""
    done: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1)
        await hello(scope, receive, send)
        await asyncio.sleep(5)
        done.append(1)

    served = guard(app)
    await Exchange(served).start()
    assert done == [1]
    assert served.statistics().disconnected == 0


async def test_an_application_that_listens_itself_is_told_and_not_cancelled() -> None:
    """A framework with its own disconnect handling keeps it."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            seen.append("part")
        seen.append(message["type"])
        await asyncio.sleep(1)
        seen.append("cleaned up")

    served = guard(app)
    exchange = Exchange(served)
    task = exchange.start()
    await asyncio.sleep(2)
    exchange.disconnect()
    await task
    assert seen == ["part", "http.disconnect", "cleaned up"]
    assert served.statistics().disconnected == 1


async def test_a_listener_that_starts_after_the_watch_is_told_as_well() -> None:
    """The pump hands over to whoever begins to read later."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await asyncio.sleep(1)
        seen.append((await receive())["type"])
        seen.append((await receive())["type"])

    exchange = Exchange(guard(app))
    task = exchange.start()
    await asyncio.sleep(2)
    exchange.disconnect()
    await task
    assert seen == ["http.disconnect", "http.disconnect"]


async def test_a_poll_for_disconnect_works_before_and_after_the_watch_began() -> None:
    """Starlette's is_disconnected() cancels receive at its first wait; nothing may get lost."""
    polls: list[str] = []

    async def poll(receive: Any) -> str:
        task = asyncio.create_task(receive())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        try:
            return str((await task)["type"])
        except asyncio.CancelledError:
            return "nothing"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        polls.append(await poll(receive))
        await asyncio.sleep(1)
        polls.append(await poll(receive))
        exchange.feed(b"late")
        await asyncio.sleep(1)
        polls.append(await poll(receive))
        await hello(scope, receive, send)

    exchange = Exchange(guard(app), body=None)
    await exchange.start()
    assert polls == ["nothing", "nothing", "http.request"]


async def test_a_big_upload_is_not_slurped_while_the_handler_is_busy() -> None:
    """The watch holds one buffer of unread body and then waits for the application."""
    chunk = b"x" * 16_384

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(2)
        assert exchange.taken <= 5
        size = 0
        while True:
            message = await receive()
            size += len(message["body"])
            if not message["more_body"]:
                break
        assert size == 100 * len(chunk)
        await hello(scope, receive, send)

    exchange = Exchange(guard(app), body=None)
    for i in range(100):
        exchange.feed(chunk, more=i < 99)
    await exchange.start()
    assert exchange.status == 200


async def test_expect_100_continue_is_left_to_the_application() -> None:
    """Reading makes servers ask for the body; the watch must not do that in the handler's place."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(2)
        assert exchange.taken == exchange.receiving == 0
        await hello(scope, receive, send)

    exchange = Exchange(guard(app), headers=[("Expect", "100-continue")])
    await exchange.start()
    assert exchange.status == 200


async def test_a_failing_receive_reaches_the_application_that_reads() -> None:
    """An error of the server's receive is not swallowed by the watch."""
    seen: list[str] = []

    async def broken() -> Any:
        raise RuntimeError("server bug")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1)
        try:
            await receive()
        except RuntimeError as error:
            seen.append(str(error))
        await hello(scope, receive, send)

    exchange = Exchange(guard(app))
    await guard(app)(exchange.scope, broken, exchange.send)
    assert seen == ["server bug"]
    assert exchange.status == 200


async def test_a_handler_that_swallows_the_cancel_ends_without_harm() -> None:
    """An application that answers in spite of the cancel talks to a closed connection."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(8)
        except asyncio.CancelledError:
            await hello(scope, receive, send)

    exchange = Exchange(guard(app))
    task = exchange.start()
    await asyncio.sleep(1)
    exchange.disconnect()
    await task
    assert exchange.complete


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(st.tuples(st.binary(max_size=40_000), st.floats(0, 0.2)), max_size=12),
    pauses=st.lists(
        st.tuples(st.sampled_from(["read", "sleep", "poll"]), st.floats(0, 0.2)), max_size=20
    ),
)
def test_no_part_of_a_body_is_lost_or_turned_round(
    parts: list[tuple[bytes, float]], pauses: list[tuple[str, float]]
) -> None:
    """Whatever the timing of client and handler, the body arrives whole and in order."""

    async def main() -> None:
        got: list[bytes] = []
        ended = False

        def keep(message: Any) -> None:
            nonlocal ended
            got.append(message["body"])
            ended = not message["more_body"]

        async def app(scope: Any, receive: Any, send: Any) -> None:
            for what, seconds in pauses:
                if ended:
                    break
                if what == "read":
                    keep(await receive())
                elif what == "sleep":
                    await asyncio.sleep(seconds)
                else:
                    reader = asyncio.create_task(receive())
                    await asyncio.sleep(seconds)
                    reader.cancel()
                    await asyncio.wait({reader})
                    if not reader.cancelled():
                        keep(reader.result())
            while not ended:
                keep(await receive())
            await hello(scope, receive, send)

        exchange = Exchange(guard(app, timeout=1000), body=None)
        task = exchange.start()
        for body, seconds in parts:
            await asyncio.sleep(seconds)
            exchange.feed(body, more=True)
        exchange.feed(b"end")
        await task
        assert exchange.status == 200
        assert b"".join(got) == b"".join(body for body, _ in parts) + b"end"

    run_virtual(main)


# -- the shield ------------------------------------------------------------------


@pytest.mark.parametrize("end", ["deadline", "disconnect"])
async def test_a_shielded_commit_finishes_and_then_the_end_is_delivered(end: str) -> None:
    """Half a commit is the worst of both, so the end waits; and it does come."""
    steps: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with shield():
            await asyncio.sleep(0.5)
            assert (backstay.remaining() or 0) >= 3
            await asyncio.sleep(0.5)
            steps.append("committed")
        steps.append("not reached")

    served = guard(app, timeout=0.3 if end == "deadline" else 10.0)
    exchange = Exchange(served)
    task = exchange.start()
    await asyncio.sleep(0.2)
    if end == "disconnect":
        exchange.disconnect()
    await task
    assert steps == ["committed"]
    assert backstay.now() == pytest.approx(1.0)
    assert exchange.status == (504 if end == "deadline" else None)


async def test_a_shield_holds_for_its_own_time_at_most() -> None:
    """A commit that hangs must not keep the request for ever."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with shield(timeout=2.0):
            await asyncio.sleep(3600)

    exchange = await Exchange(guard(app, timeout=0.5)).start()
    assert exchange.status == 504
    assert backstay.now() == pytest.approx(2.0)


async def test_a_shield_in_a_child_and_under_inner_scopes_holds_the_whole_request() -> None:
    """The commit may stand anywhere in the request, also in a task it started."""
    steps: list[str] = []

    async def commit() -> None:
        async with backstay.Scope("inner"), shield():
            await asyncio.sleep(1)
            steps.append("committed")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with backstay.Scope("work", timeout=0.7) as work:
            work.go(commit)

    exchange = await Exchange(guard(app, timeout=0.5)).start()
    assert steps == ["committed"]
    assert exchange.status == 504


async def test_two_shields_at_once_release_with_the_last() -> None:
    """While any commit of the request is open, the end waits."""
    steps: list[str] = []

    async def commit(seconds: float) -> None:
        async with shield():
            await asyncio.sleep(seconds)
            steps.append(f"{seconds}")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        backstay.go(commit, 1.0)
        backstay.go(commit, 2.0)
        await asyncio.sleep(3600)

    await Exchange(guard(app, timeout=0.5)).start()
    assert steps == ["1.0", "2.0"]
    assert backstay.now() == pytest.approx(2.0)


async def test_a_shield_that_nothing_strikes_changes_nothing() -> None:
    """Without a request around it, or without an end to hold back, it is only a block."""
    async with shield():
        await asyncio.sleep(1)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with shield():
            await asyncio.sleep(1)
        assert (backstay.remaining() or 0) == pytest.approx(9.0)
        await hello(scope, receive, send)

    exchange = await Exchange(guard(app)).start()
    assert exchange.status == 200


async def test_an_error_in_a_shield_leaves_as_itself() -> None:
    """What went wrong in the commit is not hidden by the cancel that waited."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            async with shield():
                await asyncio.sleep(1)
                raise ValueError("commit failed")
        except ValueError as error:
            seen.append(str(error))
            raise

    exchange = await Exchange(guard(app, timeout=0.5)).start()
    assert seen == ["commit failed"]
    assert exchange.status == 504


async def test_shield_misuse_is_refused() -> None:
    """A shield is used once and for more than no time."""
    block = shield()
    async with block:
        with pytest.raises(ScopeMisuse):
            await block.__aenter__()
    with pytest.raises(ValueError, match="more than 0"):
        shield(0)
