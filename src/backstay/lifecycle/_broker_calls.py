"""What a consumer says to its broker, which may be away, or hang, or answer too late.

No failure of a broker is an error of the consumer: what could not be said now is said again, and
what could not be said in time needs not be said, since the message comes again by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import Literal

from backstay._base import MessageReturned, message_returned, now
from backstay.lifecycle._consumer_statistics import Counts
from backstay.lifecycle._delivery import Delivery, Subscription
from backstay.lifecycle._holding import Holding
from backstay.tasks import Scope, timeout

__all__ = ["BrokerCalls", "Word"]

Word = Literal["ack", "nak", "dead_letter"]

_log = logging.getLogger("backstay.consumer")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0  # between calls to a broker that does not answer


class BrokerCalls:
    """Makes the calls of one consumer, each within its patience, and counts what became of them.

    Attributes:
        pause_s: seconds to wait before the next pull; grows while pulls fail.
    """

    __slots__ = ("_counts", "_name", "_patience", "_silent", "_subscription", "pause_s")

    def __init__(
        self, name: str, subscription: Subscription, patience: float, counts: Counts
    ) -> None:
        """Speak for a consumer.

        Args:
            name: of the consumer.
            subscription: of the broker.
            patience: seconds for an answer.
            counts: where calls and messages are counted.
        """
        self._name = name
        self._subscription = subscription
        self._patience = patience
        self._counts = counts
        self._silent = False
        self.pause_s = 0.0

    async def pull(self, most: int, wait: float) -> Sequence[Delivery]:
        """Take up to `most` messages; none when the broker does not answer."""
        began = now()
        try:
            async with timeout(wait + self._patience, name="pull"):
                found = await self._subscription.pull(most, wait)
        except Exception as error:
            # Whatever it is, the messages are safe with the broker: there is no better
            # answer than to ask again, and to say so.
            self._failed("pull", error)
            self.pause_s = min(max(_FIRST_PAUSE_S, 2 * self.pause_s), _LONGEST_PAUSE_S)
            return ()
        self._answered()
        # A broker that is going away says "nothing" at once, and must not be asked in a tight loop.
        hasty = not found and now() - began < wait / 2
        self.pause_s = _FIRST_PAUSE_S if hasty else 0.0
        return found

    async def settle(self, one: Holding, word: Word, delay: float = 0.0, reason: str = "") -> bool:
        """Say what has become of a message, as often as it takes.

        Returns:
            False when its ack wait has passed before the broker has heard it.

        Cancelled: it may have been said.
        """
        pause = _FIRST_PAUSE_S
        while True:
            try:
                async with timeout(self._patience, name=word):
                    await self._say(one, word, delay, reason)
            except Exception as error:
                # Whatever it is: one more try does no harm, and if none succeeds it comes again.
                self._failed(word, error)
            else:
                self._answered()
                self._told(one, word, delay, reason)
                return True
            if now() - one.touched_at >= self._subscription.ack_wait:
                self._counts.lost += 1
                late = f"{word} failed until its ack wait had passed: {self._counts.last_error}"
                self.tell(one, "lost", late)
                return False
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def give_back(self, left: Sequence[Holding], seconds: float, reason: str) -> None:
        """Settle all of these at once, in so many seconds; what fails comes again by itself."""

        async def last_word(one: Holding) -> None:
            word: Word = "ack" if one.handled else "nak"  # handled, and cut while it was acked
            one.blamed = False
            try:
                await self._say(one, word, 0.0, reason)
            except Exception as error:
                self._failed(word, error)
            else:
                one.settled = True
                self._told(one, word, 0.0, reason)

        try:
            # Detached: it is often an ambient deadline that has brought us here.
            name = f"{self._name}: give back"
            async with Scope(name, timeout=seconds, on_error="collect", detached=True) as scope:
                for one in left:
                    scope.go(last_word, one)
        except Exception as error:  # the time is over
            self._failed("nak", error)
        finally:
            self._counts.lost += sum(not one.settled for one in left)

    async def keep(self, held: Collection[Holding]) -> None:
        """Tell the broker, in time, what is still in hand; for as long as it is not cancelled."""
        every = self._subscription.ack_wait / 3
        while True:
            at = now()
            due = min((one.touched_at for one in held), default=at) + every
            await asyncio.sleep(max(due - at, every / 4))
            at = now()
            late = [one for one in held if at - one.touched_at >= 0.9 * every]
            if not late:
                continue
            try:
                async with timeout(min(self._patience, every), name="in_progress"):
                    await self._subscription.in_progress([one.delivery for one in late])
            except Exception as error:
                self._failed("in_progress", error)
                continue
            self._answered()
            for one in late:
                one.touched_at = max(one.touched_at, at)

    async def _say(self, one: Holding, word: Word, delay: float, reason: str) -> None:
        if word == "ack":
            await self._subscription.ack(one.delivery)
        elif word == "nak":
            await self._subscription.nak(one.delivery, delay, blame=one.blamed)
        else:
            await self._subscription.dead_letter(one.delivery, reason)

    def _told(self, one: Holding, word: Word, delay: float, reason: str) -> None:
        counts = self._counts
        if word == "ack":
            counts.acked += 1
        elif word == "dead_letter":
            counts.dead += 1
            self.tell(one, "dead", reason)
            message_id = one.delivery.message_id
            _log.error(
                "consumer %r: message %s is a dead letter: %s", self._name, message_id, reason
            )
        elif one.blamed:
            counts.retried += 1
            self.tell(one, "retried", reason, delay)
        else:
            counts.given_back += 1
            self.tell(one, "given back", reason, delay)

    def _failed(self, what: str, error: Exception) -> None:
        self._counts.broker_errors += 1
        self._counts.last_error = f"{type(error).__name__}: {error}"
        if not self._silent:
            self._silent = True
            _log.warning(
                "consumer %r: %s failed, and is tried again: %s",
                self._name, what, self._counts.last_error,
            )  # fmt: skip

    def _answered(self) -> None:
        if self._silent:
            self._silent = False
            _log.info("consumer %r: the broker answers again", self._name)

    def tell(self, one: Holding, outcome: str, reason: str, delay: float = 0.0) -> None:
        """Emit what has become of a message, if anybody listens."""
        if message_returned:
            message_returned.emit(
                MessageReturned(
                    consumer=self._name,
                    message_id=one.delivery.message_id,
                    attempt=one.attempt,
                    outcome=outcome,
                    reason=reason,
                    delay_s=delay,
                    trace_id=one.trace_id,
                )
            )
