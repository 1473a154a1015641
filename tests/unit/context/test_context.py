"""The ambient context: deadlines shrink, values are typed, secrets stay."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay import context
from backstay.context import REQUEST_ID, Context, Key, bind, carried, current, remaining

times = st.floats(0, 1e6)


@given(st.lists(times, min_size=1, max_size=8))
def test_a_deadline_only_shrinks(deadlines: list[float]) -> None:
    """Whatever is asked for, the earliest deadline counts, and its first setter is named."""
    ctx = Context()
    for number, deadline in enumerate(deadlines):
        ctx = ctx.with_deadline(deadline, f"scope{number}", 1.0)
    assert ctx.deadline == min(deadlines)
    assert ctx.deadline_setter == f"scope{deadlines.index(min(deadlines))}"
    assert ctx.without_deadline().deadline is None
    assert Context().without_deadline() == Context()


async def test_values_are_seen_by_what_is_called_and_spawned() -> None:
    """A bound value reaches calls and tasks, and is gone after the block."""
    key = Key[int]("answer", default=0)

    async def read() -> int | None:
        return key.get()

    with bind(key, 42):
        task = asyncio.create_task(read())
        assert await read() == 42
        with bind(key, 43):
            assert key.get() == 43
        assert key.get() == 42
    assert key.get() == 0
    assert await task == 42


async def test_remaining_counts_down_and_stops_at_zero() -> None:
    """remaining() is seconds until the ambient deadline, never negative, None without one."""
    assert remaining() is None
    token = context.enter(current().with_deadline(10.0, "test"))
    assert (context.deadline(), remaining()) == (10.0, 10.0)
    await asyncio.sleep(30)
    assert remaining() == 0.0
    context.leave(token)
    assert context.deadline() is None


def test_carried_values_are_strings_and_never_secrets() -> None:
    """Only keys marked carry cross to other processes."""
    tenant, level = Key[str]("tenant", carry=True), Key[int]("level", carry=True)
    token, local = Key[str]("token", secret=True), Key[str]("local")
    with (
        bind(tenant, "acme"),
        bind(level, 3),
        bind(token, "hunter2"),
        bind(local, "x"),
        bind(REQUEST_ID, "r-1"),
    ):
        assert carried() == {"tenant": "acme", "level": "3", "request_id": "r-1"}
        assert "hunter2" not in repr(current())
        assert "token=<secret>" in repr(current())


def test_a_key_cannot_be_carried_and_secret() -> None:
    """A secret that crosses processes is a contradiction and refused at once."""
    with pytest.raises(ValueError, match="never leaves the process"):
        Key[str]("password", carry=True, secret=True)


def test_two_keys_with_one_name_are_two_keys() -> None:
    """Names are for people; identity is the key object, so libraries cannot collide."""
    one, two = Key[str]("id"), Key[str]("id")
    with bind(one, "1"):
        assert two.get() is None
    assert repr(Key[str]("id", carry=True)) == "<Key 'id' carry>"


def test_leaving_in_another_context_changes_nothing_there() -> None:
    """A block that the loop finalises elsewhere cannot reset a variable it never set."""
    import contextvars

    token = contextvars.copy_context().run(context.enter, Context().with_deadline(1.0, "x"))
    context.leave(token)
    assert current().deadline is None
