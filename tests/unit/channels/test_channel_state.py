"""The state of a channel by itself: no task, no loop, only what is decided."""

from __future__ import annotations

from typing import Any

import pytest

from backstay.channels._channel_state import CLOSED, NOTHING, ChannelState
from backstay.errors import ChannelClosed


class Parked:
    """Somebody who waits, as far as a line looks at it."""

    def __init__(self, *, stale: bool = False) -> None:
        self.stale = stale
        self.got: list[Any] = []

    def done(self) -> bool:
        return self.stale or bool(self.got)


class Wakes:
    """Wakes at once."""

    credit = 100

    def wake(self, waiter: Parked, value: Any = None) -> bool:
        if waiter.done():
            return False
        waiter.got.append(value)
        return True


def state(capacity: int) -> Any:
    made: Any = ChannelState(capacity)
    made._wakes = Wakes()
    return made


def test_offer_serves_the_first_who_still_waits() -> None:
    """Stale entries are skipped, plain and of selects."""
    channel = state(1)
    stale, stale_select, first, second = (
        Parked(stale=True),
        Parked(stale=True),
        Parked(),
        Parked(),
    )
    for entry in (stale, (stale_select, 3), (first, 5), second):
        channel.join_receivers(entry)
    assert channel.offer("a")
    assert channel.offer("b")
    assert first.got == [(5, "a", True)]
    assert second.got == ["b"]
    assert channel.offer("c")  # into the buffer
    assert not channel.offer("d")
    assert len(channel) == 1


def test_poll_takes_from_the_buffer_and_moves_the_first_who_still_waits_up() -> None:
    """A stale sender's item is never taken."""
    channel = state(1)
    channel.offer("a")
    stale, first, second = Parked(stale=True), Parked(), Parked()
    channel.join_senders((stale, "never", None))
    channel.join_senders((first, "b", None))
    channel.join_senders((second, "c", 7))
    assert [channel.poll() for _ in range(3)] == ["a", "b", "c"]
    assert first.got == [None]
    assert second.got == [(7, None, True)]
    assert channel.poll() is NOTHING
    assert (repr(NOTHING), repr(CLOSED)) == ("<nothing>", "<closed>")


def test_without_a_buffer_poll_takes_from_the_first_sender_who_still_waits() -> None:
    """Straight from hand to hand."""
    channel = state(0)
    stale, first = Parked(stale=True), Parked()
    channel.join_senders((stale, "never", None))
    assert not channel.can_receive()
    channel.join_senders((stale, "never", None))
    channel.join_senders((first, "a", None))
    assert channel.can_receive()
    assert channel.poll() == "a"
    assert channel.poll() is NOTHING


def test_shut_tells_everybody_who_waits() -> None:
    """Plain ones by the mark, selects by their case."""
    for join, entries in (
        ("join_receivers", lambda a, b: (a, (b, 4))),
        ("join_senders", lambda a, b: ((a, "x", None), (b, "y", 4))),
    ):
        channel, plain, selecting = state(0), Parked(), Parked()
        for entry in entries(plain, selecting):
            getattr(channel, join)(entry)
        channel.shut()
        assert plain.got == [CLOSED]
        assert selecting.got == [(4, None, False)]
        assert channel.poll() is CLOSED
        assert channel.can_receive()
        assert channel.can_send()
        with pytest.raises(ChannelClosed, match="send on a closed channel"):
            channel.offer("z")
        with pytest.raises(ChannelClosed, match="close of a closed channel"):
            channel.shut()


def test_what_comes_back_is_received_first_and_in_its_order() -> None:
    """Before the buffer, and beyond the capacity if need be."""
    channel = state(1)
    channel.offer("c")
    channel.start_quick_receives()
    assert channel._credit > 0
    channel.give_back("a")
    channel.give_back("b")
    assert channel._credit == 0
    channel.start_quick_receives()  # not while something has come back
    assert channel._credit == 0
    assert len(channel) == 3
    assert [channel.poll() for _ in range(3)] == ["a", "b", "c"]


def test_what_comes_back_goes_to_who_waits() -> None:
    """And to the place before the buffer when all of them are stale."""
    channel, stale, waiting = state(0), Parked(stale=True), Parked()
    channel.join_receivers(stale)
    channel.join_receivers(waiting)
    channel.give_back("a")
    assert waiting.got == ["a"]
    channel.join_receivers(stale)
    channel.give_back("b")
    assert len(channel) == 1
    assert channel  # true also when empty, as a thing that is there
    assert channel.poll() == "b"
    assert channel


def test_the_quick_ways_are_open_only_when_nothing_is_unusual() -> None:
    """Room for sends, credit for receives; a line, a close or a sender closes them."""
    channel = state(1000)
    channel.offer("a")
    channel.start_quick_sends()
    assert channel._room == 1 + 128
    channel.start_quick_receives()
    assert channel._credit == 72
    before = channel._wakes.credit
    channel._credit -= 10
    channel.join_senders((Parked(), "b", None))
    assert channel._credit == 0
    assert channel._wakes.credit == before - 10
    channel.start_quick_receives()
    assert channel._credit == 0
    channel.join_receivers(Parked())
    assert channel._room == 0
    channel.start_quick_sends()
    assert channel._room == 0
    channel._receivers.clear()
    channel.shut()
    channel.start_quick_sends()
    assert channel._room == 0


def test_a_returned_item_takes_up_room_until_it_is_received() -> None:
    """A send waits where buffered and returned items fill the capacity, and moves up afterwards."""
    channel = state(2)
    channel.give_back("returned")
    assert channel.offer("a")
    assert not channel.can_send()
    assert not channel.offer("b")
    sender, later = Parked(), Parked()
    channel.join_senders((sender, "b", None))
    channel.join_senders((later, "c", None))
    channel.start_quick_sends()
    assert channel._room == 0, "no send goes past what was returned"
    assert channel.poll() == "returned"
    assert sender.got == [None]
    assert not later.got, "one place was freed, one sender moves up"
    assert [channel.poll() for _ in range(3)] == ["a", "b", "c"]


def test_giving_back_never_waits_for_room() -> None:
    """What a full channel takes back stands before the rest; senders wait until it fits again."""
    channel = state(1)
    assert channel.offer("a")
    channel.give_back("returned")
    assert len(channel) == 2
    sender = Parked()
    channel.join_senders((sender, "b", None))
    assert channel.poll() == "returned"
    assert not sender.got
    assert channel.poll() == "a"
    assert sender.got == [None]
    assert channel.poll() == "b"
