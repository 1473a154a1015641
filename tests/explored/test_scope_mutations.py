"""Every seeded fault in scopes and places is noticed by the explored tests."""

from __future__ import annotations

import pytest
from mutations import Mutation, assert_caught

PLACES = "backstay.tasks._places"
SCOPE = "backstay.tasks._scope"
INTERRUPT = "backstay.tasks._interrupt"

MUTATIONS = [
    Mutation(
        "a cancelled caller keeps its place",
        PLACES,
        "                self._reserved -= 1\n                self._hand_over()\n",
        "                pass\n",
    ),
    Mutation(
        "a cancelled caller frees its place and tells nobody",
        PLACES,
        "                self._reserved -= 1\n                self._hand_over()\n",
        "                self._reserved -= 1\n",
    ),
    Mutation(
        "a place is not reserved",
        PLACES,
        "                self._reserved += 1\n                turn.set_result(True)\n",
        "                turn.set_result(True)\n",
    ),
    Mutation(
        "a place is reserved for ever",
        PLACES,
        "        if granted:\n            self._reserved -= 1\n",
        "",
    ),
    Mutation(
        "a place goes to whoever gave up",
        PLACES,
        "            if not turn.done():\n                self._reserved += 1\n"
        "                turn.set_result(True)\n                return\n",
        "            self._reserved += 1\n            turn.done() or turn.set_result(True)\n            return\n",
    ),
    Mutation(
        "a child that ends offers no place",
        SCOPE,
        "        if self._places.waiting:\n            self._places.offer(len(self._children))\n",
        "",
    ),
    Mutation(
        "children started late are not waited for",
        SCOPE,
        "        while self._children:\n            self._idle",
        "        if self._children:\n            self._idle",
    ),
    Mutation(
        "a cut cancels nobody",
        SCOPE,
        "            if child.cancel():\n                stamp_cancel(child, why)\n",
        "            pass\n",
    ),
    Mutation(
        "the block's own cancel stays on the account",
        INTERRUPT,
        "            self._host.uncancel()\n",
        "            pass\n",
    ),
    Mutation(
        "a cancel that was ordered strikes after the block",
        INTERRUPT,
        "        if _is_pending(self._host):\n            try:\n",
        "        if False:\n            try:\n",
    ),
    Mutation(
        "a cancel that was consumed is forgotten",
        INTERRUPT,
        "    if not host.done() and host.cancelling() > baseline:\n",
        "    if False:\n",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_the_fault_is_noticed(mutation: Mutation) -> None:
    """Broken so, some explored test fails and shows the schedule."""
    assert_caught(mutation, "tests/explored/test_scope.py")
