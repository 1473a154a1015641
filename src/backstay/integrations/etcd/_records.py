"""Keys, values, events, and what a transaction is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from backstay.integrations.etcd import rpc_pb2 as rpc

__all__ = [
    "Condition",
    "Delete",
    "Event",
    "Get",
    "KeyValue",
    "Operation",
    "Put",
    "Snapshot",
    "TxnResult",
    "absent",
    "created_at",
    "modified_at",
    "prefix_end",
    "raw",
    "read_event",
    "read_key_value",
    "text",
    "value_is",
    "write_operation",
]


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key and what it holds.

    Attributes:
        key: bytes that are not UTF-8 are told by surrogates, as Python tells file names.
        value: what it holds.
        create_revision: when it was put for the first time since it was absent.
        mod_revision: when it was put last.
        version: how often it was put since it was absent.
        lease: the id of the lease that it hangs on; 0 for none.
    """

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int


@dataclass(frozen=True, slots=True)
class Event:
    """A key was put or deleted.

    Attributes:
        kind: "put" or "delete".
        key: which.
        value: what it holds now; empty for a delete.
        revision: of the write; several events of one transaction share it.
        created: the key was absent before.
        lease: the id of the lease that it hangs on; 0 for none.
    """

    kind: Literal["put", "delete"]
    key: str
    value: bytes
    revision: int
    created: bool
    lease: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was there at a revision.

    Attributes:
        revision: of the whole store: a watch from the next one on misses nothing.
        items: by key, sorted.
    """

    revision: int
    items: Mapping[str, KeyValue]


@dataclass(frozen=True, slots=True)
class Put:
    """Operation of a transaction: put a value, perhaps on a lease."""

    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Operation of a transaction: delete a key, or with `prefix` all keys that begin so."""

    key: str
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Get:
    """Operation of a transaction: read a key, or with `prefix` all keys that begin so."""

    key: str
    prefix: bool = False


Operation = Put | Delete | Get


@dataclass(frozen=True, slots=True)
class Condition:
    """What a transaction compares; made by `absent`, `created_at`, `modified_at` and `value_is`."""

    message: Any


@dataclass(frozen=True, slots=True)
class TxnResult:
    """How a transaction ended.

    Attributes:
        succeeded: all conditions held, and `then` was carried out; `otherwise` was if not.
        revision: of the store afterwards.
        answers: one for each operation: a tuple of `KeyValue` for a `Get`, the number of deleted
            keys for a `Delete`, None for a `Put`.
    """

    succeeded: bool
    revision: int
    answers: tuple[tuple[KeyValue, ...] | int | None, ...]


def absent(key: str) -> Condition:
    """Hold when there is no such key."""
    return created_at(key, 0)


def created_at(key: str, revision: int) -> Condition:
    """Hold when the key was created at that revision, and not deleted since."""
    compare = rpc.Compare(key=raw(key), target=rpc.Compare.CREATE, create_revision=revision)
    return Condition(compare)


def modified_at(key: str, revision: int) -> Condition:
    """Hold when the key was last put at that revision."""
    return Condition(rpc.Compare(key=raw(key), target=rpc.Compare.MOD, mod_revision=revision))


def value_is(key: str, value: bytes) -> Condition:
    """Hold when the key holds that value."""
    return Condition(rpc.Compare(key=raw(key), target=rpc.Compare.VALUE, value=value))


def raw(key: str) -> bytes:
    """Return a key as etcd has it."""
    return key.encode("utf-8", "surrogateescape")


def text(key: bytes) -> str:
    """Return a key as we have it."""
    return key.decode("utf-8", "surrogateescape")


def prefix_end(prefix: bytes) -> bytes:
    """Return the first key after all that begin with `prefix`; a zero byte is "to the end"."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes([trimmed[-1] + 1]) if trimmed else b"\0"


def span(key: str, prefix: bool) -> tuple[bytes, bytes]:
    """Return key and range end of a request."""
    if not prefix:
        return raw(key), b""
    return raw(key) or b"\0", prefix_end(raw(key))


def write_operation(operation: Operation) -> rpc.RequestOp:
    """Return an operation as etcd wants it."""
    if isinstance(operation, Put):
        put = rpc.PutRequest(key=raw(operation.key), value=operation.value, lease=operation.lease)
        return rpc.RequestOp(request_put=put)
    key, end = span(operation.key, operation.prefix)
    if isinstance(operation, Delete):
        return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key, range_end=end))
    return rpc.RequestOp(request_range=rpc.RangeRequest(key=key, range_end=end))


def read_answer(answer: rpc.ResponseOp) -> tuple[KeyValue, ...] | int | None:
    """Return what came of an operation."""
    kind = answer.WhichOneof("response")
    if kind == "response_range":
        return tuple(read_key_value(found) for found in answer.response_range.kvs)
    return answer.response_delete_range.deleted if kind == "response_delete_range" else None


def read_key_value(found: rpc.KeyValue) -> KeyValue:
    """Return a key and its value as we have them."""
    return KeyValue(
        text(found.key),
        found.value,
        found.create_revision,
        found.mod_revision,
        found.version,
        found.lease,
    )


def read_event(event: rpc.Event) -> Event:
    """Return an event as we have it."""
    found = event.kv
    put = event.type == rpc.Event.PUT
    return Event(
        "put" if put else "delete",
        text(found.key),
        found.value,
        found.mod_revision,
        put and found.create_revision == found.mod_revision,
        found.lease,
    )
