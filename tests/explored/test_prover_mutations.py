"""Breaks the prover on purpose: each seeded fault must be noticed by the model, or by a case."""

from __future__ import annotations

import pytest
from mutations import Mutation, assert_caught

TRIAL = "backstay.leak._trial_deletion"
TIMERS = "backstay.leak._timers"
PROVE = "backstay.leak._prove"
PROVER = "backstay.leak._prover"
CAPS = "backstay.leak._spawn_caps"
MODEL = "tests/property/test_prover_model.py"
CASES = "tests/unit/leak/test_prove.py"

FAULTS = [
    (
        Mutation(
            "references from elsewhere are not noticed",
            TRIAL,
            "            if more == base and key not in lively:\n",
            "            if key not in lively:\n",
        ),
        MODEL,
    ),
    (
        Mutation(
            "holding a task is taken for a way to wake it",
            TRIAL,
            "                if key in gates:\n                    held.add(key)\n                    continue\n",
            "                if key in gates:\n                    self._open([gates[key]], stack)\n                    continue\n",
        ),
        MODEL,
    ),
    (
        Mutation(
            "whoever waits for a woken task stays asleep",
            TRIAL,
            "            todo += self.waiters.get(key, ())\n",
            "            pass\n",
        ),
        MODEL,
    ),
    (
        Mutation(
            "what lives wakes nobody",
            TRIAL,
            "                if key in waiters:\n                    self._open(waiters[key], stack)\n",
            "",
        ),
        MODEL,
    ),
    (
        Mutation(
            "a task counts as held that only the dead hold",
            TRIAL,
            "verdicts[place] = HELD if key in self.held else UNHELD",
            "verdicts[place] = HELD",
        ),
        MODEL,
    ),
    (
        Mutation(
            "tasks that are barred are judged",
            TRIAL,
            "future = None if key in self.barred else awaited_by",
            "future = awaited_by",
        ),
        MODEL,
    ),
    (
        Mutation(
            "weak references from elsewhere are overlooked",
            TRIAL,
            "                    found.add(key)\n",
            "                    pass\n",
        ),
        MODEL,
    ),
    (
        Mutation(
            "weak references from within wake everybody",
            TRIAL,
            "                if id(reference) in self.ids:\n",
            "                if False:\n",
        ),
        MODEL,
    ),
    (
        Mutation(
            "a pending timer spares nobody",
            TIMERS,
            "    ended = {id(task) for task in tasks} & reach.tasks\n",
            "    ended = set()\n",
        ),
        CASES,
    ),
    (
        Mutation(
            "whom an ended task awaits is not spared",
            TIMERS,
            "            if id(task) in awaited or futures & awaited or futures & reach.futures:\n",
            "            if False:\n",
        ),
        CASES,
    ),
    (
        Mutation(
            "a registry that all share is taken for a time limit",
            TIMERS,
            "                    if kind is tuple or sys.getrefcount(thing) <= alone:\n",
            "                    if True:\n",
        ),
        CASES,
    ),
    (
        Mutation(
            "what a task does after its time is up counts for nothing",
            PROVE,
            "            self.barred |= ended\n",
            "            pass\n",
        ),
        CASES,
    ),
    (
        Mutation(
            "the main task is accused",
            PROVE,
            '    return any("run_until_complete" in',
            '    return any("nothing" in',
        ),
        CASES,
    ),
    (
        Mutation(
            "a wait on purpose is accused",
            PROVE,
            "    if waits_forever(task):\n        return True\n",
            "",
        ),
        CASES,
    ),
    (
        Mutation(
            "a prover tells what it sees for the first time",
            PROVER,
            "if key in before and at - since >= self._confirm_after:",
            "if at - since >= 0:",
        ),
        CASES,
    ),
    (
        Mutation(
            "a line over its cap goes on spawning",
            CAPS,
            "            if self._closed:\n",
            "            if False:\n",
        ),
        "tests/unit/leak/test_interceptor.py",
    ),
    (
        Mutation(
            "a site that was closed stays closed",
            CAPS,
            "        elif not closed and loop.get_task_factory() is self._factory is not None:\n",
            "        elif False:\n",
        ),
        "tests/unit/leak/test_interceptor.py",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("mutation", "tests"), FAULTS, ids=lambda part: str(part))
def test_the_prover_is_held(
    mutation: Mutation, tests: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Python, which the C extension is compared with elsewhere."""
    monkeypatch.setenv("BACKSTAY_PURE", "1")
    assert_caught(mutation, tests, explored=False, options=["--timeout=100"])
