"""`Election`: one of many candidates leads, and stops before another one may begin.

The recipe is etcd's own, so that candidates of other clients may stand: each candidate puts a key that
hangs on its lease; the oldest key leads; each of the others waits for the one before it to go. No
herd wakes up, and who has waited longest leads next.

The revision at which a leader's key was created is its *token*: later leaders have greater ones. A write that
compares it (`Leadership.holds`) cannot be made by one who has been replaced, however late it comes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from backstay.integrations.etcd import rpc_pb2 as rpc
from backstay.integrations.etcd._client import EtcdClient
from backstay.integrations.etcd._errors import (
    EtcdCompacted,
    EtcdUnavailable,
    EtcdUnsure,
    LeadershipLost,
)
from backstay.integrations.etcd._lease import Lease
from backstay.integrations.etcd._member import RANGE
from backstay.integrations.etcd._minded import minded
from backstay.integrations.etcd._records import (
    Condition,
    Get,
    KeyValue,
    Put,
    absent,
    created_at,
    raw,
    read_key_value,
    span,
)
from backstay.tasks import Scope

__all__ = ["Election", "Leadership"]

_log = logging.getLogger("backstay.etcd")

_AGAIN_S: Final = 0.1
_PATIENCE_S: Final = (
    5.0  # for one question of a candidate; it asks again for as long as it has a lease
)


class Leadership:
    """What a leader knows; see `Election.lead`.

    Attributes:
        key: that makes it the leader.
        token: the fencing token: greater than that of all who led before.
        lease: on which the key hangs.
    """

    def __init__(self, key: str, token: int, lease: Lease) -> None:
        """Take office."""
        self.key = key
        self.token = token
        self.lease = lease
        self._gone = asyncio.Event()
        self.why = ""

    @property
    def leads(self) -> bool:
        """Whether it is certain to lead now."""
        return not self._gone.is_set() and self.lease.alive

    def holds(self) -> Condition:
        """Return the condition for a `txn` that only the leader may make."""
        return created_at(self.key, self.token)

    def check(self) -> None:
        """Go on only while it leads.

        Raises:
            LeadershipLost: it does not, or may not.
        """
        if not self.leads:
            raise LeadershipLost(
                self.why or f"{self.key!r} does not lead any more: its lease has ended"
            )

    def _lose(self, why: str) -> None:
        """Note that it leads no more."""
        self.why = self.why or why
        self._gone.set()

    async def wait_lost(self) -> None:
        """Wait until it leads no more.

        Cancelled: nothing has changed.
        """
        await self._gone.wait()


class Election:
    """Stands as a candidate, any number of times, one at a time.

    ::

        election = Election(etcd, "elections/sweeper", value="pod-7")
        async with election.lead() as leadership:   # waits for its turn
            while True:
                await etcd.txn([leadership.holds()], [Put("sweeper/at", b"42")])

    Attributes:
        name: of the election: keys are put below "NAME/".
    """

    def __init__(
        self, etcd: EtcdClient, name: str, *, value: bytes | str = b"", ttl: float = 10.0
    ) -> None:
        """Describe it.

        Args:
            etcd: the client.
            name: the same for all candidates.
            value: what others can read of the leader: where it is, for instance.
            ttl: seconds after which a leader that has died is replaced; see `EtcdClient.lease`.

        Raises:
            ValueError: there is no name.
        """
        if not name:
            raise ValueError("an election has a name")
        self._etcd = etcd
        self.name = name.rstrip("/")
        self._value = value.encode() if isinstance(value, str) else value
        self._ttl = ttl

    async def leader(self) -> KeyValue | None:
        """Return who leads: its key, its value, and its token as `create_revision`; None if nobody does.

        Raises:
            EtcdUnavailable: no member answered in time.
            EtcdRefused: the cluster said no.
            ExpiredError: the ambient deadline leaves no time.
        """
        found = (await self._etcd.get_prefix(f"{self.name}/")).items.values()
        return min(found, key=lambda one: one.create_revision, default=None)

    @asynccontextmanager
    async def lead(self) -> AsyncGenerator[Leadership]:
        """Wait until this candidate leads, and lead for as long as the block lasts; then resign.

        When the leadership is lost, the block is cancelled, and left with `LeadershipLost`: before
        the cluster lets another candidate lead, unless the block does not heed its cancellation.

        Raises:
            LeadershipLost: in the block, or before it began, as the lease of the candidate was lost.
            EtcdUnavailable: no member gave it a lease.
            EtcdRefused: the cluster said no.

        Cancelled: it stands no more, and resigns if there is time; else its lease ends within `ttl`.
        """
        async with self._etcd.lease(self._ttl) as lease:
            key = f"{self.name}/{lease.id:x}"
            waiting = Scope(f"candidate of {self.name!r}", kind="election", unwrap=True)
            lease.on_lost(lambda: waiting.cancel("its lease is lost"))
            token = 0
            async with waiting:
                token = await self._stand(key, lease)
            if not token:
                raise LeadershipLost(f"the lease of {key!r} was lost before it could lead")
            leadership = Leadership(key, token, lease)
            mind = partial(_mind, self._etcd, leadership)
            async with minded(f"leader of {self.name!r}", "election", mind):
                yield leadership
            if leadership.why:
                raise LeadershipLost(leadership.why)
            # The end of the lease is the resignation: the key hangs on it.

    async def _stand(self, key: str, lease: Lease) -> int:
        """Put the key, and wait until it is the oldest; return its token."""
        while True:
            token = await self._register(key, lease)
            while (before := await self._before(token)) is not None:
                await _wait_gone(self._etcd, before[0], before[1])
            # Nobody older can come; but somebody may have deleted ours while we waited.
            if await _token_of(self._etcd, key) == token:
                return token

    async def _register(self, key: str, lease: Lease) -> int:
        while True:
            try:
                done = await self._etcd.txn(
                    [absent(key)], [Put(key, self._value, lease.id)], [Get(key)]
                )
            except (EtcdUnavailable, EtcdUnsure):
                await asyncio.sleep(_AGAIN_S)  # the comparison makes it safe to ask again
                continue
            if done.succeeded:
                return done.revision
            (found,) = done.answers
            assert isinstance(found, tuple)
            return found[0].create_revision

    async def _before(self, token: int) -> tuple[str, int] | None:
        """Return the candidate just before us, and the revision to watch it from."""
        key, end = span(f"{self.name}/", prefix=True)
        request = rpc.RangeRequest(
            key=key,
            range_end=end,
            limit=1,
            sort_order=rpc.RangeRequest.DESCEND,
            sort_target=rpc.RangeRequest.CREATE,
            max_create_revision=token - 1,
        )
        while True:
            try:
                reply = await self._etcd._asker.ask(RANGE, request, _PATIENCE_S)
            except EtcdUnavailable:
                continue
            if not reply.kvs:
                return None
            return read_key_value(reply.kvs[0]).key, reply.header.revision + 1


async def _wait_gone(etcd: EtcdClient, key: str, revision: int) -> None:
    """Wait until a key is deleted, or until it cannot be known without looking."""
    try:
        async with etcd.watch(key, prefix=False, revision=revision) as events:
            async for event in events:
                if event.kind == "delete":
                    return
    except EtcdCompacted:
        return  # whoever waits looks again


async def _token_of(etcd: EtcdClient, key: str) -> int:
    """Return the revision at which a key was created; 0 when there is none."""
    while True:
        try:
            reply = await etcd._asker.ask(RANGE, rpc.RangeRequest(key=raw(key)), _PATIENCE_S)
        except EtcdUnavailable:
            continue
        return reply.kvs[0].create_revision if reply.kvs else 0


async def _mind(etcd: EtcdClient, leadership: Leadership, block: Scope) -> None:
    """Cancel the block of a leader when its key or its lease is gone."""

    def end(why: str) -> None:
        _log.warning("%s leads no more: %s", leadership.key, why)
        leadership._lose(f"{leadership.key!r} leads no more: {why}")
        block.cancel(leadership.why)

    leadership.lease.on_lost(lambda: end("its lease is lost"))
    after = leadership.token + 1
    while await _token_of(etcd, leadership.key) == leadership.token:
        await _wait_gone(etcd, leadership.key, after)
        # Only when what came after was forgotten do we get here with the key still there.
        after = (await etcd.get_prefix(leadership.key)).revision + 1
    end("its key was deleted")
