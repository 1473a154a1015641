"""Every seeded fault in flows, timers, shared channels and returned items is noticed.

The first three by their explored tests. How returned items, the buffer and the quick
ways go together is a matter of long courses and not of schedules, so there the model
in `tests/property` has to find it.
"""

from __future__ import annotations

import pytest
from mutations import Mutation, assert_caught

STATE = "backstay.channels._channel_state"
CHANNEL = "backstay.channels._channel"
FLOWS = "backstay.channels._flows"
TIMERS = "backstay.channels._timers"
BRIDGE = "backstay.channels._bridge"
SELECT = "backstay.channels._select"
TICKETS = "backstay.channels._tickets"

FLOW_TESTS = "tests/explored/test_channel_flows.py"
TIMER_TESTS = "tests/explored/test_channel_timers.py"
SHARED_TESTS = "tests/explored/test_shared_channels.py"
MODEL = "tests/property/test_channel_model.py"

MUTATIONS = [
    (
        Mutation(
            "a flow does not notice a lost task",
            FLOWS,
            "            self._lost = True\n            scope.cancel",
            "            return\n            scope.cancel",
        ),
        FLOW_TESTS,
    ),
    (
        Mutation(
            "a stage that is cut short closes its way out",
            FLOWS,
            "        async for item in items:\n            await out.send(await fn(item))\n        out.close()",
            "        try:\n            async for item in items:\n                await out.send(await fn(item))\n"
            "        finally:\n            out.close()",
        ),
        FLOW_TESTS,
    ),
    (
        Mutation(
            "the first worker that ends closes the way out for all",
            FLOWS,
            "        async for item in items:\n            await out.send(await fn(item))\n\n",
            "        async for item in items:\n            await out.send(await fn(item))\n"
            "        if not out.closed:\n            out.close()\n\n",
        ),
        FLOW_TESTS,
    ),
    (
        Mutation(
            "an alarm rings twice",
            TIMERS,
            "        it._timer = None\n        it._feed.send_nowait(now())\n",
            "        it._timer = get_running_loop().call_later(0, _ring, alarm)\n"
            "        it._feed.can_send() and it._feed.send_nowait(now())\n",
        ),
        TIMER_TESTS,
    ),
    (
        Mutation(
            "a stopped ticker leaves its listeners waiting",
            TIMERS,
            "        if not self._feed.closed:\n            self._feed.close()\n",
            "",
        ),
        TIMER_TESTS,
    ),
    (
        Mutation(
            "a tick that nobody takes is not counted as missed",
            TIMERS,
            "        else:\n            it._missed += 1\n",
            "",
        ),
        TIMER_TESTS,
    ),
    (
        Mutation(
            "what a cancelled receiver's ticket was served with is lost",
            BRIDGE,
            "            elif ticket.value is not CLOSED:\n                channel.give_back(ticket.value)\n",
            "",
        ),
        SHARED_TESTS,
    ),
    (
        Mutation(
            "what a cancelled select's ticket was served with is lost",
            SELECT,
            "            if not ticket.claim_back():\n                _give_back(cases, ticket.value)\n",
            "            ticket.claim_back()\n",
        ),
        SHARED_TESTS,
    ),
    (
        Mutation(
            "a cancelled select's ticket can still be claimed",
            SELECT,
            "            if not ticket.claim_back():\n                _give_back(cases, ticket.value)\n            _leave(standing)\n",
            "            if ticket.done():\n                _give_back(cases, ticket.value)\n",
        ),
        SHARED_TESTS,
    ),
    (
        Mutation(
            "a cancelled sender's ticket can still be claimed",
            BRIDGE,
            "            if ticket.claim_back():\n                channel._senders.discard(entry)\n        raise\n    if answer",
            "            pass\n        raise\n    if answer",
        ),
        SHARED_TESTS,
    ),
    (
        Mutation(
            "a cancelled receiver's ticket can still be claimed",
            BRIDGE,
            "            if ticket.claim_back():\n                channel._receivers.discard(entry)\n            elif",
            "            if not ticket.done():\n                pass\n            elif",
        ),
        SHARED_TESTS,
    ),
    (
        Mutation(
            "a ticket can be claimed twice",
            TICKETS,
            '            if self._claimed:\n                raise InvalidStateError("served before")\n',
            "",
        ),
        SHARED_TESTS,
    ),
    (
        Mutation(
            "a select with a ticket stays in the lines of the cases that lost",
            SELECT,
            "    with lock_all(states):\n        _leave(standing)\n    return _answered",
            "    return _answered",
        ),
        SHARED_TESTS,
    ),
]

OF_RETURNED_ITEMS = [
    Mutation(
        "returned items take no room",
        STATE,
        "        if len(self._items) + len(self._returned) < self.capacity:\n            self._items.append(item)",
        "        if len(self._items) < self.capacity:\n            self._items.append(item)",
    ),
    Mutation(
        "a sender moves up before there is room",
        STATE,
        "            item = self._returned.popleft()\n"
        "            if len(self._items) + len(self._returned) < self.capacity:\n"
        "                self._move_up()",
        "            item = self._returned.popleft()\n            self._move_up()",
    ),
    Mutation(
        "no sender moves up after a returned item",
        STATE,
        "            item = self._returned.popleft()\n"
        "            if len(self._items) + len(self._returned) < self.capacity:\n"
        "                self._move_up()",
        "            item = self._returned.popleft()",
    ),
    Mutation(
        "quick sends go on after an item came back",
        STATE,
        "            self.stop_quick_receives()\n        self._room = 0\n        if isinstance",
        "            self.stop_quick_receives()\n        if isinstance",
    ),
    Mutation(
        "an item comes back behind the buffer",
        STATE,
        "            self._returned = deque([item])",
        "            self._items.append(item)",
    ),
    Mutation(
        "items come back in reverse",
        STATE,
        "            self._returned.append(item)",
        "            self._returned.appendleft(item)",
    ),
    Mutation(
        "a select sees room where returned items are",
        STATE,
        "            len(self._items) + len(self._returned) < self.capacity\n            or self.closed",
        "            len(self._items) < self.capacity\n            or self.closed",
    ),
    Mutation(
        "quick receives pass returned items by",
        STATE,
        "        if self._items and not self._senders and not self._returned:",
        "        if self._items and not self._senders:",
    ),
    Mutation(
        "quick sends to a large buffer do not count returned items",
        STATE,
        "        if not self._receivers and not self._returned and not self.closed:",
        "        if not self._receivers and not self.closed:",
    ),
    Mutation(
        "quick sends to a small buffer do not count returned items",
        CHANNEL,
        "            elif not self._receivers and not self._returned:",
        "            elif not self._receivers:",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("mutation", OF_RETURNED_ITEMS, ids=str)
def test_the_model_notices(mutation: Mutation) -> None:
    """A fault of order or of room differs from the model in some course."""
    assert_caught(mutation, MODEL, explored=False, options=["--timeout=110"])


@pytest.mark.slow
@pytest.mark.parametrize(("mutation", "tests"), MUTATIONS, ids=lambda part: str(part))
def test_the_explored_tests_notice(mutation: Mutation, tests: str) -> None:
    """A fault of order or cancellation fails under some schedule."""
    assert_caught(mutation, tests, options=["--timeout=60"])
