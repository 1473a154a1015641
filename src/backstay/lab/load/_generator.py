"""The open loop: begins each request when it is due, whatever became of the ones before.

One timer walks the schedule, one timer gives up what is too late, and one a
second reports. There is no task per request; the only tasks are those that open
connections, and the run's scope owns them.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

from backstay._base import now, wall
from backstay.errors import TargetGone, UsageError
from backstay.lab.load._arrivals import plan_arrivals
from backstay.lab.load._connections import Connections, Exchange
from backstay.lab.load._encode import Encoder
from backstay.lab.load._options import LoadOptions, check_base_url
from backstay.lab.load._recorder import Recorder
from backstay.lab.load._result import LoadResult, SecondRecord
from backstay.lab.load._summarise import RunFacts, summarise
from backstay.lab.load._workload import Request, Workload
from backstay.tasks import Scope

__all__ = ["generate"]

_LEAD_S = 0.05
"""From the end of preparations to the first instant, so that the first request is not late."""

_SAME_INSTANT_S = 1e-6
"""What is due within this is due now; sums of floats miss each other by less, timers by more."""

_GONE_AFTER = 20
"""A run whose first so many requests are all refused is ended: the service is not there."""


async def generate(
    options: LoadOptions,
    workload: Workload,
    *,
    on_start: Callable[[float], None] | None = None,
    progress: Callable[[SecondRecord], None] | None = None,
) -> LoadResult:
    """Offer the load from the running loop and return what was found.

    Prefer `run_load`, which does this in a process of its own: whatever else runs
    on this loop makes the generator late.

    Args:
        options: what to offer.
        workload: what to request.
        on_start: called with the start of the load on `now()`'s clock.
        progress: called once a second.

    Raises:
        TargetGone: nothing listens at the target.
        UsageError: the workload failed, or asked for something that cannot be sent.

    Cancelled:
        Connections are closed and nothing is left; there is no result.

    Cost:
        0.1 to 0.2 ms of CPU per request (docs/decisions/0005).
    """
    host, port = check_base_url(options.base_url)
    schedule = plan_arrivals(
        options.rate, options.duration_s, seed=options.seed, arrivals=options.arrivals
    )
    recorder = Recorder(schedule)
    scope = Scope("load", on_exit="cancel")
    connections = Connections(
        host, port, limit=options.connections, connect_timeout_s=options.timeout_s, scope=scope
    )
    encoder = Encoder(host, port, options.seed)
    run = _Run(options, workload, recorder, connections, encoder, progress)
    cpu_s = 0.0
    async with scope:
        try:
            await connections.open_first(max(4, math.ceil(options.rate * 0.05)))
            cpu_before_s = time.process_time()
            await run.play(on_start)
            cpu_s = time.process_time() - cpu_before_s
        finally:
            connections.close()
    facts = RunFacts(
        started_at=run.started_at,
        started_wall=run.started_wall,
        seconds=tuple(run.seconds),
        cpu_s=cpu_s,
        connections_opened=connections.opened,
        loop=type(asyncio.get_running_loop()).__module__.partition(".")[0],
    )
    return summarise(options, recorder, facts)


class _Run:
    """One walk through the schedule."""

    def __init__(
        self,
        options: LoadOptions,
        workload: Workload,
        recorder: Recorder,
        connections: Connections,
        encoder: Encoder,
        progress: Callable[[SecondRecord], None] | None,
    ) -> None:
        self.started_at = 0.0
        self.started_wall = 0.0
        self.seconds: list[SecondRecord] = []
        self._timeout_s = options.timeout_s
        self._duration_s = options.duration_s
        self._workload = workload
        self._recorder = recorder
        self._connections = connections
        self._encoder = encoder
        self._progress = progress
        self._starts = recorder.schedule.starts
        self._next = 0
        self._outstanding: deque[Exchange] = deque()  # by intended start, hence by deadline
        self._refused_only = 0  # refusals before the first other ending; -1 after it
        self._loop = asyncio.get_running_loop()
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def play(self, on_start: Callable[[float], None] | None) -> None:
        """Walk to the end and wait for what is outstanding, at most the users' patience."""
        self.started_at = now() + _LEAD_S
        self.started_wall = wall() + _LEAD_S
        if on_start is not None:
            on_start(self.started_at)
        self._set_timer(
            "dispatch", self._starts[0] if self._starts else self._duration_s, self._dispatch
        )
        self._set_timer("report", 1.0, self._report)
        try:
            await self._finished
        finally:
            for timer in self._timers.values():
                timer.cancel()
            for exchange in self._outstanding:
                exchange.done = True

    # -- timers. `_set_timer` counts from the start of the load.

    def _set_timer(self, name: str, at_s: float, callback: Callable[[], None]) -> None:
        """Call back then; what a callback raises ends the run instead of vanishing in the loop."""
        delay_s = self.started_at + at_s - now()
        self._timers[name] = self._loop.call_later(max(delay_s, 0.0), self._guarded, callback)

    def _guarded(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as error:
            self._abort(error)

    def _abort(self, error: Exception) -> None:
        if not self._finished.done():
            self._finished.set_exception(error)

    def _dispatch(self) -> None:
        """Begin everything that is due, then sleep until the next."""
        starts, begun_now = self._starts, now()
        while self._next < len(starts):
            intended_at = self.started_at + starts[self._next]
            if intended_at > begun_now + _SAME_INSTANT_S:
                self._set_timer("dispatch", starts[self._next], self._dispatch)
                return
            self._begin(self._next, intended_at, max(begun_now - intended_at, 0.0))
            self._next += 1
            begun_now = now()
        self._finish_when_idle()

    def _begin(self, index: int, intended_at: float, lag_s: float) -> None:
        request = self._ask_workload()
        exchange = Exchange(
            index,
            intended_at,
            request,
            self._encoder.encode(request),
            is_head=request.method == "HEAD",
            on_end=self._on_end,
        )
        recorder = self._recorder
        recorder.begin(index, request.kind, unaffected=request.unaffected, lag_s=lag_s)
        outstanding = self._outstanding
        if not outstanding:
            self._set_timer("expire", intended_at + self._timeout_s - self.started_at, self._expire)
        outstanding.append(exchange)
        if self._connections.submit(exchange):
            recorder.connection_waits += 1

    def _ask_workload(self) -> Request:
        try:
            return self._workload.next()
        except Exception as error:
            raise _workload_failed("next", error) from error

    def _expire(self) -> None:
        """Give up what ran out of patience; the deque is ordered, so only its head can be due."""
        outstanding = self._outstanding
        due = now() - self._timeout_s + _SAME_INSTANT_S
        while outstanding:
            exchange = outstanding[0]
            if not exchange.done and exchange.intended_at > due:
                self._set_timer(
                    "expire", exchange.intended_at + self._timeout_s - self.started_at, self._expire
                )
                return
            outstanding.popleft()
            if not exchange.done:
                exchange.give_up("timeout")

    def _report(self) -> None:
        """Close the second that is over."""
        self._close_second()
        self._set_timer("report", len(self.seconds) + 1.0, self._report)

    # -- endings

    def _on_end(
        self, exchange: Exchange, status: int | None, body: bytes, error: str | None
    ) -> None:
        self._guarded(lambda: self._record_end(exchange, now(), status, body, error))

    def _record_end(
        self,
        exchange: Exchange,
        ended_at: float,
        status: int | None,
        body: bytes,
        error: str | None,
    ) -> None:
        try:
            pleased = self._workload.observe(exchange.request, status, body)
        except Exception as failure:
            raise _workload_failed("observe", failure) from failure
        latency_s = self._timeout_s if error == "timeout" else ended_at - exchange.intended_at
        if error is None and not pleased:
            error = _status_error(status)
        exchange.payload = b""
        self._recorder.end(exchange.index, ended_at - self.started_at, latency_s, error)
        self._watch_for_nobody(error)
        if self._next == len(self._starts):
            self._finish_when_idle()

    def _watch_for_nobody(self, error: str | None) -> None:
        if self._refused_only >= 0:
            self._refused_only = self._refused_only + 1 if error == "refused" else -1
            if self._refused_only == _GONE_AFTER:
                self._abort(
                    TargetGone(
                        f"nothing listens on the target any more: "
                        f"the first {_GONE_AFTER} requests were refused; "
                        f"look why the service ended"
                    )
                )

    def _finish_when_idle(self) -> None:
        recorder = self._recorder
        if recorder.begun == recorder.ended and not self._finished.done():
            self._timers.pop("report").cancel()
            while len(self.seconds) < math.ceil(max(now() - self.started_at, self._duration_s)):
                self._close_second()
            self._finished.set_result(None)

    def _close_second(self) -> None:
        record = self._recorder.close_second(len(self.seconds))
        self.seconds.append(record)
        if self._progress is not None:
            self._progress(record)


def _status_error(status: int | None) -> str:
    if status == 503:
        return "503"
    return "5xx" if status is not None and status >= 500 else "unexpected"


def _workload_failed(where: str, error: Exception) -> UsageError:
    return UsageError(
        f"the workload's {where}() raised {type(error).__name__}: {error}; it must not raise"
    )
