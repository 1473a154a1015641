"""The collector: at a scrape, and only then, it reads what every room counts anyway."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from importlib import metadata
from typing import Any, Final, cast

from backstay._base import now
from backstay.leak import WatchStatistics
from backstay.leak._census import breather
from backstay.multiloop import SysmonStatistics
from backstay.observe.metrics._families import Exemplar, Family, Page
from backstay.observe.metrics._gc_pauses import GcPauses
from backstay.observe.metrics._guard_figures import put_guards
from backstay.observe.metrics._life_figures import ChannelRows, put_lives, put_living
from backstay.observe.metrics._process import put_garbage_collector, put_process
from backstay.observe.metrics._step_figures import put_steps
from backstay.observe.metrics._task_sites import TaskSites, lost_by_site, site_label
from backstay.observe.metrics._text import encode
from backstay.observe.readings import GuardTable, Pulses
from backstay.tasks import installed_loops

__all__ = ["Collector", "Sources"]

_log = logging.getLogger("backstay.metrics")

#: What of the statistics of an ASGI guard is a level; all the rest only grows.
_LEVELS: Final = frozenset({"in_flight", "peak_in_flight", "websockets", "adopted_alive"})


#: Names of channels with a row of their own.
_MOST_CHANNELS: Final = 100


class Sources:
    """What the rest of the process knows, as functions that a collector may call from any thread.

    Attributes:
        ready: whether the process wants traffic.
        requests: the statistics of an ASGI guard, or None.
        blocked: the statistics of a `Sysmon`, or None.
        leaks: the statistics of a `leak.Watch`, or None.
    """

    __slots__ = ("blocked", "leaks", "ready", "requests")

    def __init__(self) -> None:
        """Know nothing yet."""
        self.ready: Callable[[], bool] | None = None
        self.requests: Callable[[], object] | None = None
        self.blocked: Callable[[], object] | None = None
        self.leaks: Callable[[], object] | None = None


class Collector:
    """Reads the metrics of this process when somebody asks.

    ::

        collector = Collector()
        content_type, body = collector.scrape("application/openmetrics-text")

    Nothing is counted for it while the application works, with one exception: between `start` and
    `stop` the pauses of the garbage collector are timed. Between two scrapes it remembers numbers and names,
    and keeps nothing alive.

    Cost: a microsecond a task and 25 a guard, and up to 100 ms of waiting for the loops to answer; on
    the thread of a loop it does not wait. See ``benchmarks/metrics.py``.

    Attributes:
        sources: what it asks beside what it finds by itself; set what there is.
    """

    def __init__(
        self,
        *,
        sites: int = 30,
        older_than: Sequence[float] = (60.0, 600.0),
        guards: GuardTable | None = None,
        pulses: Pulses | None = None,
    ) -> None:
        """Prepare; nothing is read before `collect`.

        Args:
            sites: spawn sites with a row of their own, 1 to 200; all others are one row, "other".
            older_than: ages in seconds, at most five; living tasks beyond each are counted by site.
            guards: reads the guards; one of its own when omitted.
            pulses: asks the loops how late they are; one of its own when omitted.

        Raises:
            ValueError: a number is out of range.
        """
        if not 1 <= sites <= 200:
            raise ValueError(f"sites is how many have a row, 1 to 200, not {sites!r}")
        if len(older_than) > 5 or not all(0 < age < float("inf") for age in older_than):
            raise ValueError(f"older_than is up to five ages in seconds, not {older_than!r}")
        self.sources = Sources()
        self._tasks = TaskSites(sites, older_than)
        self._channels = ChannelRows(_MOST_CHANNELS)
        self._guards = guards or GuardTable()
        self._pulses = pulses or Pulses()
        self._pauses = GcPauses()
        self._scrapes = 0
        self._one_at_a_time = threading.Lock()

    def start(self) -> Collector:
        """Time the pauses of the garbage collector from now on."""
        self._pauses.start()
        return self

    def stop(self) -> None:
        """Time them no more."""
        self._pauses.stop()

    def __enter__(self) -> Collector:
        """Start."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def scrape(self, accept: str = "") -> tuple[str, bytes]:
        """Return the content type and the text for somebody who accepts `accept`.

        Args:
            accept: the Accept header of the request; OpenMetrics when it asks for that, with exemplars,
                else the text format 0.0.4 of Prometheus.
        """
        return encode(_unhurried(self.collect()), accept)

    def collect(self) -> list[Family]:
        """Return all families as they are now; callable from any thread.

        A part that fails is left out and written to the log: the others are wanted all the more then.
        """
        with self._one_at_a_time:
            page, begun, breathe = Page(), now(), breather()
            failed = 0
            for part in (
                self._put_process,
                self._put_tasks,
                self._put_loops,
                put_steps,
                self._put_guards,
                put_lives,
                put_living,
                self._channels.put,
                self._put_requests,
                self._put_leaks,
            ):
                try:
                    breathe()
                    part(page)
                except Exception:
                    failed += 1
                    _log.exception("a part of the metrics could not be read; the others are there")
            self._scrapes += 1
            self._put_itself(page, now() - begun, failed)
            return page.families()

    # -- parts -----------------------------------------------------------------------

    def _put_process(self, page: Page) -> None:
        put_process(page, _version())
        put_garbage_collector(page, self._pauses)

    def _put_tasks(self, page: Page) -> None:
        looked = self._tasks.look(installed_loops(), now())
        for site, (figures, seen) in looked.items():
            page.gauge(
                "backstay_tasks_alive", "Living tasks by spawn site.", figures.alive, site=site
            )
            page.gauge(
                "backstay_tasks_oldest_seconds",
                "Age of the oldest living task.",
                figures.oldest,
                site=site,
            )
            for age, count in zip(
                self._tasks.ages, figures.older or [0] * len(self._tasks.ages), strict=True
            ):
                page.gauge(
                    "backstay_tasks_older",
                    "Living tasks that are older than so many seconds.",
                    count,
                    site=site,
                    than=f"{age:g}",
                )
            case = None if figures.trace_id is None else Exemplar(figures.trace_id, 1)
            page.counter(
                "backstay_tasks_seen",
                "Tasks that a scrape has found alive for the first time: at least so many were started.",
                seen,
                case,
                site=site,
            )

        for site, (many, trace_id) in lost_by_site(installed_loops()).items():
            case = None if trace_id is None else Exemplar(trace_id, 1)
            page.counter(
                "backstay_tasks_lost",
                "Tasks that were collected as garbage before they had ended.",
                many,
                case,
                site=site,
            )

    def _put_loops(self, page: Page) -> None:
        page.gauge("backstay_loops", "Loops whose tasks are tracked.", len(installed_loops()))
        page.gauge(
            "backstay_loop_lag_seconds",
            "How long the slowest loop takes, or has taken so far, to come round.",
            self._pulses.lag(),
        )
        if self.sources.ready is not None:
            page.gauge(
                "backstay_ready", "Whether the process wants traffic.", int(self.sources.ready())
            )
        said = None if self.sources.blocked is None else self.sources.blocked()
        if not isinstance(said, SysmonStatistics):
            return
        last = said.now or (said.recent[-1] if said.recent else None)
        case = None
        if last is not None and last.trace_id is not None:
            case = Exemplar(last.trace_id, last.duration_s, last.started_at)
        page.counter("backstay_loop_blocks", "Times a loop was blocked.", said.count, case)
        page.counter(
            "backstay_loop_blocked_seconds",
            "Time for which loops were blocked, of the blocks that are over.",
            said.total_s,
        )
        page.gauge(
            "backstay_loop_blocked_now_seconds",
            "For how long a loop has been blocked at this moment.",
            0.0 if said.now is None else said.now.duration_s,
        )
        page.gauge("backstay_loop_longest_block_seconds", "The longest block.", said.longest_s)

    def _put_guards(self, page: Page) -> None:
        put_guards(page, self._guards.readings())

    def _put_requests(self, page: Page) -> None:
        said = None if self.sources.requests is None else self.sources.requests()
        for name, value in _numbers(said).items():
            if name in _LEVELS:
                page.gauge(f"backstay_asgi_{name}", f"The guard's {name}.", value)
            else:
                short = name.removesuffix("_total")
                # "websockets" is the level, so the count of all is told apart.
                short = "websockets_opened" if short == "websockets" else short
                page.counter(f"backstay_asgi_{short}", f"The guard's {name}.", value)

    def _put_leaks(self, page: Page) -> None:
        said = None if self.sources.leaks is None else self.sources.leaks()
        if not isinstance(said, WatchStatistics):
            return
        page.counter("backstay_leaks_told", "Verdicts that were told as new.", said.told)
        page.gauge(
            "backstay_leak_bytes", "Bytes held by what is accused, at least.", said.bytes_held
        )
        for (verdict, site), tasks in said.tasks.items():
            page.gauge(
                "backstay_leak_tasks",
                "Tasks that the leak detector accuses now.",
                tasks,
                verdict=verdict,
                site=site_label(site),
            )

    def _put_itself(self, page: Page, took: float, failed: int) -> None:
        page.counter("backstay_metrics_scrapes", "Scrapes of these metrics.", self._scrapes)
        page.gauge("backstay_metrics_scrape_seconds", "How long this scrape took to read.", took)
        page.gauge("backstay_metrics_failed_parts", "Parts that could not be read.", failed)
        page.gauge(
            "backstay_metrics_rows_left_out",
            "Rows beyond what a family may have: a name that comes from users makes too many.",
            page.left_out,
        )


def _unhurried(families: Iterable[Family]) -> Iterator[Family]:
    """Give way to the application between two families: the text of a thousand rows takes milliseconds."""
    breathe = breather()
    for family in families:
        breathe()
        yield family


def _numbers(said: object) -> Mapping[str, float]:
    """Return the numbers of a record or mapping, and none of its texts."""
    found: dict[Any, Any] = {}
    if is_dataclass(said) and not isinstance(said, type):
        found = {one.name: getattr(said, one.name) for one in fields(said)}
    elif isinstance(said, Mapping):
        found = dict(cast("Any", said))
    return {
        str(name): value
        for name, value in found.items()
        if str(name).isidentifier() and str(name).isascii() and isinstance(value, int | float)
    }


@lru_cache(maxsize=1)
def _version() -> str:
    try:
        return metadata.version("backstay")
    except metadata.PackageNotFoundError:
        return "unknown"  # run from a source tree that was never installed
