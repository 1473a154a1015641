"""`KeyedRate`: a rate limit for each tenant, customer or address, in bounded memory.

A key that has not asked for longer than its burst takes to fill again is as good as
new, and its entry can go: forgetting it changes no answer. So the table holds those
who have asked lately. Is it full of them nevertheless, the one that asked longest ago
goes, and is `forgotten`: it may then have a little more than its share.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from backstay.errors import LimitError
from backstay.guard._guard import Guard, Mode
from backstay.guard.rules.gcra import Gcra
from backstay.guard.rules.hot_keys import HotKey, HotKeys
from backstay.sync._home import read_clock

__all__ = ["KeyedRate", "KeyedRateStatistics"]


@dataclass(frozen=True, slots=True)
class KeyedRateStatistics:
    """How a rate limit of many keys is doing.

    Attributes:
        name: its name.
        rate: units a second for each key.
        burst: units at once for each key.
        keys: how many are kept.
        granted: units taken by all.
        rejected: calls refused.
        forgotten: keys that were dropped before their burst was full again.
        hottest: who asks for most, refused calls included; the heaviest first.
    """

    name: str
    rate: float
    burst: float
    keys: int
    granted: float
    rejected: int
    forgotten: int
    hottest: tuple[HotKey, ...]


class KeyedRate(Guard):
    """Lets through `rate` units a second of each key; never waits.

    ::

        tenants = KeyedRate(100, burst=20, name="tenants")
        app = guard(app, tenant_rate=tenants, tenant=lambda scope: ...)     # 429 beyond

        tenants.check(tenant)                       # raises LimitError
        if tenants.try_acquire(tenant): ...

    Keys show up in statistics: give it names that may be seen, no secrets.
    """

    __slots__ = ("_forgotten", "_granted", "_hot", "_rule", "_size", "_table")

    kind = "keyed rate"
    _kind = "keyed rate limit"

    def __init__(
        self,
        rate: float,
        burst: float | None = None,
        *,
        name: str = "",
        size: int = 10_000,
        hot: int = 64,
        mode: Mode = "enforce",
    ) -> None:
        """Start with a full burst for everybody.

        Args:
            rate: units a second for each key, > 0.
            burst: units at once, >= 1; what comes in a tenth of a second when omitted.
            name: what it limits, for people; the line that makes it when omitted.
            size: keys kept at most, >= 1; 200 bytes each.
            hot: keys that are counted to find the heaviest.
            mode: "shadow" counts what it would refuse, and lets it through.

        Raises:
            ValueError: a number is out of range.
        """
        super().__init__(name, mode)
        if size < 1:
            raise ValueError(f"at least 1 key is kept, not {size!r}")
        self._rule = Gcra(rate, max(1.0, rate * 0.1) if burst is None else burst)
        self._size = size
        self._table: OrderedDict[Hashable, float] = OrderedDict()  # key: when it is due, see Gcra
        self._hot = HotKeys(hot)
        self._granted = 0.0
        self._forgotten = 0

    @property
    def rate(self) -> float:
        """Units a second for each key."""
        return self._rule.rate

    @property
    def burst(self) -> float:
        """Units at once for each key."""
        return self._rule.burst

    def take(self, key: Hashable, now: float, cost: float = 1.0) -> bool:
        """Take `cost` units of `key` if they are free; tell whether they were.

        Raises:
            ValueError: `cost` is not positive, or more than a burst.
        """
        rule, table = self._rule, self._table
        self._hot.add(key, cost)
        rule.due = table.get(key, float("-inf"))
        if rule.take(cost, now) > 0.0:
            table.move_to_end(key)
            return False
        table[key] = rule.due
        table.move_to_end(key)
        self._granted += cost
        if len(table) > self._size:
            self._make_room(now)
        return True

    def _make_room(self, now: float) -> None:
        """Let keys go whose burst is full again, the longest unused first; one in any case."""
        table = self._table
        _, due = table.popitem(last=False)
        self._forgotten += due > now
        while table and next(iter(table.values())) <= now:
            table.popitem(last=False)

    def try_acquire(self, key: Hashable, cost: float = 1.0) -> bool:
        """Take `cost` units of `key` if they are free; tell whether they were."""
        return self.take(key, read_clock.read(), cost)

    def check(self, key: Hashable, cost: float = 1.0) -> None:
        """Take `cost` units of `key`.

        Raises:
            LimitError: they are not free; `retry_after` says when they will be.
        """
        now = read_clock.read()
        if not self.take(key, now, cost):
            wait = self.retry_after(key, now, cost)
            self.refuse(
                LimitError(
                    f"keyed rate {self.name!r}: {key!r} has used up its {self.rate:g}/s; "
                    f"{cost:g} will be free in {wait:.3g} s",
                    policy=self.name,
                    retry_after=wait,
                )
            )

    def retry_after(self, key: Hashable, now: float, cost: float = 1.0) -> float:
        """Return the seconds until `cost` units of `key` are free; takes nothing."""
        self._rule.due = self._table.get(key, float("-inf"))
        return self._rule.wait(cost, now)

    def update(
        self, *, rate: float | None = None, burst: float | None = None, mode: Mode | None = None
    ) -> None:
        """Change the limit while it works.

        Raises:
            ValueError: a number is out of range; nothing has changed.
        """
        rule = self._rule
        rule.set(rule.rate if rate is None else rate, rule.burst if burst is None else burst)
        super().update(mode=mode)

    def statistics(self) -> KeyedRateStatistics:
        """Return how it is doing."""
        return KeyedRateStatistics(
            name=self.name,
            rate=self.rate,
            burst=self.burst,
            keys=len(self._table),
            granted=self._granted,
            rejected=self.rejected,
            forgotten=self._forgotten,
            hottest=self._hot.top(),
        )

    def __repr__(self) -> str:
        """Show the name and the limit."""
        return f"<KeyedRate {self.name!r} {self.rate:g}/s each, {len(self._table)} keys>"
