"""Breaks the modes of a rate on purpose: each seeded fault must fail under some schedule, or in a case."""

from __future__ import annotations

import pytest
from mutations import Mutation, assert_caught

EXPLORED = "tests/explored/test_rate_modes.py"
RATE = "backstay.guard._rate"
ADAPTIVE = "backstay.guard._adaptive_rate"
SOURCE = "backstay.guard._throughput_source"
PACED = "backstay.guard.rules.paced_queue"
WARM = "backstay.guard.rules.warm_up"
LIMIT = "backstay.guard.rules.throughput_limit"
WINDOW = "backstay.guard.rules.throughput_window"
PROMETHEUS = "backstay.integrations.prometheus_query"

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
        "who comes as a unit falls free goes past those in line",
        RATE,
        "        if self._timer is not None:\n            return False\n        rule = self._rule",
        "        rule = self._rule",
    ),
    Mutation(
        "those who gave up count as waiting in a paced queue",
        RATE,
        "[wanted for waiter, wanted in self._line if not waiter.done()]",
        "[wanted for waiter, wanted in self._line] + [0.0] * (self._waits.count > 0)",
    ),
    Mutation(
        "a heavy call in a paced queue keeps nobody back",
        PACED,
        "        self.due = max(self.due, now) + cost / self.rate\n        return 0.0",
        "        self.due = max(self.due, now) + 1 / self.rate\n        return 0.0",
    ),
    Mutation(
        "a rate that warms up is not asked where a unit looks free",
        RATE,
        "                if rule.spare >= 0.0 or rule.take(cost, now) > 0.0:",
        "                if rule.spare >= 0.0 or (rule.due > now and rule.take(cost, now) > 0.0):",
    ),
    Mutation(
        "a follower that is cut counts as following for ever",
        ADAPTIVE,
        "        finally:\n            self._followed = False",
        "        finally:\n            pass",
    ),
    Mutation(
        "a cancel is taken for trouble of the source",
        ADAPTIVE,
        "            if isinstance(error, CancelledError) and (task is None or task.cancelling()):",
        "            if False:",
    ),
    Mutation(
        "a cancelled call counts as a bad end",
        ADAPTIVE,
        "        outcome = OK if error is None else self.judge(error, now - began, now)",
        '        outcome = OK if error is None else "fail"',
    ),
    Mutation(
        "a call that fails teaches nothing",
        ADAPTIVE,
        "            self.ended(error, began)\n            raise",
        "            raise",
    ),
]

BY_CASE = [
    (
        Mutation(
            "a pause does not cool",
            WARM,
            " - cool / period)",
            ")",
        ),
        "tests/unit/guard/rules/test_warm_up.py",
    ),
    (
        Mutation(
            "idle time before a change counts as use",
            WARM,
            "        self._feel(now)\n        Gcra.change",
            "        Gcra.change",
        ),
        "tests/unit/guard/rules/test_warm_up.py",
    ),
    (
        Mutation(
            "a pause saves a burst up in a paced queue",
            PACED,
            "        self.due = max(self.due, now) + cost / self.rate\n        return 0.0",
            "        self.due = max(self.due, now - 1) + cost / self.rate\n        return 0.0",
        ),
        "tests/unit/guard/rules/test_paced_queue.py",
    ),
    (
        Mutation(
            "one bad time counts again and again",
            LIMIT,
            "                return False  # it has fallen for a part of this already",
            "                pass",
        ),
        "tests/unit/guard/rules/test_throughput_limit.py",
    ),
    (
        Mutation(
            "a lack of calls lowers the limit",
            LIMIT,
            "                self.estimate = max(before, can)\n",
            "                self.estimate = max(before, can)\n"
            "            elif can < before / 2:\n                self.estimate = max(self.floor, can)\n",
        ),
        "tests/unit/guard/rules/test_throughput_limit.py",
    ),
    (
        Mutation(
            "a limit grows without being used",
            LIMIT,
            "            can = min(self.ceiling, gain * measured.good)",
            "            can = min(self.ceiling, gain * max(before, measured.good))",
        ),
        "tests/unit/guard/rules/test_throughput_limit.py",
    ),
    (
        Mutation(
            "a fall goes all the way to what an outage shows",
            LIMIT,
            "can = max(can, self.risen_from, before / 2)",
            "can = max(can, self.risen_from)",
        ),
        "tests/unit/guard/rules/test_throughput_limit.py",
    ),
    (
        Mutation(
            "the headroom is full at once after a fall",
            LIMIT,
            "gain = 1 + (self.headroom - 1) * min(1.0, (now - self.cut) / self.window)",
            "gain = self.headroom",
        ),
        "tests/unit/guard/rules/test_throughput_limit.py",
    ),
    (
        Mutation(
            "evidence of another limit counts",
            WINDOW,
            "        self._steps.clear()\n",
            "",
        ),
        "tests/unit/guard/rules/test_throughput_limit.py",
    ),
    (
        Mutation(
            "what began under another limit counts",
            ADAPTIVE,
            " or now - elapsed < self._since",
            "",
        ),
        "tests/unit/guard/test_adaptive_rate.py",
    ),
    (
        Mutation(
            "a source that hangs is waited for",
            ADAPTIVE,
            "            async with timeout(self._timeout):",
            "            if True:",
        ),
        "tests/unit/guard/test_adaptive_rate.py",
    ),
    (
        Mutation(
            "the limit is held for ever",
            ADAPTIVE,
            "        if read_clock.read() - self._measured_at > self._stale_after:\n            self._put",
            "        if False:\n            self._put",
        ),
        "tests/unit/guard/test_adaptive_rate.py",
    ),
    (
        Mutation(
            "a cancel inside of the source ends its follower",
            ADAPTIVE,
            "isinstance(error, CancelledError) and (task is None or task.cancelling())",
            "isinstance(error, CancelledError)",
        ),
        "tests/unit/guard/test_adaptive_rate.py",
    ),
    (
        Mutation(
            "counters are measured from before the last change",
            SOURCE,
            "begin = max(since, now - self._window)",
            "begin = now - self._window",
        ),
        "tests/unit/guard/test_adaptive_rate.py",
    ),
    (
        Mutation(
            "both queries are asked for times of their own",
            PROMETHEUS,
            '            words["time"] = f"{when:.3f}"',
            "            pass",
        ),
        "tests/integrations/prometheus/test_prometheus_query.py::"
        "test_it_tells_how_much_time_is_left_and_asks_both_for_one_time",
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
