"""`LiveConfig`: the last configuration that was good, as long as nothing better has come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, Literal, TypeVar

from backstay._base import now
from backstay.errors import LifecycleMisuse
from backstay.integrations.etcd import rpc_pb2 as rpc
from backstay.integrations.etcd._client import EtcdClient
from backstay.integrations.etcd._config_copy import keep_copy, read_copy
from backstay.integrations.etcd._errors import EtcdCompacted, EtcdError, EtcdRefused
from backstay.integrations.etcd._member import RANGE
from backstay.integrations.etcd._minded import minded
from backstay.integrations.etcd._records import raw
from backstay.tasks import Scope

__all__ = ["ConfigStatistics", "LiveConfig"]

T = TypeVar("T")

_log = logging.getLogger("backstay.etcd")

_AGAIN_S: Final = 1.0
_READ_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class ConfigStatistics:
    """How a configuration is doing.

    Attributes:
        key: where it is.
        revision: of the one in use; 0 for the default.
        accepted: how many have come into use.
        rejected: how many were not good.
        deleted: how often the key was deleted; the last good one stayed in use.
        last_rejected: why the last one was not good, with its revision; "" when there was none, or
            a good one has come since.
        following: whether the key is being watched.
        in_use_s: seconds since the one in use came into use.
        source: of the one in use: "etcd", "copy" (the file of an earlier run) or "default".
    """

    key: str
    revision: int
    accepted: int
    rejected: int
    deleted: int
    last_rejected: str
    following: bool
    in_use_s: float
    source: Literal["etcd", "copy", "default"]


class LiveConfig(Generic[T]):
    """Follows one key, and swaps in what it holds once it has been read and found good.

    ::

        async with LiveConfig(etcd, "config/orders", parse=read_limits) as limits:
            limits.current.per_second

    `parse` makes a value of the bytes, and raises what it likes when it does not like them. It must
    not wait. What it returns is shared by all who read it: let it be frozen.

    A push that is not good is counted, named in the log and in `statistics`, and changes nothing.
    Neither does the deletion of the key, nor the loss of the cluster.

    Attributes:
        key: where it is.
    """

    def __init__(
        self,
        etcd: EtcdClient,
        key: str,
        *,
        parse: Callable[[bytes], T],
        default: T | None = None,
        start: float = 5.0,
        copy: Path | None = None,
    ) -> None:
        """Describe it.

        Args:
            etcd: the client.
            key: of the configuration.
            parse: bytes to value.
            default: in use until a good one has come, also if the cluster is away. Without
                one, entering fails when there is no good one.
            start: seconds to wait for the first one, > 0. With a default it is waited for, too, and
                missed without an error.
            copy: a file that keeps the bytes of the last good one, for a start while the cluster is away, or
                holds nothing good: it comes before `default`, and is parsed as what comes from the cluster. Its
                folder exists.

        Raises:
            ValueError: `start` is not more than 0.
        """
        if not start > 0:
            raise ValueError(f"start is more than 0 seconds, not {start!r}")
        self.key = key
        self._etcd = etcd
        self._parse = parse
        self._value = default
        self._start = start
        self._copy = copy
        self._source: Literal["etcd", "copy", "default"] = "default"
        self._following = False
        self._revision = self._seen = 0
        self._accepted = self._rejected = self._deleted = 0
        self._last_rejected = ""
        self._since = now()
        self._callbacks: list[Callable[[T], object]] = []
        self._stack: AsyncExitStack | None = None

    @property
    def current(self) -> T:
        """The one in use.

        Raises:
            LifecycleMisuse: there is none, as the block was not entered.
        """
        if self._value is None:
            raise LifecycleMisuse(f"LiveConfig {self.key!r} is used inside of 'async with'")
        return self._value

    def on_change(self, callback: Callable[[T], object]) -> None:
        """Call `callback` with each one that comes into use from now on, in the loop.

        One that fails is logged; the configuration is in use all the same.
        """
        self._callbacks.append(callback)

    def statistics(self) -> ConfigStatistics:
        """Return what was counted."""
        return ConfigStatistics(
            self.key,
            self._revision,
            self._accepted,
            self._rejected,
            self._deleted,
            self._last_rejected,
            self._following,
            now() - self._since,
            self._source,
        )

    async def __aenter__(self) -> LiveConfig[T]:
        """Read it, and follow it from there.

        Raises:
            EtcdError: without a default: the cluster does not answer, the key is absent, or what it
                holds is not good.
            LifecycleMisuse: it was entered before.

        Cancelled: nothing is followed.
        """
        if self._stack is not None:
            raise LifecycleMisuse(f"LiveConfig {self.key!r} was entered before: make another one")
        after: int | None = None
        try:
            after = await self._load(self._start)
        except EtcdError as error:
            self._take_copy()
            if self._value is None:
                raise
            _log.warning("config %s: the %s is in use: %s", self.key, self._source, error)
        else:
            if self._accepted == 0:
                self._take_copy()
        if self._value is None:
            why = self._last_rejected or "there is no such key"
            raise EtcdRefused(
                f"config {self.key!r} has no good value, and no default was given: {why}",
                code="NOT_FOUND",
            )
        self._stack = AsyncExitStack()

        async def follow(block: Scope) -> None:
            await self._follow(after)

        block: AbstractAsyncContextManager[Scope] = minded(f"config {self.key}", "config", follow)
        await self._stack.enter_async_context(block)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        """Follow it no more; the one in use stays."""
        assert self._stack is not None
        return await self._stack.__aexit__(kind, error, trace)

    async def _load(self, within: float) -> int:
        """Read the key, and return the revision to follow it from."""
        request = rpc.RangeRequest(key=raw(self.key))
        reply: Any = await self._etcd._asker.ask(RANGE, request, within)
        if not reply.kvs:
            if self._seen:
                self._delete(reply.header.revision)
        elif reply.kvs[0].mod_revision > self._seen:
            self._consider(reply.kvs[0].value, reply.kvs[0].mod_revision)
        return int(reply.header.revision) + 1

    async def _follow(self, after: int | None) -> None:
        """Follow the key for ever; whatever the cluster does, the one in use stays."""
        while True:
            try:
                if after is None:
                    after = await self._load(_READ_S)
                await self._watch(after)
            except EtcdCompacted:
                after = None
            except EtcdError as error:
                _log.warning("config %s cannot be followed just now: %s", self.key, error)
                after = None
                await asyncio.sleep(_AGAIN_S)

    async def _watch(self, after: int) -> None:
        async with self._etcd.watch(self.key, prefix=False, revision=after) as events:
            self._following = True
            try:
                async for event in events:
                    if event.kind == "delete":
                        self._delete(event.revision)
                    else:
                        self._consider(event.value, event.revision)
            finally:
                self._following = False

    def _delete(self, revision: int) -> None:
        self._seen = max(self._seen, revision)
        self._deleted += 1
        _log.warning(
            "config %s was deleted at revision %d: what was good stays in use", self.key, revision
        )

    def _take_copy(self) -> None:
        """Use what an earlier run has kept, if it is good still."""
        value = None if self._copy is None else read_copy(self._copy)
        if value is None:
            return
        try:
            good = self._parse(value)
        except Exception as error:  # whatever a bad configuration makes of the parser
            _log.error("config %s: the copy at %s is not good: %s", self.key, self._copy, error)
            return
        if good is not None:
            self._value, self._since, self._source = good, now(), "copy"

    def _consider(self, value: bytes, revision: int) -> None:
        """Swap it in if it is good."""
        self._seen = revision
        try:
            good = self._parse(value)
            if good is None:
                raise ValueError("parse returned None")
        except Exception as error:  # whatever a bad configuration makes of the parser
            self._rejected += 1
            self._last_rejected = f"revision {revision}: {type(error).__name__}: {error}"
            _log.error("config %s is rejected: %s", self.key, self._last_rejected)
            return
        self._value, self._revision, self._since = good, revision, now()
        self._accepted += 1
        self._last_rejected, self._source = "", "etcd"
        if self._copy is not None:
            keep_copy(self._copy, value)
        for callback in self._callbacks:
            try:
                callback(good)
            except Exception:
                _log.exception("config %s: a callback failed for revision %d", self.key, revision)
