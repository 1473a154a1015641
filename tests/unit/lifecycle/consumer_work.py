"""A handler that is told what to do, and what is asked of consumers."""

from __future__ import annotations

import asyncio
from typing import Any

from backstay import now
from backstay.lifecycle import Consumer, Delivery, Redelivery

__all__ = ["Work", "exact", "seen"]


class Work:
    """A handler that writes down what it did when, and fails or takes long as it is told."""

    def __init__(self, takes: float = 0.0) -> None:
        self.takes = takes
        self.fails: list[BaseException] = []
        self.lines: list[str] = []
        self.at_once = self.most_at_once = 0

    async def __call__(self, delivery: Delivery) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.takes)
            if self.fails:
                raise self.fails.pop(0)
        except BaseException as error:
            self.lines.append(f"{now():g} {delivery.message_id} {type(error).__name__}")
            raise
        finally:
            self.at_once -= 1
        self.lines.append(f"{now():g} {delivery.message_id} done")


def exact(**options: Any) -> Redelivery:
    """Return a rule without chance: the bound doubles, and half of it is chance, so none is left of 0."""
    return Redelivery(**{"first": 0.0, "most": 0.0, **options})


def seen(consumer: Consumer, *names: str) -> tuple[Any, ...]:
    statistics = consumer.statistics()
    return tuple(getattr(statistics, name) for name in names)
