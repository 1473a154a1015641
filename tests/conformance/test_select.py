"""Go's cases for select, each under the name of what it checks.

Ported as cases, not as code, from `src/runtime/chan_test.go` and `test/chan/`
of Go 1.19 (BSD-3); each docstring names its origin.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import product
from typing import Any

import pytest

from backstay import DEFAULT, Channel, Selected, after, select
from backstay.errors import ChannelClosed

from .loops import assert_blocks, on_each_loop, turns

# -- races between readiness and the non-blocking form ------------------------------


@on_each_loop
async def test_a_nonblocking_receive_sees_a_filled_or_closed_channel() -> None:
    """TestNonblockRecvRace: between "filled" and "closed" there is no moment of "not ready"."""
    for _ in range(300):
        channel: Channel[int] = Channel(1)
        await channel.send(1)
        picked = asyncio.ensure_future(select(channel, default=True))
        await asyncio.sleep(0)
        channel.close()
        assert (await picked).index == 0


@on_each_loop
async def test_a_nonblocking_select_sees_one_of_two_that_swap() -> None:
    """TestNonblockSelectRace: one of both is ready at each moment, and the select knows."""
    for _ in range(300):
        one: Channel[int] = Channel(1)
        two: Channel[int] = Channel(1)
        await one.send(1)
        picked = asyncio.ensure_future(select(one, two, default=True))
        await two.send(1)
        await select(one, default=True)
        assert (await picked).index != DEFAULT


@on_each_loop
async def test_a_nonblocking_select_sees_one_of_two_when_the_other_closes() -> None:
    """TestNonblockSelectRace2: the same with a close."""
    for _ in range(300):
        one: Channel[int] = Channel(1)
        two: Channel[int] = Channel()
        await one.send(1)
        picked = asyncio.ensure_future(select(one, two, default=True))
        two.close()
        await select(one, default=True)
        assert (await picked).index != DEFAULT


# -- a select and itself ---------------------------------------------------------------


@pytest.mark.parametrize("capacity", [0, 10])
@on_each_loop
async def test_a_select_never_receives_what_it_sends(capacity: int) -> None:
    """TestSelfSelect: two tasks send to and receive from one channel; each gets the other's."""
    channel: Channel[int] = Channel(capacity)

    async def play(me: int) -> None:
        for turn in range(300):
            if turn % 2:
                picked = await select((channel, me), channel)
                received = picked.index == 1
            else:
                picked = await select(channel, (channel, me))
                received = picked.index == 0
            if received and capacity == 0:
                assert picked.value != me

    players = [asyncio.ensure_future(play(me)) for me in (0, 1)]
    await asyncio.wait(players, return_when=asyncio.FIRST_COMPLETED)
    await turns()
    for player in players:
        player.cancel()
    results = await asyncio.gather(*players, return_exceptions=True)
    assert None in results  # at least one came to its end; the other may be left without partner
    assert not [r for r in results if isinstance(r, AssertionError)]


@on_each_loop
async def test_a_select_alone_on_an_unbuffered_channel_blocks() -> None:
    """select3.go: sending and receiving on one channel, it must not match itself."""
    channel: Channel[int] = Channel()
    await assert_blocks(select(channel, (channel, 1)))
    await assert_blocks(select((channel, 1), channel))
    await assert_blocks(select(channel, channel))
    stats = channel.statistics()
    assert (stats.receivers, stats.senders) == (0, 0)


@on_each_loop
async def test_a_channel_may_stand_in_several_cases() -> None:
    """TestSelectDuplicateChannel: the waiter stands twice in one line and is served once."""
    channel: Channel[int] = Channel()
    other: Channel[int] = Channel()
    picked = asyncio.ensure_future(select(channel, channel, other))
    behind = asyncio.ensure_future(channel.recv())
    await turns()
    await channel.send(1)
    await channel.send(2)
    index, value, ok = await picked
    assert index in (0, 1)
    assert (value, ok) == (1, True)
    assert await behind == 2
    assert not channel._receivers
    assert not other._receivers


# -- what blocks -----------------------------------------------------------------------


@on_each_loop
async def test_what_must_block_blocks() -> None:
    """select3.go: nil channels alone, no case at all, a full and an empty channel."""
    empty: Channel[int] = Channel()
    full: Channel[int] = Channel(1)
    full.send_nowait(1)
    await assert_blocks(select())
    await assert_blocks(select(None))
    await assert_blocks(select((None, 1)))
    await assert_blocks(select(None, (None, 1), None))
    await assert_blocks(select(empty))
    await assert_blocks(select((empty, 1)))
    await assert_blocks(select((full, 1)))
    await assert_blocks(select(None, empty, (full, 1), after(None)))


@on_each_loop
async def test_what_must_not_block_does_not() -> None:
    """select3.go: a default, a ready case, a closed channel."""
    empty: Channel[int] = Channel()
    full: Channel[int] = Channel(1)
    full.send_nowait(1)
    closed: Channel[int] = Channel()
    closed.close()
    assert await select(default=True) == (DEFAULT, None, False)
    assert await select(None, (None, 1), default=True) == (DEFAULT, None, False)
    assert await select(empty, (full, 1), default=True) == (DEFAULT, None, False)
    assert await select(empty, full) == (1, 1, True)
    assert await select(empty, (full, 2)) == (1, None, True)
    assert await select(None, closed, empty) == (1, None, False)
    assert await select(closed, default=True) == (0, None, False)


@on_each_loop
async def test_a_closed_channel_is_ready_and_wins_its_share() -> None:
    """select3.go, selectgo: closed counts as ready beside a channel with items."""
    closed: Channel[int] = Channel()
    closed.close()
    filled: Channel[int] = Channel(2000)
    for _ in range(2000):
        filled.send_nowait(1)
    wins = Counter([(await select(closed, filled)).index for _ in range(2000)])
    assert 800 < wins[0] < 1200


@on_each_loop
async def test_a_send_case_on_a_closed_channel_raises_when_chosen() -> None:
    """select.go: "send on closed channel", at the poll and while parked."""
    closed: Channel[int] = Channel(name="audit")
    closed.close()
    with pytest.raises(ChannelClosed, match="audit"):
        await select((closed, 1))
    later: Channel[int] = Channel(name="late")
    parked = asyncio.ensure_future(select((later, 1), Channel()))
    await turns()
    later.close()
    with pytest.raises(ChannelClosed, match="late"):
        await parked


@on_each_loop
async def test_a_close_during_a_parked_select_is_seen() -> None:
    """closechan: the parked select gets the closed case, not ok."""
    quiet: Channel[int] = Channel()
    closing: Channel[int] = Channel()
    parked = asyncio.ensure_future(select(quiet, closing))
    await turns()
    closing.close()
    assert await parked == (1, None, False)
    assert not quiet._receivers


# -- fairness --------------------------------------------------------------------------


@pytest.mark.parametrize("cases", [2, 3, 5])
@on_each_loop
async def test_ready_cases_have_the_same_chance(cases: int) -> None:
    """TestSelectFairness: over many trials no case is preferred; quiet ones do not shift it."""
    channels: list[Channel[int]] = [Channel(4000) for _ in range(cases)]
    for channel in channels:
        for _ in range(2000):
            channel.send_nowait(1)
    quiet: Channel[int] = Channel()
    trials = 1000 * cases
    wins = Counter([(await select(quiet, *channels, None)).index for _ in range(trials)])
    assert set(wins) == set(range(1, cases + 1))
    for count in wins.values():
        assert 800 < count < 1200


@pytest.mark.parametrize("capacity", [0, 100])
@on_each_loop
async def test_a_select_between_two_sends_flips_a_fair_coin(capacity: int) -> None:
    """TestPseudoRandomSend: zeros and ones to one channel, about as many of each."""
    channel: Channel[int] = Channel(capacity)
    seen: list[int] = []

    async def receive() -> None:
        for _ in range(600):
            seen.append(await channel.recv())
            await asyncio.sleep(0)

    receiver = asyncio.ensure_future(receive())
    for _ in range(600):
        await select((channel, 0), (channel, 1))
    await receiver
    assert 200 < sum(seen) < 400


# -- forms -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kinds", "capacity"),
    list(product(product(["recv", "send", "nil", "closed"], repeat=2), [0, 1])),
    ids=str,
)
@on_each_loop
async def test_every_form_of_two_cases_and_a_partner(kinds: tuple[str, str], capacity: int) -> None:
    """select5.go: all combinations of cases, each served by a partner at the channel's other side."""
    channels: list[Channel[Any]] = [Channel(capacity) for _ in kinds]
    cases: list[Any] = []
    partners: list[Any] = []
    allowed: set[tuple[int, object, bool]] = set()
    for index, (kind, channel) in enumerate(zip(kinds, channels, strict=True)):
        if kind == "recv":
            cases.append(channel)
            partners.append(asyncio.ensure_future(channel.send(f"item {index}")))
            allowed.add((index, f"item {index}", True))
        elif kind == "send":
            cases.append((channel, f"gift {index}"))
            partners.append(asyncio.ensure_future(channel.recv()))
            allowed.add((index, None, True))
        elif kind == "closed":
            channel.close()
            cases.append(channel)
            allowed.add((index, None, False))
        else:
            cases.append(None)
    if not allowed:
        await assert_blocks(select(*cases))
    else:
        assert tuple(await select(*cases)) in allowed
    await turns()
    for partner in partners:
        partner.cancel()
    await asyncio.gather(*partners, return_exceptions=True)
    for channel in channels:
        assert channel.statistics().receivers == channel.statistics().senders == 0


@on_each_loop
async def test_match_reads_what_was_selected() -> None:
    """select.go, select7.go: with and without the value, with and without ok."""
    jobs: Channel[str] = Channel(1)
    stop: Channel[None] = Channel()
    jobs.send_nowait("paint")
    match await select(jobs, stop):
        case Selected(0, job, True):
            assert job == "paint"
        case other:
            raise AssertionError(other)
    stop.close()
    match await select(jobs, stop):
        case Selected(1):
            pass
        case other:
            raise AssertionError(other)
    picked = await select(jobs, stop)
    index, value, ok = picked
    assert (index, value, ok) == (picked.index, picked.value, picked.ok) == (1, None, False)
    assert repr(picked) == "Selected(index=1, value=None, ok=False)"


@on_each_loop
async def test_the_operands_are_read_once_in_source_order() -> None:
    """select.go, select5.go: what is sent is fixed when the select begins."""
    order: list[str] = []
    channel: Channel[str] = Channel(1)

    def note(word: str) -> str:
        order.append(word)
        return word

    await select((channel, note("a")), (None, note("b")), (channel, note("c")))
    assert order == ["a", "b", "c"]


# -- queues stay whole --------------------------------------------------------------------


@on_each_loop
async def test_cases_that_did_not_go_do_not_corrupt_the_lines() -> None:
    """select6.go, Go issue 2075: a parked select that went elsewhere, between two receivers."""
    one: Channel[bool] = Channel()
    two: Channel[bool] = Channel()
    order: list[str] = []

    async def select_both() -> None:
        assert (await select(one, two)).index == 1
        order.append("select")

    async def receive(name: str) -> None:
        await one.recv()
        order.append(name)

    first = asyncio.ensure_future(receive("first"))
    await turns()
    between = asyncio.ensure_future(select_both())
    await turns()
    last = asyncio.ensure_future(receive("last"))
    await turns()
    await two.send(True)
    await between
    await one.send(True)
    await one.send(True)
    await asyncio.gather(first, last)
    assert order == ["select", "first", "last"]


@on_each_loop
async def test_two_selects_on_the_same_pair_of_channels_both_go() -> None:
    """doubleselect.go: two channels, two selecting receivers; no item twice, none lost."""
    channels: list[Channel[int]] = [Channel() for _ in range(4)]
    merged: Channel[int] = Channel()

    async def send() -> None:
        for number in range(500):
            await select(*[(channel, number) for channel in channels])
        for channel in channels:
            channel.close()

    async def forward() -> None:
        open_ones: list[Channel[int] | None] = list(channels)
        while any(channel is not None for channel in open_ones):
            index, value, ok = await select(*open_ones)
            if ok:
                await merged.send(value)
            else:
                open_ones[index] = None

    async def all_of_it() -> None:
        await asyncio.gather(send(), forward(), forward())
        merged.close()

    running = asyncio.ensure_future(all_of_it())
    seen = [item async for item in merged]
    await running
    assert sorted(seen) == list(range(500))


@on_each_loop
async def test_a_quiet_channel_holds_nothing_of_past_selects() -> None:
    """select2.go: memory does not grow with the number of selects."""
    quiet: Channel[int] = Channel()
    busy: Channel[int] = Channel()

    async def feed() -> None:
        for number in range(2000):
            await busy.send(number)

    feeder = asyncio.ensure_future(feed())
    for number in range(2000):
        assert await select(quiet, busy, (Channel(), 1)) == (1, number, True)
        assert len(quiet._receivers) <= 1
    await feeder
    assert len(quiet._receivers) == 0


@on_each_loop
async def test_senders_and_receivers_under_stress_and_selects_all_match() -> None:
    """TestSelectStress: four channels, plain and selecting tasks on both sides."""
    channels: list[Channel[int]] = [Channel(capacity) for capacity in (0, 0, 2, 3)]
    share = 150

    async def send(channel: Channel[int]) -> None:
        for _ in range(share):
            await channel.send(0)

    async def receive(channel: Channel[int]) -> None:
        for _ in range(share):
            await channel.recv()

    async def select_sends() -> None:
        left = [share] * 4
        while any(left):
            cases = [(c, 0) if n else None for c, n in zip(channels, left, strict=True)]
            left[(await select(*cases)).index] -= 1

    async def select_receives() -> None:
        left = [share] * 4
        while any(left):
            cases = [c if n else None for c, n in zip(channels, left, strict=True)]
            left[(await select(*cases)).index] -= 1

    await asyncio.gather(
        *map(send, channels), *map(receive, channels), select_sends(), select_receives()
    )
    assert all(len(channel) == 0 for channel in channels)


@on_each_loop
async def test_nonblocking_forms_against_a_waiting_partner() -> None:
    """nonblock.go: with a partner parked on the other side they go, without one they do not."""
    for capacity in (0, 1):
        channel: Channel[int] = Channel(capacity)
        assert (await select(channel, default=True)).index == DEFAULT
        receiver = asyncio.ensure_future(channel.recv())
        await turns()
        assert await select((channel, 5), default=True) == (0, None, True)
        assert await receiver == 5
        sender = asyncio.ensure_future(channel.send(6))
        await turns()
        assert await select(channel, default=True) == (0, 6, True)
        await sender
        assert (await select(channel, default=True)).index == DEFAULT


@on_each_loop
async def test_channels_switched_off_by_none_alternate() -> None:
    """select4.go, select.go: the pattern of a nil channel variable."""
    one: Channel[int] = Channel(1)
    two: Channel[int] = Channel(1)
    sends = 0
    a: Channel[int] | None = one
    b: Channel[int] | None = two
    while a is not None or b is not None:
        picked = await select((a, 1), (b, 2))
        sends += 1
        if picked.index == 0:
            a = None
        else:
            b = None
    assert sends == 2
    assert (await one.recv(), await two.recv()) == (1, 2)
