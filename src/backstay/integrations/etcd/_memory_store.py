"""What etcd does with keys, revisions and leases, in memory and without waiting."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from backstay.integrations.etcd import rpc_pb2 as rpc

__all__ = ["MemoryStore", "Refusal"]

_FIRST: Final = 1  # the revision of an empty store


class Refusal(Exception):
    """The store says no."""

    def __init__(self, code: str, detail: str) -> None:
        """Say it as etcd does."""
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(slots=True)
class _Lease:
    ttl: int
    ends: float
    keys: set[bytes] = field(default_factory=set[bytes])


class MemoryStore:
    """The state machine that the members of a cluster agree upon.

    Attributes:
        revision: of the last write.
        compacted: what is before it is forgotten.
    """

    def __init__(self, tell: Callable[[list[rpc.Event]], None]) -> None:
        """Be empty.

        Args:
            tell: is given the events of each write.
        """
        self._tell = tell
        self.revision = _FIRST
        self.compacted = 0
        self._keys: dict[bytes, rpc.KeyValue] = {}
        self._history: list[rpc.Event] = []
        self._leases: dict[int, _Lease] = {}

    def header(self) -> rpc.Header:
        """Return what every answer begins with."""
        return rpc.Header(revision=self.revision)

    # -- reading -----------------------------------------------------------------------

    def range(self, request: rpc.RangeRequest) -> rpc.RangeResponse:
        """Read keys."""
        keys = self._keys
        if request.revision:
            self._check_not_forgotten(request.revision)
            keys = self._at(request.revision)
        found = [keys[key] for key in sorted(keys) if within(key, request.key, request.range_end)]
        if request.max_create_revision:
            found = [one for one in found if one.create_revision <= request.max_create_revision]
        if request.sort_target == rpc.RangeRequest.CREATE:
            found.sort(key=lambda one: one.create_revision)
        if request.sort_order == rpc.RangeRequest.DESCEND:
            found.reverse()
        some = found[: request.limit] if request.limit else found
        return rpc.RangeResponse(
            header=self.header(), kvs=some, more=len(some) < len(found), count=len(found)
        )

    def since(self, revision: int, key: bytes, end: bytes) -> list[rpc.Event]:
        """Return the events from `revision` on."""
        first = bisect_left(self._history, revision, key=lambda event: event.kv.mod_revision)
        return [event for event in self._history[first:] if within(event.kv.key, key, end)]

    def _at(self, revision: int) -> dict[bytes, rpc.KeyValue]:
        keys: dict[bytes, rpc.KeyValue] = {}
        for event in self._history:
            if event.kv.mod_revision > revision:
                break
            if event.type == rpc.Event.PUT:
                keys[event.kv.key] = event.kv
            else:
                keys.pop(event.kv.key, None)
        return keys

    def _check_not_forgotten(self, revision: int) -> None:
        if revision < self.compacted:
            raise Refusal("OUT_OF_RANGE", "etcdserver: mvcc: required revision has been compacted")
        if revision > self.revision:
            raise Refusal(
                "OUT_OF_RANGE", "etcdserver: mvcc: required revision is a future revision"
            )

    # -- writing -----------------------------------------------------------------------

    def put(self, request: rpc.PutRequest) -> rpc.PutResponse:
        """Put a key."""
        self._write([rpc.RequestOp(request_put=request)])
        return rpc.PutResponse(header=self.header())

    def delete(self, request: rpc.DeleteRangeRequest) -> rpc.DeleteRangeResponse:
        """Delete keys."""
        (answer,) = self._write([rpc.RequestOp(request_delete_range=request)])
        return rpc.DeleteRangeResponse(
            header=self.header(), deleted=answer.response_delete_range.deleted
        )

    def txn(self, request: rpc.TxnRequest) -> rpc.TxnResponse:
        """Compare, then write and read in one step."""
        holds = all(self._holds(compare) for compare in request.compare)
        answers = self._write(request.success if holds else request.failure)
        return rpc.TxnResponse(header=self.header(), succeeded=holds, responses=answers)

    def compact(self, request: rpc.CompactionRequest) -> rpc.CompactionResponse:
        """Forget what was before a revision; reads at it are still answered."""
        self._check_not_forgotten(request.revision)
        self.compacted = request.revision
        return rpc.CompactionResponse(header=self.header())

    def _holds(self, compare: rpc.Compare) -> bool:
        found = self._keys.get(compare.key)
        target = compare.WhichOneof("target_union") or "version"
        mine: Any = getattr(found or rpc.KeyValue(), target)
        asked: Any = getattr(compare, target)
        if found is None and target == "value":
            return False
        return bool(
            {
                rpc.Compare.EQUAL: mine == asked,
                rpc.Compare.NOT_EQUAL: mine != asked,
                rpc.Compare.GREATER: mine > asked,
                rpc.Compare.LESS: mine < asked,
            }[compare.result]
        )

    def _write(self, operations: Iterable[rpc.RequestOp]) -> list[rpc.ResponseOp]:
        """Carry out operations at one revision, and tell their events."""
        operations = list(operations)
        for one in operations:
            lease = one.request_put.lease
            if lease and lease not in self._leases:
                raise Refusal("NOT_FOUND", "etcdserver: requested lease not found")
        events: list[rpc.Event] = []
        answers: list[rpc.ResponseOp] = []
        revision = self.revision + 1
        for one in operations:
            kind = one.WhichOneof("request")
            if kind == "request_range":
                answers.append(rpc.ResponseOp(response_range=self.range(one.request_range)))
            elif kind == "request_put":
                events.append(self._put(one.request_put, revision))
                answers.append(rpc.ResponseOp(response_put=rpc.PutResponse()))
            else:
                gone = self._delete(one.request_delete_range, revision)
                events.extend(gone)
                deleted = rpc.DeleteRangeResponse(deleted=len(gone))
                answers.append(rpc.ResponseOp(response_delete_range=deleted))
        if events:
            self.revision = revision
            self._history.extend(events)
            self._tell(events)
        return answers

    def _put(self, request: rpc.PutRequest, revision: int) -> rpc.Event:
        before = self._keys.get(request.key)
        made = rpc.KeyValue(
            key=request.key,
            value=request.value,
            create_revision=revision if before is None else before.create_revision,
            mod_revision=revision,
            version=1 if before is None else before.version + 1,
            lease=request.lease,
        )
        self._unhang(before)
        self._keys[request.key] = made
        if request.lease:
            self._leases[request.lease].keys.add(request.key)
        return rpc.Event(type=rpc.Event.PUT, kv=made)

    def _delete(self, request: rpc.DeleteRangeRequest, revision: int) -> list[rpc.Event]:
        keys = [key for key in self._keys if within(key, request.key, request.range_end)]
        for key in keys:
            self._unhang(self._keys.pop(key))
        return [
            rpc.Event(type=rpc.Event.DELETE, kv=rpc.KeyValue(key=key, mod_revision=revision))
            for key in sorted(keys)
        ]

    def _unhang(self, key: rpc.KeyValue | None) -> None:
        lease = None if key is None else self._leases.get(key.lease)
        if key is not None and lease is not None:
            lease.keys.discard(key.key)

    # -- leases ------------------------------------------------------------------------

    def grant(self, request: rpc.LeaseGrantRequest, now: float) -> rpc.LeaseGrantResponse:
        """Make a lease."""
        if request.ID in self._leases:
            raise Refusal("FAILED_PRECONDITION", "etcdserver: lease already exists")
        self._leases[request.ID] = _Lease(request.TTL, now + request.TTL)
        return rpc.LeaseGrantResponse(header=self.header(), ID=request.ID, TTL=request.TTL)

    def keep_alive(
        self, request: rpc.LeaseKeepAliveRequest, now: float
    ) -> rpc.LeaseKeepAliveResponse:
        """Let a lease begin anew; one that is not there has no time left."""
        lease = self._leases.get(request.ID)
        if lease is not None:
            lease.ends = now + lease.ttl
        left = 0 if lease is None else lease.ttl
        return rpc.LeaseKeepAliveResponse(header=self.header(), ID=request.ID, TTL=left)

    def revoke(self, request: rpc.LeaseRevokeRequest) -> rpc.LeaseRevokeResponse:
        """End a lease, and delete what hangs on it."""
        lease = self._leases.pop(request.ID, None)
        if lease is None:
            raise Refusal("NOT_FOUND", "etcdserver: requested lease not found")
        self._write(
            rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key))
            for key in sorted(lease.keys)
        )
        return rpc.LeaseRevokeResponse(header=self.header())

    def expire(self, now: float) -> float | None:
        """End the leases whose time has passed; return when the next one ends."""
        for number, lease in list(self._leases.items()):
            if lease.ends <= now:
                self.revoke(rpc.LeaseRevokeRequest(ID=number))
        return min((lease.ends for lease in self._leases.values()), default=None)


def within(key: bytes, first: bytes, end: bytes) -> bool:
    """Tell whether a key is what a request asks for."""
    if not end:
        return key == first
    return key >= first and (end == b"\0" or key < end)
