"""Leases in Redis, for a `lifecycle.Schedule` that one of all replicas is to run.

Extra: ``pip install backstay[redis]``. Tested with redis-py 5.0.1 to 8.1 and Redis 7.

    lease = RedisLease.from_url("redis://leases:6379/0")
    report = Schedule("report", Cron("30 2 * * *"), make_report, lease=lease)

What it adds to ``SET NX PX``: looking and writing are one step, in Lua, so that nobody renews or deletes
what has become another's; tokens that grow, also when the server has lost what it knew, as long as
its clock is not set back; and **a server that has just started grants nothing** until every lease that it
may have granted before, and has lost, is over. Without that, a server that is killed and comes back
empty gives away what somebody still holds.

What it cannot: when a replica of the server takes over, what had not been copied is lost, and the new
one has been running for long. Where two runs at once would do harm, let what they write to refuse an
old token, or keep the lease in etcd.

Keys of a name, with one hash tag, so that a cluster keeps them together: ``{backstay:lease:NAME}`` is the
holder, ``…:token`` the last token, ``…:once:WORD`` who was granted it for a word.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, cast

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from backstay.lifecycle import LeaseGrant

__all__ = ["JustStarted", "RedisLease"]

# KEYS: lease, token, mark. ARGV: holder, ttl in ms, remember in ms; 0 is for no mark.
# Answer: the token; 0 when it is somebody else's; -n when the server has been up for n - 1 seconds only.
_ACQUIRE: Final = """
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
local remember = tonumber(ARGV[3])
if remember > 0 then
  local mark = redis.call('GET', KEYS[3])
  if mark and mark ~= ARGV[1] then return 0 end
end
if not held then
  local up = tonumber(string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)'))
  if up * 1000 < ARGV[2] + 1000 then return -1 - up end
end
local t = redis.call('TIME')
local token = math.max((tonumber(redis.call('GET', KEYS[2])) or 0) + 1, t[1] * 1000000 + t[2])
redis.call('SET', KEYS[2], string.format('%.0f', token))
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if remember > 0 then redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[3]) end
return token
"""
_RENEW: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_RELEASE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""
_SHA: Final = {
    script: hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
    for script in (_ACQUIRE, _RENEW, _RELEASE)
}
_CONNECT_S: Final = 1.0


class JustStarted(RedisError):
    """The server has started so short a time ago that it may have lost a lease that is not over yet."""


class RedisLease:
    """A store of leases; see `lifecycle.Lease`. One serves any number of schedules.

    Cancelled: the connection is closed by redis-py; what was asked may have been done.
    """

    __slots__ = ("_client", "_prefix")

    def __init__(self, client: redis.asyncio.Redis, *, prefix: str = "backstay:lease:") -> None:
        """Use a client of yours.

        Args:
            client: of redis-py. Time-outs are no concern of it: whoever asks here has one.
            prefix: of the keys.
        """
        self._client = client
        self._prefix = prefix

    @classmethod
    def from_url(
        cls, url: str, *, prefix: str = "backstay:lease:", max_connections: int = 8, **options: Any
    ) -> RedisLease:
        """Make a client that asks once: who asks for a lease asks again by itself.

        Args:
            url: "redis://host:port/db", "rediss://…", "unix://…".
            prefix: of the keys.
            max_connections: at most.
            **options: for `redis.asyncio.Redis.from_url`: password, ssl_ca_certs, …

        Raises:
            ValueError: redis-py cannot read the address.
        """
        settings = {
            "retry": Retry(NoBackoff(), 0),
            "socket_connect_timeout": _CONNECT_S,
            "max_connections": max_connections,
        }
        # redis-py leaves the parameters of this method without types.
        client = cast("Any", redis.asyncio.Redis).from_url(url, **{**settings, **options})
        return cls(client, prefix=prefix)

    async def acquire(
        self, name: str, ttl: float, *, holder: str, once: str = "", remember: float = 0.0
    ) -> LeaseGrant | None:
        """Ask for a lease; see `Lease.acquire`.

        Raises:
            redis.RedisError: the server cannot be reached, or is no Redis that runs scripts.
            JustStarted: it has been running for less than the ttl, and may have granted it before.
        """
        key = self._key(name)
        keys = (key, f"{key}:token", f"{key}:once:{once}")
        token = await self._run(_ACQUIRE, keys, holder, _ms(ttl), _ms(remember) if once else 0)
        if token < 0:
            raise JustStarted(
                f"Redis has been up for {-token - 1} s, and may have lost a lease of {name!r}: "
                f"it grants one when it has been up for the {ttl:g} s of a lease and one more"
            )
        return LeaseGrant(name, holder, token) if token else None

    async def renew(self, grant: LeaseGrant, ttl: float) -> bool:
        """Make a lease last; see `Lease.renew`.

        Raises:
            redis.RedisError: it may have been done.
        """
        return bool(await self._run(_RENEW, (self._key(grant.name),), grant.holder, _ms(ttl)))

    async def release(self, grant: LeaseGrant) -> None:
        """Give a lease back; see `Lease.release`.

        Raises:
            redis.RedisError: it may have been done.
        """
        await self._run(_RELEASE, (self._key(grant.name),), grant.holder)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _key(self, name: str) -> str:
        return f"{{{self._prefix}{name}}}"

    async def _run(self, script: str, keys: tuple[str, ...], *words: str | int) -> int:
        client = cast("Any", self._client)
        try:
            return int(await client.evalsha(_SHA[script], len(keys), *keys, *words))
        except NoScriptError:  # a server that has just started
            return int(await client.eval(script, len(keys), *keys, *words))


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
