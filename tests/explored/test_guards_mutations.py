"""Breaks guards on purpose: each seeded fault must fail under some schedule, or in a case."""

from __future__ import annotations

import pytest
from mutations import Mutation, assert_caught

EXPLORED = "tests/explored/test_guards.py"
RATE = "backstay.guard._rate"
RULE = "backstay.guard.rules.breaker_rule"
THROTTLE = "backstay.guard._throttle"
RETRY = "backstay.guard._retry"
HEDGE = "backstay.guard._hedge"
POLICY = "backstay.guard._policy"
ATTEMPT = "backstay.guard._attempt_guards"

BY_SCHEDULE = [
    Mutation(
        "a cancelled waiter keeps the units that it was given",
        RATE,
        "                self.give_back(cost)\n            else:",
        "                pass\n            else:",
    ),
    Mutation(
        "those behind a cancelled waiter do not move up",
        RATE,
        "                self._serve()  # those behind may move up\n",
        "                pass\n",
    ),
    Mutation(
        "a rate serves one of its line and sets no timer for the next",
        RATE,
        "            self._queue.wake(first[0])\n        self._arm(now)",
        "            self._queue.wake(first[0])",
    ),
    Mutation(
        "half-open lets everybody through",
        RULE,
        "        if len(self._leases) >= self.settings.probes:\n            return None",
        "        if False:\n            return None",
    ),
    Mutation(
        "a probe that ends keeps its lease",
        RULE,
        "            self._flying.pop(ticket, None)\n            self._leases.pop(ticket, None)",
        "            self._flying.pop(ticket, None)",
    ),
    Mutation(
        "a cancelled call stays in flight for the throttle",
        THROTTLE,
        "        else:\n            self._rule.in_flight -= 1\n\n    def release",
        "        else:\n            pass\n\n    def release",
    ),
    Mutation(
        "a retry is never given back to the budget",
        RETRY,
        "        finally:\n            self.budget.ended(len(earlier))\n",
        "        finally:\n",
    ),
    Mutation(
        "the loser of a hedge runs on",
        HEDGE,
        'async with Scope(f"hedge {self.name}", on_exit="cancel") as scope:',
        'scope = __import__("backstay.tasks", fromlist=["current_scope"]).current_scope() or '
        "await Scope('leak').__aenter__()\n            if True:",
    ),
    Mutation(
        "a policy keeps the place of a failed attempt",
        ATTEMPT,
        "        if bulkhead is not None:\n            bulkhead.release()\n        for",
        "        for",
    ),
    Mutation(
        "a policy keeps the throttle's ticket of a refused call",
        ATTEMPT,
        "        if self.throttle is not None:\n            self.throttle.release(True)",
        "        if False:\n            self.throttle.release(True)",
    ),
    Mutation(
        "a policy forgets to count a call that ended badly as out of flight",
        POLICY,
        "        finally:\n            counted.in_flight -= 1",
        "        finally:\n            counted.in_flight -= limit is None",
    ),
    Mutation(
        "a policy never gives its retries back",
        POLICY,
        "            self._retry.budget.ended(len(earlier))\n            self._retry.tell_of(earlier, error)",
        "            self._retry.tell_of(earlier, error)",
    ),
]

BY_CASE = [
    (
        Mutation(
            "a policy keeps the probe of a call that waits",
            ATTEMPT,
            "            self.breaker.release(probe)\n        return Wait",
            "            pass\n        return Wait",
        ),
        "tests/unit/guard/test_policy.py",
    ),
    (
        Mutation(
            "a refused call keeps its permit of the rate",
            ATTEMPT,
            "            rated.give_back()\n",
            "            pass\n",
        ),
        "tests/unit/guard/test_policy.py",
    ),
    (
        Mutation(
            "a late answer of an older generation counts",
            RULE,
            "            if ticket.generation != self.generation:\n                return\n            if ticket.lease",
            "            if ticket.lease",
        ),
        "tests/unit/guard/rules/test_breaker_rule.py",
    ),
    (
        Mutation(
            "calls that hang are seen when they end",
            RULE,
            "        if self._flying:\n            self._notice_slow(now)\n        state",
            "        state",
        ),
        "tests/unit/guard/rules/test_breaker_rule.py",
    ),
    (
        Mutation(
            "a pause may end after the deadline",
            RETRY,
            "        if remaining is not None and pause >= remaining:",
            "        if remaining is not None and pause >= remaining + 60:",
        ),
        "tests/unit/guard/test_retry.py",
    ),
    (
        Mutation(
            "a cancel of the caller is held against the dependency",
            "backstay.guard._judgement",
            "        if isinstance(error, CancelledError):\n            return NEUTRAL",
            "        if isinstance(error, CancelledError):\n            return FAIL",
        ),
        "tests/unit/guard/test_breaker.py",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("mutation", BY_SCHEDULE, ids=str)
def test_the_explored_tests_notice(mutation: Mutation) -> None:
    """A fault of order or cancellation fails under some schedule."""
    assert_caught(mutation, EXPLORED, options=["--timeout=60"])


@pytest.mark.slow
@pytest.mark.parametrize(("mutation", "tests"), BY_CASE, ids=lambda part: str(part))
def test_the_cases_notice(mutation: Mutation, tests: str) -> None:
    """A fault that shows in every order fails a case."""
    assert_caught(mutation, tests, explored=False, options=["--timeout=20"])
