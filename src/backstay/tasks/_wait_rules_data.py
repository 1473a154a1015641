"""What waiting inside the database libraries means.

Names only, nothing is imported. Versions the conformance tests ran with are
listed in docs/reference/blocked-on.md.
"""

from __future__ import annotations

from backstay.tasks._wait_rules import Rule, Table

__all__ = ["DATA_RULES"]

_WAIT_FREE = "waiting for a free connection"
_CONNECTING = "connecting"
_REPLY = "waiting for the reply"

_REDIS_PHASES = {
    "redis.asyncio.connection:BlockingConnectionPool.get_connection": _WAIT_FREE,
    "redis.asyncio.connection:AbstractConnection.connect": _CONNECTING,
    "redis.asyncio.connection:AbstractConnection.connect_check_health": _CONNECTING,
    "redis.asyncio.connection:AbstractConnection.read_response": _REPLY,
}
_REDIS = Rule("db", "redis command", phases=_REDIS_PHASES)

_POSTGRES_PHASES = {
    "asyncpg.pool:Pool._acquire.<locals>._acquire_impl": _WAIT_FREE,
    "asyncpg.pool:PoolConnectionHolder.acquire": _CONNECTING,
    "asyncpg.connect_utils:_connect": _CONNECTING,
}
_QUERY = Rule("db", "asyncpg query", phases=_POSTGRES_PHASES)
_ACQUIRE = Rule("db", "asyncpg pool acquire", phases=_POSTGRES_PHASES)

_PSYCOPG = Rule("db", "psycopg query")
_SQLALCHEMY = Rule(
    "db",
    "sqlalchemy",
    phases={
        "asyncio.queues:Queue.get": _WAIT_FREE,  # its pool is an asyncio queue of connections
        "asyncpg.connect_utils:_connect": _CONNECTING,
    },
)

DATA_RULES: Table = {
    "redis.asyncio.client": {
        "*": _REDIS,
        "PubSub.*": Rule("db", "redis pubsub", phases=_REDIS_PHASES),
        "Monitor.*": Rule("db", "redis monitor", phases=_REDIS_PHASES),
    },
    "redis.asyncio.connection": {"*": _REDIS},
    "asyncpg.connection": {"*": _QUERY, "connect": Rule("db", "asyncpg connect")},
    "asyncpg.pool": {
        "*": _QUERY,
        "Pool._acquire": _ACQUIRE,
        "PoolAcquireContext.__aenter__": _ACQUIRE,
        "Pool.release": Rule("db", "asyncpg pool release"),
        "Pool.close": Rule("db", "asyncpg pool close"),
        "Pool._async__init__": Rule("db", "asyncpg connect"),
    },
    "asyncpg.transaction": {"*": _QUERY},
    "asyncpg.prepared_stmt": {"*": _QUERY},
    "asyncpg.cursor": {"*": _QUERY},
    "psycopg.connection_async": {
        "*": _PSYCOPG,
        "AsyncConnection.connect": Rule("db", "psycopg connect"),
    },
    "psycopg.cursor_async": {"*": _PSYCOPG},
    "psycopg._cursor_base": {"*": _PSYCOPG},
    "sqlalchemy.ext.asyncio.*": {"*": _SQLALCHEMY},
    "aiosqlite.core": {"*": Rule("db", "aiosqlite query")},
    "aiosqlite.cursor": {"*": Rule("db", "aiosqlite query")},
}
