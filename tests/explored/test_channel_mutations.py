"""Every seeded fault in channels and select is noticed by the explored tests or Go's cases."""

from __future__ import annotations

import pytest
from mutations import Mutation, assert_caught

STATE = "backstay.channels._channel_state"
CHANNEL = "backstay.channels._channel"
SELECT = "backstay.channels._select"
FLOWS = "backstay.channels._flows"
TICKETS = "backstay.channels._tickets"
QUEUE = "backstay.sync._wake_queue"

EXPLORED = "tests/explored/test_channels.py"
CASES = "tests/conformance/test_channel.py"
SELECT_CASES = "tests/conformance/test_select.py"
CANCELS = "tests/conformance/test_channel_cancellation.py"
BUDGET = "tests/unit/channels/test_channel.py"
WAKES = "tests/unit/sync/test_wake_queue.py"

# What the explorer has to find by itself: the faults of order and cancellation.
BY_SCHEDULE = [
    Mutation(
        "drop the give-back of a receive",
        CHANNEL,
        "        elif waiter.result() is not CLOSED:\n            self.give_back(waiter.result())\n",
        "",
    ),
    Mutation(
        "drop the give-back of a select",
        SELECT,
        "    if ok and item is NOTHING and state is not None:\n        state.give_back(value)\n",
        "    return\n",
    ),
    Mutation(
        "give back to the tail of the buffer",
        STATE,
        "            self._returned = deque([item])",
        "            self._items.append(item)",
    ),
    Mutation(
        "give back and wake nobody",
        STATE,
        "        if self._receivers and self._hand_over(item):\n            return\n",
        "",
    ),
    Mutation(
        "a cancelled receiver stays in line",
        CHANNEL,
        "            self._receivers.discard(waiter)\n",
        "            pass\n",
    ),
    Mutation(
        "a cancelled sender stays in line",
        CHANNEL,
        "                self._senders.discard(entry)\n",
        "                pass\n",
    ),
    Mutation(
        "a select stays in the lines of the cases that lost",
        SELECT,
        "        line.discard(entry)",
        "        pass",
    ),
    Mutation(
        "a cancelled select gives back what it sent",
        SELECT,
        "    if ok and item is NOTHING and state is not None:",
        "    if ok and state is not None:",
    ),
    Mutation(
        "hand over to a receiver that has given up",
        QUEUE,
        "        except InvalidStateError:\n            return False\n        return True",
        "        except InvalidStateError:\n            return True\n        return True",
    ),
    Mutation(
        "wake two receivers with one item",
        STATE,
        "            elif wake(entry, item):  # type: ignore[arg-type]  # no tuple, so a waiter\n                return True",
        "            elif wake(entry, item):\n                if receivers and type(receivers[0]) is not tuple:\n                    wake(receivers.popleft(), item)\n                return True",
    ),
    Mutation(
        "a receive from the buffer leaves the blocked sender where it is",
        STATE,
        "                self._items.append(sent)\n                return",
        "                return",
    ),
    Mutation(
        "the first blocked sender is taken and not woken",
        STATE,
        "            waiter, sent, case = senders.popleft()\n            if self._wakes.wake(waiter, None if case is None else (case, None, True)):\n                self._items.append(sent)",
        "            waiter, sent, case = senders.popleft()\n            if not waiter.done():\n                self._items.append(sent)",
    ),
    Mutation(
        "quick sends go on while a receiver waits",
        CHANNEL,
        "        self._room = 0  # as join_receivers\n",
        "",
    ),
    Mutation(
        "quick sends go on while a select waits",
        STATE,
        "        self._room = 0\n        self._receivers.append(entry)",
        "        self._receivers.append(entry)",
    ),
    Mutation(
        "close wakes the receivers only",
        STATE,
        "            wake(sender[0], CLOSED if case is None else (case, None, False))",
        "            pass",
    ),
    Mutation(
        "close wakes the first receiver only",
        STATE,
        '                wake(cast("Waiter", receiver), CLOSED)',
        '                wake(cast("Waiter", receiver), CLOSED)\n                break',
    ),
    Mutation(
        "a closed channel still takes items",
        STATE,
        '        if self.closed:\n            raise self._closed_error("send on")\n',
        "",
    ),
]

# What does not depend on the schedule: the cases named say it.
BY_CASE = [
    (
        Mutation(
            "select prefers what the quick way serves",
            SELECT,
            "    return drawn if drawn in ready else ready[int(_roll() * len(ready))]",
            "    return ready[int(_roll() * len(ready))]",
        ),
        SELECT_CASES,
    ),
    (
        Mutation(
            "select takes the first that is ready",
            SELECT,
            "        index = (0 if _roll() < 0.5 else 1) if count == 2 else int(_roll() * count)",
            "        index = 0",
        ),
        SELECT_CASES,
    ),
    (
        Mutation(
            "a parked select always begins its lines with the first case",
            SELECT,
            "(*range(drawn, len(cases)), *range(drawn))",
            "range(len(cases))",
        ),
        SELECT_CASES,
    ),
    (
        Mutation(
            "skip the compaction",
            QUEUE,
            "        if self._stale * 2 >= len(self):",
            "        if False:",
        ),
        WAKES,
    ),
    (
        Mutation(
            "compact at each leave",
            QUEUE,
            "        if self._stale * 2 >= len(self):",
            "        if True:",
        ),
        WAKES,
    ),
    (
        Mutation(
            "wake without a bound",
            QUEUE,
            "            while line and wakes > 0 and ops > 0:",
            "            while line:",
        ),
        WAKES,
    ),
    (
        Mutation(
            "operations that do not wait cost nothing",
            QUEUE,
            "            while line and wakes > 0 and ops > 0:",
            "            while line and wakes > 0:",
        ),
        WAKES,
    ),
    (
        Mutation(
            "what is left in the run queue is forgotten",
            QUEUE,
            "            self._scheduled = False\n            if line:\n                self._schedule()",
            "            self._scheduled = bool(line)",
        ),
        WAKES,
    ),
    (
        Mutation(
            "receive without a budget",
            CHANNEL,
            "        if wakes.credit <= 0 and self.can_receive():\n            return _PAUSE\n",
            "",
        ),
        BUDGET,
    ),
    (
        Mutation(
            "send without a budget",
            CHANNEL,
            "        if wakes.credit <= 0:\n            await wakes.pause()\n",
            "",
        ),
        BUDGET,
    ),
    (
        Mutation(
            "a large buffer is filled without a budget",
            CHANNEL,
            "            wakes.credit -= FAST_OPS  # a whole share of quick sends was used up",
            "            pass",
        ),
        BUDGET,
    ),
    (
        Mutation(
            "a foreign loop may send",
            CHANNEL,
            "        if here() == self._home:\n            if len(self._items) < self._room:",
            "        if here() == self._home or self.capacity:\n            if len(self._items) < self._room:",
        ),
        CANCELS,
    ),
    (
        Mutation(
            "a ticket can be claimed twice",
            TICKETS,
            '            if self._claimed:\n                raise InvalidStateError("served before")\n',
            "",
        ),
        CANCELS,
    ),
    (
        Mutation(
            "what a ticket was served with is not given back",
            "backstay.channels._bridge",
            "            elif ticket.value is not CLOSED:\n                channel.give_back(ticket.value)\n",
            "",
        ),
        CANCELS,
    ),
    (
        Mutation(
            "the last blocked sender goes first",
            STATE,
            "            return item\n        while senders:\n            waiter, sent, case = senders.popleft()\n",
            "            return item\n        while senders:\n            waiter, sent, case = senders.pop()\n",
        ),
        CASES,
    ),
    (
        Mutation(
            "quick receives go on while a sender waits",
            CHANNEL,
            "        if self._granted:  # as join_senders\n            self.stop_quick_receives()\n",
            "",
        ),
        BUDGET,
    ),
    (
        Mutation(
            "a rendezvous that buffers",
            STATE,
            "        if len(self._items) + len(self._returned) < self.capacity:\n            self._items.append(item)",
            "        if len(self._items) + len(self._returned) <= self.capacity:\n            self._items.append(item)",
        ),
        CASES,
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
    assert_caught(
        mutation, tests, explored=False, options=["--timeout=20", "--timeout-method=thread"]
    )
