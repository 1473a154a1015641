"""One event loop under load, as a discrete-event model that runs the rules of the guard room.

The loop is one first-come-first-served server: whatever is due becomes ready in the
order of its time, and a piece of work takes its processor time before the next one
begins. That is all that asyncio does, and it is what overload is made of: a timer
that is due waits behind everything that was ready before. Requests arrive by
themselves (Poisson), however the service is doing.

What is decided is decided by `LagCap` and `QueueDelay` themselves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from random import Random

from backstay.guard.rules.criticality import SHARES, limit_of
from backstay.guard.rules.lag_cap import HEARTBEAT_S, LagCap
from backstay.guard.rules.queue_delay import QueueDelay

REJECT_S = 60e-6  # of processor time for a "no"
FINISH_S = 100e-6  # … for writing an answer

Step = Callable[[], None]


class Machine:
    """An event loop and its clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = 0
        self._timers: list[tuple[float, int, Step]] = []
        self._ready: deque[Step] = deque()

    def at(self, when: float, step: Step) -> None:
        """Run `step` at `when`, or as soon after as the loop comes to it."""
        self._order += 1
        heappush(self._timers, (when, self._order, step))

    def soon(self, step: Step) -> None:
        """Run `step` behind everything that is ready."""
        self._ready.append(step)

    def burn(self, seconds: float) -> None:
        """Be busy; the loop does nothing else meanwhile."""
        self.now += seconds

    def run(self, until: float) -> None:
        """Go round until the clock shows `until`."""
        while self.now < until:
            while self._timers and self._timers[0][0] <= self.now:
                self._ready.append(heappop(self._timers)[2])
            if self._ready:
                self._ready.popleft()()
            elif self._timers:
                self.now = max(self.now, self._timers[0][0])
            else:
                return


class Cap:
    """`Admission` without its shell; None admits everybody."""

    def __init__(self, machine: Machine, rule: LagCap | None) -> None:
        self._machine = machine
        self.rule = rule
        self.in_flight = 0
        self._ended = 0  # in this turn of the loop, while the rule wants to know
        self._peak = 0
        self._refused = 0
        self._beating = False

    def admit(self, level: str) -> bool:
        crowd = self.in_flight + self._ended
        if self.rule is not None and crowd >= limit_of(SHARES[level], self.rule.limit):
            self._refused += 1
            return False
        self.in_flight += 1
        self._peak = max(self._peak, crowd + 1)
        if self.rule is not None and not self._beating:
            self._beating = True
            self._decide()
            self._beat_after(HEARTBEAT_S)
        return True

    def leave(self) -> None:
        self.in_flight -= 1
        if self.rule is not None and self.rule.tight:
            self._ended += 1
            if self._ended == 1:
                self._machine.soon(self._turn)

    def _turn(self) -> None:
        self._ended = 0

    def _beat_after(self, seconds: float) -> None:
        due = self._machine.now + seconds
        self._machine.at(due, lambda: self._beat(due))

    def _beat(self, due: float) -> None:
        assert self.rule is not None
        self.rule.hear(self._machine.now - due)
        self._decide()
        if self.in_flight:
            self._beat_after(HEARTBEAT_S)
        else:
            self._beating = False

    def _decide(self) -> None:
        assert self.rule is not None
        if self.rule.decide(self._machine.now, self._peak, self._refused):
            self._peak, self._refused = self.in_flight, 0


@dataclass
class Waiting:
    """A request in the line of a pool."""

    joined: float
    served: Step
    dropped: Step
    gone: bool = False


class Pool:
    """`Bulkhead` without its shell: `n` places, and a line of as many or of any length."""

    def __init__(self, machine: Machine, n: int, rule: QueueDelay | None) -> None:
        self._machine = machine
        self._free = n
        self._rule = rule
        self._room = n if rule else 10**9
        self._line: deque[Waiting] = deque()
        self._watched = False

    def take(self, served: Step, dropped: Step) -> None:
        """Call one of the two, now or later."""
        if self._free and not self._line:
            self._free -= 1
            served()
        elif len(self._line) >= self._room:
            dropped()
        else:
            if self._rule:
                self._rule.join(self._machine.now)
            self._line.append(Waiting(self._machine.now, served, dropped))
            self._watch()

    def release(self) -> None:
        self._free += 1
        now = self._machine.now
        if self._line:
            newest = self._rule is not None and self._rule.overloaded(now)
            waiting = self._line.pop() if newest else self._line.popleft()
            self._free -= 1
            self._machine.soon(waiting.served)
            if not self._line and self._rule:
                self._rule.empty()

    def _watch(self) -> None:
        if self._rule and self._line and not self._watched:
            self._watched = True
            due = self._rule.due(self._line[0].joined)
            self._machine.at(due, lambda: self._machine.soon(partial(self._look, due)))

    def _look(self, due: float) -> None:
        assert self._rule is not None
        self._watched = False
        while self._line and self._rule.due(self._line[0].joined) <= due:
            self._rule.drop(self._machine.now)
            self._machine.soon(self._line.popleft().dropped)
        if not self._line:
            self._rule.empty()
        self._watch()


@dataclass
class Work:
    """What a request does.

    Attributes:
        cpu: seconds of processor time before anything else.
        held: seconds for which it holds a place of the pool; 0 for none.
        io: seconds that it then waits for something outside.
        patience: seconds after which nobody wants the answer any more.
        level: its criticality.
    """

    cpu: float = 0.0
    held: float = 0.0
    io: float = 0.0
    patience: float = 0.3
    level: str = "default"


@dataclass
class Outcome:
    """What came of the requests that arrived in the judged part of a run."""

    seconds: float
    arrived: int = 0
    good: int = 0
    late: int = 0
    shed: int = 0  # refused by the cap
    dropped: int = 0  # sent away from the pool's line
    took: list[float] = field(default_factory=list)
    shed_of: dict[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Good answers per second."""
        return self.good / self.seconds

    @property
    def refused(self) -> float:
        """The share of requests that were refused, anywhere."""
        return (self.shed + self.dropped) / max(1, self.arrived)

    @property
    def p99(self) -> float:
        """Seconds that 99 of 100 answered requests took at most."""
        ranked = sorted(self.took)
        return ranked[int(0.99 * (len(ranked) - 1))] if ranked else 0.0


@dataclass
class Service:
    """A service under load.

    Attributes:
        rate: requests per second at a time, or always.
        work: draws what the next request does; it gets the dice and the time.
        cap: whether the loop is guarded.
        codel: whether the pool's line is.
        places: of the pool.
        pauses: (every, seconds): the whole process stands still.
    """

    rate: Callable[[float], float]
    work: Callable[[Random, float], Work]
    cap: bool = True
    codel: bool = True
    places: int = 10
    pauses: tuple[float, float] | None = None

    def run(self, seconds: float, *, seed: int = 1, skip: float = 0.0) -> Outcome:
        """Serve for some seconds; the first `skip` are not judged."""
        machine, dice = Machine(), Random(seed)
        cap = Cap(machine, LagCap() if self.cap else None)
        pool = Pool(machine, self.places, QueueDelay() if self.codel else None)
        outcome = Outcome(seconds - skip)

        def arrive(due: float) -> None:
            work = self.work(dice, due)
            _Request(machine, cap, pool, outcome, work, due, skip).begin()

        due = dice.expovariate(self.rate(0.0))
        while due < seconds:  # all of them beforehand: nothing that the loop does delays them
            machine.at(due, partial(arrive, due))
            due += dice.expovariate(self.rate(due))
        if self.pauses is not None:
            every, length = self.pauses

            def pause() -> None:
                machine.burn(length)
                machine.at(machine.now + every, pause)

            machine.at(every, pause)
        machine.run(seconds)
        return outcome


class _Request:
    """One request on its way; each method is a step of the loop."""

    def __init__(
        self,
        machine: Machine,
        cap: Cap,
        pool: Pool,
        outcome: Outcome,
        work: Work,
        arrived: float,
        skip: float,
    ) -> None:
        self.machine, self.cap, self.pool, self.work = machine, cap, pool, work
        self.outcome = outcome if arrived >= skip else Outcome(1)
        self.arrived = arrived

    def begin(self) -> None:
        self.outcome.arrived += 1
        if not self.cap.admit(self.work.level):
            self.machine.burn(REJECT_S)
            self.outcome.shed += 1
            shed = self.outcome.shed_of
            shed[self.work.level] = shed.get(self.work.level, 0) + 1
            return
        self.machine.burn(self.work.cpu)
        if self.work.held:
            self.pool.take(self.hold, self.sent_away)
        else:
            self.wait()

    def hold(self) -> None:
        self.machine.at(self.machine.now + self.work.held, self.let_go)

    def let_go(self) -> None:
        self.pool.release()
        self.wait()

    def sent_away(self) -> None:
        self.machine.burn(REJECT_S)
        self.outcome.dropped += 1
        self.cap.leave()

    def wait(self) -> None:
        if self.work.io:
            self.machine.at(self.machine.now + self.work.io, self.finish)
        else:
            self.finish()

    def finish(self) -> None:
        self.machine.burn(FINISH_S)
        self.cap.leave()
        took = self.machine.now - self.arrived
        self.outcome.took.append(took)
        if took <= self.work.patience:
            self.outcome.good += 1
        else:
            self.outcome.late += 1


def best_rate(offered: float, cost: float) -> float:
    """Return the most good answers per second that a processor can give.

    Args:
        offered: requests per second.
        cost: seconds of processor time that a good one takes; a refused one takes `REJECT_S`.
    """
    return min(offered, max(0.0, 1.0 - offered * REJECT_S) / (cost - REJECT_S))
