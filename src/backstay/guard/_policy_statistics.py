"""What a policy counts: plain slots on the hot path, a frozen record for who asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from backstay.sync._durations import Durations, Spread

__all__ = ["SAMPLED", "PolicyCounts", "PolicyStatistics"]

SAMPLED: Final = 7  # a call whose number has none of these bits is timed


@dataclass(frozen=True, slots=True)
class PolicyStatistics:
    """How a policy and what it guards are doing.

    Attributes:
        name: of the policy.
        in_flight: calls that are under way, waiting ones and those between two attempts included.
        ok: calls that returned, or raised what counts as an answer.
        failed: calls that ended with a failure of the dependency.
        neutral: calls that say nothing about it: cancelled, or cut before their time.
        rejected: calls that a guard refused, by its reason.
        attempts: how often the dependency was called.
        fell_back: calls that were answered by the fallback.
        duration: how long calls took that returned, from the first guard to the result: of
            each eighth, since counting one costs as much as a rate limit.
    """

    name: str
    in_flight: int
    ok: int
    failed: int
    neutral: int
    rejected: Mapping[str, int]
    attempts: int
    fell_back: int
    duration: Spread


class PolicyCounts:
    """The counters behind `PolicyStatistics`."""

    __slots__ = (
        "attempts",
        "failed",
        "fell_back",
        "in_flight",
        "neutral",
        "ok_late",
        "rejected",
        "returned",
        "took",
    )

    def __init__(self) -> None:
        """Start at zero."""
        self.in_flight = 0
        self.failed = 0
        self.neutral = 0
        self.ok_late = 0  # raised an answer
        self.attempts = 0  # that did not end well; each call that returned had one more
        self.fell_back = 0
        self.rejected: dict[str, int] = {}
        self.returned = 0
        self.took = Durations()  # of each eighth call that returned

    def freeze(self, name: str, inner: PolicyCounts) -> PolicyStatistics:
        """Return the record.

        Args:
            name: of the policy.
            inner: the counts of the part that makes the attempts.
        """
        return PolicyStatistics(
            name=name,
            in_flight=self.in_flight,
            ok=self.returned + self.ok_late,
            failed=self.failed,
            neutral=self.neutral,
            rejected=dict(self.rejected),
            attempts=inner.returned + inner.attempts,
            fell_back=self.fell_back,
            duration=self.took.spread(),
        )
