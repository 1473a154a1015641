"""Several counts over the last few seconds, each total one number to read.

`_base.RollingWindow` adds its buckets up when asked; a guard asks at every call. Here
the totals are kept as the window moves, so that counting and reading cost the same
whatever the number of buckets.
"""

from __future__ import annotations

__all__ = ["WindowedCounts"]


class WindowedCounts:
    """Counts of `kinds` sorts of events over the last `span` seconds.

    Invariant: `totals[k]` is the sum of kind `k` over the buckets of the window that ends
    with the step of the last call to `move`.

    Attributes:
        totals: what the window holds, by kind; read it after `move(now)`.
        until: when the present step ends; before that, `move` has nothing to do.
        newest: the bucket of the present step. A caller for whom the call of `add` is too
            dear may, before `until`, add 1 to a kind of it and of `totals` by itself.
    """

    __slots__ = ("_buckets", "_step", "_width", "newest", "totals", "until")

    def __init__(self, kinds: int, span: float = 10.0, buckets: int = 40) -> None:
        """Start empty.

        Args:
            kinds: how many counts are kept, >= 1.
            span: seconds, > 0.
            buckets: steps in which old counts leave the window, >= 1.

        Raises:
            ValueError: a number is out of range.
        """
        if not span > 0:
            raise ValueError(f"a window spans more than 0 seconds, not {span!r}")
        if buckets < 1 or kinds < 1:
            raise ValueError(f"a window has at least 1 bucket and 1 kind, not {buckets}, {kinds}")
        self._width = span / buckets
        self._buckets = [[0] * kinds for _ in range(buckets)]
        self.totals = [0] * kinds
        self._step = 0
        self.newest = self._buckets[0]
        self.until = float("-inf")  # when the step of the last call ends

    def move(self, now: float) -> None:
        """Let what is too old by `now` leave the window."""
        if now < self.until:
            return
        step = int(now / self._width)
        gone = len(self._buckets) if self.until == float("-inf") else step - self._step
        for past in range(min(gone, len(self._buckets))):
            bucket = self._buckets[(step - past) % len(self._buckets)]
            for kind, count in enumerate(bucket):
                if count:
                    self.totals[kind] -= count
                    bucket[kind] = 0
        self._step = step
        self.newest = self._buckets[step % len(self._buckets)]
        self.until = (step + 1) * self._width

    def add(self, kind: int, now: float) -> None:
        """Count an event."""
        if now >= self.until:
            self.move(now)
        self.newest[kind] += 1
        self.totals[kind] += 1

    def clear(self) -> None:
        """Forget everything."""
        for bucket in self._buckets:
            bucket[:] = [0] * len(bucket)
        self.totals = [0] * len(self.totals)
