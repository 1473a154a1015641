"""Every seeded fault in the pools of workers is noticed."""

from __future__ import annotations

import pytest
from mutations import Mutation, assert_caught

CORE = "backstay.guard._worker_core"
JOB = "backstay.guard._job"
BLOCKING = "backstay.guard._blocking_workers"
QUEUE = "backstay.guard.rules.job_queue"

EXPLORED = "tests/explored/test_workers.py"
MODEL = "tests/property/test_workers_model.py"
LINE = "tests/property/test_job_queue_model.py"
UNIT = "tests/unit/guard/test_workers.py"
END = "tests/unit/guard/test_workers_end.py"

BY_SCHEDULE = [
    Mutation(
        "a cancelled caller keeps the room it was given",
        CORE,
        "            elif waiter.result():\n                self._promised -= 1\n                self._let_in()\n",
        "            elif waiter.result():\n                pass\n",
    ),
    Mutation(
        "the room of a cancelled caller is given to nobody",
        CORE,
        "                self._promised -= 1\n                self._let_in()\n            raise",
        "                self._promised -= 1\n            raise",
    ),
    Mutation(
        "who is refused at the end gives back room that was not promised",
        CORE,
        "        if given:\n            self._promised -= 1\n",
        "        self._promised -= 1\n",
    ),
    Mutation(
        "room that was promised is seen by others",
        CORE,
        "while self._submitters and self._inside + self._promised < self._settings.most:",
        "while self._submitters and self._inside < self._settings.most:",
    ),
    Mutation(
        "callers overtake those who wait for room",
        CORE,
        "        if self._inside + self._promised >= self._settings.most or (",
        "        if self._inside >= self._settings.most or (",
    ),
    Mutation(
        "nobody is let in when a job has gone",
        CORE,
        "        if self._submitters:\n            self._let_in()\n        if not self._inside",
        "        if not self._inside",
    ),
    Mutation(
        "nothing begins when a place is free",
        CORE,
        "        self._gone(job)\n        self._begin_more()\n\n    def _leave_line",
        "        self._gone(job)\n\n    def _leave_line",
    ),
    Mutation(
        "the key of a job that has ended stays taken",
        CORE,
        "        self._running -= 1\n        self._jobs.ended(job.key)\n",
        "        self._running -= 1\n",
    ),
    Mutation(
        "a job that never ran has no end",
        CORE,
        "        task.add_done_callback(lambda _: self._on_end(job), context=context)\n",
        "        task.add_done_callback(\n            lambda t: None if t.cancelled() else self._on_end(job), context=context\n        )\n",
    ),
    Mutation(
        "a job that is cut waits for ever",
        CORE,
        '        job._future.set_exception(self._ended_error(f"did not begin {job.name!r}, since {why}"))\n        job.look_away()',
        "        pass",
    ),
    Mutation(
        "a job that expires in line stays there",
        CORE,
        "        if self._leave_line(job):\n            self._expire(job, read_clock.read())\n            self._begin_more()\n",
        "        self._expire(job, read_clock.read())\n",
    ),
    Mutation(
        "run lets go before its job has ended",
        CORE,
        "            job.cancel()\n            raise struck from await job.wait_ended()\n",
        "            job.cancel()\n            raise\n",
    ),
    Mutation(
        "the end of a job is waited for only until the next cancel",
        JOB,
        "            except asyncio.CancelledError:\n                pass  # the caller",
        "            except asyncio.CancelledError:\n                break  # the caller",
    ),
    Mutation(
        "a thread gives its place away before it returns",
        CORE,
        '        if job.state == "overrunning":\n            job._abandoned = True\n        else:\n            self._free(job)\n',
        "        self._free(job)\n",
    ),
    Mutation(
        "a thread that returns late frees no place",
        BLOCKING,
        "            job._abandoned = False\n            self._free(job)\n",
        "            job._abandoned = False\n",
    ),
    Mutation(
        "a cancel reaches what the thread does",
        BLOCKING,
        "        await asyncio.wait([outside])  #",
        "        await outside  #",
    ),
]

OTHERWISE = [
    (Mutation("a job is cancelled a second time as the end gives up", CORE, "and task is not None and not task.cancelling():", "and task is not None:"), END),
    (Mutation("the scope cancels what was cancelled", CORE, "                late = await self._cut_and_wait()\n", "                late = self._cut('') and None\n"), UNIT),
    (Mutation("a cancel that comes while an error leaves is lost", CORE, "                self._interrupt.rearm()  #", "                pass  #"), END),
    (Mutation("dropped jobs hold up their followers", QUEUE, "        if place._ready:\n            self._move_up(place.key)\n", ""), LINE),
    (Mutation("a follower loses its age", QUEUE, "            if place.job is not None:\n                place._ready = True\n                heappush", "            if place.job is not None:\n                place._ready = True\n                self._sequence += self._step\n                place._number = self._sequence\n                heappush"), LINE),
    (Mutation("two of a key at once", QUEUE, "            place._ready = False\n            behind.append(place)\n", "            heappush(self._ready, place)\n"), LINE),
    (Mutation("one more worker", CORE, "while self._running < self._settings.workers and", "while self._running <= self._settings.workers and"), MODEL),
    (Mutation("one more in line", CORE, "self._inside + self._promised >= self._settings.most or", "self._inside + self._promised > self._settings.most or"), MODEL),
    (Mutation("more workers begin nothing", CORE, "            self._begin_more()\n            self._let_in()\n        if guard_moved", "            self._let_in()\n        if guard_moved"), MODEL),
    (Mutation("a late job begins", CORE, "        if job.due is not None and at >= job.due:\n            self._expire", "        if False:\n            self._expire"), UNIT),
    (Mutation("the block is inside of the scope", CORE, "        current_owner.set(around)\n", ""), UNIT),
    (Mutation("the end refuses nobody before its time", CORE, "            self._queue.wake_all(self._submitters, False)\n", "            pass\n"), END),
    (Mutation("who leaves does not take along what it alone waits for", JOB, "            if self._awaited_by == 1 and self._place is not None:\n                self.cancel()\n", ""), UNIT),
    (Mutation("the later deadline counts", CORE, "or until < job.due)", "or until > job.due)"), UNIT),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("mutation", BY_SCHEDULE, ids=str)
def test_each_fault_is_caught(mutation: Mutation) -> None:
    """An explored test fails on the broken module, with a schedule that shows it."""
    assert_caught(mutation, EXPLORED)


@pytest.mark.slow
@pytest.mark.parametrize(("mutation", "tests"), OTHERWISE, ids=str)
def test_each_fault_in_the_rules_is_caught(mutation: Mutation, tests: str) -> None:
    """What shows in every order is seen by the models."""
    assert_caught(mutation, tests, explored=False)
