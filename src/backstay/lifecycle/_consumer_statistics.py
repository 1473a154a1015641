"""What a consumer can be asked about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ConsumerState", "ConsumerStatistics", "Counts"]

ConsumerState = Literal["new", "running", "draining", "exited"]


@dataclass(slots=True)
class Counts:
    """What has happened since the consumer began; each field is explained in `ConsumerStatistics`."""

    taken: int = 0
    redelivered: int = 0
    doubles: int = 0
    acked: int = 0
    failed: int = 0
    held: int = 0
    retried: int = 0
    dead: int = 0
    given_back: int = 0
    lost: int = 0
    broker_errors: int = 0
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class ConsumerStatistics:
    """How a consumer is doing. All that was taken is in hand, acked, retried, dead, given back or lost."""

    name: str
    state: ConsumerState
    paused: str  # why nothing is taken; "" while it is
    in_hand: int  # messages taken and not settled
    at_work: int  # of these, how many have a handler that runs, or that waits to try again
    oldest_s: float  # seconds for which the oldest one has been in hand
    taken: int
    redelivered: int  # of `taken`: delivered before, to us or to somebody else
    doubles: int  # delivered to us again while we had them in hand; not taken twice
    acked: int
    failed: int  # handlings that ended with an error or at their deadline
    held: int  # of `failed`: tried again here
    retried: int  # given back to the broker, to come again after their back-off
    dead: int  # put with the dead letters
    given_back: int  # not finished, or not begun, when the consumer was told to leave
    lost: int  # could not be settled before their ack wait had passed: they come again
    broker_errors: int  # calls to the broker that failed
    last_error: str  # of a handler or of the broker, as "Type: message"
    handled: int  # handlings that came to an end
    handling_p50_s: float
    handling_p99_s: float
    left_over: tuple[str, ...]  # message ids that the end of the drain has cut, at most 100
