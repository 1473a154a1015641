"""What a guard has counted."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Counters", "GuardStatistics"]


@dataclass(frozen=True, slots=True)
class GuardStatistics:
    """How a guard is doing; all but the `in_flight` and `websockets` gauges only grow."""

    requests: int  # http requests that came, refused ones included
    in_flight: int  # http requests being served now
    peak_in_flight: int  # the most there ever were at once
    websockets: int  # websocket connections open now
    websockets_total: int
    rejected: int  # refused with 503 because the cap was reached
    shed: int  # refused with 503 because the process is asked for more than it can finish
    limited: int  # refused with 429 because their tenant had used up its rate
    malformed: int  # refused with 400 for a deadline header that makes no sense
    ignored_criticality: int  # values that name no level
    ignored_headers: int  # foreign deadline, trace or request id headers that made no sense
    expired: int  # deadline passed, on arrival or in flight
    expired_on_arrival: int  # of these: answered before any code of the application ran
    disconnected: int  # the client left before the answer was complete
    failed: int  # unhandled errors
    torn: int  # connections closed because the answer could not be completed
    orphans: int  # tasks that outlived their request
    orphans_cancelled: int
    orphans_adopted: int
    adopted_alive: int  # adopted tasks that are still running


class Counters:
    """The same as plain mutable slots, for the hot path."""

    __slots__ = (
        "disconnected",
        "expired",
        "expired_on_arrival",
        "failed",
        "ignored_criticality",
        "ignored_headers",
        "in_flight",
        "limited",
        "malformed",
        "orphans",
        "orphans_adopted",
        "orphans_cancelled",
        "peak_in_flight",
        "rejected",
        "requests",
        "shed",
        "torn",
        "websockets",
        "websockets_total",
    )

    def __init__(self) -> None:
        """Start at zero."""
        self.requests = 0
        self.in_flight = 0
        self.peak_in_flight = 0
        self.websockets = 0
        self.websockets_total = 0
        self.rejected = 0
        self.shed = 0
        self.limited = 0
        self.malformed = 0
        self.ignored_criticality = 0
        self.ignored_headers = 0
        self.expired = 0
        self.expired_on_arrival = 0
        self.disconnected = 0
        self.failed = 0
        self.torn = 0
        self.orphans = 0
        self.orphans_cancelled = 0
        self.orphans_adopted = 0

    def freeze(self, adopted_alive: int) -> GuardStatistics:
        """Return the numbers of this moment."""
        return GuardStatistics(
            **{name: getattr(self, name) for name in self.__slots__}, adopted_alive=adopted_alive
        )
