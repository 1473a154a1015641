"""Faults that only a guard around another one shows: each is noticed."""

from __future__ import annotations

import pytest
from mutations import Mutation, assert_caught

DEADLINE = "backstay.guard._deadline"
FALLBACK = "backstay.guard._fallback"
PROCESSES = "backstay.guard._worker_processes"
BREAKER = "backstay.guard.rules.breaker_rule"

EXPLORED = "tests/explored/test_guards_around.py"
EDGES = "tests/composition/test_policy_edges.py"

BY_SCHEDULE = [
    Mutation(
        "a deadline does not tell its own cancel from one from outside",
        DEADLINE,
        "                if limit.close():\n                    self._cut += 1\n                    await limit.settle(error)\n                raise\n",
        "                if limit.close():\n                    self._cut += 1\n                raise TypeError from error\n",
    ),
    Mutation(
        "what was cut is not counted",
        DEADLINE,
        "            if limit.close():\n                self._cut += 1\n                await limit.settle(error)\n            raise\n        if limit",
        "            if limit.close():\n                await limit.settle(error)\n            raise\n        if limit",
    ),
    Mutation(
        "an answer that was cancelled is not counted",
        FALLBACK,
        "        except BaseException:\n            self._failed += 1\n            raise\n",
        "        except Exception:\n            self._failed += 1\n            raise\n",
    ),
    Mutation(
        "a result is kept under the key of another",
        FALLBACK,
        "        key = self._key_of(args, kwargs)\n        self._kept[key] = (read_clock.read(), result)\n",
        "        key = self._key_of(args, kwargs)\n        self._kept[0] = self._kept[1] = (read_clock.read(), result)\n",
    ),
    Mutation(
        "a process is lent while it is at work",
        PROCESSES,
        "        self._busy.add(executor)\n",
        "        self._busy.add(executor)\n        self._idle.append(executor)\n",
    ),
    Mutation(
        "a process that died is used again",
        PROCESSES,
        "        elif isinstance(error, BrokenExecutor):\n            self._on_death()\n            self._explain(",
        "        elif isinstance(error, BrokenExecutor):\n            self._idle.append(executor)\n            (",
    ),
    Mutation(
        "the first that hangs takes the others along",
        BREAKER,
        "            self._flying.pop(flight, None)  # gone",
        "            del self._flying[flight]  # gone",
    ),
]

OTHERWISE = [
    (Mutation("a probe that was never sent is not lent again", BREAKER, "            self._leases.pop(ticket, None)\n", ""), EDGES),
    (Mutation("a rejection further down is a failure", "backstay.guard._judgement", "    if isinstance(error, Rejected):\n        return NEUTRAL\n", ""), EDGES),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("mutation", BY_SCHEDULE, ids=str)
def test_each_fault_is_caught(mutation: Mutation) -> None:
    """An explored test fails on the broken module, with a schedule that shows it."""
    assert_caught(mutation, EXPLORED)


@pytest.mark.slow
@pytest.mark.parametrize(("mutation", "tests"), OTHERWISE, ids=str)
def test_each_fault_that_shows_in_every_order_is_caught(mutation: Mutation, tests: str) -> None:
    """The composition tests fail on the broken module."""
    assert_caught(mutation, tests, explored=False)
