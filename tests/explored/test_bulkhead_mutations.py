"""Every seeded fault in the bulkhead and the admission is noticed."""

from __future__ import annotations

import pytest
from mutations import Mutation, assert_caught

BULKHEAD = "backstay.guard._bulkhead"
ADAPTIVE = "backstay.guard._adaptive_bulkhead"
ADMISSION = "backstay.guard._admission"
DELAY = "backstay.guard.rules.queue_delay"
CAP = "backstay.guard.rules.lag_cap"

EXPLORED = "tests/explored/test_bulkhead.py"
MODEL = "tests/property/test_bulkhead_model.py"
LOADS = "tests/property/test_overload_scenarios.py"
DOOR = "tests/unit/guard/test_admission.py"
RULE = "tests/unit/guard/rules/test_lag_cap.py"
LINE = "tests/unit/guard/rules/test_queue_delay.py"

BY_SCHEDULE = [
    Mutation(
        "a cancelled call keeps the place it was given",
        BULKHEAD,
        "            elif waiter.result():\n                self._free += 1\n",
        "            elif waiter.result():\n",
    ),
    Mutation(
        "a place of a cancelled call is given to nobody",
        BULKHEAD,
        '                if self._can_wake("acquire()"):\n                    self._serve()\n            raise',
        "            raise",
    ),
    Mutation(
        "a cancelled call gives back the place it never had",
        BULKHEAD,
        "            if not was_given(waiter):\n                self._leave(entry)\n",
        "            if not was_given(waiter):\n                self._free += 1\n                self._leave(entry)\n",
    ),
    Mutation(
        "one that was sent away and cancelled gives back a place",
        BULKHEAD,
        "            elif waiter.result():\n",
        "            else:\n",
    ),
    Mutation(
        "a cancelled call stays counted as waiting",
        BULKHEAD,
        "        if self._queued:  # not 0 unless the line was forgotten together with its loop\n            self._queued -= 1\n",
        "",
    ),
    Mutation(
        "one that is being cancelled is counted off twice",
        BULKHEAD,
        "            if self._queue.wake(step()[0], True):\n                self._free -= 1\n                self._queued -= 1\n",
        "            self._queued -= 1\n            if self._queue.wake(step()[0], True):\n                self._free -= 1\n",
    ),
    Mutation(
        "what is given out is not taken",
        BULKHEAD,
        "            if self._queue.wake(step()[0], True):\n                self._free -= 1\n",
        "            if self._queue.wake(step()[0], True):\n",
    ),
    Mutation(
        "nobody is served when a place comes back",
        BULKHEAD,
        "        self._free += 1\n        if can_wake:\n            self._serve()\n",
        "        self._free += 1\n",
    ),
    Mutation(
        "nobody is served when there are more places",
        BULKHEAD,
        '        if self._queued and self._can_wake("update()"):\n            self._serve()\n',
        "",
    ),
    Mutation(
        "one that was sent away counts as waiting",
        BULKHEAD,
        "            self._queue.wake(oldest[0], False)\n            self._queued -= 1\n",
        "            self._queue.wake(oldest[0], False)\n",
    ),
    Mutation(
        "one that was sent away is let in",
        BULKHEAD,
        "            self._queue.wake(oldest[0], False)\n",
        "            self._queue.wake(oldest[0], True)\n",
    ),
    Mutation(
        "the timer is set once",
        BULKHEAD,
        "        if not self._queued:\n            rule.empty()\n        self._watch(now)\n",
        "        if not self._queued:\n            rule.empty()\n",
    ),
    Mutation(
        "a block that somebody waits for gives its place to nobody",
        BULKHEAD,
        '        """Give the place back."""\n        if not self._queued and self._free < self._n:\n',
        '        """Give the place back."""\n        if self._free < self._n:\n',
    ),
    Mutation(
        "a line that is empty is remembered as one that is not",
        BULKHEAD,
        "                self._queued -= 1\n        if not self._queued:\n            self._rule.empty()\n\n    def _leave",
        "                self._queued -= 1\n\n    def _leave",
    ),
    Mutation(
        "a call that teaches nothing keeps its place",
        ADAPTIVE,
        "            self._ignored += 1\n            return\n",
        "            self._ignored += 1\n            self._free -= 1\n            return\n",
    ),
    Mutation(
        "a call that fails does not leave",
        ADMISSION,
        "        try:\n            return await fn(*args, **kwargs)\n        finally:\n            self.leave()\n",
        "        result = await fn(*args, **kwargs)\n        self.leave()\n        return result\n",
    ),
    Mutation(
        "the heartbeat goes on for ever",
        ADMISSION,
        "        if self._in_flight:\n            self._beat_at",
        "        if True:\n            self._beat_at",
    ),
]

OTHERWISE = [
    (Mutation("always the oldest first", BULKHEAD, "line.pop if self._rule", "line.popleft if self._rule"), MODEL),
    (Mutation("patience is the target at once", DELAY, "since + self.interval, joined", "since, joined"), MODEL),
    (Mutation("patience never shrinks", DELAY, "joined + self.target)", "joined + self.interval)"), MODEL),
    (Mutation("the newest first for ever", DELAY, " and now - self.dropped <= self.interval", ""), LINE),
    (Mutation("the line has no end", BULKHEAD, " >= self._room:", " > self._room:"), MODEL),
    (Mutation("a cut takes a tenth", CAP, "_CUT = 0.5", "_CUT = 0.99"), RULE),
    (Mutation("a cut is not of the peak", CAP, "min(self.cap, peak)", "self.cap"), RULE),
    (Mutation("a single late heartbeat counts", CAP, "_LEAST_HEARTBEATS = 2", "_LEAST_HEARTBEATS = 1"), DOOR),
    (Mutation("no slow start", CAP, "2 * self.cap if self.slow_start else ", ""), LOADS),
    (Mutation("what never waits is never counted", CAP, "self.tight = self.late = True", "self.late = True"), LOADS),
    (Mutation("turns have no end", ADMISSION, "    def _end_turn(self) -> None:\n        self._ended = 0", "    def _end_turn(self) -> None:\n        pass"), DOOR),
    (Mutation("every level may use all", ADMISSION, "limit_of(share, cap)", "limit_of(1.0, cap)"), DOOR),
    (Mutation("naps forget the interval", ADMISSION, "        self._decide(now)  # the last interval may have ended while nothing was in flight\n", "        self._rule.since = now\n"), DOOR),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("mutation", BY_SCHEDULE, ids=str)
def test_each_fault_is_caught(mutation: Mutation) -> None:
    """An explored test fails on the broken module, with a schedule that shows it."""
    assert_caught(mutation, EXPLORED)


@pytest.mark.slow
@pytest.mark.parametrize(("mutation", "tests"), OTHERWISE, ids=str)
def test_each_fault_in_the_rules_is_caught(mutation: Mutation, tests: str) -> None:
    """What shows in every order is seen by the models."""
    assert_caught(mutation, tests, explored=False)
