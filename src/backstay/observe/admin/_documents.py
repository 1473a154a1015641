"""The documents that the admin plane serves, and the samples that the leak report needs.

Everything here runs in the plane's own thread and only reads.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from backstay import leak
from backstay._base import now
from backstay.lifecycle import health_document
from backstay.observe.admin._close_look import CloseLook
from backstay.observe.admin._http import Body
from backstay.observe.admin._statistics import multiloop_statistics, process_statistics
from backstay.observe.desk import Request
from backstay.observe.dump import document as dump_document
from backstay.observe.metrics import Collector, to_document
from backstay.observe.readings import GuardTable, Pulses
from backstay.tasks import installed_loops

__all__ = ["Documents"]

#: Seconds for which a loop may stay away before the process no longer counts as alive.
#: Much longer than any pause that a healthy service has, since the cure is a restart.
STALL_S = 10.0

#: Seconds until the first sample: soon, so that growth is judged from the start.
_FIRST_SAMPLE_S = 1.0

#: Seconds between two proofs of one task before it is accused; the client asks twice, so far apart.
_CONFIRM_S = 1.0

_log = logging.getLogger("backstay.admin")


class Documents:
    """Answers requests, and remembers the past as far as the leak report needs it.

    Attributes:
        metrics: reads the metrics.
    """

    def __init__(
        self,
        *,
        leak_interval: float,
        log_leaks: bool = False,
        ready: Callable[[], bool],
        requests: Callable[[], object] | None,
        metrics: Collector | None = None,
    ) -> None:
        """Prepare; see `AdminServer` for the arguments."""
        if not 0 <= leak_interval < float("inf"):
            raise ValueError(
                f"leak_interval is {leak_interval!r}: give seconds, or 0 for no samples"
            )
        self._ready = ready
        self._interval = leak_interval
        self._started_at = now()
        self._pulses = Pulses()
        self._guard_table = GuardTable()
        self.metrics = metrics or Collector(guards=self._guard_table, pulses=self._pulses)
        self._sources = self.metrics.sources
        self._sources.ready, self._sources.requests = ready, requests
        self._samplers: dict[asyncio.AbstractEventLoop, leak.Sampler] = {}
        self._close_look = CloseLook()
        self._watch = leak.Watch() if log_leaks else None
        self._sources.leaks = None if self._watch is None else self._watch.statistics
        self._provers: dict[asyncio.AbstractEventLoop, leak.Prover] = {}
        self._next_sample = self._started_at + min(leak_interval, _FIRST_SAMPLE_S)
        self._routes: dict[str, Callable[[Request], tuple[int, object]]] = {
            "/v1/statistics": self._statistics,
            "/v1/ps": self._ps,
            "/v1/leaks": self._leaks,
            "/v1/keepers": self._keepers,
            "/v1/guards": self._guards,
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/healthz": self._healthz,
            "/metrics": self._metrics,
        }

    @property
    def requests(self) -> Callable[[], object] | None:
        """Returns the guard's statistics; None without a guard."""
        return self._sources.requests

    @requests.setter
    def requests(self, requests: Callable[[], object] | None) -> None:
        self._sources.requests = requests

    @property
    def blocked(self) -> Callable[[], object] | None:
        """Returns the statistics of a `Sysmon`; None when nobody watches the loops."""
        return self._sources.blocked

    @blocked.setter
    def blocked(self, blocked: Callable[[], object] | None) -> None:
        self._sources.blocked = blocked

    def answer(self, asked: Request) -> tuple[int, object]:
        """Return the HTTP status and the document; an error of ours is a document too."""
        route = self._routes.get(asked.path)
        if route is None:
            known = ", ".join(self._routes)
            return 404, {"error": f"no document at {asked.path[:100]}: there are {known}"}
        try:
            return route(asked)
        except Exception as error:
            # A diagnostic that fails must not take the plane along; who asked is told.
            _log.exception("the admin plane could not answer %s", asked.path)
            return 500, {"error": f"{asked.path} failed: {type(error).__name__}: {error}"}

    @property
    def paths(self) -> tuple[str, ...]:
        """All that can be asked for."""
        return tuple(self._routes)

    # -- samples -----------------------------------------------------------------

    def next_sample(self) -> float | None:
        """When the next sample is due, on the clock of `now()`; None when sampling is off."""
        return self._next_sample if self._interval else None

    def sample_if_due(self) -> None:
        """Take a sample of every tracked loop when it is time."""
        if not self._interval or now() < self._next_sample:
            return
        self._next_sample = now() + self._interval  # whatever happens now
        try:
            self._sample_all()
        except Exception:
            # It may read what a program has made of its loops: no reason for the plane to end.
            _log.exception("the samples for the leak report failed; the next ones may succeed")

    def _sample_all(self) -> None:
        self._close_look.forget(now())
        loops = installed_loops()
        for closed in [loop for loop in self._samplers if loop.is_closed()]:
            del self._samplers[closed]
            self._provers.pop(closed, None)
        pause = self._interval
        for loop in loops:
            sampler = self._samplers.get(loop) or leak.Sampler(loop, self._interval)
            self._samplers[loop] = sampler
            try:
                sampler.sample()
            except Exception:
                _log.exception("a sample for the leak report failed; the next one may succeed")
            pause = max(pause, sampler.next_interval)
        self._tell_leaks()
        self._guard_table.ask()  # so that there is a reading of late once a loop is blocked
        # Before the first loop exists there is nothing to sample: look again soon, not in 30 s.
        self._next_sample = now() + (pause if loops else min(pause, _FIRST_SAMPLE_S))

    def _tell_leaks(self) -> None:
        """Write a log record for each verdict that is new, if that is wanted."""
        if self._watch is None:
            return
        try:
            report = self._report(prove=True)
            if report is not None:
                self._watch.see(report)
        except Exception:
            _log.exception("the leak report failed; the next one may succeed")

    # -- documents ---------------------------------------------------------------

    def _statistics(self, asked: Request) -> tuple[int, object]:
        record = process_statistics(
            started_at=self._started_at,
            pulses=self._pulses,
            ready=self._ready(),
            requests=self.requests,
            blocked=self.blocked,
        )
        return 200, asdict(record)

    def _ps(self, asked: Request) -> tuple[int, object]:
        found = dump_document(stacks=asked.switch("stacks"), tree=asked.switch("tree"))
        pools = multiloop_statistics()
        return 200, {**found, "multiloops": pools} if pools else found

    def _leaks(self, asked: Request) -> tuple[int, object]:
        if asked.switch("sample"):
            return 200, self._close_look.sample(installed_loops(), now())
        report = self._report(prove=asked.switch("prove"), close=asked.switch("close"))
        if report is None:
            empty: dict[str, object] = {
                "findings": [],
                "tasks": 0,
                "samples": 0,
                "growth": "no loop is tracked yet",
            }
            return 200, {**empty, "text": "No loop is tracked yet.\n"} if asked.switch(
                "text"
            ) else empty
        document: dict[str, Any] = report.to_json()
        if asked.switch("text"):
            document["text"] = report.to_text()
        return 200, document

    def _keepers(self, asked: Request) -> tuple[int, object]:
        found = leak.keepers()
        document = found.to_json()
        if asked.switch("text"):
            document["text"] = found.to_text()
        return 200, document

    def _guards(self, asked: Request) -> tuple[int, object]:
        return 200, self._guard_table.document()

    def _metrics(self, asked: Request) -> tuple[int, object]:
        if asked.switch("json"):  # for a worker that shows all of them on one page
            return 200, {"pid": os.getpid(), "families": to_document(self.metrics.collect())}
        return 200, Body(*self.metrics.scrape(asked.accept))

    def _report(self, *, prove: bool, close: bool = False) -> leak.Report | None:
        """Report on the busiest loop, with the findings of all others among its own."""
        samplers = self._close_look.samplers if close else self._samplers
        reports = [
            leak.report(
                samplers.get(loop), loop, proof=self._prover(loop).look() if prove else None
            )
            for loop in installed_loops()
        ]
        if not reports:
            return None
        first, *others = sorted(reports, key=lambda one: -one.tasks)
        if not others:
            return first
        findings = [finding for one in reports for finding in one.findings]
        busiest = [busy for one in reports for busy in one.busiest]
        return replace(
            first,
            findings=tuple(sorted(findings, key=lambda finding: -finding.impact)),
            tasks=sum(one.tasks for one in reports),
            busiest=tuple(sorted(busiest, key=lambda busy: -busy[2])[:10]),
            generators=tuple(one for each in reports for one in each.generators),
            proof="; ".join(dict.fromkeys(one.proof for one in reports)),
        )

    def _prover(self, loop: asyncio.AbstractEventLoop) -> leak.Prover:
        """Return the prover of a loop; it remembers who was proved at the last request."""
        known = self._provers.get(loop)
        if known is None:
            known = self._provers[loop] = leak.Prover(
                loop, confirm_after=_CONFIRM_S, older_than=0.0
            )
        return known

    def _livez(self, asked: Request) -> tuple[int, object]:
        lag = self._pulses.lag()
        return (200 if lag < STALL_S else 503), {
            "alive": lag < STALL_S,
            "loop_lag_s": round(lag, 6),
        }

    def _readyz(self, asked: Request) -> tuple[int, object]:
        ready = self._ready()
        return (200 if ready else 503), {"ready": ready}

    def _healthz(self, asked: Request) -> tuple[int, object]:
        found = health_document()
        return (200 if found["ready"] else 503), found
