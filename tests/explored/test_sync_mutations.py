"""Every seeded fault in the primitives of sync is noticed by the explored tests."""

from __future__ import annotations

import pytest
from mutations import Mutation, assert_caught

MUTEX = "backstay.sync._mutex"
RW = "backstay.sync._rwmutex"
SEMAPHORE = "backstay.sync._semaphore"
COND = "backstay.sync._condition"
EVENT = "backstay.sync._event"
BARRIER = "backstay.sync._barrier"
GROUP = "backstay.sync._wait_group"
ONCE = "backstay.sync._once"
FLIGHT = "backstay.sync._single_flight"
LINE = "backstay.sync._wake_queue"

LOCKS = "tests/explored/test_sync_locks.py"
GROUPS = "tests/explored/test_sync_groups.py"

MUTATIONS = [
    Mutation(
        "mutex: a cancelled heir keeps the mutex",
        MUTEX,
        "                record.heir = None\n                self._pass_on(record, read_clock.read())\n",
        "                record.heir = None\n",
    ),
    Mutation(
        "mutex: a cancelled heir frees the mutex and tells nobody",
        MUTEX,
        "                record.heir = None\n                self._pass_on(record, read_clock.read())\n",
        "                record.heir = None\n                self._owner = None\n",
    ),
    Mutation(
        "mutex: a cancelled waiter counts as an heir",
        MUTEX,
        "            if not was_given(entry[0]):\n                record.line.discard(entry)\n            elif record.heir is entry:",
        "            if not was_given(entry[0]):\n                record.line.discard(entry)\n            if True:",
    ),
    Mutation(
        "mutex: an offer does not look whether the mutex is still free",
        MUTEX,
        "if self._owner is _FREE and record.line.first() is not None:",
        "if record.line.first() is not None:",
    ),
    Mutation(
        "mutex: an offer is never made again",
        MUTEX,
        "        record.offered = False\n        if self._owner is _FREE",
        "        if self._owner is _FREE",
    ),
    Mutation(
        "mutex: nothing is offered",
        MUTEX,
        "                self._queue.soon(self._offer, record)",
        "                pass",
    ),
    Mutation(
        "mutex: handing over leaves it free",
        MUTEX,
        "        waiter, self._owner, _ = record.heir\n",
        "        waiter, _, _ = record.heir\n        self._owner = _FREE\n",
    ),
    Mutation(
        "mutex: the first in line is not looked at for having waited long",
        MUTEX,
        "elif at - line[0][2] > STARVING_S:",
        "elif False:",
    ),
    Mutation(
        "mutex: with a stale head the line counts as empty",
        MUTEX,
        "if not line or (line[0][0].done() and line.first() is None):",
        "if not line or line[0][0].done():",
    ),
    Mutation(
        "rwmutex: a waiting writer does not block new readers",
        RW,
        "        self._waiting.add(task)\n        self._open = False\n",
        "        self._waiting.add(task)\n",
    ),
    Mutation(
        "rwmutex: a cancelled writer does not let readers through",
        RW,
        "                self._writer_line.discard(entry)\n                self._let_in()\n",
        "                self._writer_line.discard(entry)\n",
    ),
    Mutation(
        "rwmutex: a cancelled reader that was let in stays",
        RW,
        "            if was_given(entry[0]):\n                self._leave_reading(task)\n",
        "            if was_given(entry[0]):\n                pass\n",
    ),
    Mutation(
        "rwmutex: a cancelled writer that was let in stays",
        RW,
        "            if was_given(entry[0]):\n                self._leave_writing()\n",
        "            if was_given(entry[0]):\n                pass\n",
    ),
    Mutation(
        "rwmutex: a writer is let in beside readers",
        RW,
        "        if first is not None and not self._readers:\n",
        "        if first is not None:\n",
    ),
    Mutation(
        "rwmutex: one reader is let in where all could be",
        RW,
        "        while (first := self._reader_line.first()) is not None:\n            self._reader_line.popleft()\n",
        "        for first in [self._reader_line.first()]:\n            if first is None:\n                return\n            self._reader_line.popleft()\n",
    ),
    Mutation(
        "rwmutex: writers keep readers out",
        RW,
        "        if first is None or after_writer:\n",
        "        if first is None:\n",
    ),
    Mutation(
        "semaphore: a cancelled task keeps what it was given",
        SEMAPHORE,
        "            if was_given(waiter):\n                self._free += count\n",
        "            if was_given(waiter):\n                pass\n",
    ),
    Mutation(
        "semaphore: a cancelled task gives back what it never had",
        SEMAPHORE,
        "            else:\n                self._line.discard(entry)\n            if self._can_wake",
        "            else:\n                self._free += count\n                self._line.discard(entry)\n            if self._can_wake",
    ),
    Mutation(
        "semaphore: nobody is served when the first in line gives up",
        SEMAPHORE,
        "                self._serve()  # those behind may want less than we did\n",
        "                pass\n",
    ),
    Mutation(
        "semaphore: the line is overtaken",
        SEMAPHORE,
        "if count > self._free or (self._line and self._line.first() is not None):",
        "if count > self._free:",
    ),
    Mutation(
        "semaphore: only one is served",
        SEMAPHORE,
        "        while (first := self._line.first()) is not None and first[1] <= self._free:\n",
        "        if (first := self._line.first()) is not None and first[1] <= self._free:\n",
    ),
    Mutation(
        "semaphore: what is served is not taken",
        SEMAPHORE,
        "            self._free -= first[1]\n",
        "",
    ),
    Mutation(
        "cond: a notice of a cancelled task is lost",
        COND,
        "            if was_given(waiter):\n                self._pass_on()\n",
        "            if was_given(waiter):\n                pass\n",
    ),
    Mutation(
        "cond: a notice of one cancelled while it takes the mutex is lost",
        COND,
        "        if cancelled is not None:\n            self._pass_on()\n",
        "        if cancelled is not None:\n",
    ),
    Mutation(
        "cond: a cancelled wait leaves without the mutex",
        COND,
        "            else:\n                await self.mutex._step_in(task, by_hand)\n            raise\n",
        "            raise\n",
    ),
    Mutation(
        "event: the second in line is forgotten",
        EVENT,
        "            self._queue.wake_all(self._line)",
        "            self._queue.wake_one(self._line)",
    ),
    Mutation(
        "event: a cancelled wait stays in line",
        EVENT,
        "            if not was_given(waiter):\n                self._line.discard(waiter)\n            raise\n",
        "            if not was_given(waiter):\n                self._line.append(self._waiter())\n            raise\n",
    ),
    Mutation(
        "barrier: a cancelled party has come",
        BARRIER,
        "self._line.waiting == others",
        "len(self._line) == others",
    ),
    Mutation(
        "barrier: one party is woken where all should be",
        BARRIER,
        "            for place in range(others):\n",
        "            for place in range(others - 1):\n",
    ),
    Mutation(
        "barrier: aborting sends one away",
        BARRIER,
        "            self._queue.wake_all(self._line)",
        "            self._queue.wake_one(self._line)",
    ),
    Mutation(
        "wait group: zero wakes one",
        GROUP,
        "            self._leaving += self._queue.wake_all(self._line)",
        "            self._leaving += self._queue.wake_one(self._line)",
    ),
    Mutation(
        "wait group: a cancelled wait is never gone",
        GROUP,
        "            if was_given(waiter):\n                self._leaving -= 1\n",
        "            if was_given(waiter):\n                pass\n",
    ),
    Mutation(
        "wait group: a task that was cancelled before it began is never done",
        GROUP,
        "        self.done()\n\n    async def wait",
        "        if not task.cancelled():\n            self.done()\n\n    async def wait",
    ),
    Mutation(
        "once: a cancelled runner hands over to nobody",
        ONCE,
        "        except BaseException:\n            self._next_runner()\n            raise\n        self._value",
        "        except BaseException:\n            raise\n        self._value",
    ),
    Mutation(
        "once: a cancelled heir hands over to nobody",
        ONCE,
        "            elif waiter.result():\n                self._next_runner()\n",
        "            elif waiter.result():\n                self._runner = None\n",
    ),
    Mutation(
        "once: a newcomer begins beside the one that was woken",
        ONCE,
        "            self._runner = _SOMEBODY\n",
        "            pass\n",
    ),
    Mutation(
        "once: the outcome is told to one",
        ONCE,
        "            self._queue.wake_all(self._line, False)",
        "            self._queue.wake_one(self._line, False)",
    ),
    Mutation(
        "single flight: a cancelled leader leaves the others in the air",
        FLIGHT,
        "        except BaseException:\n            self._next_leader(key, flight)\n            raise\n        flight.outcome",
        "        except BaseException:\n            raise\n        flight.outcome",
    ),
    Mutation(
        "single flight: a cancelled heir leaves the others in the air",
        FLIGHT,
        "            elif waiter.result():\n                self._next_leader(key, flight)\n",
        "            elif waiter.result():\n                pass\n",
    ),
    Mutation(
        "single flight: a flight with nobody left stays",
        FLIGHT,
        "        ):\n            self._leave(key, flight)\n",
        "        ):\n            pass\n",
    ),
    Mutation(
        "single flight: an old flight takes a new one along when it lands",
        FLIGHT,
        "        if self._flights.get(key) is flight:  # it may have been forgotten\n            del",
        "        if True:\n            del",
    ),
    Mutation(
        "line: whoever gave up is woken all the same",
        LINE,
        "            if self.wake(line.popleft(), value):\n                return True\n        return False",
        "            self.wake(line.popleft(), value)\n            return True\n        return False",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_each_fault_is_caught(mutation: Mutation) -> None:
    """An explored test fails on the broken module, with a schedule that shows it."""
    locks = {MUTEX, RW, SEMAPHORE, COND}
    tests = [LOCKS] if mutation.module in locks else [GROUPS]
    assert_caught(mutation, *([LOCKS, GROUPS] if mutation.module == LINE else tests))
