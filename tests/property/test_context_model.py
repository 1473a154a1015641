"""Keys and deadlines against a stack of dictionaries, across tasks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from backstay import Scope, now, remaining, timeout
from backstay.context import Key, bind, carried
from backstay.testing import run_virtual

KEYS = [
    Key[int]("plain", default=-1),
    Key[int]("carried", carry=True),
    Key[int]("secret", secret=True),
]


@dataclass(frozen=True)
class Step:
    what: str  # "bind" | "timeout" | "child" | "raw"
    key: int
    value: int
    inner: tuple[Step, ...]


def steps(depth: int) -> st.SearchStrategy[tuple[Step, ...]]:
    inner = st.just(()) if depth == 0 else st.deferred(lambda: steps(depth - 1))
    step = st.builds(
        Step,
        what=st.sampled_from(["bind", "timeout", "child", "raw"]),
        key=st.integers(0, len(KEYS) - 1),
        value=st.integers(1, 50),
        inner=inner,
    )
    return st.lists(step, max_size=3).map(tuple)


def check(values: dict[int, int], deadline: float | None) -> None:
    """Compare what surrounds us with what the model says."""
    for index, key in enumerate(KEYS):
        assert key.get() == values.get(index, -1 if index == 0 else None)
    assert carried() == ({"carried": str(values[1])} if 1 in values else {})
    left = remaining()
    assert left == (None if deadline is None else max(0.0, deadline - now()))


async def follow(plan: tuple[Step, ...], values: dict[int, int], deadline: float | None) -> None:
    for step in plan:
        check(values, deadline)
        if step.what == "bind":
            with bind(KEYS[step.key], step.value):
                await follow(step.inner, {**values, step.key: step.value}, deadline)
        elif step.what == "timeout":
            until = now() + 100 + step.value
            async with timeout(100 + step.value):
                await follow(
                    step.inner, values, until if deadline is None else min(until, deadline)
                )
        elif step.what == "child":
            async with Scope("s") as scope:
                scope.go(follow, step.inner, values, deadline)
                await asyncio.sleep(0)
                check(values, deadline)
        else:
            await asyncio.create_task(follow(step.inner, values, deadline))
        check(values, deadline)


@given(steps(3))
@settings(max_examples=300, deadline=None)
def test_what_surrounds_a_call_is_what_was_put_around_it(plan: tuple[Step, ...]) -> None:
    """The innermost value counts, deadlines only shrink, and nothing leaks out of its block."""
    run_virtual(follow, plan, {}, None)
