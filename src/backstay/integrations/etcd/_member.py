"""The seam: one member of a cluster, as the client sees it, over gRPC or in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from backstay.integrations.etcd import rpc_pb2 as rpc

__all__ = [
    "COMPACT",
    "DELETE",
    "GRANT",
    "KEEP_ALIVE",
    "PUT",
    "RANGE",
    "REVOKE",
    "TXN",
    "WATCH",
    "Member",
    "MemberFailed",
    "Method",
    "Stream",
]


@dataclass(frozen=True, slots=True)
class Method:
    """One method of etcd.

    Attributes:
        path: as etcd names it; the messages are those of our own package.
        reply: the message that it answers with.
        again: whether it may be asked twice: it reads, or doing it twice is the same as once.
    """

    path: str
    reply: Any
    again: bool


RANGE = Method("/etcdserverpb.KV/Range", rpc.RangeResponse, again=True)
PUT = Method("/etcdserverpb.KV/Put", rpc.PutResponse, again=False)
DELETE = Method("/etcdserverpb.KV/DeleteRange", rpc.DeleteRangeResponse, again=False)
TXN = Method("/etcdserverpb.KV/Txn", rpc.TxnResponse, again=False)
COMPACT = Method("/etcdserverpb.KV/Compact", rpc.CompactionResponse, again=False)
# Granted with an id of our own: a second grant of one id is refused, and told from a first one.
GRANT = Method("/etcdserverpb.Lease/LeaseGrant", rpc.LeaseGrantResponse, again=True)
REVOKE = Method("/etcdserverpb.Lease/LeaseRevoke", rpc.LeaseRevokeResponse, again=True)
KEEP_ALIVE = Method("/etcdserverpb.Lease/LeaseKeepAlive", rpc.LeaseKeepAliveResponse, again=True)
WATCH = Method("/etcdserverpb.Watch/Watch", rpc.WatchResponse, again=True)


class MemberFailed(Exception):
    """A member did not answer, or said no.

    Attributes:
        effect: "none": the request was never looked at; "maybe": it may have been carried out;
            "refused": it was looked at, and any member would say no.
        code: gRPC's word for it.
        detail: the member's own words.
        member: its address.
    """

    def __init__(
        self, effect: Literal["none", "maybe", "refused"], code: str, detail: str, member: str
    ) -> None:
        """Keep what is known."""
        super().__init__(f"{member}: {detail}")
        self.effect = effect
        self.code = code
        self.detail = detail
        self.member = member


class Stream(Protocol):
    """A call on which both sides speak."""

    async def write(self, request: Any) -> None:
        """Say something.

        Raises:
            MemberFailed: nobody hears it.

        Cancelled: the stream is broken.
        """
        ...

    async def read(self) -> Any:
        """Return what the member says next.

        Raises:
            MemberFailed: it says no more.

        Cancelled: the stream is broken; what was on its way is lost.
        """
        ...

    def cancel(self) -> None:
        """Break it, in whatever state it is."""
        ...


class Member(Protocol):
    """One member of a cluster."""

    @property
    def address(self) -> str:
        """Where it is, for people."""
        ...

    async def call(self, method: Method, request: Any, timeout: float) -> Any:
        """Ask, and return the answer.

        Raises:
            MemberFailed: there is none.

        Cancelled: a request that was sent may be carried out.
        """
        ...

    async def open(self, method: Method, timeout: float) -> Stream:
        """Begin a call on which both sides speak.

        Raises:
            MemberFailed: it cannot be reached.

        Cancelled: nothing is open.
        """
        ...

    async def aclose(self) -> None:
        """Break what is open, and forget it."""
        ...
