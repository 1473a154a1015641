"""Leases in etcd, for a `lifecycle.Schedule` that one of all replicas is to run.

Extra: ``pip install backstay[etcd]``. Tested with etcd 3.4.23.

    async with EtcdClient(["10.0.0.1:2379", "10.0.0.2:2379", "10.0.0.3:2379"]) as etcd:
        report = Schedule("report", Cron("30 2 * * *"), make_report, lease=EtcdLease(etcd), ttl=15.0)

What it adds to the lease of etcd: one holder by a transaction that compares, the revision as the fencing token,
and a question that may be asked again: the ids of leases are made from the holder, so an answer that was lost
is found. A majority has agreed on whatever was granted, so it outlives the death of any member.

Keys of a name: ``backstay/lease/NAME`` is the holder, ``backstay/once/NAME/WORD`` who was granted it for a word;
each hangs on a lease, and is gone with it.
"""

from __future__ import annotations

import hashlib
import math
from contextlib import suppress
from typing import Any, Final

from backstay.integrations.etcd import (
    EtcdClient,
    EtcdError,
    EtcdRefused,
    Put,
    absent,
)
from backstay.integrations.etcd import rpc_pb2 as rpc
from backstay.integrations.etcd._member import GRANT, KEEP_ALIVE, REVOKE, Method
from backstay.lifecycle import LeaseGrant

__all__ = ["EtcdLease"]

_CALL_S: Final = 2.0  # at most; whoever asks has a time-out, too


class EtcdLease:
    """A store of leases; see `lifecycle.Lease`. One serves any number of schedules.

    A ttl is 12 seconds or more: a sixth of it is for one question, which must be enough to leave a member that
    hangs, and a third for an election of the cluster, or a dead leader costs the run.

    Cancelled: what was asked may have been done; a lease that nobody renews is over after its ttl.
    """

    __slots__ = ("_client", "_prefix")

    def __init__(self, client: EtcdClient, *, prefix: str = "backstay/") -> None:
        """Use a client of yours, inside of its block.

        Args:
            client: of `integrations.etcd`.
            prefix: of the keys.
        """
        self._client = client
        self._prefix = prefix

    async def acquire(
        self, name: str, ttl: float, *, holder: str, once: str = "", remember: float = 0.0
    ) -> LeaseGrant | None:
        """Ask for a lease; see `Lease.acquire`.

        Raises:
            EtcdError: no member answered, or one said no; it may have been granted: ask again.
        """
        key, mark = self._key(name), f"{self._prefix}once/{name}/{once}"
        known = await self._client.get(key)
        if known is not None:
            ours = known.value == holder.encode()
            return LeaseGrant(name, holder, known.mod_revision) if ours else None
        marked = await self._client.get(mark) if once else None
        if marked is not None and marked.value != holder.encode():
            return None
        when, then = [absent(key)], [Put(key, holder.encode(), await self._grant(key, holder, ttl))]
        if once and marked is None:
            when.append(absent(mark))
            then.append(Put(mark, holder.encode(), await self._grant(mark, holder, remember)))
        result = await self._client.txn(when, then)
        if result.succeeded:
            return LeaseGrant(name, holder, result.revision)
        for one in then:  # somebody was faster
            with suppress(EtcdError):  # it is over by itself
                await self._ask(REVOKE, rpc.LeaseRevokeRequest(ID=one.lease))
        return None

    async def renew(self, grant: LeaseGrant, ttl: float) -> bool:
        """Make a lease last as long again; see `Lease.renew`.

        Raises:
            EtcdError: no member answered; it may have been done.
        """
        key = self._key(grant.name)
        request = rpc.LeaseKeepAliveRequest(ID=_id_of(key, grant.holder))
        try:
            reply = await self._ask(KEEP_ALIVE, request)
        except EtcdRefused as error:
            if error.code == "NOT_FOUND":
                return False
            raise
        if reply.TTL <= 0:
            return False
        known = await self._client.get(key)  # it may have been deleted by hand
        return known is not None and known.value == grant.holder.encode()

    async def release(self, grant: LeaseGrant) -> None:
        """Give a lease back; see `Lease.release`.

        Raises:
            EtcdError: no member answered; it may have been done.
        """
        request = rpc.LeaseRevokeRequest(ID=_id_of(self._key(grant.name), grant.holder))
        try:
            await self._ask(REVOKE, request)
        except EtcdRefused as error:
            if error.code != "NOT_FOUND":
                raise

    def _key(self, name: str) -> str:
        return f"{self._prefix}lease/{name}"

    async def _grant(self, key: str, holder: str, seconds: float) -> int:
        """Have a lease of etcd for a key, and return its id."""
        number = _id_of(key, holder)
        request = rpc.LeaseGrantRequest(TTL=max(1, math.ceil(seconds)), ID=number)
        try:
            await self._ask(GRANT, request)
        except EtcdRefused as error:
            # The id is this holder's alone: an earlier question was heard, and its answer lost. Of
            # what is left of that time nobody knows, so it begins anew.
            if "already exists" not in str(error):
                raise
            await self._ask(KEEP_ALIVE, rpc.LeaseKeepAliveRequest(ID=number))
        return number

    async def _ask(self, method: Method, request: Any) -> Any:
        return await self._client._asker.ask(method, request, _CALL_S)


def _id_of(key: str, holder: str) -> int:
    digest = hashlib.sha256(f"{key}\0{holder}".encode()).digest()
    return 1 + (int.from_bytes(digest[:8]) >> 2)
