"""Admission: a door that follows the lag of its event loop, and a heartbeat that sleeps."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
import uvloop

from backstay import now
from backstay._base import CallRejected, GuardMoved, call_rejected, guard_moved
from backstay.errors import GuardMisuse, ShedError, SyncMisuse
from backstay.guard._admission import Admission
from backstay.guard.rules.criticality import SHARES


def burn(seconds: float) -> None:
    """Keep the loop from coming round, in virtual time."""
    asyncio.get_running_loop().clock.advance(seconds)  # type: ignore[attr-defined]


async def busy(seconds: float, times: int) -> None:
    """Make each turn of the loop that long."""
    for _ in range(times):
        burn(seconds)
        await asyncio.sleep(0)


async def test_what_is_let_in_is_counted_until_it_leaves() -> None:
    """By hand, as a block, around a call and a function."""
    door = Admission(name="door")
    door.admit()
    assert door.take("critical")
    assert (door.in_flight, door.limit) == (2, 32)
    assert repr(door) == "<Admission 'door' 2 of 32>"
    async with door.permit("background"):
        assert door.in_flight == 3

    @door
    async def serve(x: int) -> int:
        assert door.in_flight == 3
        return x

    assert inspect.iscoroutinefunction(serve)
    assert await serve(7) == await door.call(serve.__wrapped__, 7) == 7  # type: ignore[attr-defined]
    door.leave()
    door.leave()
    statistics = door.statistics()
    assert (statistics.in_flight, statistics.admitted, statistics.rejected) == (0, 5, 0)
    with pytest.raises(GuardMisuse, match="nothing is in flight"):
        door.leave()


async def test_a_block_is_left_also_by_an_error() -> None:
    """Whatever happens inside."""
    door = Admission()
    with pytest.raises(OSError, match="x"):
        async with door.permit():
            raise OSError("x")

    async def fail() -> None:
        raise OSError("x")

    with pytest.raises(OSError, match="x"):
        await door.call(fail)
    assert door.in_flight == 0


async def test_each_level_meets_its_own_limit() -> None:
    """The background first, the critical last; with words and a pause for who is refused."""
    door = Admission(start=8, name="door", retry_after=4.0)
    heard: list[CallRejected] = []
    unsubscribe = call_rejected.subscribe(heard.append)
    let_in = {}
    for level in ("background", "sheddable", "default", "critical"):
        count = 0
        while door.take(level):
            count += 1
        let_in[level] = count
    unsubscribe()
    assert let_in == {"background": 4, "sheddable": 0, "default": 2, "critical": 2}
    assert [event.reason for event in heard] == ["shed"] * 4
    assert heard[0] == CallRejected("door", "admission", "shed", 4.0)
    with pytest.raises(
        ShedError, match=r"8 in flight.*criticality 'default' is let in below 6"
    ) as e:
        door.admit()
    assert (e.value.policy, e.value.reason) == ("door", "shed")
    assert e.value.retry_after is not None
    assert 2.0 <= e.value.retry_after < 6.0
    assert door.statistics().shed == {"background": 1, "sheddable": 1, "default": 2, "critical": 1}
    for _ in range(8):
        door.leave()


async def test_levels_of_ones_own() -> None:
    """Any words, with a share each."""
    door = Admission(start=10, levels={"default": 1.0, "batch": 0.2})
    assert dict(door.levels) == {"default": 1.0, "batch": 0.2}
    assert door.take("batch")
    assert door.take("batch")
    assert not door.take("batch")
    with pytest.raises(
        GuardMisuse, match="no criticality 'critical': expected one of default, batch"
    ):
        door.take("critical")
    door.leave()
    door.leave()


async def test_a_late_loop_lowers_the_limit_and_a_quick_one_raises_it() -> None:
    """In proportion to the lag, of what was really in flight; by doubling before that."""
    door = Admission()
    for _ in range(20):
        door.admit()
    await asyncio.sleep(0.15)
    assert door.limit == 64
    await busy(0.04, 8)
    assert 4 <= door.limit <= 20
    statistics = door.statistics()
    assert statistics.raised == 1
    assert statistics.cut >= 1
    assert statistics.longest_lag_s >= statistics.lag_s > 0.02
    before = door.limit
    await asyncio.sleep(0.3)
    assert door.limit > before
    for _ in range(20):
        door.leave()


async def test_a_single_pause_changes_nothing() -> None:
    """A collection of garbage is no overload."""
    door = Admission()
    door.admit()
    for _ in range(10):
        await asyncio.sleep(0.1)
        burn(0.15)
    assert (door.limit, door.statistics().cut) == (32, 0)
    assert door.statistics().longest_lag_s >= 0.13
    door.leave()


async def test_what_never_waits_counts_until_the_turn_is_over_while_the_loop_is_late() -> None:
    """Each such handler is over before the next begins, and yet they are a queue."""
    door = Admission()
    refused = 0

    async def handler() -> None:
        nonlocal refused
        if not door.take():
            refused += 1
            return
        burn(0.002)
        door.leave()

    for _ in range(100):
        await asyncio.gather(*(handler() for _ in range(100)))
    assert door.in_flight == 0
    assert refused > 5_000
    assert door.limit < 30
    assert door._ended == 0


async def test_an_idle_process_can_sleep() -> None:
    """One beat after the last has left there is no timer any more; it wakes with the next."""
    door = Admission()
    loop = asyncio.get_running_loop()
    door.admit()
    await asyncio.sleep(0.05)
    door.leave()
    await asyncio.sleep(0.05)
    assert not door._beating
    assert not loop._scheduled  # type: ignore[attr-defined]
    door.admit()
    assert door._beating
    door.leave()


async def test_bursts_with_naps_between_are_judged_together() -> None:
    """Forty for 7 ms every 50 ms: never in flight for a whole interval, and the limit still grows."""
    door = Admission()
    refused = []

    async def handler() -> None:
        if door.take():
            await asyncio.sleep(0.007)
            door.leave()
        else:
            refused.append(now())

    for _ in range(20):
        await asyncio.gather(*(handler() for _ in range(40)))
        await asyncio.sleep(0.043)
    assert refused
    assert max(refused) < 0.5


async def test_shadow_mode_counts_and_lets_everything_in() -> None:
    """What it would refuse is known before it does."""
    door = Admission(start=1, mode="shadow")
    heard: list[CallRejected] = []
    unsubscribe = call_rejected.subscribe(heard.append)
    door.admit()
    door.admit()
    unsubscribe()
    assert (door.in_flight, door.rejected) == (2, 1)
    assert heard[0].shadow
    door.leave()
    door.leave()


async def test_changes_while_it_works_are_told() -> None:
    """And what makes no sense changes nothing."""
    door = Admission(start=10, name="door")
    moves: list[GuardMoved] = []
    unsubscribe = guard_moved.subscribe(moves.append)
    door.update(target=0.05, levels={"default": 0.5}, retry_after=2.0, mode="shadow")
    door.update()
    unsubscribe()
    assert door._limits == {"default": 5}
    assert door.statistics().shed == {"default": 0}
    assert [(m.guard, m.kind, m.after) for m in moves] == [
        ("door", "admission", "target=0.05 default=0.5 mode=shadow")
    ]
    for change in ({"target": 0.0}, {"levels": {}}, {"retry_after": -1.0}, {"mode": "off"}):
        with pytest.raises(ValueError, match=r"not|need"):
            door.update(**{"retry_after": 9.0, **change})  # type: ignore[arg-type]
    assert door._retry_after == 2.0


@pytest.mark.parametrize(
    "options", [{"target": 0}, {"start": 0}, {"retry_after": float("inf")}, {"levels": {"a": 1}}]
)
def test_nonsense_is_refused_when_it_is_made(options: dict[str, Any]) -> None:
    """With the number in the message."""
    with pytest.raises(ValueError, match=r"not|need"):
        Admission(**options)


def test_the_shares_are_the_rules() -> None:
    """Unless told otherwise."""
    assert Admission().levels == SHARES


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_it_closes_with_its_loop_and_lives_on_in_the_next(factory: Any) -> None:
    """Also when the loop went down with something in flight that never left."""
    door = Admission(start=2)

    async def main() -> None:
        assert door.take("critical")
        assert door.take("critical")
        assert not door.take("critical")
        await asyncio.sleep(0.03)

    for _ in range(2):
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())
        assert door.in_flight == 2
    door._rule.tight = True
    door.leave()  # by a coroutine that is closed late: there is no turn to count for
    assert door._ended == 0


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_the_lag_is_measured_on_real_loops(factory: Any) -> None:
    """uvloop's own clock stands still between two turns, so it is not asked."""
    import time

    door = Admission()

    async def main() -> None:
        door.admit()
        await asyncio.sleep(0.03)
        time.sleep(0.12)
        await asyncio.sleep(0.03)
        door.leave()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
    assert 0.07 < door.statistics().longest_lag_s < 0.2


def test_two_loops_need_one_each() -> None:
    """The lag of one says nothing about the other."""
    door = Admission(name="door")
    loop = asyncio.new_event_loop()

    async def enter() -> None:
        door.admit()

    loop.run_until_complete(enter())
    door._beating = False  # its beats have stopped, it is idle elsewhere …
    with pytest.raises(SyncMisuse, match="admission 'door' is in use in another event loop"):
        asyncio.run(enter())  # … but something is in flight there
    loop.close()


def test_it_needs_a_running_loop() -> None:
    """There is no lag without one."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        Admission().take()
