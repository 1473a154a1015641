"""A subscription to a NATS JetStream stream, by a durable pull consumer, for `lifecycle.Consumer`.

Extra: ``pip install backstay[nats]``. Tested with nats-py 2.16 and nats-server 2.9 and 2.15.

    connection = await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.2)
    async with JetStreamSubscription(connection, "orders.paid", "fulfilment") as subscription:
        consumer = Consumer("orders", subscription, ship)
        ...

What it adds to nats-py: a pull brings what is there at once, and waits for one message only, so nothing
that nobody works on lies in this process; every acknowledgement is asked for an answer, so that one
that was lost is not taken for done; and dead letters go to a stream of their own, since a server
that has given up a message by itself tells nobody where it is.

The server counts deliveries, and has no word for one that does not count: what a drain has given back
comes again as the next attempt.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast
from urllib.parse import quote

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import NotFoundError

from backstay._base import now
from backstay.errors import LifecycleMisuse
from backstay.lifecycle import Delivery

__all__ = ["JetStreamSubscription"]

MESSAGE_ID: Final = "nats-msg-id"
"""The header that holds the publisher's name of the message; the server drops doubles by it."""

_ANSWER_S: Final = 1.0  # for the server's answer to an acknowledgement; a consumer asks again
_GATHER_S: Final = 0.25  # between the messages of one answer; they are sent in one go
_REASON_AT_MOST: Final = 1000  # characters
# What a header can hold: no line breaks, no letters beyond ASCII. "%" is quoted, to be read back.
_PLAIN: Final = "".join(chr(code) for code in range(32, 127) if chr(code) != "%")
_NONE, _OVER = "404", "408"  # no messages; no more for this pull


class JetStreamSubscription:
    """One of those who pull from a durable consumer; see `lifecycle.Subscription`. An async context manager.

    Entering makes the durable consumer, and the stream of the dead letters, where there is none; the
    stream of the messages must be there. All processes that share the work use one durable name.

    Attributes:
        subject: of the messages.
        durable: the name of the consumer at the server.
        dead_subject: of the dead letters: payload and headers of the message, and `Dead-Reason`
            (percent-encoded where a header could not hold it), `Dead-Message-Id`, `Dead-Attempts`,
            `Dead-Sequence`.
    """

    def __init__(
        self,
        connection: Client,
        subject: str,
        durable: str,
        *,
        stream: str | None = None,
        ack_wait: float = 30.0,
        dead_subject: str | None = None,
    ) -> None:
        """Describe it; nothing is asked of the server before it is entered.

        Args:
            connection: of nats-py. Let it reconnect for ever, and soon: it gives up after two minutes
                by default.
            subject: of the messages; may have wildcards.
            durable: the name of the consumer.
            stream: that has the messages; the one that takes the subject when omitted.
            ack_wait: seconds for which a message is ours, > 0. One that the durable consumer has already
                goes before.
            dead_subject: "dead.STREAM.DURABLE" when omitted.

        Raises:
            ValueError: the ack wait is not more than 0.
        """
        if not ack_wait > 0:
            raise ValueError(f"an ack wait is more than 0 seconds, not {ack_wait!r}")
        self.subject = subject
        self.durable = durable
        self.dead_subject = dead_subject or ""
        # nats-py leaves parameters of these without types.
        self._connection = cast("Any", connection)
        self._jetstream = self._connection.jetstream()
        self._stream = stream or ""
        self._ack_wait = ack_wait
        self._inbox = connection.new_inbox()
        self._listening: Any = None
        self._arrived: deque[Msg] = deque()
        self._news = asyncio.Event()
        self._pulls = 0

    @property
    def ack_wait(self) -> float:
        """Seconds for which a message is ours."""
        return self._ack_wait

    @property
    def stream(self) -> str:
        """The name of the stream; "" before it is known."""
        return self._stream

    async def __aenter__(self) -> JetStreamSubscription:
        """Find or make what the server needs for it.

        Raises:
            nats.js.errors.NotFoundError: no stream takes the subject.
            nats.errors.Error: the server does not answer.
            LifecycleMisuse: the durable consumer, or the stream of the dead letters, would lose messages.
        """
        if not self._stream:
            self._stream = await self._jetstream.find_stream_name_by_subject(self.subject)
        self.dead_subject = self.dead_subject or f"dead.{self._stream}.{self.durable}"
        await self._find_durable()
        await self._find_dead_stream()
        self._listening = await self._connection.subscribe(f"{self._inbox}.*", cb=self._arrive)
        return self

    async def __aexit__(self, *error: object) -> None:
        """Give back what has come too late; the connection stays open."""
        listening, self._listening = self._listening, None
        if listening is None or self._connection.is_closed:
            return
        await listening.unsubscribe()
        while self._arrived:
            message = self._arrived.popleft()
            if not _status(message):
                await self._connection.publish(message.reply, b"-NAK")

    async def _find_durable(self) -> bool:
        """Look for the durable consumer, and make it where there is none; True when it was made."""
        made = False
        wanted = ConsumerConfig(
            durable_name=self.durable,
            filter_subject=self.subject,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._ack_wait,
            max_deliver=-1,
        )
        try:
            found = await self._jetstream.consumer_info(self._stream, self.durable)
        except NotFoundError:
            found = await self._jetstream.add_consumer(self._stream, wanted)
            made = True
        config = found.config
        if config.ack_policy != AckPolicy.EXPLICIT or (config.max_deliver or -1) > 0:
            raise LifecycleMisuse(
                f"the durable consumer {self.durable!r} of {self._stream!r} has ack_policy={config.ack_policy} and "
                f"max_deliver={config.max_deliver}: messages would be lost without a word. It needs explicit and -1; "
                "Redelivery says how often"
            )
        self._ack_wait = config.ack_wait or self._ack_wait
        return made

    async def _find_dead_stream(self) -> None:
        try:
            found = await self._jetstream.find_stream_name_by_subject(self.dead_subject)
        except NotFoundError:
            name = f"{self._stream}-{self.durable}-dead"
            await self._jetstream.add_stream(name=name, subjects=[self.dead_subject])
        else:
            if found == self._stream:
                raise LifecycleMisuse(
                    f"the dead letters of {self._stream!r} would come back into it by {self.dead_subject!r}: "
                    "give a dead_subject that another stream takes"
                )

    async def _arrive(self, message: Msg) -> None:
        self._arrived.append(message)
        self._news.set()

    # -- pulling ----------------------------------------------------------------------

    async def pull(self, most: int, wait: float) -> Sequence[Delivery]:
        """Take what is there; if there is nothing, wait for one; see `Subscription`.

        Raises:
            nats.errors.Error: the connection is closed.
            TimeoutError: the server does not answer.
            LifecycleMisuse: it was not entered.
        """
        if self._listening is None:
            raise LifecycleMisuse("a JetStreamSubscription is used inside of 'async with'")
        until = now() + wait
        if self._arrived:  # brought by a pull that was cut
            found = [one for one in (self._next() for _ in range(len(self._arrived))) if one]
            if found:
                return found
        found = await self._ask({"batch": most, "no_wait": True}, most, now() + _ANSWER_S)
        left = until - now()
        if found or left <= 0.01:
            return found
        return await self._ask({"batch": 1, "expires": int(left * 1e9)}, 1, until + _ANSWER_S)

    def _next(self) -> Delivery | None:
        message = self._arrived.popleft()
        return None if _status(message) else _delivery(message)

    async def _ask(self, request: Mapping[str, object], most: int, until: float) -> list[Delivery]:
        """Ask for messages, and gather them until the server says that there are no more."""
        self._pulls += 1
        reply = f"{self._inbox}.{self._pulls}"
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self.durable}"
        await self._connection.publish(subject, json.dumps(request).encode(), reply=reply)
        found: list[Delivery] = []
        while len(found) < most:
            try:
                async with asyncio.timeout(_GATHER_S if found else max(0.0, until - now())):
                    message = await self._arrival()
            except TimeoutError:
                # Nobody answers for a durable consumer that was deleted, and now and then not for a pull that
                # runs out just when a message comes again. A server that is away fails this question;
                # one that is there owes nothing: what it sends later is found by the next pull.
                if not found:
                    await self._find_durable()
                break
            status = _status(message)
            if not status:
                found.append(_delivery(message))
            elif message.subject == reply:  # and not of a pull that was cut
                await self._heed(status, message)
                break
        return found

    async def _arrival(self) -> Msg:
        while not self._arrived:
            self._news.clear()
            await self._news.wait()
        return self._arrived.popleft()

    async def _heed(self, status: str, message: Msg) -> None:
        if status in (_NONE, _OVER):
            return
        said = (message.headers or {}).get("Description", "").strip()
        # Newer servers say 503 for a consumer that was deleted, older ones nothing at all.
        gone = status == "503" or "deleted" in said.lower()
        if gone and await self._find_durable():
            return
        if status != "409":  # too many are with consumers, a new leader, …: later
            raise ConnectionError(f"the server answered a pull with {status} {said}")

    # -- settling ----------------------------------------------------------------------

    async def ack(self, delivery: Delivery) -> None:
        """Acknowledge the message, and wait until the server knows; see `Subscription`."""
        await self._say(delivery, b"+ACK")

    async def nak(self, delivery: Delivery, delay: float, *, blame: bool = True) -> None:
        """Have the message delivered again after `delay`; see `Subscription`.

        The server counts the attempt in any case.
        """
        when = b" " + json.dumps({"delay": int(delay * 1e9)}).encode() if delay > 0 else b""
        await self._say(delivery, b"-NAK" + when)

    async def in_progress(self, deliveries: Sequence[Delivery]) -> None:
        """Start the ack wait of these anew; see `Subscription`."""
        if not deliveries:
            return
        *others, last = deliveries
        for one in others:
            await self._connection.publish(one.token, b"+WPI")
        await self._say(last, b"+WPI")  # heard after the others

    async def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """Publish the message to the dead letters, then have the server forget it; see `Subscription`."""
        headers = {
            **delivery.headers,
            "Nats-Msg-Id": f"{self._stream}.{self.durable}.{delivery.id}",
            "Dead-Message-Id": delivery.message_id,
            "Dead-Reason": quote(reason[:_REASON_AT_MOST], safe=_PLAIN),
            "Dead-Attempts": str(delivery.attempt),
            "Dead-Sequence": delivery.id,
        }
        headers.pop(MESSAGE_ID, None)
        await self._jetstream.publish(
            self.dead_subject, delivery.payload, timeout=_ANSWER_S, headers=headers
        )
        await self._say(delivery, b"+TERM")

    async def _say(self, delivery: Delivery, word: bytes) -> None:
        """Send an acknowledgement, and wait for the server to say that it has it."""
        await self._connection.request(delivery.token, word, timeout=_ANSWER_S)


def _status(message: Msg) -> str:
    """Return the status that the server tells in place of a message; "" for a message."""
    return "" if message.data else (message.headers or {}).get("Status", "")


def _delivery(message: Msg) -> Delivery:
    headers = {name.lower(): value for name, value in (message.headers or {}).items()}
    seen = message.metadata
    sequence = str(seen.sequence.stream)
    return Delivery(
        sequence,
        headers.get(MESSAGE_ID, sequence),
        message.data,
        seen.num_delivered,
        headers,
        message.reply,
    )
