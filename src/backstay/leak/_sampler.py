"""The sampler: looks at a loop now and then, so that growth can be judged.

It lives in a plain thread, since a leak tends to be asked about when the loop
is in trouble, and a sampler that runs on the loop would be in trouble with it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass

from backstay._base import now
from backstay.leak._census import Site, births_by_site
from backstay.leak._growth_rule import Backing, Growth, GrowthRule
from backstay.leak._history import History
from backstay.leak._looks import looks_of

__all__ = ["Sampler", "SamplerStatistics"]

# A look may cost this share of the time between two looks; when it costs more, they get rarer.
_BUDGET_SHARE = 0.01

_MOST_SITES = 1000


@dataclass(frozen=True, slots=True)
class SamplerStatistics:
    """How a sampler is doing."""

    running: bool  # whether its own thread takes samples
    samples: int  # taken so far
    skipped: int  # looks that failed; the next one simply tries again
    span_s: float  # how far back the history reaches
    sites: int  # remembered
    sites_refused: int  # left out at the last sample, for want of room
    interval_s: float  # between samples now; more than asked for when samples are dear
    last_cost_s: float  # processor time of the last sample
    last_error: str  # of the last failed look, "" when none failed


class Sampler:
    """Remembers when the tasks of a loop were born, site by site.

    ::

        with Sampler(loop, interval=30.0) as sampler:      # samples in a thread of its own
            ...
            print(leak.report(sampler).to_text())

    Or drive it yourself with `sample()`, for example from a test or from a
    thread that you have anyway. It holds numbers only, never a task.

    Cost: about a microsecond of processor time a live task and sample; when a
    sample takes more than 1 % of the interval, the interval grows.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        interval: float = 30.0,
        history: int = 240,
        *,
        rule: GrowthRule | None = None,
    ) -> None:
        """Prepare; nothing is sampled before `start()` or `sample()`.

        Args:
            loop: whose tasks.
            interval: seconds between two samples, > 0.
            history: samples to remember, >= 75; a third of them in each of three
                rings, the second eight and the third 64 times coarser than the first.
            rule: judges growth; the default thresholds when omitted.

        Raises:
            ValueError: interval or history is out of range.
        """
        if not interval > 0:
            raise ValueError(f"the sampling interval must be more than 0 seconds, not {interval!r}")
        rule = rule or GrowthRule()
        if history < 3 * rule.min_samples:
            raise ValueError(
                f"a history of {history} samples can never be judged: give at least "
                f"{3 * rule.min_samples}"
            )
        self.loop = loop
        self.interval = interval
        self.started_at: float | None = None  # time of the first sample
        self._rule = rule
        self._history = History(history, _MOST_SITES)
        self._lock = threading.Lock()  # the admin plane asks while the sampling thread writes
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._last_cost_s = 0.0
        self._skipped = 0
        self._last_error = ""

    # -- sampling ------------------------------------------------------------

    def sample(self, now: float | None = None) -> bool:
        """Take one sample; callable from any thread.

        Args:
            now: the present in seconds on the clock of `now()`, when driven by hand.

        Returns:
            False when no time has passed since the last sample, and none was taken.
        """
        at = _now() if now is None else now
        begun = time.thread_time()
        births = births_by_site(self.loop)
        with self._lock:
            last = self._history.last
            if last is not None and at <= last:
                return False
            self._history.add(at, births)
            self._last_cost_s = time.thread_time() - begun
            if self.started_at is None:
                self.started_at = at
        looks_of(self.loop).take(self.loop, at)
        return True

    @property
    def next_interval(self) -> float:
        """Seconds to wait before the next sample: `interval`, or more when samples are dear."""
        return max(self.interval, self._last_cost_s / _BUDGET_SHARE)

    def start(self) -> Sampler:
        """Sample in a daemon thread of our own until `stop()`, or until the loop is closed."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(
                target=self._run, name="backstay-leak-sampler", daemon=True
            )
            self._thread.start()
        return self

    def stop(self) -> None:
        """End the sampling thread; the history stays readable. Does nothing without a thread."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def __enter__(self) -> Sampler:
        """Start."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def _run(self) -> None:
        while not self.loop.is_closed():
            try:
                self.sample()
            except Exception as error:
                # A diagnostic thread must neither die unseen nor take the service along:
                # the failure is counted and shown, and the next look may succeed.
                self._skipped += 1
                self._last_error = f"{type(error).__name__}: {error}"
            if self._stop.wait(self.next_interval):
                return

    # -- asking ----------------------------------------------------------------

    def judge(self, sites: dict[Site, Backing]) -> dict[Site, Growth]:
        """Say of each site how it moves.

        Args:
            sites: which ones, and who answers for their oldest tasks.
        """
        with self._lock:
            judge = self._history.judge(self._rule)
            return {site: judge(site, backing) for site, backing in sites.items()}

    def statistics(self) -> SamplerStatistics:
        """Return how the sampler is doing."""
        with self._lock:
            return SamplerStatistics(
                running=self._thread is not None and self._thread.is_alive(),
                samples=self._history.samples,
                skipped=self._skipped,
                span_s=self._history.span_s,
                sites=self._history.sites,
                sites_refused=self._history.refused,
                interval_s=self.next_interval,
                last_cost_s=self._last_cost_s,
                last_error=self._last_error,
            )


_now = now  # `sample` has a parameter of the same name
