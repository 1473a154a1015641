"""A lease: the right to do something alone, for some seconds, with a number that grows.

The protocol that stores fulfil, the rule for how long a holder may believe in its lease, and a store
in memory for tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from backstay._base import now

__all__ = ["Lease", "LeaseGrant", "LeaseTerm", "MemoryLease"]


@dataclass(frozen=True, slots=True)
class LeaseGrant:
    """A lease that was granted.

    Attributes:
        name: of what is leased.
        holder: who has it.
        token: the fencing token: greater than that of each grant of the name before. Hand it to
            whatever the work writes to, and let that refuse a token less than one it has seen: a
            holder that was stopped amid its work, and wakes when its lease is over, cannot know.
    """

    name: str
    holder: str
    token: int


@runtime_checkable
class Lease(Protocol):
    """A store of leases; all methods may fail with whatever the store raises."""

    async def acquire(
        self, name: str, ttl: float, *, holder: str, once: str = "", remember: float = 0.0
    ) -> LeaseGrant | None:
        """Ask for a lease.

        Whoever asks again as the same holder gets it again: the answer may have been lost.

        Args:
            name: of what is leased.
            ttl: seconds until it is over, unless it is renewed.
            holder: who asks; a word that nobody else uses.
            once: with a word, the lease is not granted when another holder was granted it with the
                same word within `remember` seconds.
            remember: seconds.

        Returns:
            The grant, or None: somebody else has it, or has had it for `once`.
        """
        ...

    async def renew(self, grant: LeaseGrant, ttl: float) -> bool:
        """Make a lease last `ttl` seconds from now on; False when it is not ours any more."""
        ...

    async def release(self, grant: LeaseGrant) -> None:
        """Give a lease back; without effect when it is not ours any more."""
        ...


class LeaseTerm:
    """How long a holder believes in its lease.

    Counted from when we *asked*: the store counts from when it heard us, which is later, so we are
    the first to stop. A third of the term is for renewing, and the last third for the work to end.

    Attributes:
        ttl: seconds of a lease.
    """

    __slots__ = ("_asked_at", "ttl")

    def __init__(self, ttl: float, asked_at: float) -> None:
        """Begin with a lease that was asked for at `asked_at`, and granted."""
        self.ttl = ttl
        self._asked_at = asked_at

    @property
    def renew_at(self) -> float:
        """When to renew it."""
        return self._asked_at + self.ttl / 3

    @property
    def cut_at(self) -> float:
        """When the work has to be cancelled, if it was not renewed by then."""
        return self._asked_at + 2 * self.ttl / 3

    @property
    def over_at(self) -> float:
        """When it may be somebody else's."""
        return self._asked_at + self.ttl

    def renewed(self, asked_at: float) -> None:
        """Take note of a renewal that was asked for at `asked_at`."""
        self._asked_at = max(self._asked_at, asked_at)


class MemoryLease:
    """Leases of one process, for tests and for schedules that share nothing but a process."""

    __slots__ = ("_held", "_marks", "_token")

    def __init__(self) -> None:
        """Have none."""
        self._held: dict[str, tuple[LeaseGrant, float]] = {}
        self._marks: dict[tuple[str, str], tuple[str, float]] = {}
        self._token = 0

    async def acquire(
        self, name: str, ttl: float, *, holder: str, once: str = "", remember: float = 0.0
    ) -> LeaseGrant | None:
        """Ask for a lease; see `Lease.acquire`."""
        at = now()
        self._held = {key: one for key, one in self._held.items() if one[1] > at}
        self._marks = {key: one for key, one in self._marks.items() if one[1] > at}
        held, mark = self._held.get(name), self._marks.get((name, once))
        if held is not None and held[0].holder != holder:
            return None
        if once and mark is not None and mark[0] != holder:
            return None
        self._token += 1
        grant = LeaseGrant(name, holder, self._token)
        self._held[name] = grant, at + ttl
        if once:
            self._marks[name, once] = holder, at + remember
        return grant

    async def renew(self, grant: LeaseGrant, ttl: float) -> bool:
        """Make a lease last; see `Lease.renew`."""
        held = self._held.get(grant.name)
        if held is None or held[0].holder != grant.holder or held[1] <= now():
            return False
        self._held[grant.name] = held[0], now() + ttl
        return True

    async def release(self, grant: LeaseGrant) -> None:
        """Give a lease back; see `Lease.release`."""
        held = self._held.get(grant.name)
        if held is not None and held[0].holder == grant.holder:
            del self._held[grant.name]
