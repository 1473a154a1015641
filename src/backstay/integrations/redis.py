"""A store for limits that are shared between processes, in Redis.

Extra: ``pip install backstay[redis]``. Tested with redis-py 5.0.1 to 8.1 and Redis 7.

    store = RedisStore.from_url("redis://limits:6379/0")
    async with SharedRate("payments", store, rate=200) as payments: ...
    await store.aclose()

What it adds: `guard.rules.shared_quota.decide`, said in Lua, so that what is read and what is
written is one step. All is in whole microseconds on the clock of the server, which a double
of Lua holds exactly until the year 2255; what the clocks of the processes say does not matter.

Two keys for a limit, with one hash tag, so that a cluster keeps them together:
``{backstay:rate:NAME}`` is the theoretical arrival time, ``{backstay:rate:NAME}:processes`` a
sorted set of who has asked when. Both expire by themselves. A server that loses them
(`FLUSHALL`, a restart without persistence) begins with a full burst.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, cast

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError

from backstay.guard.rules.shared_quota import Ask, QuotaAnswer

__all__ = ["RedisStore"]

# KEYS: due, processes. ARGV: burst, want, back, process, window, then cost and longest wait of
# each entry. Answer: lease, ahead, processes, now, then the wait of each entry.
_SCRIPT: Final = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local burst, want, back = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local due = math.max((tonumber(redis.call('GET', KEYS[1])) or 0) - back, now)
local answer = {0, 0, 0, now}
for i = 6, #ARGV, 2 do
  local wait = math.max(0, due + ARGV[i] - now - burst)
  if wait <= tonumber(ARGV[i + 1]) then
    due = due + ARGV[i]
    answer[#answer + 1] = wait
  else
    answer[#answer + 1] = -1 - wait
  end
end
local granted = math.max(0, math.min(want, burst - (due - now)))
due = due + granted
redis.call('SET', KEYS[1], string.format('%.0f', due), 'PX', math.ceil((due - now) / 1000) + 1000)
redis.call('ZADD', KEYS[2], now, ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[5])
redis.call('PEXPIRE', KEYS[2], math.ceil(ARGV[5] / 1000))
answer[1], answer[2], answer[3] = granted, due - now, redis.call('ZCARD', KEYS[2])
return answer
"""
_SHA: Final = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
_CONNECT_S: Final = 1.0


class RedisStore:
    """Keeps limits in a Redis server; one store serves any number of `SharedRate` objects.

    Cancelled: the connection is closed by redis-py, so that nobody gets another's answer.
    """

    __slots__ = ("_client", "_prefix")

    def __init__(self, client: redis.asyncio.Redis, *, prefix: str = "backstay:rate:") -> None:
        """Use a client of yours.

        Args:
            client: one that does *not* ask again by itself: a question that was decided, and
                whose answer was lost, would be decided twice. `from_url` makes such a client.
            prefix: of the keys.
        """
        self._client = client
        self._prefix = prefix

    @classmethod
    def from_url(
        cls, url: str, *, prefix: str = "backstay:rate:", max_connections: int = 8, **options: Any
    ) -> RedisStore:
        """Make a client that asks once and never waits for ever.

        Args:
            url: "redis://host:port/db", "rediss://…", "unix://…".
            prefix: of the keys.
            max_connections: of each limit one is in use at a time.
            **options: for `redis.asyncio.Redis.from_url`: password, ssl_ca_certs, …

        Raises:
            ValueError: redis-py cannot read the address.
        """
        settings = {
            "retry": Retry(NoBackoff(), 0),  # redis-py 6 and later ask three times otherwise
            "socket_connect_timeout": _CONNECT_S,
            "socket_timeout": _CONNECT_S,
            "max_connections": max_connections,
        }
        # redis-py leaves the parameters of this method without types.
        client = cast("Any", redis.asyncio.Redis).from_url(url, **{**settings, **options})
        return cls(client, prefix=prefix)

    async def ask(self, ask: Ask) -> QuotaAnswer:
        """Let the server decide; see `RateStore.ask`.

        Raises:
            redis.RedisError: it cannot be reached, or is no Redis that runs scripts.
            ValueError: its answer makes no sense.
        """
        key = f"{{{self._prefix}{ask.name}}}"
        words: list[Any] = [ask.burst_us, ask.want_us, ask.back_us, ask.process, ask.window_us]
        for entry in ask.entries:
            words += (entry.cost_us, entry.most_us)
        client = cast("Any", self._client)
        keys = (key, f"{key}:processes")
        try:
            answer = await client.evalsha(_SHA, 2, *keys, *words)
        except NoScriptError:  # a server that has just started: it has decided nothing yet
            answer = await client.eval(_SCRIPT, 2, *keys, *words)
        return _read(answer, len(ask.entries))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _read(answer: Any, entries: int) -> QuotaAnswer:
    """Check what the server has said.

    Raises:
        ValueError: it is not what the script returns.
    """
    try:
        granted, ahead, processes, now, *waits = [int(number) for number in answer]
    except (TypeError, ValueError):
        waits = [0] * (entries + 1)
        granted = ahead = processes = now = 0
    if len(waits) != entries:
        raise ValueError(
            f"the store answered {str(answer)[:80]!r}, and {4 + entries} whole numbers were expected"
        )
    return QuotaAnswer(granted, tuple(waits), ahead, max(1, processes), now)
