"""One limit for many processes: what the store decides, and what each process may hold.

The store keeps one number for a limit: its theoretical arrival time, as in `gcra`, in whole
microseconds of the store's own clock, so that no process's clock matters and nothing is
rounded twice. A process asks for three things at once:

* *entries*: calls that wait. Each is given the place that comes free next, as long as it comes
  soon enough for that call; a place in the future is reserved there and then. So processes
  do not race for what comes free, nothing that is free is missed, and they are served in the
  order in which they asked.
* *want*: a lease, for calls that come later: what is free now, never the future.
* *back*: what was taken and not used.

What a process holds of leases can be spent late, and that is all by which the limit is ever
exceeded: in any span of ``d`` seconds no more than ``burst + rate * d`` is admitted, and the
leases of all processes on top (`lease_for`, times the number of processes).

Source of the bound's shape: go's golang.org/x/time/rate reservations and Gubernator's leases
(https://github.com/gubernator-io/gubernator) meet in GCRA; the figures are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

__all__ = ["MICRO", "Ask", "Entry", "QuotaAnswer", "decide", "lease_for", "microseconds"]

MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One call that waits.

    Attributes:
        cost_us: what it takes, in microseconds of the limit's time: units / rate.
        most_us: how long it may wait.
    """

    cost_us: int
    most_us: int


@dataclass(frozen=True, slots=True)
class Ask:
    """What a process asks the store for, all in microseconds of the limit's time.

    Attributes:
        name: of the limit.
        burst_us: what may be taken at once: burst / rate.
        entries: calls that wait, in their order.
        want_us: a lease; 0 for none. As much of it is given as is free.
        back_us: what was taken before and not used.
        process: who asks, so that processes can be counted.
        window_us: for how long a process counts after it has asked.
    """

    name: str
    burst_us: int
    entries: tuple[Entry, ...]
    want_us: int
    back_us: int
    process: str
    window_us: int


@dataclass(frozen=True, slots=True)
class QuotaAnswer:
    """What the store says.

    Attributes:
        granted_us: of the lease.
        waits_us: for each entry: 0 when it may go on, how long until it may; below 0 when
            nothing was reserved since that would be later than it can wait: -1 - the wait.
        ahead_us: how far the limit is ahead of the store's clock now: at `burst_us`, the next
            call has to wait.
        processes: how many share the limit, the one that asks among them.
        now_us: the store's clock.
    """

    granted_us: int
    waits_us: tuple[int, ...] = field(default=())
    ahead_us: int = 0
    processes: int = 1
    now_us: int = 0


def microseconds(units: float, rate: float) -> int:
    """Return what `units` are worth of the limit's time; rounded up, so that a limit is kept."""
    return ceil(units * MICRO / rate - 1e-6)


def decide(
    due_us: int, burst_us: int, entries: Sequence[Entry], want_us: int, back_us: int, now_us: int
) -> tuple[int, int, tuple[int, ...]]:
    """Decide as the store does; the script in `integrations.redis` says the same in Lua.

    Args:
        due_us: the theoretical arrival time so far.
        burst_us: see `Ask`.
        entries: see `Ask`.
        want_us: see `Ask`.
        back_us: see `Ask`.
        now_us: the store's clock.

    Returns:
        The new theoretical arrival time, the lease, and the wait for each entry.
    """
    due_us = max(due_us - back_us, now_us)
    waits: list[int] = []
    for entry in entries:
        wait = max(0, due_us + entry.cost_us - now_us - burst_us)
        if wait <= entry.most_us:
            due_us += entry.cost_us
            waits.append(wait)
        else:
            waits.append(-1 - wait)
    granted = max(0, min(want_us, burst_us - (due_us - now_us)))
    return due_us + granted, granted, tuple(waits)


def lease_for(rate: float, burst: float, processes: int) -> float:
    """Return how many units a process may hold for calls to come.

    A hundredth of a second's worth: asking for it 100 times a second at most is nothing to a
    store, and to be wrong by it is nothing to a limit. Less when there are many processes, so
    that all leases together are never more than a tenth of a second's worth, or than half of
    the burst; at least one.

    Args:
        rate: units a second.
        burst: units at once.
        processes: how many share the limit, >= 1.
    """
    return max(1.0, min(0.01 * rate, 0.1 * rate / processes, burst / 2 / processes))
