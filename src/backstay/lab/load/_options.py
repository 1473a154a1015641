"""What a load run is asked to do, checked once, before anything is started."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from backstay.errors import UsageError

__all__ = ["MAX_ARRIVALS", "MAX_RATE", "LoadOptions", "Window"]

MAX_RATE = 20_000.0
"""Requests per second; one generator process tops out well below, so more is a slip."""

MAX_ARRIVALS = 5_000_000
"""Requests in one run; the schedule and the samples are kept in memory, about 40 bytes each."""

_MAX_DURATION_S = 24 * 3600.0
_MAX_CONNECTIONS = 10_000
_HDR_CEILING_S = 60.0


@dataclass(frozen=True, slots=True)
class Window:
    """A named part of the run that gets its own summary, for example the time of a fault.

    Attributes:
        name: how the summary is called in the result.
        start_s: first intended start that belongs to it, in seconds from the start of the load.
        end_s: first intended start that no longer belongs to it, same scale.
    """

    name: str
    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        """Refuse a window that is empty or runs backwards."""
        if not (
            math.isfinite(self.start_s)
            and math.isfinite(self.end_s)
            and 0 <= self.start_s < self.end_s
        ):
            raise UsageError(
                f"window {self.name!r} runs from {self.start_s:g} s to {self.end_s:g} s; "
                f"expected 0 <= start < end"
            )


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Everything that decides a load run, apart from what is requested.

    Two runs with equal `rate`, `duration_s`, `seed` and `arrivals` offer the very
    same schedule, whatever the target does; that is what makes a comparison fair.

    Attributes:
        base_url: scheme, host and port of the target, for example ``http://127.0.0.1:8000``.
        rate: offered requests per second.
        duration_s: seconds of load, counted from its start, warm-up included.
        warmup_s: the first seconds are offered but not judged: they appear in the
            time series and in no summary.
        seed: decides the arrivals, the trace ids and the workload's own choices.
        arrivals: "poisson" (independent users, the default) or "constant" (a metronome).
        connections: keep-alive connections at most; a request that finds none free
            waits, and its wait is part of its latency.
        timeout_s: a user's patience in seconds, counted from the intended start. A
            request that is not answered by then is given up, and counts as failed.
        max_lag_p99_s: the generator's own lag, in seconds, above which the run is refused.
        windows: parts of the run that get a summary of their own.
        loop: event loop of the worker: "auto" takes uvloop when it is installed.
        priority: "high" asks that the worker runs before ordinary processes, as if it were on
            another machine, and goes on without when that is not permitted; "normal" does not ask.

    Raises:
        UsageError: a value is out of range; the message names it and the remedy.
    """

    base_url: str
    rate: float
    duration_s: float
    warmup_s: float = 0.0
    seed: int = 1
    arrivals: Literal["poisson", "constant"] = "poisson"
    connections: int = 256
    timeout_s: float = 10.0
    max_lag_p99_s: float = 0.005
    windows: tuple[Window, ...] = ()
    loop: Literal["auto", "asyncio", "uvloop"] = "auto"
    priority: Literal["high", "normal"] = "high"

    def __post_init__(self) -> None:
        """Check every value, so that no process is started for a typing slip."""
        check_base_url(self.base_url)
        _check_number("rate", self.rate, 0.0, MAX_RATE, "requests per second")
        _check_number("duration", self.duration_s, 0.0, _MAX_DURATION_S, "seconds")
        _check_number("timeout", self.timeout_s, 0.0, _HDR_CEILING_S, "seconds")
        _check_number("max_lag_p99", self.max_lag_p99_s, 0.0, _HDR_CEILING_S, "seconds")
        if not (math.isfinite(self.warmup_s) and 0 <= self.warmup_s < self.duration_s):
            raise UsageError(
                f"warm-up of {self.warmup_s:g} s leaves nothing to judge "
                f"in a run of {self.duration_s:g} s; "
                f"expected 0 <= warm-up < duration"
            )
        if self.arrivals not in ("poisson", "constant"):
            raise UsageError(f"unknown arrivals {self.arrivals!r}; expected poisson or constant")
        if self.loop not in ("auto", "asyncio", "uvloop"):
            raise UsageError(f"unknown loop {self.loop!r}; expected auto, asyncio or uvloop")
        if self.priority not in ("high", "normal"):
            raise UsageError(f"unknown priority {self.priority!r}; expected high or normal")
        if not 1 <= self.connections <= _MAX_CONNECTIONS:
            raise UsageError(f"connections is {self.connections}; expected 1 to {_MAX_CONNECTIONS}")
        if self.rate * self.duration_s > MAX_ARRIVALS:
            raise UsageError(
                f"{self.rate:g}/s for {self.duration_s:g} s "
                f"is {self.rate * self.duration_s:,.0f} requests; "
                f"expected at most {MAX_ARRIVALS:,}: lower the rate or the duration"
            )

    def to_json(self) -> dict[str, Any]:
        """Return a document that `from_json` reads back unchanged."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> LoadOptions:
        """Rebuild options from `to_json`'s document.

        Raises:
            UsageError: a value is out of range.
        """
        fields = dict(document)
        fields["windows"] = tuple(Window(**window) for window in fields.get("windows", ()))
        return cls(**fields)


def check_base_url(url: str) -> tuple[str, int]:
    """Return host and port of a plain ``http://host:port`` address.

    Raises:
        UsageError: it has another scheme, no host, a bad port, or more than an address.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"bad URL {url!r} ({error}); expected http://host:port") from error
    if parts.scheme != "http":
        raise UsageError(
            f"bad URL {url!r}: scheme {parts.scheme!r}; expected http://host:port (no TLS)"
        )
    if not parts.hostname:
        raise UsageError(f"bad URL {url!r}: no host; expected http://host:port")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise UsageError(f"bad base URL {url!r}: expected http://host:port and nothing behind it")
    if port == 0:
        raise UsageError(f"bad URL {url!r}: port 0; expected 1 to 65535")
    return parts.hostname, 80 if port is None else port


def _check_number(name: str, value: float, above: float, at_most: float, unit: str) -> None:
    """Refuse what is not a finite number in (above, at_most]; NaN fails every comparison."""
    number = cast("object", value)
    if (
        not isinstance(number, (int, float))
        or isinstance(number, bool)
        or not above < number <= at_most
    ):
        raise UsageError(
            f"{name} is {value!r}; expected a number above {above:g} and at most {at_most:g} {unit}"
        )
