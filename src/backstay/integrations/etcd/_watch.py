"""`Watch`: what happens to keys, each event once and in order, whatever happens to the members.

A stream is begun again after the last revision that was heard, so nothing that happens between two
streams is missed. It is taken for dead when nothing was heard for a while although the member was
asked how far it is: a member that hangs keeps its connections, and says nothing.

That answer is a sign of life and nothing more. Members before 3.4.25 and 3.5.8 may tell a revision in it
whose events they have not sent yet, so a watch goes on after its events, and not after that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from backstay._base import now
from backstay.integrations.etcd import rpc_pb2 as rpc
from backstay.integrations.etcd._asker import Asker, refusal
from backstay.integrations.etcd._errors import EtcdCompacted, EtcdError, EtcdRefused
from backstay.integrations.etcd._member import WATCH, MemberFailed, Stream
from backstay.integrations.etcd._minded import minded
from backstay.integrations.etcd._records import Event, read_event, span
from backstay.tasks import Scope

__all__ = ["Watch", "watching"]

_ASK_S: Final = 1.0  # of silence, before the member is asked whether it is there
_SILENCE_S: Final = 2.5  # after which it is taken for gone


@asynccontextmanager
async def watching(
    asker: Asker, key: str, prefix: bool, revision: int | None
) -> AsyncGenerator[Watch]:
    """Watch for as long as the block lasts; see `EtcdClient.watch`."""
    watch = Watch(asker, key, prefix, revision)
    asker.watches += 1
    try:
        async with minded(f"watch {key!r}", "etcd watch", watch._mind):
            if revision is None:
                await watch.ready()  # "from now on" begins here, and not with the first question
            yield watch
    finally:
        asker.watches -= 1
        watch._shut()


class Watch:
    """An async iterator of events; one task may wait in it at a time.

    Its time is that of its reader: while nobody waits for the next event nothing is read, and
    the member keeps what it would tell.

    Cancelled: no event is lost; the next one that is asked for is the one after the last that was told.

    Attributes:
        key: which, or how all of them begin.
        revision: of the last event that was told; 0 before.
        reopened: how often a stream was begun again.
    """

    def __init__(self, asker: Asker, key: str, prefix: bool, revision: int | None) -> None:
        """Describe it; see `EtcdClient.watch`."""
        self.key = key
        self.revision = 0
        self.reopened = 0
        self._asker = asker
        self._span = span(key, prefix)
        self._next = revision  # of the store, that is heard next
        self._ahead: deque[Event] = deque()
        self._stream: Stream | None = None
        self._index, self._stream_id = 0, 0  # of the member, of the watch within the stream
        self._failures = 0
        self._waits_since: float | None = None
        self._over: EtcdError | None = None

    def __aiter__(self) -> Watch:
        """Return itself."""
        return self

    async def __anext__(self) -> Event:
        """Return the next event, however long that takes.

        Raises:
            EtcdCompacted: what comes next is forgotten: read what is there, and watch from there.
            EtcdRefused: the cluster does not let us watch.
            LifecycleMisuse: the block, or that of the client, was left.
        """
        while not self._ahead:
            if self._over is not None:
                raise self._over
            await self._hear()
        event = self._ahead.popleft()
        self.revision = event.revision
        self._asker.events += 1
        return event

    async def ready(self) -> int:
        """Wait until a member watches for us, and return the revision that is heard next.

        What is written from then on is told, even if it is asked for much later.

        Raises:
            EtcdCompacted: that revision is forgotten.
            EtcdRefused: the cluster does not let us watch.

        Cancelled: nothing is lost.
        """
        while self._next is None or self._stream is None:
            if self._over is not None:
                raise self._over
            await self._begin()
        return self._next

    def _shut(self) -> None:
        """Break the stream; for `watching`."""
        self._drop()

    async def _mind(self, block: Scope) -> None:
        """Ask a silent member now and then whether it is there; for `watching`."""
        while True:
            await asyncio.sleep(_ASK_S)
            stream, since = self._stream, self._waits_since
            if stream is None or since is None or now() - since < _ASK_S / 2:
                continue
            ask = rpc.WatchRequest(progress_request=rpc.WatchProgressRequest())
            try:
                async with asyncio.timeout(_SILENCE_S):
                    await stream.write(ask)
            except (TimeoutError, MemberFailed):
                pass  # who reads will notice

    async def _hear(self) -> None:
        """Take in one answer of the member, or begin a stream where there is none."""
        stream = self._stream
        if stream is None:
            await self._begin()
            return
        try:
            self._waits_since = now()
            async with asyncio.timeout(_SILENCE_S):
                reply = await stream.read()
        except TimeoutError:
            self._break()
        except MemberFailed as failed:
            self._break()
            if failed.effect == "refused":
                self._over = refusal(f"the watch of {self.key!r}", failed)
        except BaseException:  # cancelled: an answer may be lost with the stream, but no event
            self._drop()
            raise
        else:
            self._failures = 0
            self._take(reply)
        finally:
            self._waits_since = None

    def _take(self, reply: Any) -> None:
        """Keep the events of an answer."""
        if reply.canceled:
            self._end(reply)
        elif reply.events:
            after = self._next or 0
            told = [event for event in reply.events if event.kv.mod_revision >= after]
            self._ahead.extend(read_event(event) for event in told)
            self._next = max(after, reply.events[-1].kv.mod_revision + 1)
        elif reply.watch_id == self._stream_id and not reply.created:
            # Told by the member of its own accord, which it does when it has sent everything.
            self._next = max(self._next or 0, reply.header.revision + 1)

    def _end(self, reply: Any) -> None:
        self._drop()
        if reply.compact_revision:
            self._over = EtcdCompacted(
                f"the watch of {self.key!r} would go on at revision {self._next}, and the cluster has forgotten what "
                f"was before {reply.compact_revision}: read what is there now, and watch from there",
                compact_revision=reply.compact_revision,
            )
        else:
            why = reply.cancel_reason or "no reason was told"
            self._over = EtcdRefused(
                f"the watch of {self.key!r} was ended by the cluster: {why}", code="CANCELLED"
            )

    # -- streams -----------------------------------------------------------------------

    async def _begin(self) -> None:
        """Begin a stream with the member whose turn it is; one that does not answer is left."""
        member, index = self._asker.member()
        wait = self._asker.pause(self._failures)
        if wait > 0:
            await asyncio.sleep(wait)
            member, index = self._asker.member()
        stream: Stream | None = None
        try:
            async with asyncio.timeout(self._asker.try_timeout):
                stream = await member.open(WATCH, self._asker.try_timeout)
                await stream.write(self._create())
                reply = await stream.read()
        except (TimeoutError, MemberFailed) as error:
            if stream is not None:
                stream.cancel()
            self._failures += 1
            self._asker.leave(index)
            if isinstance(error, MemberFailed) and error.effect == "refused":
                self._over = refusal(f"the watch of {self.key!r}", error)
            return
        except BaseException:
            if stream is not None:
                stream.cancel()
            raise
        self._stream, self._index, self._stream_id = stream, index, reply.watch_id
        if self._next is None:
            self._next = reply.header.revision + 1
        if reply.canceled:
            self._end(reply)

    def _create(self) -> rpc.WatchRequest:
        key, end = self._span
        return rpc.WatchRequest(
            create_request=rpc.WatchCreateRequest(
                key=key, range_end=end, start_revision=self._next or 0, progress_notify=True
            )
        )

    def _break(self) -> None:
        """Leave the member of a stream that is no more."""
        self._drop()
        self._failures += 1
        self.reopened += 1
        self._asker.reopened += 1
        self._asker.leave(self._index)

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()
