"""`Lease`: kept alive by a task of its block; and known to be lost before the cluster gives it to others.

When a lease ends is counted here from the moment at which the last keep-alive that was answered had been
*sent*, on this process's clock. The cluster counts from a later moment, so whoever trusts `alive`
stops before anybody else may begin.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

from backstay._base import now
from backstay.integrations.etcd import rpc_pb2 as rpc
from backstay.integrations.etcd._asker import Asker
from backstay.integrations.etcd._errors import EtcdError, EtcdRefused, EtcdUnavailable, LeaseLost
from backstay.integrations.etcd._member import GRANT, KEEP_ALIVE, REVOKE
from backstay.integrations.etcd._minded import minded
from backstay.tasks import Scope

__all__ = ["SHORTEST_S", "Lease", "held"]

_log = logging.getLogger("backstay.etcd")

SHORTEST_S: Final = 2.0
_GRANT_S: Final = 5.0  # to get one; a cluster may just be electing
_REVOKE_S: Final = 1.0  # at the end; what is not revoked ends by itself
_AGAIN_S: Final = 0.2  # after a keep-alive that nobody answered


@asynccontextmanager
async def held(asker: Asker, ttl: float) -> AsyncGenerator[Lease]:
    """Hold a lease for as long as the block lasts; see `EtcdClient.lease`."""
    lease = Lease(asker, ttl)
    try:
        await lease._grant()
        async with minded(f"lease {lease.id:x}", "etcd lease", lease._mind):
            yield lease
    finally:
        await lease._revoke()


class Lease:
    """One lease; see `EtcdClient.lease`.

    Attributes:
        id: for `put` and `Put`.
        ttl: seconds that the cluster gives it.
        renewed: how often it was kept alive.
        longest_gap: seconds between two keep-alives that were answered, the longest so far.
    """

    def __init__(self, asker: Asker, ttl: float) -> None:
        """Describe it; `held` has it granted."""
        self._asker = asker
        self.id = 1 + secrets.randbits(62)
        self.ttl = float(round(ttl))
        self.renewed = 0
        self.longest_gap = 0.0
        self._asked = False
        self._last = 0.0  # when the last keep-alive that was answered had been sent
        self._lost = asyncio.Event()
        self._callbacks: list[Callable[[], object]] = []

    @property
    def left(self) -> float:
        """Seconds for which it is certain to be ours; 0 when it is lost."""
        return 0.0 if self._lost.is_set() else max(0.0, self._last + self.ttl - now())

    @property
    def alive(self) -> bool:
        """Whether it is certain to be ours."""
        return self.left > 0

    def check(self) -> None:
        """Go on only while the lease is ours.

        Raises:
            LeaseLost: it is not, or may not be.
        """
        if not self.alive:
            raise LeaseLost(
                f"lease {self.id:x} of {self.ttl:g} s has ended: what hung on it is gone"
            )

    async def wait_lost(self) -> None:
        """Wait until it is lost.

        Cancelled: nothing has changed.
        """
        await self._lost.wait()

    def on_lost(self, callback: Callable[[], object]) -> None:
        """Call `callback` when it is lost, in the loop; at once if it is."""
        if self._lost.is_set():
            callback()
        else:
            self._callbacks.append(callback)

    # -- for `held` --------------------------------------------------------------------

    async def _grant(self) -> None:
        """Have it granted.

        Raises:
            EtcdUnavailable: no member answered.
            EtcdRefused: the cluster said no.

        Cancelled: it may be granted; `held` ends it.
        """
        self._asked = True
        sent = now()
        try:
            reply = await self._asker.ask(
                GRANT, rpc.LeaseGrantRequest(TTL=round(self.ttl), ID=self.id), _GRANT_S
            )
        except EtcdRefused as refused:
            # The id is ours alone: an earlier attempt had been carried out, and its answer lost.
            if "already exists" not in str(refused):
                raise
        else:
            self.ttl = float(reply.TTL)
        self._last = sent
        self.check()

    async def _mind(self, block: Scope) -> None:
        """Keep it alive, and tell when it is lost."""
        wait = self.ttl / 3
        while self.left > 0:
            await asyncio.sleep(min(wait, self.left))
            wait = self.ttl / 3 if await self._renew() else _AGAIN_S
        self._lose("no keep-alive was answered in time")

    async def _renew(self) -> bool:
        """Ask once for more time; False when nobody has answered."""
        left = self.left
        if left <= 0:
            return False
        sent = now()
        request = rpc.LeaseKeepAliveRequest(ID=self.id)
        try:
            async with asyncio.timeout(left):  # whatever asking does: the loss is told in time
                reply = await self._asker.ask(KEEP_ALIVE, request, min(left, self.ttl / 3))
        except (EtcdUnavailable, TimeoutError):
            return False
        except EtcdError as error:
            self._lose(str(error))
            return False
        if reply.TTL <= 0:
            self._lose("the cluster does not know it any more")
            return False
        self.longest_gap = max(self.longest_gap, sent - self._last)
        self._last = sent
        self.renewed += 1
        return True

    def _lose(self, why: str) -> None:
        if self._lost.is_set():
            return
        self._lost.set()
        _log.warning("lease %x of %g s is lost: %s", self.id, self.ttl, why)
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback()
            except Exception:  # one that fails must not keep the others from knowing
                _log.exception("a callback for the loss of lease %x failed", self.id)

    async def _revoke(self) -> None:
        """End it, if there is time; what is not revoked ends by itself.

        Cancelled: it ends by itself.
        """
        if not self._asked:
            return
        self._asked = False
        self._lost.set()
        self._callbacks.clear()
        try:
            await self._asker.ask(REVOKE, rpc.LeaseRevokeRequest(ID=self.id), _REVOKE_S)
        except EtcdError:
            pass  # "not found" is what we want; unavailable: its time ends it
