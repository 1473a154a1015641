"""When a dependency counts as down, and when as up again: the rule of one health check, with hysteresis.

::

                  passes                      fails `fail_after` times in a row
    starting ──────────────────► up ──────────────────────────────────────────────► down
        └── fails `fail_after` times ──►        ◄── passes `recover_after` times ───

One lost packet takes nobody out of the load balancer, and one lucky ping brings nobody back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backstay._base import without_secrets

__all__ = ["CheckRecord", "CheckRule", "CheckState", "without_secrets"]

CheckState = Literal["starting", "up", "down"]


@dataclass(frozen=True, slots=True)
class CheckRecord:
    """How one dependency is doing. Times are seconds on the clock of `now()`."""

    name: str
    critical: bool  # whether the process is not ready while it is down
    state: CheckState
    since: float  # when it came into this state
    checked_at: (
        float | None
    )  # when it was last asked, and the answer has come, or its time was over
    took_s: float  # of that
    failures: int  # in a row, up to now
    passed: int  # of all
    failed: int  # of all
    error: str  # the last one since it was last up, without secrets; "" when there is none
    detail: str  # what the last check that passed has returned, in words


class CheckRule:
    """Judges the answers of one check.

    Attributes:
        record: how it is doing; replaced whole, so it may be read from any thread.
    """

    __slots__ = ("_fail_after", "_passes", "_recover_after", "record")

    def __init__(
        self, name: str, at: float, *, critical: bool, fail_after: int = 3, recover_after: int = 2
    ) -> None:
        """Begin as starting.

        Args:
            name: of the dependency.
            at: the time.
            critical: whether the process is not ready without it.
            fail_after: failures in a row until it is down, >= 1.
            recover_after: passes in a row until one that is down is up, >= 1.

        Raises:
            ValueError: a number is out of range.
        """
        if fail_after < 1 or recover_after < 1:
            raise ValueError(
                f"fail_after and recover_after are at least 1, not {fail_after!r} and {recover_after!r}"
            )
        self._fail_after, self._recover_after = fail_after, recover_after
        self._passes = 0  # in a row
        self.record = CheckRecord(name, critical, "starting", at, None, 0.0, 0, 0, 0, "", "")

    def restart(self, at: float) -> None:
        """Begin as starting again, whatever was found before."""
        self._passes = 0
        self.record = CheckRecord(
            self.record.name, self.record.critical, "starting", at, None, 0.0, 0, 0, 0, "", ""
        )

    def passed(self, at: float, took_s: float, detail: str = "") -> bool:
        """Take a check that has passed; return whether the state has changed."""
        self._passes += 1
        old = self.record
        rises = old.state == "starting" or (
            old.state == "down" and self._passes >= self._recover_after
        )
        state: CheckState = "up" if rises else old.state
        self.record = CheckRecord(
            old.name, old.critical, state, at if rises else old.since, at, took_s, 0, old.passed + 1, old.failed,
            "" if state == "up" else old.error, without_secrets(detail),
        )  # fmt: skip
        return rises

    def failed(self, at: float, took_s: float, error: str, *, surely: bool = False) -> bool:
        """Take a check that has failed; return whether the state has changed.

        Args:
            at: the time.
            took_s: seconds of the check.
            error: what it has raised.
            surely: whether one is enough: a check that hangs brings no second answer.
        """
        self._passes = 0
        old = self.record
        failures = old.failures + 1
        falls = old.state != "down" and (surely or failures >= self._fail_after)
        state: CheckState = "down" if falls else old.state
        self.record = CheckRecord(
            old.name, old.critical, state, at if falls else old.since, at, took_s, failures, old.passed,
            old.failed + 1, without_secrets(error), old.detail,
        )  # fmt: skip
        return falls
