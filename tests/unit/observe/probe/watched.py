"""What the tests of probes watch. The numbers of its lines are found by the marks at their ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def line(mark: str) -> int:
    """Return the number of the line that ends with a mark."""
    texts = Path(__file__).read_text("utf-8").splitlines()
    return next(number for number, text in enumerate(texts, 1) if text.endswith(f"# <{mark}>"))


def place(mark: str) -> str:
    """Return the line as a probe names it."""
    return f"probe/watched.py:{line(mark)}"


def total(prices: list[int], token: str = "abc") -> int:
    seen = {"items": prices, "password": "hunter2"}  # <first>
    result = sum(prices)  # <sum>
    return result + len(seen) - 2  # <return>


def numbers(count: int) -> Iterator[int]:
    for number in range(count):
        other = number + 1
        yield other  # <yield>


def squares(count: int) -> list[int]:
    return [number * number for number in range(count)]  # <comprehension>


def maker() -> Callable[[int], int]:
    def inner(value: int) -> int:
        return value + 1  # <inner>

    return inner


def by_key(items: list[int]) -> list[int]:
    return sorted(items, key=lambda item: -item)  # <lambda>


async def wait(event: asyncio.Event, big: Any = None) -> str:
    local = big
    big = None
    del local
    while not event.is_set():
        await asyncio.sleep(0.01)  # <nap>
    return "done"  # <woken>


def decorated(function: Callable[[], int]) -> Callable[[], int]:
    def around() -> int:
        return function()

    return around


@decorated
def hidden() -> int:
    return 41  # <hidden>


class Shelf:
    @property
    def size(self) -> int:
        return 3  # <property>
