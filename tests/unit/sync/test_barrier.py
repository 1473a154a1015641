"""Barrier: all or nobody, round after round."""

from __future__ import annotations

import asyncio

import pytest

from backstay.errors import BarrierBroken
from backstay.sync import Barrier


async def test_nobody_goes_on_before_the_last_has_come() -> None:
    """The last party does not wait, and each learns in which place it came."""
    barrier = Barrier(3, name="start")
    first = [asyncio.create_task(barrier.wait()) for _ in range(2)]
    await asyncio.sleep(1)
    assert not any(task.done() for task in first)
    assert repr(barrier) == "<Barrier 'start' 2 of 3>"
    assert barrier._in_words() == "'start' 2 of 3 have come"
    assert await barrier.wait() == 2
    assert await asyncio.gather(*first) == [0, 1]
    assert barrier.statistics().rounds == 1
    assert barrier.parties == 3


async def test_it_starts_anew_after_each_round() -> None:
    """Parties may come again before the others have gone on."""
    barrier = Barrier(2)
    log: list[str] = []

    async def party(name: str) -> None:
        for turn in range(3):
            await barrier.wait()
            log.append(f"{turn}{name}")

    await asyncio.gather(party("a"), party("b"))
    assert [entry[0] for entry in log] == ["0", "0", "1", "1", "2", "2"]


async def test_a_barrier_of_one_holds_nobody() -> None:
    """One party is always complete."""
    assert await Barrier(1).wait() == 0


async def test_a_cancelled_party_has_not_come() -> None:
    """Another one has to come in its place, also while the cancelled one has not run yet."""
    barrier = Barrier(2)
    gone = asyncio.create_task(barrier.wait())
    await asyncio.sleep(0)
    gone.cancel()
    second = asyncio.create_task(barrier.wait())
    await asyncio.sleep(0)
    assert gone.cancelled()
    assert not second.done()
    assert await barrier.wait() == 1
    assert await second == 0


async def test_cancelled_after_the_last_one_came() -> None:
    """The round is complete all the same."""
    barrier = Barrier(2)
    first = asyncio.create_task(barrier.wait())
    await asyncio.sleep(0)
    await barrier.wait()
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    assert barrier.statistics().waiting == 0
    assert barrier.statistics().rounds == 1


async def test_abort_sends_everybody_away_until_reset() -> None:
    """Who waits and who comes later learns why; reset makes it whole."""
    barrier = Barrier(2, name="start")
    waiting = asyncio.create_task(barrier.wait())
    await asyncio.sleep(0)
    barrier.abort("party b failed")
    assert barrier.broken
    assert repr(barrier) == "<Barrier 'start' broken>"
    with pytest.raises(BarrierBroken, match="party b failed"):
        await waiting
    with pytest.raises(BarrierBroken, match=r"party b failed.*reset"):
        await barrier.wait()
    barrier.reset()
    assert not barrier.broken
    waiting = asyncio.create_task(barrier.wait())
    await asyncio.sleep(0)
    barrier.reset()
    with pytest.raises(BarrierBroken, match="reset"):
        await waiting
    assert await asyncio.gather(barrier.wait(), barrier.wait()) == [0, 1]


def test_a_barrier_without_parties_is_refused() -> None:
    """Zero parties would be complete for ever."""
    with pytest.raises(ValueError, match="at least 1 party, not 0"):
        Barrier(0)


def test_a_barrier_moves_to_a_new_loop() -> None:
    """Those who waited in a closed loop are forgotten."""
    barrier = Barrier(2)
    loop = asyncio.new_event_loop()
    task = loop.create_task(barrier.wait())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

    async def main() -> list[int]:
        return await asyncio.gather(barrier.wait(), barrier.wait())

    assert asyncio.run(main()) == [0, 1]
    assert not barrier._in_use()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
