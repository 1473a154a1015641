"""The sampler: driven by hand, by its own thread, and when things go wrong."""

from __future__ import annotations

import asyncio

import pytest

from backstay import now
from backstay.leak import Sampler, report
from backstay.leak import _sampler as room


async def test_samples_are_taken_by_hand_at_the_time_of_the_clock() -> None:
    """sample() reads the clock; a second one at the same instant is not taken."""
    sampler = Sampler(asyncio.get_running_loop(), 1.0)
    assert sampler.sample()
    assert not sampler.sample()
    await asyncio.sleep(1)
    assert sampler.sample()
    known = sampler.statistics()
    assert (known.samples, known.span_s, known.running, known.skipped) == (2, 1.0, False, 0)
    assert known.sites >= 1
    assert sampler.started_at == 0.0


async def test_the_present_may_be_given() -> None:
    """A driver with a clock of its own says what time it is; it must move on."""
    sampler = Sampler(asyncio.get_running_loop(), 1.0)
    assert sampler.sample(100.0)
    assert not sampler.sample(99.0)
    assert sampler.sample(130.0)
    assert sampler.statistics().span_s == 30.0


@pytest.mark.parametrize("interval", [0.0, -1.0, float("nan")])
async def test_an_interval_that_cannot_be_meant_is_refused(interval: float) -> None:
    """The message names the value and what is expected."""
    with pytest.raises(ValueError, match="more than 0 seconds"):
        Sampler(asyncio.get_running_loop(), interval)


async def test_a_history_too_short_to_judge_is_refused() -> None:
    """Three rings of fewer samples than the rule needs would never say anything."""
    with pytest.raises(ValueError, match="give at least 75"):
        Sampler(asyncio.get_running_loop(), history=60)


async def test_dear_samples_get_rarer(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a look costs more than 1 % of the interval, the interval grows to 100 times its cost."""
    readings = iter([0.0, 0.5])
    monkeypatch.setattr(room.time, "thread_time", lambda: next(readings))
    sampler = Sampler(asyncio.get_running_loop(), 1.0)
    assert sampler.next_interval == 1.0
    sampler.sample()
    assert sampler.next_interval == 50.0
    assert sampler.statistics().interval_s == 50.0


@pytest.mark.real_loop
async def test_it_drives_itself_in_a_thread_and_names_the_line() -> None:
    """End to end on a real loop: a handler that leaks is named by file and line within seconds."""
    loop = asyncio.get_running_loop()
    from backstay import Scope, install

    install(exact=True)
    gate = asyncio.Event()

    async def notify() -> None:
        await gate.wait()

    async def handle(number: int) -> None:
        async with Scope("POST /orders", kind="request", trace_id=f"trace-{number}"):
            asyncio.create_task(notify())  # the leak
            await asyncio.sleep(0)

    line = handle.__code__.co_firstlineno + 2
    # The thresholds in seconds are those of production scaled down, so that the test takes 2 s.
    rule = room.GrowthRule(min_span_s=1.0, min_life_s=6.0)
    with Sampler(loop, 0.05, rule=rule) as sampler:
        assert sampler.start() is sampler
        number = 0
        while sampler.statistics().samples < 45:  # about two seconds
            number += 1
            await asyncio.gather(*(handle(number) for _ in range(3)))
            await asyncio.sleep(0.01)
        found = await asyncio.to_thread(report, sampler, orphan_grace=0.5)
    known = sampler.statistics()
    assert not known.running
    assert known.last_error == ""
    top = found.findings[0]
    assert top.verdict == "GROWING"
    assert top.site.endswith(f"test_sampler.py:{line}")
    assert top.function.endswith("handle")
    assert top.owner == "request POST /orders"
    assert top.blocked_on.startswith("event wait")
    assert top.trace_ids[0].startswith("trace-")
    assert top.slope_per_s is not None
    assert top.slope_per_s > 0
    gate.set()
    await asyncio.sleep(0)


@pytest.mark.real_loop
async def test_a_failed_look_is_counted_and_the_thread_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error of ours must neither reach the service nor end the sampling unseen."""
    looks = 0

    def broken(loop: asyncio.AbstractEventLoop) -> dict[object, list[float | None]]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise RuntimeError("the set changed")
        return {}

    monkeypatch.setattr(room, "births_by_site", broken)
    with Sampler(asyncio.get_running_loop(), 0.01) as sampler:
        while sampler.statistics().samples < 2:
            await asyncio.sleep(0.005)
        known = sampler.statistics()
    assert known.running
    assert known.skipped == 1
    assert known.last_error == "RuntimeError: the set changed"
    sampler.stop()  # twice is harmless


def test_the_thread_ends_with_its_loop() -> None:
    """A closed loop has nothing to sample, so nobody has to remember to stop."""
    loop = asyncio.new_event_loop()
    sampler = Sampler(loop, 0.01).start()
    thread = sampler._thread
    assert thread is not None
    loop.close()
    thread.join(5)
    assert not thread.is_alive()
    assert not sampler.statistics().running


async def test_judging_before_any_sample_says_unsure() -> None:
    """Without a past there is no verdict on growth."""
    sampler = Sampler(asyncio.get_running_loop(), 1.0)
    site = next(iter(room.births_by_site(sampler.loop)))
    assert sampler.judge({site: "ended"})[site].movement == "unsure"
    assert now() == 0.0
