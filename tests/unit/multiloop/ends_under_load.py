"""Multiloops that end under load; runs without pytest too, on interpreters that have none.

Run as a program it does all of it once and prints what the interpreter is.
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections import Counter

from backstay import Scope
from backstay.errors import ScopeClosed
from backstay.multiloop import Multiloop

__all__ = ["cut", "end_in_order"]


class Tally:
    """What was accepted, and what ran; written by many threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self.accepted = 0
        self.refused = 0
        self.ran: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()

    def accept(self, task: asyncio.Task[int]) -> asyncio.Task[int]:
        with self._guard:
            self.accepted += 1
        return task

    def run(self, number: int) -> None:
        with self._guard:
            self.ran[number] += 1

    def end(self, number: int) -> None:
        with self._guard:
            self.ended[number] += 1


tally = Tally()


async def job(number: int, dice: float) -> int:
    """Run a little, wait a little, or block a little; count both ends."""
    tally.run(number)
    try:
        if dice < 0.3:
            await asyncio.sleep(0)
        elif dice < 0.35:
            threading.Event().wait(0.001)
        return number
    finally:
        tally.end(number)


async def family(pool: Multiloop, number: int, dice: random.Random) -> int:
    """A job that starts jobs of its own, until the door is shut."""
    tally.run(number)
    children = []
    try:
        for child in range(3):
            try:
                children.append(tally.accept(pool.go(job, number * 1000 + child, dice.random())))
            except ScopeClosed:
                tally.refused += 1
        return number
    finally:
        results = await asyncio.gather(*children, return_exceptions=True)
        assert all(
            r == number * 1000 + at or isinstance(r, BaseException) for at, r in enumerate(results)
        )
        tally.end(number)


async def stranger(pool: Multiloop, first: int, dice: random.Random) -> None:
    """Somebody else's scope, which goes on starting jobs while the pool ends."""
    async with Scope("stranger", on_error="collect"):
        for number in range(first, first + 200):
            try:
                tally.accept(pool.go(job, number, dice.random()))
            except ScopeClosed:
                tally.refused += 1
                return
            if dice.random() < 0.1:
                await asyncio.sleep(0)


async def one_end(number: int) -> None:
    dice = random.Random(number)
    async with Scope("app") as app:
        async with Multiloop(f"end{number}", procs=dice.choice((1, 2, 3))) as pool:
            strange = app.go(stranger, pool, 1_000_000, dice)
            for at in range(dice.randrange(1, 40)):
                if dice.random() < 0.3:
                    tally.accept(pool.go(family, pool, at + 1, dice))
                else:
                    tally.accept(pool.go(job, 500_000 + at, dice.random()))
            if dice.random() < 0.3:
                await pool.set_procs(dice.choice((1, 2, 3)))
            if dice.random() < 0.5:
                await asyncio.sleep(dice.random() * 0.003)
        assert not strange.cancelled()


def end_in_order(numbers: range) -> None:
    """End multiloops under load; what was accepted has run once, what was refused has not."""
    global tally
    for number in numbers:
        tally = Tally()
        asyncio.run(asyncio.wait_for(one_end(number), 20))
        assert sum(tally.ran.values()) == tally.accepted, number
        assert tally.ran == tally.ended, number
        assert not tally.ran or max(tally.ran.values()) == 1, number


async def one_cut(number: int) -> None:
    dice = random.Random(number)
    async with Multiloop(f"cut{number}", procs=2, on_exit="cancel") as pool:
        for at in range(60):
            tally.accept(pool.go(job, at, dice.random()))
        await asyncio.sleep(dice.random() * 0.002)


def cut(numbers: range) -> None:
    """End multiloops by cancelling what they hold; whatever began has ended, once."""
    global tally
    for number in numbers:
        tally = Tally()
        asyncio.run(asyncio.wait_for(one_cut(number), 20))
        assert tally.ran == tally.ended, number
        assert not tally.ran or max(tally.ran.values()) == 1, number


if __name__ == "__main__":
    end_in_order(range(200))
    cut(range(200))
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(f"{sys.version.split()[0]} {'with' if gil else 'without'} the GIL: ok")
