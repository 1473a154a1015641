"""The prover and two tables of shapes: all that are dead are proved, and nobody else is.

Each on the stock loop and on uvloop, alone and then all together in one loop.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import uvloop
from leaked_shapes import LEAKED, kept
from live_shapes import LIVE

from backstay import install, leak, uninstall

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [
    asyncio.new_event_loop,
    uvloop.new_event_loop,
]
HERE = Path(__file__).parent


async def settle() -> None:
    for _ in range(6):
        await asyncio.sleep(0)


def ask(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
    play: Callable[[AsyncExitStack], Awaitable[object]],
) -> leak.Proof:
    """Let a shape play in a loop of its own, and ask who is dead."""

    async def main() -> leak.Proof:
        install()
        async with AsyncExitStack() as stack:
            await play(stack)
            await settle()
            proof = leak.prove()
        for task in list(kept):
            task.cancel()
        await asyncio.wait(list(kept)) if kept else None
        uninstall()
        return proof

    gc.collect()  # what an earlier test has left must not be taken for ours
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(main())


@pytest.mark.parametrize("loop_factory", LOOPS)
@pytest.mark.parametrize("name", LEAKED)
def test_what_is_dead_is_proved(name: str, loop_factory: Any) -> None:
    """As many tasks as the table says, each with a line of the shapes, or of asyncio for its children."""
    count, shape = LEAKED[name]

    async def play(stack: AsyncExitStack) -> None:
        shape()

    proof = ask(loop_factory, play)
    assert proof.refused == ""
    assert len(proof.proved) == count, proof
    for one in proof.proved:
        path, _, line = one.site.rpartition(":")
        assert Path(path).resolve().is_relative_to(HERE), one.site
        assert int(line) > 0
        assert one.await_site, one


@pytest.mark.parametrize("loop_factory", LOOPS)
@pytest.mark.parametrize("name", LIVE)
def test_what_may_be_woken_is_not_accused(name: str, loop_factory: Any) -> None:
    """Although it waits: it was looked at, and left alone."""
    proof = ask(loop_factory, LIVE[name])
    assert proof.refused == ""
    assert proof.asked >= 1
    assert proof.proved == ()


@pytest.mark.parametrize("loop_factory", LOOPS)
def test_all_at_once_only_the_dead_are_proved(loop_factory: Any) -> None:
    """Every shape in one loop: the same tasks are proved as alone, and no live one beside them."""

    async def play(stack: AsyncExitStack) -> None:
        for shape in LIVE.values():
            await shape(stack)
        for _, shape in LEAKED.values():
            shape()

    proof = ask(loop_factory, play)
    wanted = sum(count for count, _ in LEAKED.values())
    assert len(proof.proved) == wanted, Counter(one.await_site for one in proof.proved)
    lines = HERE.joinpath("live_shapes.py").name
    assert not [one for one in proof.proved if lines in " ".join(one.chain)]
