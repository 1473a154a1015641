"""Breaks a gate on purpose: each seeded fault must fail under some schedule."""

from __future__ import annotations

import pytest
from mutations import Mutation, assert_caught

EXPLORED = "tests/explored/test_gate.py"
GATE = "backstay.guard._gate"
GATES = "backstay.integrations.gates"

MUTATIONS = [
    Mutation(
        "a holder that is gone stays in the list",
        GATE,
        "        if self._held.pop(id(item), None) is not None:\n",
        "        if self._held.get(id(item), None) is not None:\n",
    ),
    Mutation(
        "who waits takes no place",
        GATE,
        "            await self.acquire()\n",
        "            await self.acquire()\n            self.release()\n",
    ),
    Mutation(
        "a pool that fails keeps the place",
        GATES,
        "    finally:\n        gate_.give_in(item)\n        item.value = None",
        "    except GeneratorExit:\n        gate_.give_in(item)\n        item.value = None",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_the_explored_tests_notice(mutation: Mutation) -> None:
    """A fault of order or cancellation fails under some schedule."""
    assert_caught(mutation, EXPLORED, options=["--timeout=60"])
