"""Time as a channel, on virtual time."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from backstay import Channel, after, now, select
from backstay.channels import Ticker, TickerStatistics
from backstay.errors import ChannelClosed, WouldBlock


async def test_after_rings_once_at_its_time() -> None:
    """It receives the moment, and is silent from then on."""
    alarm = after(2.5)
    assert await alarm.recv() == now() == 2.5
    with pytest.raises(WouldBlock):
        alarm.recv_nowait()
    assert repr(alarm) == "<receive end of <Channel 'after(2.5)' 0/1>>"


async def test_after_waits_for_its_receiver() -> None:
    """Rung while nobody listened: the moment is kept."""
    alarm = after(1)
    await asyncio.sleep(5)
    assert await alarm.recv() == 1


@pytest.mark.parametrize("seconds", [0, -1])
async def test_a_time_that_has_come_is_ready_at_once(seconds: float) -> None:
    """A spent deadline shows at the first select, also in one that never waits."""
    assert (await select(after(seconds), default=True)).index == 0


async def test_never_never_comes() -> None:
    """None, as from `remaining()` without a deadline, is a case that is never ready."""
    never = after(None)
    assert (await select(never, after(3600))).index == 1
    assert repr(never) == "<receive end of <Channel 'never' 0/1>>"


async def test_one_alarm_limits_several_selects_together() -> None:
    """Kept in a variable it goes on across selects that others won."""
    channel: Channel[int] = Channel(1)
    limit = after(1.0)
    rounds = 0
    while True:
        asyncio.get_running_loop().call_later(0.3, channel.send_nowait, 1)
        if (await select(channel, limit)).index == 1:
            break
        rounds += 1
    assert (rounds, now()) == (3, 1.0)


async def test_a_lost_alarm_leaves_nothing_behind() -> None:
    """Its timer is cancelled when the select that made it is over, and it is collected."""
    channel: Channel[int] = Channel(1)
    channel.send_nowait(1)
    alarm = after(3600)
    gone, timer = weakref.ref(alarm), alarm._timer  # type: ignore[attr-defined]
    assert (await select(channel, alarm)).index == 0
    del alarm
    gc.collect()
    assert gone() is None
    assert timer.cancelled()
    from backstay.channels._timers import _ring

    _ring(gone)  # had the timer been due in this very turn: nothing happens


async def test_an_alarm_whose_select_is_cancelled_leaves_nothing_behind() -> None:
    """The frame of the cancelled task goes, and with it the alarm and its timer."""
    kept: list[tuple[weakref.ref[object], asyncio.TimerHandle]] = []

    async def wait() -> None:
        alarm = after(3600)
        kept.append((weakref.ref(alarm), alarm._timer))  # type: ignore[attr-defined]
        await select(Channel(), alarm)

    waiting = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    del waiting
    gc.collect()
    ((gone, timer),) = kept
    assert gone() is None
    assert timer.cancelled()


async def test_a_ticker_keeps_its_beat() -> None:
    """The first tick comes after one interval; slow rounds do not shift those that follow."""
    seen: list[float] = []
    async with Ticker(1.0, name="beat") as ticks:
        async for moment in ticks:
            seen.append(moment)
            await asyncio.sleep(0.4)
            if len(seen) == 4:
                break
    assert seen == [1, 2, 3, 4]
    assert now() == pytest.approx(4.4)
    assert ticks.statistics() == TickerStatistics("beat", 1.0, 4, 0, stopped=True)


async def test_ticks_that_nobody_takes_are_dropped_all_but_one() -> None:
    """A receiver that comes late gets one old moment, not a burst."""
    async with Ticker(1.0) as ticks:
        await asyncio.sleep(5.5)
        assert await ticks.recv() == 1
        assert await ticks.recv() == 6
        assert (ticks.statistics().ticks, ticks.statistics().missed) == (6, 4)
        assert repr(ticks) == "<Ticker 'every 1 s' every 1 s>"


async def test_a_blocked_loop_misses_ticks() -> None:
    """They are counted, and the beat goes on in step."""
    loop = asyncio.get_running_loop()
    async with Ticker(1.0) as ticks:
        loop.clock.advance(3.5)  # type: ignore[attr-defined]  # as a synchronous call would
        assert await ticks.recv() == 3.5
        assert await ticks.recv() == 4
        assert (ticks.statistics().ticks, ticks.statistics().missed) == (4, 2)


async def test_stopping_ends_who_listens() -> None:
    """Inside and outside of a select; stopping again is harmless."""
    async with Ticker(1.0) as ticks:
        listening = asyncio.create_task(ticks.recv2())
        await asyncio.sleep(0.5)
        ticks.stop()
        assert await listening == (None, False)
        assert await select(ticks) == (0, None, False)
        ticks.stop()
    with pytest.raises(ChannelClosed, match="started before"):
        async with ticks:
            pass


async def test_a_ticker_runs_once_at_a_time() -> None:
    """Entering it inside its own block is refused."""
    async with Ticker(1.0) as ticks:
        with pytest.raises(ChannelClosed, match="make a new one"):
            await ticks.__aenter__()


async def test_reset_begins_a_new_beat() -> None:
    """The next tick comes one new interval from now."""
    ticks = Ticker(10.0)
    with pytest.raises(ChannelClosed, match="does not run"):
        ticks.reset(1.0)
    async with ticks:
        await asyncio.sleep(4)
        ticks.reset(0.5)
        assert ticks.interval == 0.5
        assert [await ticks.recv() for _ in range(2)] == [4.5, 5.0]
        with pytest.raises(ValueError, match="above 0 seconds, not 0"):
            ticks.reset(0)


@pytest.mark.parametrize("interval", [0, -1.0, float("nan")])
def test_an_interval_that_is_none_is_refused(interval: float) -> None:
    """It could only spin."""
    with pytest.raises(ValueError, match="above 0 seconds"):
        Ticker(interval)


async def test_a_forgotten_ticker_stops() -> None:
    """Started by hand and dropped: its timer goes with it."""
    ticks = Ticker(1.0)
    await ticks.__aenter__()
    timer = ticks._timer
    assert timer is not None
    gone = weakref.ref(ticks)
    del ticks
    gc.collect()
    assert gone() is None
    assert timer.cancelled()
    from backstay.channels._timers import _tick

    _tick(gone)  # had it been due in this very turn: nothing happens
