"""`Barrier`: nobody goes on until everybody has come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from backstay.errors import BarrierBroken
from backstay.sync._home import Home
from backstay.sync._wake_queue import Waiter, WaitLine, was_given

__all__ = ["Barrier", "BarrierStatistics"]


@dataclass(frozen=True, slots=True)
class BarrierStatistics:
    """How a barrier is doing.

    Attributes:
        name: its name.
        parties: how many have to come.
        waiting: how many have come and wait for the others.
        rounds: how often they were complete.
        broken: whether it was aborted.
    """

    name: str
    parties: int
    waiting: int
    rounds: int
    broken: bool


class Barrier(Home):
    """Holds tasks up until a number of them have come; then all go on, and it starts anew.

    Cancelled: a party that is cancelled while it waits has not come, and another
    one has to; cancelled after the last one came, it has.
    """

    __slots__ = ("_broken", "_line", "_parties", "_rounds", "_why")

    _kind = "barrier"

    def __init__(self, parties: int, *, name: str = "") -> None:
        """Make a barrier to which nobody has come yet.

        Args:
            parties: how many have to come, >= 1.
            name: for people; the line that makes it when omitted.

        Raises:
            ValueError: `parties` is less than 1.
        """
        if parties < 1:
            raise ValueError(f"a barrier has at least 1 party, not {parties}")
        super().__init__(name)
        self._parties = parties
        self._line: WaitLine[Waiter] = WaitLine()  # invariant: fewer than `parties` wait in it
        self._rounds = 0
        self._why = ""  # why those who waited were last sent away
        self._broken = ""  # why it was aborted; "" while it is whole

    @property
    def parties(self) -> int:
        """How many have to come."""
        return self._parties

    @property
    def broken(self) -> bool:
        """Whether it was aborted and not reset since."""
        return bool(self._broken)

    async def wait(self) -> int:
        """Wait until all parties have come.

        Returns:
            In which place this one came, from 0; the last one, which did not have
            to wait, gets ``parties - 1``.

        Raises:
            BarrierBroken: it was aborted, or reset while this party waited.
        """
        if self._broken:
            raise BarrierBroken(f"{self._title()} is broken: {self._broken}. Call reset() first")
        waiter = self._waiter()
        others = self._parties - 1
        # The length counts those who are being cancelled; only near the end must one look closer.
        if len(self._line) >= others and self._line.waiting == others:
            self._rounds += 1
            for place in range(others):
                self._queue.wake_one(self._line, place)
            return others
        self._line.append(waiter)
        try:
            place = await waiter
        except BaseException:
            if not was_given(waiter):
                self._line.discard(waiter)
            raise
        if place is None:
            raise BarrierBroken(
                f"{self._title()} was given up while this party waited: {self._why}"
            )
        return cast("int", place)

    def abort(self, reason: str = "aborted") -> None:
        """Give the barrier up: who waits and who comes later gets `BarrierBroken`.

        Args:
            reason: for the error, in your words.
        """
        self._broken = reason
        self._send_away(reason)

    def reset(self) -> None:
        """Make the barrier whole again; who waits gets `BarrierBroken`."""
        self._broken = ""
        self._send_away("reset")

    def _send_away(self, reason: str) -> None:
        self._why = reason
        if self._line and self._can_wake("abort() or reset()"):
            self._queue.wake_all(self._line)

    def statistics(self) -> BarrierStatistics:
        """Return how it is doing."""
        return BarrierStatistics(
            self.name, self._parties, self._line.waiting, self._rounds, self.broken
        )

    def _in_words(self) -> str:
        return f"{self.name!r} {self._line.waiting} of {self._parties} have come"

    def __repr__(self) -> str:
        """Show the name, and how many of how many have come."""
        state = "broken" if self._broken else f"{self._line.waiting} of {self._parties}"
        return f"<Barrier {self.name!r} {state}>"

    def _in_use(self) -> bool:
        return self._line.waiting > 0

    def _reset(self) -> None:
        self._line = WaitLine()
