"""What a shared rate and its store say to each other and to people."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from types import TracebackType
from typing import Final, Literal, Protocol, TypeAlias

from backstay.errors import LimitError
from backstay.guard.rules.gcra import Gcra
from backstay.guard.rules.shared_quota import MICRO, Ask, QuotaAnswer, decide
from backstay.sync._durations import Spread
from backstay.sync._home import read_clock
from backstay.sync._wake_queue import Waiter

__all__ = [
    "Caller",
    "MemoryStore",
    "OnStoreDown",
    "RateStore",
    "SharedPermit",
    "SharedRateStatistics",
]

_EVER_US: Final = 3_600 * MICRO  # a call without a deadline waits for an hour at most

OnStoreDown: TypeAlias = Literal["local", "open", "closed"]
"""What a shared rate does while its store does not answer: share by itself, admit, or refuse."""


class RateStore(Protocol):
    """Where processes meet: `backstay.integrations.redis.RedisStore`, or your own."""

    async def ask(self, ask: Ask) -> QuotaAnswer:
        """Decide about a request, all of it or nothing.

        Raises:
            Exception: the store cannot be reached, or answers nonsense.

        Cancelled: the answer is not wanted any more; it may have been decided or not.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections."""
        ...


@dataclass(frozen=True, slots=True)
class SharedRateStatistics:
    """How one process's part of a shared rate is doing.

    Attributes:
        name: its name, the same in all processes.
        rate: units a second, of all processes together.
        burst: units at once, of all processes together.
        processes: how many share it, as far as the store knows.
        lease: units that this process may hold for calls to come.
        available: units that it holds now.
        granted: units that this process has used.
        rejected: calls that it has refused.
        waiting: calls in line.
        wait: how long calls waited that had to.
        store: "up", or "down" while the store is not counted on.
        trips: how often the store was asked.
        trip: how long it took to answer.
        store_errors: how often it did not answer within the budget, or with an error.
        local_granted: units that were used while the store was down.
    """

    name: str
    rate: float
    burst: float
    processes: int
    lease: float
    available: float
    granted: float
    rejected: int
    waiting: int
    wait: Spread
    store: Literal["up", "down"]
    trips: int
    trip: Spread
    store_errors: int
    local_granted: float


class Caller:
    """One call in line.

    Attributes:
        cost: units.
        until: when it has to have them, on the clock of `backstay.now()`; infinite for ever.
        waiter: what it waits for.
    """

    __slots__ = ("cost", "until", "waiter")

    def __init__(self, cost: float, until: float, waiter: Waiter) -> None:
        """Stand in line."""
        self.cost = cost
        self.until = until
        self.waiter = waiter

    def most_us(self, now: float) -> int:
        """Return how long it may wait from now on, in microseconds."""
        return _EVER_US if self.until == inf else max(0, int((self.until - now) * MICRO))


class MemoryStore:
    """A store within one process, for tests, and for programs that have no Redis at hand.

    Several `SharedRate` objects of one process share their limits through one of these.
    """

    __slots__ = ("_due", "_seen")

    def __init__(self) -> None:
        """Start with every limit at rest."""
        self._due: dict[str, int] = {}
        self._seen: dict[str, dict[str, int]] = {}

    async def ask(self, ask: Ask) -> QuotaAnswer:
        """Decide at once; see `RateStore.ask`."""
        now_us = int(read_clock.read() * 1e6)
        due, granted, waits = decide(
            self._due.get(ask.name, 0), ask.burst_us, ask.entries, ask.want_us, ask.back_us, now_us
        )
        self._due[ask.name] = due
        seen = self._seen.setdefault(ask.name, {})
        seen[ask.process] = now_us
        alive = {who: at for who, at in seen.items() if at > now_us - ask.window_us}
        self._seen[ask.name] = alive
        return QuotaAnswer(granted, waits, due - now_us, len(alive), now_us)

    async def aclose(self) -> None:
        """Nothing is held."""


class _Rate(Protocol):
    async def acquire(self, cost: float = 1.0) -> None: ...


class SharedPermit:
    """Units of a shared rate as a block; made by `SharedRate.permit`."""

    __slots__ = ("_cost", "_rate")

    def __init__(self, rate: _Rate, cost: float) -> None:
        """Remember how many; nothing is taken yet."""
        self._rate = rate
        self._cost = cost

    async def __aenter__(self) -> None:
        """Take the units."""
        await self._rate.acquire(self._cost)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the block; what was taken is spent."""


def check_options(
    on_store_down: str,
    lease: float | None = None,
    budget: float = 1.0,
    max_wait: float | None = None,
) -> None:
    """Check the options of a `SharedRate`.

    Raises:
        ValueError: a number is out of range, or `on_store_down` is none of the three words.
    """
    if on_store_down not in ("local", "open", "closed"):
        raise ValueError(f'on_store_down is "local", "open" or "closed", not {on_store_down!r}')
    if max_wait is not None and not max_wait >= 0:
        raise ValueError(f"max_wait is at least 0 seconds, not {max_wait!r}")
    if not budget > 0:
        raise ValueError(f"budget is above 0 seconds, not {budget!r}")
    if lease is not None and not 0 <= lease < inf:
        raise ValueError(f"lease is at least 0 units, not {lease!r}")


def too_early(
    name: str, whole: Gcra, processes: int, cost: float, wait: float, down: str | None
) -> LimitError:
    """Return the error for a call that would have to wait for too long.

    Args:
        name: of the limit.
        whole: the limit of all processes.
        processes: how many there are.
        cost: units that were asked for.
        wait: seconds until they would come free.
        down: why the store is not counted on; None when it is.
    """
    store = "" if down is None else f", and its store is down ({down})"
    return LimitError(
        f"shared rate {name!r} ({whole.rate:g}/s, burst {whole.burst:g}, {processes} processes): "
        f"{cost:g} would come free in {wait:.3g} s{store}",
        policy=name,
        retry_after=wait,
    )
