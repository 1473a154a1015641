"""Breaks the shared rate on purpose: each seeded fault must fail under some schedule, or in a case."""

from __future__ import annotations

import pytest
from mutations import Mutation, assert_caught

EXPLORED = "tests/explored/test_shared_rate.py"
CASES = "tests/unit/guard/test_shared_rate.py"
RULES = "tests/unit/guard/rules/test_shared_quota.py"
RATE = "backstay.guard._shared_rate"
COURIER = "backstay.guard._store_courier"
BOOK = "backstay.guard.rules.quota_book"
QUOTA = "backstay.guard.rules.shared_quota"

BY_SCHEDULE = [
    Mutation(
        "a cancelled caller keeps the units that it was given",
        RATE,
        "                self._granted -= caller.cost\n                self._book.hold(caller.cost)\n        elif",
        "                self._granted -= caller.cost\n        elif",
    ),
    Mutation(
        "a cancelled caller stays in line",
        RATE,
        "        elif caller in self._line:\n            self._line.remove(caller)\n",
        "        elif caller in self._line:\n            pass\n",
    ),
    Mutation(
        "what ripens later has no timer",
        RATE,
        "        self._set_timer(ripe_at)\n",
        "        self._set_timer(None)\n",
    ),
    Mutation(
        "a timer that strikes a last digit early is set again for ever",
        BOOK,
        "coming[0][0] <= now + _ROUNDING:",
        "coming[0][0] <= now:",
    ),
    Mutation(
        "callers in line wait for a store that is down",
        RATE,
        "            self._queue.wake(caller.waiter, _DECIDE_ALONE)\n",
        "            pass\n",
    ),
    Mutation(
        "a courier that was cancelled before it began never comes back",
        COURIER,
        "        task.add_done_callback(lambda _: self._is_back(ticket))\n",
        "        task.add_done_callback(lambda done: done.cancelled() or self._is_back(ticket))\n",
    ),
    Mutation(
        "an end leaves callers in line",
        RATE,
        "            self._queue.fail(caller.waiter, self._misuse())\n        self._line.clear()\n",
        "            pass\n        self._line.clear()\n",
    ),
    Mutation(
        "opening waits for a keeper that will never begin",
        RATE,
        "        self._keeper.add_done_callback(lambda _: None if began.done() else began.set_result(None))\n",
        "",
    ),
    Mutation(
        "units that a later guard gave back are counted twice",
        RATE,
        "        self._granted -= cost\n        self._book.hold(cost)\n        if self._line",
        "        self._granted -= cost\n        self._book.hold(2 * cost)\n        if self._line",
    ),
]

BY_CASE = [
    Mutation(
        "a store that is late is waited for",
        COURIER,
        "        self._courier._failed(self, None)\n",
        "        pass\n",
    ),
    Mutation(
        "a late loop is held against the store",
        COURIER,
        "        if now - due > _LATE_S and self._turns < _MORE_TURNS:",
        "        if False:",
    ),
    Mutation(
        "the local share begins with a burst",
        RATE,
        "            rule.due = read_clock.read() + rule.burst / rule.rate\n",
        "            pass\n",
    ),
    Mutation(
        "the store reserves what comes too late",
        QUOTA,
        "        if wait <= entry.most_us:",
        "        if True:",
    ),
    Mutation(
        "a lease takes from the future",
        QUOTA,
        "    granted = max(0, min(want_us, burst_us - (due_us - now_us)))",
        "    granted = want_us",
    ),
    Mutation(
        "what comes back is more than a burst",
        QUOTA,
        "    due_us = max(due_us - back_us, now_us)",
        "    due_us = due_us - back_us",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("mutation", BY_SCHEDULE, ids=str)
def test_the_explored_tests_notice(mutation: Mutation) -> None:
    """A fault of order or cancellation fails under some schedule."""
    assert_caught(mutation, EXPLORED, options=["--timeout=60"])


@pytest.mark.slow
@pytest.mark.parametrize("mutation", BY_CASE, ids=str)
def test_the_cases_notice(mutation: Mutation) -> None:
    """A fault that shows in every order fails a case."""
    tests = RULES if mutation.module == QUOTA else CASES
    assert_caught(mutation, tests, explored=False, options=["--timeout=20"])
