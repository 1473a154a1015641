"""Work that writes down when it was done, and a clock on the wall that can be set."""

from __future__ import annotations

import asyncio

from backstay import now
from backstay.lifecycle import Run
from backstay.testing import VirtualClock

__all__ = ["SetClock", "Work"]


class SetClock(VirtualClock):
    """A virtual clock whose wall can be set, as a person or NTP does it."""

    def __init__(self, wall: float) -> None:
        super().__init__()
        self.offset = wall

    def wall(self) -> float:
        return self.offset + self.monotonic()

    def set_by(self, seconds: float) -> None:
        self.offset += seconds


class Work:
    """Writes down each run as "begin on the monotonic clock, planned instant", and takes its time."""

    def __init__(self, takes: float = 0.0, *, deaf: bool = False) -> None:
        self.takes = takes
        self.deaf = deaf
        self.fails: list[BaseException] = []
        self.runs: list[Run] = []
        self.began: list[float] = []
        self.ended: list[float] = []
        self.at_once = self.most_at_once = 0

    @property
    def planned(self) -> list[float]:
        return [run.planned_at for run in self.runs]

    async def __call__(self, run: Run) -> None:
        self.runs.append(run)
        self.began.append(now())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.takes)
            if self.fails:
                raise self.fails.pop(0)
        except asyncio.CancelledError:
            if not self.deaf:
                raise
        finally:
            self.at_once -= 1
            self.ended.append(now())
