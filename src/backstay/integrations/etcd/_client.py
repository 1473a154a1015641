"""`EtcdClient`: the calls, each of which is over in time and says what is known when it fails."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Final

import grpc

from backstay.context import time_for_call
from backstay.integrations.etcd import rpc_pb2 as rpc
from backstay.integrations.etcd._asker import Asker, EtcdStatistics
from backstay.integrations.etcd._channel import CHANNEL_OPTIONS, GrpcMember
from backstay.integrations.etcd._lease import SHORTEST_S, Lease, held
from backstay.integrations.etcd._member import COMPACT, DELETE, PUT, RANGE, TXN, Member
from backstay.integrations.etcd._records import (
    Condition,
    KeyValue,
    Operation,
    Snapshot,
    TxnResult,
    raw,
    read_answer,
    read_key_value,
    span,
    write_operation,
)
from backstay.integrations.etcd._watch import Watch, watching

__all__ = ["EtcdClient"]

_MARGIN_S: Final = 0.005  # of the ambient deadline, for what the caller does with the answer


class EtcdClient:
    """Asks a cluster of etcd; an async context manager.

    ::

        async with EtcdClient(["10.0.0.1:2379", "10.0.0.2:2379", "10.0.0.3:2379"]) as etcd:
            await etcd.put("flags/beta", b"on")

    A call takes at most its time-out, and no more than the ambient deadline leaves. It stays with one
    member as long as that one answers. What only reads is asked of the next member when one
    fails; a write is, too, where it is certain that it was not looked at. Otherwise it fails with
    `EtcdUnsure`, since asking twice could do it twice.

    Loop: that in which it is first used.
    """

    def __init__(
        self,
        endpoints: Sequence[str | Member],
        *,
        timeout: float = 2.0,
        try_timeout: float = 1.0,
        credentials: grpc.ChannelCredentials | None = None,
        options: Iterable[tuple[str, Any]] = (),
    ) -> None:
        """Describe it; nothing is connected before it is used.

        Args:
            endpoints: "host:port" of each member, or members of another making: `MemoryEtcd.members`.
            timeout: seconds for a call, > 0.
            try_timeout: seconds for one member to answer, > 0; about an election of the cluster.
            credentials: for TLS, as `grpc.ssl_channel_credentials` makes them.
            options: of gRPC channels; they go before those of `CHANNEL_OPTIONS`.

        Raises:
            ValueError: there is no endpoint, or a time is not more than 0.
        """
        if not endpoints or isinstance(endpoints, str):
            raise ValueError(f"endpoints is a list of 'host:port', not {endpoints!r}")
        if not (timeout > 0 and try_timeout > 0):
            raise ValueError(
                f"timeout and try_timeout are more than 0 seconds, not {timeout!r} and {try_timeout!r}"
            )
        chosen = tuple({**dict(CHANNEL_OPTIONS), **dict(options)}.items())
        self._timeout = timeout
        self._asker = Asker(
            [
                GrpcMember(one, credentials, chosen) if isinstance(one, str) else one
                for one in endpoints
            ],
            try_timeout,
        )

    async def __aenter__(self) -> EtcdClient:
        """Take it into use; members are connected when they are asked."""
        self._asker.open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Break all connections.

        Cancelled: those that are left are broken when they are collected.
        """
        await self._asker.aclose()

    def statistics(self) -> EtcdStatistics:
        """Return what was counted."""
        return self._asker.statistics()

    # -- keys --------------------------------------------------------------------------

    async def get(self, key: str, *, timeout: float | None = None) -> KeyValue | None:
        """Return what a key holds, as a majority has it, or None.

        Args:
            key: which.
            timeout: seconds, where it is less than the client's.

        Raises:
            EtcdUnavailable: no member answered in time.
            EtcdRefused: the cluster said no.
            ExpiredError: the ambient deadline leaves no time.

        Cancelled: nothing has changed.
        """
        reply = await self._asker.ask(RANGE, rpc.RangeRequest(key=raw(key)), self._within(timeout))
        return read_key_value(reply.kvs[0]) if reply.kvs else None

    async def get_prefix(
        self, prefix: str, *, revision: int = 0, timeout: float | None = None
    ) -> Snapshot:
        """Return all keys that begin with `prefix`, and the revision at which they were so.

        Args:
            prefix: "" for all keys.
            revision: what was there then; 0 for now.
            timeout: seconds, where it is less than the client's.

        Raises:
            EtcdCompacted: that revision is gone.
            EtcdUnavailable: no member answered in time.
            EtcdRefused: the cluster said no.
            ExpiredError: the ambient deadline leaves no time.

        Cancelled: nothing has changed.
        """
        key, end = span(prefix, prefix=True)
        request = rpc.RangeRequest(key=key, range_end=end, revision=revision)
        reply = await self._asker.ask(RANGE, request, self._within(timeout))
        found = [read_key_value(one) for one in reply.kvs]
        return Snapshot(revision or reply.header.revision, {one.key: one for one in found})

    async def put(
        self, key: str, value: bytes, *, lease: int = 0, timeout: float | None = None
    ) -> int:
        """Put a value, and return the revision of the write.

        Args:
            key: where.
            value: what.
            lease: the id of the lease that it hangs on: it is deleted when that ends. 0 for none.
            timeout: seconds, where it is less than the client's.

        Raises:
            EtcdUnsure: it was sent, and no answer came.
            EtcdUnavailable: no member took it.
            EtcdRefused: the cluster said no; "NOT_FOUND": the lease has ended.
            ExpiredError: the ambient deadline leaves no time.

        Cancelled: it may have happened.
        """
        request = rpc.PutRequest(key=raw(key), value=value, lease=lease)
        reply = await self._asker.ask(PUT, request, self._within(timeout))
        return int(reply.header.revision)

    async def delete(self, key: str, *, timeout: float | None = None) -> bool:
        """Delete a key; False when there was none.

        Args:
            key: which.
            timeout: seconds, where it is less than the client's.

        Raises:
            EtcdUnsure: it was sent, and no answer came.
            EtcdUnavailable: no member took it.
            EtcdRefused: the cluster said no.
            ExpiredError: the ambient deadline leaves no time.

        Cancelled: it may have happened.
        """
        request = rpc.DeleteRangeRequest(key=raw(key))
        reply = await self._asker.ask(DELETE, request, self._within(timeout))
        return bool(reply.deleted)

    async def delete_prefix(self, prefix: str, *, timeout: float | None = None) -> int:
        """Delete all keys that begin with `prefix`, and return how many; raises as `delete` does."""
        key, end = span(prefix, prefix=True)
        request = rpc.DeleteRangeRequest(key=key, range_end=end)
        reply = await self._asker.ask(DELETE, request, self._within(timeout))
        return int(reply.deleted)

    async def txn(
        self,
        when: Iterable[Condition],
        then: Iterable[Operation] = (),
        otherwise: Iterable[Operation] = (),
        *,
        timeout: float | None = None,
    ) -> TxnResult:
        """Do `then` if all of `when` holds, and `otherwise` if not, in one step.

        ::

            await etcd.txn([absent("jobs/7")], [Put("jobs/7", b"mine")], [Get("jobs/7")])

        Args:
            when: conditions, see `absent`, `created_at`, `modified_at` and `value_is`.
            then: operations, no two on one key that write.
            otherwise: the same.
            timeout: seconds, where it is less than the client's.

        Raises:
            EtcdUnsure: it was sent, and no answer came.
            EtcdUnavailable: no member took it.
            EtcdRefused: the cluster said no.
            ExpiredError: the ambient deadline leaves no time.

        Cancelled: it may have happened.
        """
        request = rpc.TxnRequest(
            compare=[one.message for one in when],
            success=[write_operation(one) for one in then],
            failure=[write_operation(one) for one in otherwise],
        )
        reply = await self._asker.ask(TXN, request, self._within(timeout))
        answers = tuple(read_answer(one) for one in reply.responses)
        return TxnResult(reply.succeeded, reply.header.revision, answers)

    async def compact(self, revision: int, *, timeout: float | None = None) -> None:
        """Forget what was before `revision`; raises as `put` does.

        A cluster should do so by itself (`--auto-compaction-retention`).
        """
        await self._asker.ask(
            COMPACT, rpc.CompactionRequest(revision=revision), self._within(timeout)
        )

    # -- what lasts ----------------------------------------------------------------------

    def watch(
        self, key: str, *, prefix: bool = True, revision: int | None = None
    ) -> AbstractAsyncContextManager[Watch]:
        """Tell what happens to keys, in order, each event once, for as long as the block lasts.

        ::

            async with etcd.watch("flags/", revision=snapshot.revision + 1) as events:
                async for event in events: ...

        Args:
            key: which, or how all of them begin.
            prefix: whether `key` is how they begin.
            revision: of the first event to tell; None for what happens from now on.
        """
        return watching(self._asker, key, prefix, revision)

    def lease(self, ttl: float = 10.0) -> AbstractAsyncContextManager[Lease]:
        """Hold a lease for as long as the block lasts; what hangs on it goes with it.

        ::

            async with etcd.lease(10) as lease:
                await etcd.put("alive/me", b"", lease=lease.id)

        Args:
            ttl: seconds after which it ends when nobody keeps it alive, >= 2. At least three
                elections of the cluster, or a dead leader costs the lease.

        Raises:
            ValueError: `ttl` is too short.
        """
        if not ttl >= SHORTEST_S:
            raise ValueError(f"a lease lives for {SHORTEST_S:g} seconds at least, not {ttl!r}")
        return held(self._asker, ttl)

    def _within(self, timeout: float | None) -> float:
        """Return the seconds for a call that somebody waits for.

        Raises:
            ExpiredError: the ambient deadline leaves none.
        """
        within = self._timeout if timeout is None else min(timeout, self._timeout)
        left = time_for_call(_MARGIN_S)
        return within if left is None else min(within, left)
