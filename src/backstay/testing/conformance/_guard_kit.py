"""What a circuit breaker and a rate limiter must do when calls overlap, whatever library they are of.

Each case drives the thing through a small adapter and returns what was *seen*, in a
word, beside what is right. So the kit serves two ends: a test of your own asserts
`case.right`, and a table of several libraries shows what each does. Where time
matters it passes by `asyncio.sleep`: on a virtual loop for libraries that ask
Backstay's clock, on a real one for those that ask the machine's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from backstay._base import now

__all__ = ["BreakerKit", "GuardCase", "LimiterKit"]

Work = Callable[[], Awaitable[Any]]

_THRESHOLD = 5  # failures with which the breaker under test is to open
_HERD = 100


@dataclass(frozen=True, slots=True)
class GuardCase:
    """One thing that a guard must do.

    Attributes:
        name: what it is about, with underscores; `str(case)`, fit for a test id.
        question: the same as a question, for a table.
        right: the answer that is right.
        see: drives a guard and returns the answer that was seen.
    """

    name: str
    question: str
    right: str
    see: Callable[[], Awaitable[str]]

    def __str__(self) -> str:
        """Return the name."""
        return self.name


class _Trouble(Exception):
    """The dependency fails."""


def _start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start what a case waits for itself, on whatever loop it runs."""
    return asyncio.get_running_loop().create_task(work)


async def _fail() -> None:
    await asyncio.sleep(0)
    raise _Trouble


async def _hang() -> None:
    await asyncio.sleep(3600)


@dataclass(frozen=True, slots=True)
class BreakerKit:
    """Says how to make and use a breaker; `cases` does the rest.

    Attributes:
        make: makes one that opens after 5 failures (or at half of at least 5 calls), and stays
            open for `pause` seconds; inside a running loop. A slow limit of `pause` may be set.
        call: calls a function through it: ``await call(breaker, fn)``.
        pause: seconds that it stays open; choose it short where time is real.
    """

    make: Callable[[float], Any]
    call: Callable[[Any, Work], Awaitable[Any]]
    pause: float = 1.0

    def cases(self) -> tuple[GuardCase, ...]:
        """Return everything that must hold."""
        return (
            GuardCase(
                "opens_on_failures", "opens when calls fail?", "yes", self._opens_on_failures
            ),
            GuardCase(
                "opens_on_hangs",
                "opens when calls hang and their callers' time-outs cut them?",
                "yes",
                self._opens_on_hangs,
            ),
            GuardCase(
                "a_cancel_does_not_reset",
                "still opens when callers that leave come between the failures?",
                "yes",
                self._a_cancel_does_not_reset,
            ),
            GuardCase(
                "a_cancel_is_no_failure",
                "stays closed when callers leave early?",
                "yes",
                self._a_cancel_is_no_failure,
            ),
            GuardCase(
                "one_probe_of_a_hundred",
                f"probes let through of {_HERD} calls at once when half-open",
                "1",
                self._one_probe,
            ),
            GuardCase(
                "a_late_success_does_not_close",
                "stays open when a success from before arrives?",
                "yes",
                self._a_late_success,
            ),
            GuardCase(
                "a_cancelled_probe_is_not_lost",
                "recovers when its probe is cancelled?",
                "yes",
                self._a_cancelled_probe,
            ),
        )

    async def _opens_on_failures(self) -> str:
        breaker = self.make(self.pause)
        await self._fail(breaker, _THRESHOLD + 1)
        return await self._is_open(breaker)

    async def _opens_on_hangs(self) -> str:
        breaker = self.make(self.pause)
        for _ in range(20):
            made = False

            async def hang() -> None:
                nonlocal made
                made = True
                await _hang()

            try:
                async with asyncio.timeout(self.pause * 1.1):
                    await self.call(breaker, hang)
            except Exception:  # the time-out, or a no: whatever the library calls it
                pass
            if not made:
                return "yes"
        return "no"

    async def _a_cancel_does_not_reset(self) -> str:
        breaker = self.make(self.pause)
        for _ in range(4):
            await self._fail(breaker, 3)
            await self._leave(breaker)
        return await self._is_open(breaker)

    async def _a_cancel_is_no_failure(self) -> str:
        breaker = self.make(self.pause)
        for _ in range(20):
            await self._leave(breaker)
        return "no" if await self._refuses(breaker) else "yes"

    async def _one_probe(self) -> str:
        breaker = await self._open()
        await asyncio.sleep(self.pause * 1.5)
        inside = 0

        async def probe() -> None:
            nonlocal inside
            inside += 1
            await asyncio.sleep(self.pause / 4)

        calls = [_start(self._quietly(breaker, probe)) for _ in range(_HERD)]
        await asyncio.sleep(self.pause / 8)
        at_once = inside
        await asyncio.gather(*calls)
        return str(at_once)

    async def _a_late_success(self) -> str:
        breaker = self.make(self.pause * 10)

        async def late() -> None:
            await asyncio.sleep(self.pause / 4)

        early = _start(self._quietly(breaker, late))
        await asyncio.sleep(0)
        await self._fail(breaker, _THRESHOLD + 1)
        await early
        return await self._is_open(breaker)

    async def _a_cancelled_probe(self) -> str:
        breaker = await self._open()
        await asyncio.sleep(self.pause * 1.5)
        await self._leave(breaker)
        for _ in range(8):
            await asyncio.sleep(self.pause)
            if not await self._refuses(breaker):
                return "yes"
        return "no"

    # -- tools ---------------------------------------------------------------------

    async def _open(self) -> Any:
        breaker = self.make(self.pause)
        await self._fail(breaker, _THRESHOLD + 1)
        return breaker

    async def _fail(self, breaker: Any, times: int) -> None:
        for _ in range(times):
            await self._quietly(breaker, _fail)

    async def _leave(self, breaker: Any) -> None:
        """Call, and leave before the call ends."""
        call = _start(self._quietly(breaker, _hang))
        await asyncio.sleep(self.pause / 100)
        call.cancel()
        await asyncio.wait([call])

    async def _quietly(self, breaker: Any, work: Work) -> None:
        try:
            await self.call(breaker, work)
        except Exception:  # a failure or a no, whatever the library calls it
            pass

    async def _refuses(self, breaker: Any) -> bool:
        made = False

        async def work() -> None:
            nonlocal made
            made = True

        await self._quietly(breaker, work)
        return not made

    async def _is_open(self, breaker: Any) -> str:
        return "yes" if await self._refuses(breaker) else "no"


@dataclass(frozen=True, slots=True)
class LimiterKit:
    """Says how to make and use a limiter that waits; `cases` does the rest.

    Attributes:
        make: makes one for `rate` units a second and as large a burst; inside a running loop.
        acquire: waits until `cost` units are granted: ``await acquire(limiter, cost)``.
        rate: units a second.
        seconds: how long it is driven.
        weighs: whether a call may cost more than one unit.
        clock: what the library goes by, in seconds.
    """

    make: Callable[[int], Any]
    acquire: Callable[[Any, int], Awaitable[Any]]
    rate: int = 50
    seconds: float = 3.0
    weighs: bool = True
    clock: Callable[[], float] = now

    def cases(self) -> tuple[GuardCase, ...]:
        """Return everything that must hold."""
        most = round(self.rate * (self.seconds + 1))
        return (
            GuardCase(
                "never_more_than_a_burst_and_the_rate",
                f"keeps to {most} calls in {self.seconds:g} s ({self.rate}/s, burst {self.rate})?",
                "yes",
                self._total,
            ),
            GuardCase(
                "a_heavy_call_is_served",
                f"serves a call of weight {self.rate * 4 // 5} among five greedy ones of weight 1?",
                "yes",
                self._heavy,
            ),
            GuardCase(
                "a_cancelled_waiter_costs_nothing",
                "gives the units of cancelled waiters to others?",
                "yes",
                self._cancelled,
            ),
        )

    async def _total(self) -> str:
        limiter = self.make(self.rate)
        granted = 0
        until = self.clock() + self.seconds

        async def greedy() -> None:
            nonlocal granted
            while True:
                await self.acquire(limiter, 1)
                if self.clock() > until:
                    return
                granted += 1

        await self._for(self.seconds, *(greedy() for _ in range(5)))
        most = self.rate * (self.seconds + 1)
        return "yes" if granted <= most * 1.02 else f"no: {granted}"

    async def _heavy(self) -> str:
        if not self.weighs:
            return "no weights"
        limiter = self.make(self.rate)
        served: list[float] = []
        began = self.clock()

        async def greedy() -> None:
            while True:
                await self.acquire(limiter, 1)
                await asyncio.sleep(0)

        async def heavy() -> None:
            await asyncio.sleep(self.seconds / 6)
            await self.acquire(limiter, self.rate * 4 // 5)
            served.append(self.clock() - began)

        await self._for(self.seconds, *(greedy() for _ in range(5)), heavy())
        return "yes" if served else "never"

    async def _cancelled(self) -> str:
        without = await self._wait_after_a_burst(0)
        waited = await self._wait_after_a_burst(self.rate)
        # A window of a fixed second makes the next call wait for its end in any case.
        return "yes" if waited <= without + 6 / self.rate else f"no: waits {waited:.2g} s"

    async def _wait_after_a_burst(self, leaving: int) -> float:
        """Return how long a call waits after a burst, and after so many have waited and left."""
        limiter = self.make(self.rate)
        for _ in range(self.rate):
            await self.acquire(limiter, 1)
        waiting = [_start(self._one(limiter)) for _ in range(leaving)]
        await asyncio.sleep(2 / self.rate)
        for call in waiting:
            call.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        began = self.clock()
        await self.acquire(limiter, 1)
        return self.clock() - began

    async def _one(self, limiter: Any) -> None:
        await self.acquire(limiter, 1)

    async def _for(self, seconds: float, *work: Coroutine[Any, Any, None]) -> None:
        tasks = [_start(part) for part in work]
        await asyncio.wait(tasks, timeout=seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
