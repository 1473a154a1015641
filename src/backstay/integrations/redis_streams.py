"""A subscription to a Redis stream, by a consumer group, for `lifecycle.Consumer`.

Extra: ``pip install backstay[redis]``. Tested with redis-py 5.0.1, 6.4, 7.0 and 8.1, and Redis 7.

    async with RedisStreamSubscription(client, "orders", "fulfilment") as subscription:
        consumer = Consumer("orders", subscription, ship)
        ...
    await publish(client, "orders", b"...", message_id="order-42")

What it adds to a group: a message whose ack wait has passed is claimed from whoever had it, one that is
given back comes again after its delay, and dead letters go to a stream of their own. Redis has
no word for a delay. It is told by how long a message has been idle: one that has been so for all of
the ack wait but a second may be claimed in a second. So a delay is at most the ack wait.

All steps that look and then write are scripts, so nobody comes between. What a server that was
killed has lost, is lost: ``appendonly yes`` keeps what was published.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

import redis.asyncio
from redis.exceptions import NoScriptError, ResponseError

from backstay._base import now
from backstay.context import new_span_id
from backstay.lifecycle import Delivery

__all__ = ["PAYLOAD", "RedisStreamSubscription", "publish"]

PAYLOAD: Final = "payload"
"""The field of an entry that holds what was published."""

MESSAGE_ID: Final = "message-id"
"""The field of an entry that holds the publisher's name of the message; all others are headers."""

# A blocking read hears of new entries only; claims are looked for as often as this.
_LOOK_S: Final = 0.25

# KEYS: stream. ARGV: group, consumer, least idle in ms, count, cursor.
# Answer: next cursor, then id, fields and delivery count of each entry. One claim looks at ten entries
# for each that it may return, so it is repeated: what others work on must not hide what nobody does.
_PULL: Final = """
local answer, cursor, left = {ARGV[5]}, ARGV[5], tonumber(ARGV[4])
for _ = 1, 100 do
  local claimed = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], cursor, 'COUNT', left)
  cursor = claimed[1]
  for _, entry in ipairs(claimed[2]) do
    local pending = redis.call('XPENDING', KEYS[1], ARGV[1], entry[1], entry[1], 1)
    answer[#answer + 1] = {entry[1], entry[2], pending[1][4]}
    left = left - 1
  end
  if left == 0 or cursor == '0-0' then break end
end
answer[1] = cursor
if left > 0 then
  local fresh = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', left, 'STREAMS', KEYS[1], '>')
  for _, entry in ipairs(fresh and fresh[1][2] or {}) do
    answer[#answer + 1] = {entry[1], entry[2], 1}
  end
end
return answer
"""
# KEYS: stream. ARGV: group, consumer, idle in ms, then id, delivery count and new count of each.
# Only what is still ours: another may have claimed it, and then it is not ours to give away.
_TOUCH: Final = """
for i = 4, #ARGV, 3 do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)[1]
  if pending and pending[2] == ARGV[2] and pending[4] == tonumber(ARGV[i + 1]) then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i],
               'IDLE', ARGV[3], 'RETRYCOUNT', ARGV[i + 2], 'JUSTID')
  end
end
"""
# KEYS: stream, dead stream. ARGV: group, id, reason, attempts, whether to delete.
_BURY: Final = """
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
local found = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
local fields = found and found[2] or {}
for _, word in ipairs({'dead-reason', ARGV[3], 'dead-attempts', ARGV[4], 'dead-id', ARGV[2]}) do
  fields[#fields + 1] = word
end
redis.call('XADD', KEYS[2], '*', unpack(fields))
if ARGV[5] == '1' then redis.call('XDEL', KEYS[1], ARGV[2]) end
return 1
"""
# KEYS: stream. ARGV: group, id, whether to delete.
_ACK: Final = """
local known = redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
if ARGV[3] == '1' then redis.call('XDEL', KEYS[1], ARGV[2]) end
return known
"""
# KEYS: stream. ARGV: group, consumer. What it has in hand would be lost to the group with it.
_LEAVE: Final = """
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) == 0 then
  redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
"""
_SHA: Final = {
    script: hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
    for script in (_PULL, _TOUCH, _BURY, _ACK, _LEAVE)
}


async def publish(
    client: redis.asyncio.Redis,
    stream: str,
    payload: bytes,
    *,
    message_id: str,
    headers: Mapping[str, str] | None = None,
) -> str:
    """Append a message to a stream, as the subscription reads it.

    Args:
        client: of redis-py.
        stream: its key.
        payload: whatever it says.
        message_id: by which an inbox knows it: the same when it is published again.
        headers: such as `backstay.context.identity_headers()`.

    Returns:
        The id of the entry.

    Raises:
        redis.RedisError: it may have been appended; publish it again.
    """
    fields: dict[Any, Any] = {PAYLOAD: payload, MESSAGE_ID: message_id}
    fields.update({name.lower(): value for name, value in (headers or {}).items()})
    return _text(await cast("Any", client).xadd(stream, fields))


class RedisStreamSubscription:
    """One consumer of a group of a stream; see `lifecycle.Subscription`. An async context manager.

    Entering makes the stream and the group where there is none; the group begins with the oldest
    entry. Leaving removes the consumer from the group, if it has nothing in hand.

    Attributes:
        stream: the key of the stream.
        group: the name of the group.
        consumer: our name in it.
        dead: the key of the stream of dead letters: the fields of the entry, and `dead-reason`,
            `dead-attempts`, `dead-id`.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        stream: str,
        group: str,
        *,
        consumer: str | None = None,
        ack_wait: float = 30.0,
        dead: str | None = None,
        delete_settled: bool = False,
    ) -> None:
        """Describe it; nothing is asked of the server before it is entered.

        Args:
            client: of redis-py; it needs two connections at most.
            stream: its key.
            group: the same for all processes that share the work.
            consumer: a name that no other process has; one of our own making when omitted.
            ack_wait: seconds for which a message is ours, >= 0.1; the same for all of a group.
            dead: the key for dead letters, "STREAM:dead" when omitted. In a cluster it must be of the same
                hash slot.
            delete_settled: delete entries that are settled: for streams with one group. Otherwise whoever
                publishes trims the stream, and must not trim what no group has settled yet.

        Raises:
            ValueError: the ack wait is too short.
        """
        if not 0.1 <= ack_wait < float("inf"):
            raise ValueError(f"an ack wait is 0.1 seconds or more, not {ack_wait!r}")
        self.stream = stream
        self.group = group
        self.consumer = consumer or f"{socket.gethostname()}-{os.getpid()}-{new_span_id()[:8]}"
        self.dead = dead or f"{stream}:dead"
        self._client = cast("Any", client)
        self._ack_wait = ack_wait
        self._delete = int(delete_settled)
        self._cursor = "0-0"

    @property
    def ack_wait(self) -> float:
        """Seconds for which a message is ours."""
        return self._ack_wait

    async def __aenter__(self) -> RedisStreamSubscription:
        """Make stream and group where there is none.

        Raises:
            redis.RedisError: the server cannot be reached, or the key is no stream.
        """
        await self._make_group()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Leave the group; the client stays open."""
        try:
            await self._script(_LEAVE, (self.stream,), self.group, self.consumer)
        except redis.RedisError:
            pass  # a name that stays in the group costs a few bytes

    async def pull(self, most: int, wait: float) -> Sequence[Delivery]:
        """Claim what nobody works on any more, and read what is new; see `Subscription`.

        Raises:
            redis.RedisError: the server did not answer.
        """
        until = now() + wait
        while True:
            try:
                if found := await self._claim_or_read(most):
                    return found
                if (left := until - now()) <= 0.001:
                    return ()
                if found := await self._read(most, min(left, _LOOK_S)):
                    return found
            except ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                await self._make_group()  # a server that has lost its memory

    async def _claim_or_read(self, most: int) -> list[Delivery]:
        idle_ms = round(self._ack_wait * 1000)
        words = (self.group, self.consumer, idle_ms, most, self._cursor)
        cursor, *entries = await self._script(_PULL, (self.stream,), *words)
        self._cursor = _text(cursor)
        return [
            _delivery(name, dict(zip(fields[::2], fields[1::2], strict=True)), int(count))
            for name, fields, count in entries
        ]

    async def _read(self, most: int, wait: float) -> list[Delivery]:
        reply = await self._client.xreadgroup(
            self.group,
            self.consumer,
            {self.stream: ">"},
            count=most,
            block=max(1, int(wait * 1000)),
        )
        return [_delivery(name, fields, 1) for name, fields in _entries(reply)]

    async def ack(self, delivery: Delivery) -> None:
        """Take the message off the group's list; see `Subscription`."""
        await self._script(_ACK, (self.stream,), self.group, delivery.id, self._delete)

    async def nak(self, delivery: Delivery, delay: float, *, blame: bool = True) -> None:
        """Have the message claimed after `delay`, at most the ack wait; see `Subscription`.

        Without blame the attempt is not counted.
        """
        idle_ms = max(0, round((self._ack_wait - delay) * 1000))
        count = delivery.attempt if blame else delivery.attempt - 1
        words = (self.group, self.consumer, idle_ms, delivery.id, delivery.attempt, count)
        await self._script(_TOUCH, (self.stream,), *words)

    async def in_progress(self, deliveries: Sequence[Delivery]) -> None:
        """Begin the idle time of these anew; see `Subscription`."""
        words = [
            word for one in deliveries for word in (one.id, one.attempt, one.attempt)
        ]  # the count stays
        await self._script(_TOUCH, (self.stream,), self.group, self.consumer, 0, *words)

    async def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """Move the message to the dead letters, in one step; see `Subscription`."""
        words = (self.group, delivery.id, reason, delivery.attempt, self._delete)
        await self._script(_BURY, (self.stream, self.dead), *words)

    async def _make_group(self) -> None:
        try:
            await self._client.xgroup_create(self.stream, self.group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def _script(self, script: str, keys: tuple[str, ...], *words: object) -> Any:
        try:
            return await self._client.evalsha(_SHA[script], len(keys), *keys, *words)
        except NoScriptError:  # a server that has just started
            return await self._client.eval(script, len(keys), *keys, *words)


def _delivery(name: Any, fields: Mapping[Any, Any] | None, attempt: int) -> Delivery:
    headers = {_text(key): value for key, value in (fields or {}).items()}
    payload = headers.pop(PAYLOAD, b"")
    message_id = _text(headers.pop(MESSAGE_ID, name))
    return Delivery(
        _text(name),
        message_id,
        payload if isinstance(payload, bytes) else str(payload).encode(),
        attempt,
        {key.lower(): _text(value) for key, value in headers.items()},
    )


def _entries(reply: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the entries of the one stream that was read, in whatever shape the protocol has given it."""
    by_name = hasattr(
        reply, "values"
    )  # RESP3; a list of pairs in RESP2, None when there is nothing
    parts: list[Any] = list(reply.values()) if by_name else [pair[1] for pair in reply or ()]
    for part in parts:
        # RESP3, by some versions of redis-py, wraps the list of entries in a list.
        if (
            len(part) == 1
            and isinstance(part[0], list)
            and not isinstance(part[0][0], (bytes, str))
        ):
            yield from part[0]
        else:
            yield from part


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
