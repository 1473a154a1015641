"""`explore` as users meet it: verdicts, reports, replays, and being repeatable."""

from __future__ import annotations

import asyncio
import functools
import gc
import pickle
import random
import time
import uuid

import pytest

from backstay._base import Chance
from backstay.errors import OutsideChance, UsageError
from backstay.testing import Exploration, ExplorationFailure, explore, replay


async def lost_update() -> None:
    """Fails unless one task runs to its end before the other begins."""
    total = 0

    async def add() -> None:
        nonlocal total
        before = total
        await asyncio.sleep(0)
        total = before + 1

    await asyncio.gather(add(), add())
    assert total == 2


async def hidden_race() -> None:
    """Fails only when b overtakes a twice."""
    log = ""

    async def step(name: str) -> None:
        nonlocal log
        log += name
        await asyncio.sleep(0)
        log += name

    await asyncio.gather(step("a"), step("b"))
    assert log != "bbaa"


@pytest.mark.parametrize("strategy", ["random", "pct", "dfs"])
def test_a_hidden_race_is_found_shrunk_and_replayed(strategy: str) -> None:
    """Whatever finds it, what is shown has only what it takes, and comes back from its string."""
    with pytest.raises(ExplorationFailure) as caught:
        explore(hidden_race, strategy=strategy)  # type: ignore[arg-type]
    failure = caught.value
    assert failure.kind == "error"
    assert isinstance(failure.__cause__, AssertionError)
    assert "It takes 2 overtakings and no cancellation" in failure.report
    assert "<- overtakes" in failure.report
    with pytest.raises(ExplorationFailure) as again:
        replay(hidden_race, failure.replay)
    assert again.value.replay == failure.replay
    assert again.value.trace == failure.trace
    with pytest.raises(ExplorationFailure):
        explore(hidden_race, replay=failure.replay)


def test_the_stock_order_is_always_tried_first() -> None:
    """A bug that needs no luck is found by the first schedule."""
    with pytest.raises(
        ExplorationFailure, match="It fails in the plain order of arrival"
    ) as caught:
        explore(lost_update)
    assert caught.value.schedules == 1


def test_a_failure_survives_a_trip_to_another_process() -> None:
    """pytest-xdist sends it from a worker."""
    with pytest.raises(ExplorationFailure) as caught:
        explore(lost_update)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.replay, copy.kind) == (
        str(caught.value),
        caught.value.replay,
        "error",
    )


def test_the_same_seed_gives_the_same_exploration() -> None:
    """Numbers and all; another seed takes another way."""

    async def scenario() -> None:
        await asyncio.gather(*(asyncio.sleep(0) for _ in range(5)))

    def seen(seed: int) -> tuple[int, int, int]:
        result = explore(scenario, schedules=200, seed=seed, cancel=True)
        return result.distinct, result.steps, result.cancelled

    assert seen(1) == seen(1)
    assert seen(1) != seen(2)


def test_a_task_error_that_nobody_looks_at_is_a_failure() -> None:
    """asyncio only logs it, when the task is collected; a test must not."""

    async def scenario() -> None:
        async def broken() -> None:
            raise KeyError("unseen")

        task = asyncio.create_task(broken())
        await asyncio.wait([task])

    with pytest.raises(ExplorationFailure, match="nobody looked at its error: KeyError: 'unseen'"):
        explore(scenario)


def test_a_callback_that_raises_is_a_failure() -> None:
    """asyncio only logs that too."""

    async def scenario() -> None:
        asyncio.get_running_loop().call_soon(int, "x")
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    with pytest.raises(ExplorationFailure, match="a callback raised: ValueError"):
        explore(scenario)


def test_a_task_that_survives_its_cancellation_is_a_failure() -> None:
    """asyncio.run would hang for ever at the end."""

    async def scenario() -> None:
        async def stubborn() -> None:
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    continue

        asyncio.create_task(stubborn(), name="stubborn")
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    with pytest.raises(ExplorationFailure, match="they live on") as caught:
        explore(scenario, schedules=1)
    assert caught.value.kind == "refuses to end"
    assert "stubborn#2 waits at" in caught.value.report


def test_leftover_tasks_are_cancelled_and_generators_closed() -> None:
    """What a scenario leaves behind does not reach the next one."""
    ended: list[str] = []

    async def scenario() -> None:
        async def generate() -> object:
            try:
                yield 1
            finally:
                ended.append("generator")

        async def sleeper() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                ended.append("task")

        task = asyncio.create_task(sleeper())
        generator = generate()
        await anext(generator)  # type: ignore[call-overload]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        scenario.kept = generator, task  # type: ignore[attr-defined]

    explore(scenario, schedules=1)
    assert ended.count("task") == ended.count("generator") == 3  # the first is run thrice


def test_an_injected_cancellation_that_leaves_the_scenario_is_no_failure() -> None:
    """But one that nobody injected is."""

    async def scenario() -> None:
        await asyncio.create_task(asyncio.sleep(0))

    assert explore(scenario, schedules=200, cancel=True).cancelled > 0

    async def cancels_itself() -> None:
        raise asyncio.CancelledError

    with pytest.raises(ExplorationFailure, match="CancelledError"):
        explore(cancels_itself)


def test_some_may_be_spared() -> None:
    """Those are never cancelled."""

    async def scenario() -> None:
        safe = asyncio.create_task(asyncio.sleep(0), name="safe")
        other = asyncio.create_task(asyncio.sleep(0), name="other")
        await asyncio.wait([safe, other])
        assert not safe.cancelled()

    for cancel in (True, "systematic"):
        result = explore(
            scenario,
            schedules=200,
            cancel=cancel,  # type: ignore[arg-type]
            spare=lambda task: task.get_name() == "safe",
        )
        assert result.cancelled > 0


def test_systematic_cancellation_strikes_each_wait_in_both_windows() -> None:
    """While waiting, when woken, and before the first step."""
    struck: set[tuple[str, str]] = set()

    async def scenario() -> None:
        async def worker() -> None:
            at = "first"
            try:
                await asyncio.sleep(1)
                at = "second"
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                struck.add((at, f"{asyncio.get_running_loop().time():g}"))
                raise

        task = asyncio.create_task(worker())
        await asyncio.wait([task])

    result = explore(scenario, schedules=40, cancel="systematic")
    assert struck == {("first", "0"), ("first", "1"), ("second", "1"), ("second", "2")}
    assert result.waits_struck == result.waits_known == 5


def test_dice_are_part_of_the_schedule() -> None:
    """`random` and our own unseeded dice repeat themselves in a replay, and vary between schedules."""
    rolled: list[tuple[float, float, float]] = []
    made_before = Chance()

    async def scenario() -> None:
        rolled.append((random.random(), made_before.random(), Chance().random()))

    explore(scenario, schedules=5)
    assert rolled[0] == rolled[1] == rolled[2]  # the first, and its two checks
    assert len(set(rolled)) == 5
    state = random.getstate()
    explore(scenario, schedules=2)
    assert random.getstate() == state
    assert made_before.random() not in {each[1] for each in rolled}


def test_outside_chance_is_named_with_its_step() -> None:
    """A scenario that asks the operating system for chance cannot be replayed, and is told so."""

    async def scenario() -> None:
        for _ in range(uuid.uuid4().int % 50):
            await asyncio.sleep(0)

    with pytest.raises(OutsideChance, match=r"at step .* the first run had"):
        for _ in range(5):  # one in fifty times it is the same twice
            explore(scenario, schedules=1)


def test_outside_chance_in_a_failure_is_told_instead_of_a_useless_string() -> None:
    """A failure that does not come back is no schedule but a dice somewhere."""
    calls = 0

    async def scenario() -> None:
        nonlocal calls
        calls += 1
        assert calls != 10

    with pytest.raises(OutsideChance, match="took two courses"):
        explore(scenario, schedules=100)


def test_dfs_notices_outside_chance() -> None:
    """A choice that was there in one run and not in the next."""
    calls = 0

    async def scenario() -> None:
        nonlocal calls
        calls += 1
        await asyncio.gather(*(asyncio.sleep(0) for _ in range(3 if calls < 5 else 1)))

    with pytest.raises(OutsideChance, match="was not in the next"):
        explore(scenario, strategy="dfs")


def test_a_replay_of_a_changed_program_is_refused() -> None:
    """When it does not fail and takes another course, the string is out of date."""
    with pytest.raises(ExplorationFailure) as caught:
        explore(hidden_race)

    async def cured() -> None:
        await asyncio.sleep(0)

    with pytest.raises(UsageError, match="the program has changed"):
        replay(cured, caught.value.replay)


def test_a_replay_that_passes_returns_what_it_saw() -> None:
    """A string kept as a regression test passes once the bug is gone, as long as the course fits."""

    async def fixed() -> None:
        try:
            await hidden_race()
        except AssertionError:
            pass

    with pytest.raises(ExplorationFailure) as caught:
        explore(hidden_race)
    assert replay(fixed, caught.value.replay).schedules == 1


def test_plain_functions_and_partials_are_scenarios_too() -> None:
    """Whatever is called without arguments and can be awaited."""

    async def scenario(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    explore(functools.partial(scenario, 2), schedules=2)
    explore(lambda: scenario(3), schedules=2)


async def test_inside_a_loop_it_says_where_to_call_it() -> None:
    """A slip that is easily made in an async test."""
    with pytest.raises(UsageError, match=r"@pytest\.mark\.explore"):
        explore(lost_update)
    with pytest.raises(UsageError, match="inside a running loop"):
        replay(lost_update, "b1")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"schedules": 0}, "at least 1"),
        ({"strategy": "best"}, "strategy must be"),
        ({"cancel": "often"}, "cancel must be"),
        ({"strategy": "dfs", "cancel": "systematic"}, "give cancel=True"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], why: str) -> None:
    """Before anything is run."""
    with pytest.raises(ValueError, match=why):
        explore(lost_update, **options)  # type: ignore[arg-type]


def test_no_verdict_is_passed_on() -> None:
    """A skip inside a scenario skips the test, Ctrl-C ends it, and pytest.fail is a failure."""

    async def skips() -> None:
        pytest.skip("not here")

    async def interrupts() -> None:
        raise KeyboardInterrupt

    async def fails() -> None:
        pytest.fail("no")

    with pytest.raises(pytest.skip.Exception):
        explore(skips)
    with pytest.raises(KeyboardInterrupt):
        explore(interrupts)
    with pytest.raises(ExplorationFailure, match="Failed: no"):
        explore(fails)
    assert gc.isenabled()


def test_tracking_can_be_had() -> None:
    """With `track`, owners and spawn sites are known, as under backstay.run."""
    from backstay.tasks import Scope, info

    async def scenario() -> None:
        async with Scope("s") as scope:
            task = asyncio.create_task(asyncio.sleep(0))
            assert info(task).owner is scope
            await task

    explore(scenario, schedules=20, track=True)


def test_the_result_says_what_was_seen() -> None:
    """In numbers, and in one line."""

    async def scenario() -> None:
        await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))

    before = time.perf_counter()
    result = explore(scenario, schedules=300, cancel="systematic")
    assert isinstance(result, Exploration)
    assert result.schedules == 300
    assert 1 < result.distinct <= 300
    assert 0.5 < result.coverage <= 1.0
    assert result.longest <= result.steps
    assert 0 < result.elapsed_s <= time.perf_counter() - before
    line = str(result)
    assert "300 schedules" in line
    assert "of 6 waits cancelled" in line

    async def alone() -> None:
        pass

    assert explore(alone, schedules=1).coverage == 1.0
