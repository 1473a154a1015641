"""What was seen at the last looks, where one look is not enough to say anything.

Piles must rise, and an abandoned generator or a waiter that nobody woke must stand still, from
look to look. The
looks are taken with the samples of a `Sampler`, and with each report, but no closer
than some seconds, so that who asks often learns no more than who asks rarely. What is
kept between them are numbers and words.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from weakref import WeakKeyDictionary

from backstay.leak._census import breather
from backstay.leak._elders import elders
from backstay.leak._finding import Finding
from backstay.leak._generators import (
    AbandonedGenerators,
    Suspended,
    grouped,
    not_in_hand,
    suspended,
)
from backstay.leak._pile_rule import MIN_LOOKS
from backstay.leak._piles import PileMemory, pile_findings, piles_in
from backstay.leak._stranded import Stranded, stranded, stranded_findings
from backstay.leak._surroundings import Surroundings
from backstay.tasks import live_tasks

__all__ = ["Looks", "looks_of"]

_GAP_S = 10.0  # between two looks, at least
_BUDGET = 20_000  # objects looked at for piles; some 20 ms
_STEPS = 4


class Looks:
    """The looks at one loop.

    Attributes:
        piles: findings about what piled up, as of the last look.
        stranded: findings about waits for what is there, as of the last look.
        generators: what was seen abandoned at two looks, as of the last one.
    """

    def __init__(self) -> None:
        """Start without a past."""
        self.piles: list[Finding] = []
        self.stranded: list[Finding] = []
        self.generators: tuple[AbandonedGenerators, ...] = ()
        self._waiting: frozenset[Stranded] = frozenset()
        self._memory = PileMemory()
        self._times: deque[float] = deque(maxlen=MIN_LOOKS)
        self._standing: dict[Suspended, float] = {}  # since when each stands where it does
        self._guard = threading.Lock()

    def take(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        """Look at `loop`, if the last look is some seconds ago; callable from any thread.

        Args:
            loop: whose tasks.
            at: the present, seconds on the clock of `now()`.

        Cost: some 20 ms, less in a small program; nothing within 10 s of the last look.
        """
        if not self._guard.acquire(blocking=False):
            return  # another thread is looking
        try:
            if not self._times or at - self._times[-1] >= _GAP_S:
                self._times.append(at)
                self._weigh(loop)
                self._watch(loop, at)
        except Exception:
            # The loop ran on and something changed under our hands. Then nothing is known of
            # this look, and who is accused by the ones before is let off.
            self.piles, self.stranded, self.generators = [], [], ()
        finally:
            self._guard.release()

    def _weigh(self, loop: asyncio.AbstractEventLoop) -> None:
        tasks = live_tasks(loop)
        breathe = breather()
        around = Surroundings(_BUDGET, _STEPS, breathe)
        around.of_tasks(elders(tasks, breathe))
        around.of_globals()
        piles = piles_in(around)
        self._memory.add(piles)
        span = self._times[-1] - self._times[0]
        self.piles = pile_findings(self._memory.growing(piles, len(tasks)), span)
        waiting = stranded(around)
        again = {one: it for one, it in waiting.items() if one in self._waiting}
        self.stranded = stranded_findings(loop, again)
        self._waiting = frozenset(waiting)

    def _watch(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        standing = {one: self._standing.get(one, at) for one in suspended(loop)}
        again = [one for one, since in standing.items() if since < at]
        left = not_in_hand(loop, again, breather())
        self._standing = standing
        self.generators = grouped({one: standing[one] for one in left}, at)


_looks: WeakKeyDictionary[asyncio.AbstractEventLoop, Looks] = WeakKeyDictionary()
_guard = threading.Lock()


def looks_of(loop: asyncio.AbstractEventLoop) -> Looks:
    """Return the looks at `loop`, which live as long as it does."""
    with _guard:
        looks = _looks.get(loop)
        if looks is None:
            looks = _looks[loop] = Looks()
        return looks
