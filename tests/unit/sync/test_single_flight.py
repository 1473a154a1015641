"""SingleFlight: one call for all who ask at the same time."""

from __future__ import annotations

import asyncio

import pytest

from backstay import now
from backstay.errors import SyncMisuse
from backstay.sync import Shared, SingleFlight


class Calls:
    """Counts calls; each takes a second."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, answer: str, fails: bool = False) -> str:
        self.count += 1
        await asyncio.sleep(1)
        if fails:
            raise OSError(answer)
        return answer


async def test_one_call_for_all_who_ask_meanwhile() -> None:
    """Everybody gets the leader's answer; the next to ask makes a new call."""
    flight: SingleFlight[str, str] = SingleFlight("prices")
    calls = Calls()
    tasks = [asyncio.create_task(flight.do("k", calls, f"a{n}")) for n in range(3)]
    await asyncio.sleep(0.5)
    statistics = flight.statistics()
    assert (statistics.in_flight, statistics.following) == (1, 2)
    assert repr(flight) == "<SingleFlight 'prices' in_flight=1>"
    assert await asyncio.gather(*tasks) == ["a0", "a0", "a0"]
    assert await flight.do("k", calls, "later") == "later"
    statistics = flight.statistics()
    assert (statistics.calls, statistics.spared, statistics.in_flight) == (2, 2, 0)


async def test_different_keys_are_different_calls() -> None:
    """Nobody waits for what somebody else asked."""
    flight: SingleFlight[int, str] = SingleFlight()
    calls = Calls()
    answers = await asyncio.gather(*(flight.do(n, calls, str(n)) for n in range(3)))
    assert answers == ["0", "1", "2"]
    assert now() == 1.0


async def test_the_shared_flag() -> None:
    """Leader and followers are told whether the result was shared."""
    flight: SingleFlight[str, str] = SingleFlight()
    calls = Calls()
    assert await flight.do2("k", calls, "alone") == Shared("alone", False)
    results = await asyncio.gather(*(flight.do2("k", calls, "many") for _ in range(2)))
    assert results == [("many", True), ("many", True)]


async def test_an_error_is_shared() -> None:
    """It says something about what was asked for, so everybody gets it; nobody later does."""
    flight: SingleFlight[str, str] = SingleFlight()
    calls = Calls()
    results = await asyncio.gather(
        *(flight.do("k", calls, "away", True) for _ in range(3)), return_exceptions=True
    )
    assert [str(result) for result in results] == ["away"] * 3
    assert calls.count == 1
    assert await flight.do("k", calls, "back") == "back"


async def test_a_follower_takes_over_from_a_cancelled_leader() -> None:
    """With its own arguments; the others follow it."""
    flight: SingleFlight[str, str] = SingleFlight()
    calls = Calls()
    tasks = [asyncio.create_task(flight.do("k", calls, f"a{n}")) for n in range(3)]
    await asyncio.sleep(0.5)
    tasks[0].cancel()
    await asyncio.wait(tasks)
    assert tasks[0].cancelled()
    assert [task.result() for task in tasks[1:]] == ["a1", "a1"]
    assert flight.statistics().taken_over == 1
    assert calls.count == 2


async def test_a_cancelled_heir_hands_over_too() -> None:
    """The follower that was woken to lead, and is cancelled before it does, wakes the next."""
    flight: SingleFlight[str, str] = SingleFlight()
    calls = Calls()
    tasks = [asyncio.create_task(flight.do("k", calls, f"a{n}")) for n in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert tasks[2].result() == "a2"


async def test_cancelled_followers_just_leave() -> None:
    """While they wait, and after they were woken with the result."""
    flight: SingleFlight[str, str] = SingleFlight()
    calls = Calls()
    tasks = [asyncio.create_task(flight.do2("k", calls, "a")) for _ in range(3)]
    await asyncio.sleep(0.5)
    tasks[1].cancel()
    await tasks[0]
    tasks[2].cancel()
    await asyncio.wait(tasks)
    assert tasks[0].result().value == "a"
    assert calls.count == 1
    assert flight.statistics().in_flight == 0


async def test_a_follower_cancelled_in_the_turn_of_the_result() -> None:
    """It had been given the result, and there is nothing to take over."""
    flight: SingleFlight[str, bool] = SingleFlight()
    gate = asyncio.Event()
    tasks = [asyncio.create_task(flight.do("k", gate.wait)) for _ in range(2)]
    await asyncio.sleep(1)
    gate.set()
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert [task.cancelled() for task in tasks] == [False, True]
    assert flight.statistics().taken_over == 0


async def test_a_lonely_cancelled_leader_leaves_nothing_behind() -> None:
    """The next to ask makes a call of its own."""
    flight: SingleFlight[str, str] = SingleFlight()
    calls = Calls()
    task = asyncio.create_task(flight.do("k", calls, "a"))
    await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.wait([task])
    assert flight.statistics().in_flight == 0
    assert await flight.do("k", calls, "b") == "b"


async def test_forget_lets_the_next_make_a_call_of_its_own() -> None:
    """Those who follow the old call still get its result, and it does not end the new one."""
    flight: SingleFlight[str, str] = SingleFlight()
    calls = Calls()
    old = [asyncio.create_task(flight.do("k", calls, "old")) for _ in range(2)]
    await asyncio.sleep(0.5)
    flight.forget("k")
    flight.forget("never asked for")
    new = [asyncio.create_task(flight.do("k", calls, "new")) for _ in range(2)]
    await asyncio.sleep(0.25)
    assert flight.statistics().in_flight == 1
    assert await asyncio.gather(*old) == ["old", "old"]
    assert flight.statistics().in_flight == 1
    assert await asyncio.gather(*new) == ["new", "new"]
    assert calls.count == 2


async def test_a_call_that_asks_for_its_own_key() -> None:
    """It would wait for itself: an error, and no deadlock."""
    flight: SingleFlight[str, str] = SingleFlight("f")

    async def recursive() -> str:
        return await flight.do("k", recursive)

    with pytest.raises(SyncMisuse, match="single flight 'f': the call for 'k' asks for 'k' itself"):
        await flight.do("k", recursive)


def test_flights_of_a_closed_loop_are_forgotten() -> None:
    """A call that can never land holds nobody up."""
    flight: SingleFlight[str, str] = SingleFlight()
    calls = Calls()
    loop = asyncio.new_event_loop()
    task = loop.create_task(flight.do("k", calls, "a"))
    loop.run_until_complete(asyncio.sleep(0))
    assert flight._in_use()
    loop.close()

    async def answer() -> str:
        return "b"

    assert asyncio.run(flight.do("k", answer)) == "b"
    task._log_destroy_pending = False  # type: ignore[attr-defined]
