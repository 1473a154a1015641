"""Once and once_value: one run for all, whatever happens to the first caller."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backstay import now
from backstay.errors import SyncMisuse
from backstay.sync import Once, OnceValue, once_value


class Work:
    """Counts its runs, takes a second, and fails as often as told to."""

    def __init__(self, failures: int = 0) -> None:
        self.runs = 0
        self.failures = failures

    async def __call__(self, *args: object) -> int:
        self.runs += 1
        run = self.runs
        await asyncio.sleep(1)
        if run <= self.failures:
            raise OSError(f"run {run}")
        return run


async def test_everybody_waits_for_the_one_run() -> None:
    """The second caller returns when the first one's run has ended, and later ones at once."""
    once, work = Once("connect"), Work()
    assert not once.done
    first = asyncio.create_task(once.do(work, "an argument"))
    await asyncio.sleep(0.5)
    statistics = once.statistics()
    assert (statistics.state, statistics.waiting) == ("running", 0)
    assert once._run._in_words() == f"'connect' run by {first.get_name()!r}"
    await once.do(work)
    assert now() == 1.0
    assert once.done
    await first
    await once.do(work)
    assert work.runs == 1
    assert repr(once) == "<Once 'connect' done>"
    assert once.statistics().attempts == 1


async def test_retry_gives_the_error_to_the_one_whose_attempt_it_was() -> None:
    """The next in line tries again, and the rest waits for that."""
    once, work = Once(), Work(failures=1)
    results = await asyncio.gather(*(once.do(work) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [OSError, type(None), type(None)]
    assert work.runs == 2
    assert now() == 2.0


async def test_retry_with_nobody_in_line_is_new_again() -> None:
    """The next call begins anew."""
    once, work = Once("c"), Work(failures=1)
    with pytest.raises(OSError, match="run 1"):
        await once.do(work)
    assert repr(once) == "<Once 'c' new>"
    await once.do(work)
    assert once.done


async def test_keep_makes_the_first_error_the_outcome() -> None:
    """Everybody gets it, those who wait and those who come later; it never runs again."""
    once, work = Once("c", on_error="keep"), Work(failures=9)
    results = await asyncio.gather(*(once.do(work) for _ in range(3)), return_exceptions=True)
    assert [str(result) for result in results] == ["run 1"] * 3
    with pytest.raises(OSError, match="run 1"):
        await once.do(work)
    assert work.runs == 1
    assert once.done
    assert once.statistics().state == "failed"


@pytest.mark.parametrize("on_error", ["retry", "keep"])
async def test_a_cancelled_first_caller_hands_over(on_error: Any) -> None:
    """It was only the one who came first: the next in line does it over."""
    once, work = Once(on_error=on_error), Work()
    tasks = [asyncio.create_task(once.do(work)) for _ in range(3)]
    await asyncio.sleep(0.5)
    tasks[0].cancel()
    await asyncio.wait(tasks)
    assert [task.cancelled() for task in tasks] == [True, False, False]
    assert work.runs == 2
    assert now() == 1.5


async def test_a_cancelled_heir_hands_over_too() -> None:
    """The one who was woken to run it, and is cancelled before it does, wakes the next."""
    once, work = Once(), Work()
    tasks = [asyncio.create_task(once.do(work)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)  # the first has given up and woken the second
    assert once._run._in_words() == repr(once._run.name)
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert [task.cancelled() for task in tasks] == [True, True, False]
    assert once.done


async def test_nobody_overtakes_the_one_who_was_woken() -> None:
    """A newcomer between the hand-over and the new run waits as well."""
    once, work = Once(), Work()
    tasks = [asyncio.create_task(once.do(work)) for _ in range(2)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    tasks.append(asyncio.create_task(once.do(work)))
    await asyncio.wait(tasks)
    assert work.runs == 2
    assert now() == 1.0


async def test_a_cancelled_follower_just_leaves() -> None:
    """While waiting, and after it was woken with the outcome."""
    once, work = Once(), Work()
    tasks = [asyncio.create_task(once.do(work)) for _ in range(3)]
    await asyncio.sleep(0.5)
    tasks[1].cancel()
    await tasks[0]
    tasks[2].cancel()
    await asyncio.wait(tasks)
    assert [task.cancelled() for task in tasks][:2] == [False, True]
    assert work.runs == 1


async def test_a_follower_cancelled_in_the_turn_of_the_outcome() -> None:
    """It had been given the outcome, and there is nothing to hand over."""
    once, gate = Once(), asyncio.Event()
    tasks = [asyncio.create_task(once.do(gate.wait)) for _ in range(2)]
    await asyncio.sleep(1)
    gate.set()
    await asyncio.sleep(0)
    assert once.done
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert [task.cancelled() for task in tasks] == [False, True]
    assert once.statistics().attempts == 1


async def test_the_last_of_all_is_cancelled() -> None:
    """With nobody left it is new again."""
    once, work = Once(), Work()
    task = asyncio.create_task(once.do(work))
    await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.wait([task])
    assert once.statistics().state == "new"


async def test_needing_itself_is_an_error_and_no_deadlock() -> None:
    """A run that asks for its own outcome would wait for itself."""
    once = Once("config")

    async def recursive() -> None:
        await once.do(recursive)

    with pytest.raises(SyncMisuse, match="once 'config' is asked for by the very run"):
        await once.do(recursive)


async def test_a_value_is_computed_once() -> None:
    """As a decorator: every call returns what the one run did."""
    runs: list[int] = []

    @once_value
    async def settings() -> dict[str, int]:
        """Load the settings."""
        runs.append(1)
        await asyncio.sleep(1)
        return {"a": 1}

    assert isinstance(settings, OnceValue)
    assert not settings.done
    values = await asyncio.gather(*(settings() for _ in range(3)))
    assert values[0] is values[1] is values[2] is await settings()
    assert runs == [1]
    assert settings.done
    assert settings.statistics().state == "done"
    assert repr(settings).startswith(
        "<OnceValue 'test_a_value_is_computed_once.<locals>.settings' done"
    )


async def test_a_value_with_options() -> None:
    """Name and failure policy are keywords of the decorator."""
    work = Work(failures=1)
    kept = once_value(name="price", on_error="keep")(work)
    for _ in range(2):
        with pytest.raises(OSError, match="run 1"):
            await kept()
    retried = once_value(Work(failures=1))
    with pytest.raises(OSError, match="run 1"):
        await retried()
    assert await retried() == 2
    assert repr(kept) == "<OnceValue 'price' failed>"


def test_an_unknown_policy_is_refused() -> None:
    """There are two; a third is a typing slip."""
    with pytest.raises(ValueError, match="'retry' or 'keep', not 'ignore'"):
        Once(on_error="ignore")  # type: ignore[arg-type]


def test_a_run_left_in_a_closed_loop_is_begun_anew() -> None:
    """What never ended there has not happened."""
    once, work = Once(), Work()
    loop = asyncio.new_event_loop()
    task = loop.create_task(once.do(work))
    loop.run_until_complete(asyncio.sleep(0))
    assert once._run._in_use()
    loop.close()

    async def quick() -> None:
        work.runs += 1

    asyncio.run(once.do(quick))
    assert once.done
    task._log_destroy_pending = False  # type: ignore[attr-defined]
