"""Every seeded fault in the pool is noticed."""

from __future__ import annotations

import pytest
from mutations import Mutation, assert_caught

POOL = "backstay.guard._pool"
LENDING = "backstay.guard._lending"
BLOCK = "backstay.guard._pool_block"
NOTES = "backstay.guard._pool_records"
SUPPLY = "backstay.guard._pool_supply"
RULE = "backstay.guard.rules.pool_rule"

EXPLORED = "tests/explored/test_pool.py"
UNIT = "tests/unit/guard/test_pool.py"
FAULTS = "tests/unit/guard/test_pool_faults.py"

BY_SCHEDULE = [
    Mutation(
        "a cancelled caller keeps what it was given",
        POOL,
        "                self._take_back(waiter.result(), read_clock.read())\n",
        "                pass\n",
    ),
    Mutation(
        "what is on its way is not counted off when its caller was cancelled",
        POOL,
        "                self._passing -= 1\n                self._take_back",
        "                self._take_back",
    ),
    Mutation(
        "what is on its way is not counted",
        POOL,
        "                if self._queue.wake(self._line.popleft(), item):\n                    self._passing += 1\n",
        "                if self._queue.wake(self._line.popleft(), item):\n",
    ),
    Mutation(
        "one that nobody took any more is lost",
        POOL,
        "                if self._queue.wake(self._line.popleft(), item):\n                    self._passing += 1\n                    return\n",
        "                self._queue.wake(self._line.popleft(), item)\n                self._passing += 1\n                return\n",
    ),
    Mutation(
        "what comes back is kept beside who waits",
        POOL,
        "len(idle) >= self._room or self._line:",
        "len(idle) >= self._room:",
    ),
    Mutation(
        "nothing is opened in place of what was closed",
        POOL,
        "            self._follow_rule()\n            self._open_more()\n\n    def _discard",
        "            self._follow_rule()\n\n    def _discard",
    ),
    Mutation(
        "after a failed open nobody tries again",
        POOL,
        "                    break\n            self._open_more()\n",
        "                    break\n",
    ),
    Mutation(
        "a check that was cancelled loses the resource",
        POOL,
        "            if not good or not self._lends:\n                self._discard",
        "            if self._passing < 0:\n                self._discard",
    ),
    Mutation(
        "one that was checked is lent by a closed pool",
        POOL,
        '        if not self._lends:\n            raise self._misuse("is closed")\n        return good',
        "        return good",
    ),
    Mutation(
        "a pool does not wait for a check",
        POOL,
        "        self._passing += 1  # so that a `close` waits for the answer\n",
        "",
    ),
    Mutation(
        "what comes back to a closed pool is kept",
        POOL,
        '        if not self._lends:\n            self._discard(item, "closed")\n            return\n',
        "",
    ),
    Mutation(
        "who waits is not told of the end",
        POOL,
        '        while self._line:\n            self._queue.fail(self._line.popleft(), self._misuse("is closed"))\n',
        "",
    ),
    Mutation(
        "what is idle stays open at the end",
        POOL,
        '        while self._idle:\n            self._discard(self._idle.pop(), "closed")\n',
        "",
    ),
    Mutation(
        "nobody hears that the last one came back",
        POOL,
        "            self._offer(item, now)\n        self._tell_if_drained()\n",
        "            self._offer(item, now)\n",
    ),
    Mutation(
        "one that closes has left already",
        SUPPLY,
        "        self.closing += 1\n        ending: Any = None\n",
        "        self.closing += 1\n        self.total -= 1\n        self._customer._place_is_free()\n        self.total += 1\n        ending: Any = None\n",
    ),
    Mutation(
        "an open that was cancelled keeps its place",
        SUPPLY,
        "        if task.cancelled() or task.exception() is not None:\n            self.opening -= 1\n",
        "        if task.cancelled() or task.exception() is not None:\n",
    ),
    Mutation(
        "a keeper that never began is waited for",
        SUPPLY,
        "        if not began.done():\n            began.set_exception(",
        "        if began.cancelled():\n            began.set_exception(",
    ),
    Mutation(
        "a keeper that is cancelled closes nothing",
        SUPPLY,
        "                    self._customer._must_end()\n",
        "                    pass\n",
    ),
    Mutation(
        "a close that was cut before it began is forgotten",
        SUPPLY,
        "        else:  # cut together with the scope, before its first step\n            self._close_late(value, ending)\n",
        "        else:\n            self._give_up(value, ending, asyncio.CancelledError())\n",
    ),
    Mutation(
        "a block that takes one at once is not noted as its holder",
        BLOCK,
        "        pool._held[id(value)] = item\n        item.lend(now,",
        "        item.lend(now,",
    ),
]

OTHERWISE = [
    (Mutation("a block that was cut gives back half an answer", BLOCK, "bad=isinstance(error, _CUTS)", "bad=False"), FAULTS),
    (Mutation("a block that raises costs the resource", BLOCK, "bad=isinstance(error, _CUTS)", "bad=True"), FAULTS),
    (Mutation("an open that hangs holds up the end", POOL, "        self._supply.stop_opening()\n", ""), FAULTS),
    (Mutation("one place less closes all that is idle", POOL, "supply.total - supply.closing > most", "supply.total > most"), FAULTS),
    (Mutation("what nobody meets stays for ever", POOL, "        if self._sweep is None:\n            self._sweep_later(now)\n\n    def _take_back", "\n    def _take_back"), FAULTS),
    (Mutation("the first behind a failed check is the last", POOL, "            if first:\n", "            if not first:\n"), FAULTS),
    (Mutation("a check may hang", POOL, "asyncio.timeout(PATIENCE_S)", "asyncio.timeout(None)"), FAULTS),
    (Mutation("a close may hang", SUPPLY, "asyncio.timeout(PATIENCE_S)", "asyncio.timeout(60.0)"), FAULTS),
    (Mutation("who gave up has not waited", POOL, "                timer.cancel()\n            self._waits.record(read_clock.read() - now)\n        self._passing -= 1\n", "                timer.cancel()\n        self._waits.record(read_clock.read() - now)\n        self._passing -= 1\n"), FAULTS),
    (Mutation("a leak is named each time", LENDING, "                    item.told = item.held_since\n", ""), FAULTS),
    (Mutation("a task that ended is there still", NOTES, "task is None or task.done()", "task is None"), FAULTS),
    (Mutation("an open that was cancelled is told to nobody", SUPPLY, "            self._customer._failed(RuntimeError(", "            (RuntimeError("), FAULTS),
    (Mutation("the oldest goes out first", BLOCK, "        item = idle.pop()\n", "        item = idle.pop(0)\n"), UNIT),
    (Mutation("lifetimes are not spread", RULE, "(0.9 + 0.2 * dice)", "1.2"), UNIT),
    (Mutation("what has lived too long is lent again", POOL, "or now >= item.dies_at or", "or"), UNIT),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("mutation", BY_SCHEDULE, ids=str)
def test_each_fault_is_caught(mutation: Mutation) -> None:
    """An explored test fails on the broken module, with a schedule that shows it."""
    assert_caught(mutation, EXPLORED)


@pytest.mark.slow
@pytest.mark.parametrize(("mutation", "tests"), OTHERWISE, ids=str)
def test_each_fault_that_shows_in_every_order_is_caught(mutation: Mutation, tests: str) -> None:
    """The unit tests fail on the broken module."""
    assert_caught(mutation, tests, explored=False)
