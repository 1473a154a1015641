"""Spans of OpenTelemetry for redis-py on asyncio: one for each command, one for each pipeline.

Extras: ``pip install backstay[redis,opentelemetry]``. Tested with redis-py 8.1 and opentelemetry 1.45.

    client = redis.asyncio.Redis.from_url("redis://stock:6379/0")
    trace_commands(client)

What it adds to the contrib instrumentation: a fraction of its cost, and silence outside of a trace, where polling
and health checks would otherwise each begin a trace of their own. Keys and values are never told.

Only the one client is changed, and no class.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import redis.asyncio
from opentelemetry import trace

from backstay.errors import UsageError
from backstay.integrations._spans import default_tracer, record_done, wanted

__all__ = ["trace_commands"]

_LONGEST_NAME = 60


def trace_commands(
    client: redis.asyncio.Redis, *, tracer: trace.Tracer | None = None, roots: bool = False
) -> Callable[[], None]:
    """Record a span of kind "client" for each command and each pipeline of a client.

    Args:
        client: of redis-py.
        tracer: of OpenTelemetry; that of the global provider when omitted.
        roots: record those that no span is around, too.

    Returns:
        Call it to take that back; pipelines that exist already go on telling.

    Raises:
        UsageError: the client is traced already.

    A span begins before a connection is taken from the pool, and covers redis-py's own attempts. An error and a
    cancel make it an error. A transaction is one span, and what it does after a WATCH and before MULTI is told
    by itself. Subscriptions (`pubsub()`) are not recorded.

    Cost: what the SDK takes for a span, and a few microseconds; one or two outside of a trace or where it is not
    sampled.
    """
    target: Any = client
    if "execute_command" in vars(target):
        raise UsageError(
            f"{client!r} is traced already: call trace_commands() once for each client"
        )
    told = _Told(tracer or default_tracer(), roots, _where(target))
    plain = target.pipeline

    def pipeline(*args: Any, **options: Any) -> Any:
        made = plain(*args, **options)
        made.execute = told.batches(made, made.execute)
        if hasattr(made, "immediate_execute_command"):  # a cluster's pipelines have none
            made.immediate_execute_command = told.commands(made.immediate_execute_command)
        return made

    target.execute_command = told.commands(target.execute_command)
    target.pipeline = pipeline

    def forget() -> None:
        del target.execute_command
        del target.pipeline

    return forget


class _Told:
    """What is the same for all spans of a client."""

    __slots__ = ("_roots", "_tracer", "_where")

    def __init__(self, tracer: trace.Tracer, roots: bool, where: dict[str, str | int]) -> None:
        self._tracer = tracer
        self._roots = roots
        self._where = where

    def commands(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap what sends one command."""

        async def execute(*args: Any, **options: Any) -> Any:
            if not wanted(self._roots):
                return await plain(*args, **options)
            began = time.time_ns()
            try:
                reply = await plain(*args, **options)
            except BaseException as error:
                self._done(_command(args[0]), began, {}, error)
                raise
            self._done(_command(args[0]), began, {})
            return reply

        return execute

    def batches(self, pipeline: Any, plain: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap what sends all that a pipeline has gathered."""

        async def execute(*args: Any, **options: Any) -> Any:
            size = len(pipeline)
            if not size or not wanted(self._roots):
                return await plain(*args, **options)
            transaction = getattr(pipeline, "is_transaction", False) or getattr(
                pipeline, "explicit_transaction", False
            )
            name = "MULTI" if transaction else "PIPELINE"
            began = time.time_ns()
            try:
                replies = await plain(*args, **options)
            except BaseException as error:
                self._done(name, began, {"db.operation.batch.size": size}, error)
                raise
            self._done(name, began, {"db.operation.batch.size": size})
            return replies

        return execute

    def _done(
        self, name: str, began: int, more: dict[str, int], error: BaseException | None = None
    ) -> None:
        told = {**self._where, "db.operation.name": name, **more}
        record_done(self._tracer, name, began, time.time_ns(), told, error)


def _command(word: Any) -> str:
    text = word.decode("ascii", "replace") if isinstance(word, bytes) else str(word)
    return text[:_LONGEST_NAME].upper()


def _where(client: Any) -> dict[str, str | int]:
    """Return what is known of the server: its address as it was configured."""
    told: dict[str, str | int] = {"db.system.name": "redis"}
    pool = getattr(client, "connection_pool", None)  # a cluster has many
    settings: dict[str, Any] = getattr(pool, "connection_kwargs", {})
    host = settings.get("path") or settings.get("host")
    if host:
        told["server.address"] = str(host)
        if settings.get("port"):
            told["server.port"] = int(settings["port"])
        told["db.namespace"] = str(settings.get("db") or 0)
    return told
