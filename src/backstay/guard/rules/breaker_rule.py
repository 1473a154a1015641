"""The circuit breaker, as a table and arithmetic.

A breaker watches the share of calls that fail or are slow. Past its limit it opens:
calls are refused for a while, so that a dependency in trouble is left alone and
callers learn at once. Then it lets a few *probes* through, and closes when they
succeed. (M. Nygard, "Release It!", 2007.)

What goes wrong in most breakers when calls overlap is ruled out here:

* **The herd.** Half-open admits `probes` calls at a time, not everybody who comes in
  the moment between the first probe and its answer.
* **The lost probe.** A probe is leased. One that is cancelled gives its place back;
  one that never reports loses it after `lease` seconds.
* **The late answer.** Each change of state begins a new generation; a call that began
  in an older one has no say any more.
* **The hang.** A call in flight for longer than `slow` counts as slow *now*, not when
  it ends: a dependency that stops answering trips the breaker, whoever gives up first.
* **The bystander.** A call that says nothing about the dependency (its caller left before
  it was slow) counts as neither success nor failure: it neither trips nor mends anything.

Invariants: at most `probes` leases are held; counts are those of the present
generation; `_flying` is ordered by start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from backstay.guard.rules.outcomes import FAIL, NEUTRAL, OK, Outcome
from backstay.guard.rules.running_quantile import RunningQuantile
from backstay.guard.rules.windowed_counts import WindowedCounts

__all__ = [
    "CALLS",
    "TABLE",
    "BreakerRule",
    "BreakerSettings",
    "BreakerState",
    "Event",
    "Flight",
    "Ticket",
]

BreakerState: TypeAlias = Literal["closed", "open", "half_open", "forced_open", "forced_closed"]
Event: TypeAlias = Literal[
    "too_many_bad", "time_is_up", "probes_good", "probe_bad", "force_open", "force_close", "reset"
]

TABLE: Final[dict[tuple[BreakerState, Event], BreakerState]] = {
    ("closed", "too_many_bad"): "open",
    ("open", "time_is_up"): "half_open",
    ("half_open", "probes_good"): "closed",
    ("half_open", "probe_bad"): "open",
    ("closed", "force_open"): "forced_open",
    ("open", "force_open"): "forced_open",
    ("half_open", "force_open"): "forced_open",
    ("forced_closed", "force_open"): "forced_open",
    ("closed", "force_close"): "forced_closed",
    ("open", "force_close"): "forced_closed",
    ("half_open", "force_close"): "forced_closed",
    ("forced_open", "force_close"): "forced_closed",
    ("open", "reset"): "closed",
    ("half_open", "reset"): "closed",
    ("forced_open", "reset"): "closed",
    ("forced_closed", "reset"): "closed",
}
"""What becomes of a breaker in a state when something happens; what is not here changes nothing."""

CALLS, _FAILED, _SLOW = range(3)


class Flight:
    """One call that is watched while it is in flight: a probe, or any when there is a slow limit."""

    __slots__ = ("counted", "generation", "lease", "started")

    def __init__(self, generation: int, started: float, lease: float | None) -> None:
        """Note when it started, and until when its lease runs; None when it is no probe."""
        self.generation = generation
        self.started = started
        self.lease = lease
        self.counted = False  # as slow, while it was in flight


Ticket: TypeAlias = "Flight | int"
"""What an admitted call brings back; just the generation where nothing has to be watched."""


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a breaker opens, and how it comes back.

    Attributes:
        failure_rate: share of failed calls from which it opens, in (0, 1].
        slow: seconds from which a call counts as slow; None for no such limit.
        slow_rate: share of slow calls from which it opens, in (0, 1].
        minimum: calls in the window before any share is looked at, >= 1.
        window: seconds over which calls are counted.
        open_for: seconds that it stays open the first time; doubled each time that a probe
            fails, and spread by 10 % so that many processes do not probe at once.
        most_open: seconds that it stays open at most.
        probes: calls at a time while half-open, and as many have to succeed.
        lease: seconds after which a probe that has not reported loses its place.
    """

    failure_rate: float = 0.5
    slow: float | None = None
    slow_rate: float = 0.5
    minimum: int = 20
    window: float = 10.0
    open_for: float = 5.0
    most_open: float = 60.0
    probes: int = 1
    lease: float = 30.0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: one is out of range.
        """
        for name in ("failure_rate", "slow_rate"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(
                    f"{name} is a share above 0 and up to 1, not {getattr(self, name)!r}"
                )
        for name in ("minimum", "probes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, not {getattr(self, name)!r}")
        for name in ("window", "open_for", "most_open", "lease"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is above 0 seconds, not {getattr(self, name)!r}")
        if self.slow is not None and not self.slow > 0:
            raise ValueError(f"slow is above 0 seconds, or None, not {self.slow!r}")


class BreakerRule:
    """Decides whether a call may be made, and learns from how it ended.

    Attributes:
        settings: when it opens and how it comes back; see `change`.
        state: see `TABLE`.
        generation: how often the state has changed.
        quick: closed, and no slow limit to watch for: then a call that succeeds needs no
            more than `ticket = generation` before it and one more of `CALLS` in `window`.
        window: the calls that have ended lately, by how.
        opens_until: while open, when the first probe may pass, in seconds.
        usual: the running median of successful calls.
        dice: a number in [0, 1) for the next opening's jitter; whoever drives the rule
            renews it after each change of state.
    """

    __slots__ = (
        "_again",
        "_flying",
        "_good",
        "_leases",
        "dice",
        "generation",
        "opens_until",
        "quick",
        "settings",
        "state",
        "usual",
        "window",
    )

    def __init__(self, settings: BreakerSettings, buckets: int = 40) -> None:
        """Start closed.

        Args:
            settings: when it opens and how it comes back.
            buckets: steps in which old calls leave the window, >= 1.
        """
        self.settings = settings
        self.state: BreakerState = "closed"
        self.generation = 0
        self.quick = settings.slow is None
        self.usual = RunningQuantile()
        self.dice = 0.5
        self.opens_until = float("-inf")
        self.window = WindowedCounts(3, settings.window, buckets)
        self._flying: dict[Flight, None] = {}
        self._leases: dict[Flight, None] = {}
        self._good = 0  # probes of this generation that succeeded
        self._again = 0  # times in a row that it has opened

    def change(self, settings: BreakerSettings) -> None:
        """Go on with other settings; the window stays as it was made."""
        self.settings = settings
        self.quick = self.state == "closed" and settings.slow is None

    # -- before a call -----------------------------------------------------------

    def admit(self, now: float) -> Ticket | None:
        """Let a call through, or not.

        Returns:
            What `settle` or `release` is given when it has ended; None for no.
        """
        if self._flying:
            self._notice_slow(now)
        state = self.state
        if state == "closed":
            if self.settings.slow is None:
                return self.generation
            return self._launch(now, None)
        if state == "open":
            if now < self.opens_until:
                return None
            self._go("time_is_up", now)
        elif state != "half_open":
            return self.generation if state == "forced_closed" else None
        return self._launch_probe(now)

    def _launch(self, now: float, lease: float | None) -> Flight:
        flight = Flight(self.generation, now, lease)
        self._flying[flight] = None
        return flight

    def _launch_probe(self, now: float) -> Flight | None:
        for probe in [p for p in self._leases if p.lease is not None and p.lease <= now]:
            del self._leases[probe]
        if len(self._leases) >= self.settings.probes:
            return None
        probe = self._launch(now, now + self.settings.lease)
        self._leases[probe] = None
        return probe

    def retry_after(self, now: float) -> float | None:
        """Return the seconds after which a call may be let through; None when nobody knows."""
        if self.state == "open":
            return max(0.0, self.opens_until - now)
        if self.state == "half_open" and self._leases:
            return max(0.0, min(p.lease or now for p in self._leases) - now)
        return None

    # -- after a call ------------------------------------------------------------

    def settle(self, ticket: Ticket, outcome: Outcome, now: float, elapsed: float) -> None:
        """Learn from a call that was admitted.

        Args:
            ticket: from `admit`.
            outcome: by the law of `rules.outcomes`.
            now: seconds.
            elapsed: seconds that the call was in flight.
        """
        slow = self.settings.slow is not None and elapsed >= self.settings.slow
        counted = False
        if isinstance(ticket, Flight):
            leased = ticket in self._leases
            self.release(ticket)
            if ticket.generation != self.generation:
                return
            if ticket.lease is not None:
                if leased:  # or it has reported too late, and lost its place to another
                    self._probe_ended(outcome, now, elapsed, slow)
                return
            counted = ticket.counted
        elif ticket != self.generation:
            return
        if self.state == "closed" and (slow or outcome != NEUTRAL):
            self._count(outcome, now, elapsed, slow, counted)

    def _count(
        self, outcome: Outcome, now: float, elapsed: float, slow: bool, counted: bool
    ) -> None:
        """Count a call that ended; `counted` when it was, as slow, while it was in flight."""
        counts = self.window
        if not counted:
            counts.add(CALLS, now)
            if slow:
                counts.add(_SLOW, now)
        if outcome == FAIL:
            counts.add(_FAILED, now)
        elif outcome == OK:
            self.usual.add(elapsed)
            if not slow:
                return
        self._trip_if_due(now)

    def release(self, ticket: Ticket) -> None:
        """Take back a call that was admitted and never made, or says nothing."""
        if isinstance(ticket, Flight):
            self._flying.pop(ticket, None)
            self._leases.pop(ticket, None)

    def _probe_ended(self, outcome: Outcome, now: float, elapsed: float, slow: bool) -> None:
        if slow or outcome == FAIL:
            self._go("probe_bad", now)
            return
        if outcome == NEUTRAL:
            return
        self.usual.add(elapsed)
        self._good += 1
        if self._good >= self.settings.probes:
            self._go("probes_good", now)

    def _notice_slow(self, now: float) -> None:
        """Count calls as slow that are still in flight after the slow limit."""
        slow = self.settings.slow
        if slow is None:
            return
        for flight in list(self._flying):
            if flight.started + slow > now:
                return  # those behind it have started later
            self._flying.pop(flight, None)  # gone, when one before it has opened the breaker
            if flight.generation != self.generation:
                continue
            flight.counted = True
            if flight.lease is not None:
                if self.state == "half_open":
                    self._go("probe_bad", now)
            elif self.state == "closed":
                self.window.add(CALLS, now)
                self.window.add(_SLOW, now)
                self._trip_if_due(now)

    def _trip_if_due(self, now: float) -> None:
        self.window.move(now)
        calls, failed, slow = self.window.totals
        if calls >= self.settings.minimum and (
            failed >= self.settings.failure_rate * calls or slow >= self.settings.slow_rate * calls
        ):
            self._go("too_many_bad", now)

    # -- states --------------------------------------------------------------------

    def force(self, event: Literal["force_open", "force_close", "reset"], now: float) -> None:
        """Let a person decide; `reset` gives the decision back to the breaker."""
        self._go(event, now)

    def _go(self, event: Event, now: float) -> None:
        after = TABLE.get((self.state, event))
        if after is None:
            return
        self.generation += 1
        self.state = after
        self.quick = after == "closed" and self.settings.slow is None
        self.window.clear()
        self._flying.clear()
        self._leases.clear()
        self._good = 0
        if after == "open":
            span = min(self.settings.most_open, self.settings.open_for * 2.0**self._again)
            self.opens_until = now + span * (0.9 + 0.2 * self.dice)
            self._again = min(self._again + 1, 32)
        elif after != "half_open":
            self._again = 0

    def look(self, now: float) -> tuple[int, int, int]:
        """Return calls, failed and slow ones in the window, calls in flight looked at anew."""
        if self._flying:
            self._notice_slow(now)
        self.window.move(now)
        calls, failed, slow = self.window.totals
        return calls, failed, slow

    @property
    def probing(self) -> int:
        """How many probes hold a lease."""
        return len(self._leases)
