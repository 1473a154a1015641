"""Holding a lease while work lasts: asked for, renewed, given back, and the work cancelled when it is lost."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from backstay._base import now
from backstay.context import new_span_id
from backstay.lifecycle._lease import Lease, LeaseGrant, LeaseTerm
from backstay.tasks import Scope, timeout

__all__ = ["LeaseHold"]

_log = logging.getLogger("backstay.schedule")

_PATIENCE_S = 2.0  # for an answer of the store, at most; less where the lease is short
_PAUSE_S = 0.5  # between two questions to a store that is away, at most


class LeaseHold:
    """One lease of one run.

    Attributes:
        grant: the lease, once it was granted.
        lost: why the work was cancelled; "" when it was not.
        errors: calls to the store that failed.
        last_error: of these, the last, as "Type: message".
    """

    __slots__ = (
        "_lease",
        "_name",
        "_patience",
        "_pause",
        "_ttl",
        "errors",
        "grant",
        "last_error",
        "lost",
    )

    def __init__(self, lease: Lease, name: str, ttl: float) -> None:
        """Describe it; nothing is asked for yet."""
        self._lease = lease
        self._name = name
        self._ttl = ttl
        self._patience = min(_PATIENCE_S, ttl / 6)
        self._pause = min(_PAUSE_S, ttl / 12)
        self.grant: LeaseGrant | None = None
        self.lost = ""
        self.errors = 0
        self.last_error = ""

    @asynccontextmanager
    async def held(
        self, once: str, remember: float, patience: float, leave: asyncio.Event
    ) -> AsyncGenerator[bool]:
        """Ask for the lease, and hold it for the length of the block.

        Yields whether it was granted. When it is lost, the block is cancelled, early enough to end before
        the lease could be somebody else's, and is left without an error; `lost` says why.

        Args:
            once: a word for what is done.
            remember: seconds for which nobody else does the same.
            patience: seconds for which a store that is away is asked again.
            leave: when it is set, a store that is away is not asked again.

        Raises:
            Exception: the store was away all that time, or until we were told to leave.

        Cancelled: a lease that was asked for may be granted to nobody; it is over after its ttl.
        """
        term = await self._acquire(once, remember, patience, leave)
        if term is None:
            yield False
            return
        try:
            async with Scope(f"lease of {self._name}", on_exit="cancel", unwrap=True) as scope:
                scope.go(self._keep, term, scope)
                yield True
        finally:
            await self._release()

    async def _acquire(
        self, once: str, remember: float, patience: float, leave: asyncio.Event
    ) -> LeaseTerm | None:
        holder = f"{socket.gethostname()}-{os.getpid()}-{new_span_id()}"
        until = now() + patience
        while True:
            asked_at = now()
            try:
                async with timeout(self._patience, name="acquire"):
                    self.grant = await self._lease.acquire(
                        self._name, self._ttl, holder=holder, once=once, remember=remember
                    )
                return None if self.grant is None else LeaseTerm(self._ttl, asked_at)
            except Exception as error:  # whatever it is: the store has not said yes
                self._failed(error)
                if leave.is_set() or now() + self._pause > until:
                    raise
            try:
                async with asyncio.timeout(self._pause):
                    await leave.wait()
            except TimeoutError:
                pass

    async def _keep(self, term: LeaseTerm, scope: Scope) -> None:
        """Renew the lease for as long as the work lasts; cancel the work when that fails."""
        assert self.grant is not None
        at = term.renew_at
        while at < term.cut_at:
            await asyncio.sleep(max(0.0, at - now()))
            asked_at = now()
            try:
                left = min(self._patience, term.cut_at - asked_at)
                async with timeout(max(0.0, left), name="renew"):
                    ours = await self._lease.renew(self.grant, self._ttl)
            except Exception as error:  # the store is away: it may be back before it is too late
                self._failed(error)
                at = now() + self._pause
                continue
            if not ours:
                self._lose(scope, "the store says that it is not ours any more")
                return
            term.renewed(asked_at)
            at = term.renew_at
        await asyncio.sleep(max(0.0, term.cut_at - now()))
        self._lose(scope, f"it could not be renewed ({self.last_error})")

    def _lose(self, scope: Scope, why: str) -> None:
        self.lost = why
        _log.warning("the lease of %s is lost, and its run is cancelled: %s", self._name, why)
        scope.cancel(f"its lease was lost: {why}")

    async def _release(self) -> None:
        assert self.grant is not None
        try:
            async with timeout(self._patience, name="release"):
                await self._lease.release(self.grant)
        except Exception as error:  # it is over by itself in a while
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self.errors += 1
        self.last_error = f"{type(error).__name__}: {error}"
