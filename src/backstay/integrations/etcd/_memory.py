"""`MemoryEtcd`: a cluster in this process, for tests and examples; its members can be sick."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal

from backstay._base import now
from backstay.integrations.etcd import rpc_pb2 as rpc
from backstay.integrations.etcd._member import KEEP_ALIVE, WATCH, MemberFailed, Method
from backstay.integrations.etcd._memory_store import MemoryStore, Refusal, within

__all__ = ["MemoryEtcd", "MemoryMember"]

# A timer may fire a nanosecond early; on a virtual clock, time then stands still for ever.
_SOON_S: Final = 1e-6


class MemoryEtcd:
    """Members that share one store; nothing survives the process, and nothing is ever disagreed upon.

    ::

        cluster = MemoryEtcd()
        async with EtcdClient(cluster.members) as etcd: ...

    It does what etcd does with keys, revisions, transactions, watches, compaction and leases, without
    access control. It serves one event loop.

    Attributes:
        members: for `EtcdClient`; each can be made sick, see `MemoryMember.mood`.
    """

    def __init__(self, size: int = 3) -> None:
        """Be empty and well.

        Args:
            size: members, >= 1.
        """
        self.members = [MemoryMember(self, f"memory-{number + 1}") for number in range(size)]
        self._store = MemoryStore(self._tell)
        self._expiry: asyncio.TimerHandle | None = None

    @property
    def revision(self) -> int:
        """Of the last write."""
        return self._store.revision

    def answer(self, path: str, request: Any) -> Any:
        """Carry out a request; for members.

        Raises:
            Refusal: the store says no.
        """
        self._store.expire(now())
        store = self._store
        with_time: dict[str, Callable[[Any, float], Any]] = {
            "LeaseGrant": store.grant,
            "LeaseKeepAlive": store.keep_alive,
        }
        plain: dict[str, Callable[[Any], Any]] = {
            "Range": store.range,
            "Put": store.put,
            "DeleteRange": store.delete,
            "Txn": store.txn,
            "Compact": store.compact,
            "LeaseRevoke": store.revoke,
        }
        name = path.rpartition("/")[2]
        try:
            return with_time[name](request, now()) if name in with_time else plain[name](request)
        finally:
            self._plan()

    def begin_watch(self, create: rpc.WatchCreateRequest) -> list[rpc.WatchResponse]:
        """Return what a new watch is told first; for streams."""
        store = self._store
        first = create.start_revision or store.revision + 1
        told = [rpc.WatchResponse(header=store.header(), created=True)]
        if first <= store.compacted:
            told.append(
                rpc.WatchResponse(
                    header=store.header(), canceled=True, compact_revision=store.compacted
                )
            )
        elif missed := store.since(first, create.key, create.range_end):
            told.append(rpc.WatchResponse(header=store.header(), events=missed))
        return told

    def progress(self) -> rpc.WatchResponse:
        """Return what a member says when it is asked whether it is there; for streams."""
        return rpc.WatchResponse(header=self._store.header(), watch_id=-1)

    def _tell(self, events: list[rpc.Event]) -> None:
        for member in self.members:
            member.tell(events, self._store.header())

    def _plan(self) -> None:
        """Wake up when the next lease ends."""
        if self._expiry is not None:
            self._expiry.cancel()
        ends = self._store.expire(now())
        if ends is None:
            self._expiry = None
        else:
            delay = max(0.0, ends - now()) + _SOON_S
            self._expiry = asyncio.get_running_loop().call_later(delay, self._plan)


class MemoryMember:
    """One member; see `Member`.

    Attributes:
        address: its name.
        mood: "well"; "away": calls fail, and streams break; "hung": nothing is answered, also not
            what was asked before it is well again; "mute": what is asked is done, and not answered.
        delay: seconds that an answer takes.
        streams: that are open.
    """

    def __init__(self, cluster: MemoryEtcd, address: str) -> None:
        """Be well."""
        self.address = address
        self.delay = 0.0
        self.streams: list[MemoryStream] = []  # no set: who is told first is the same each time
        self._cluster = cluster
        self._mood: Literal["well", "away", "hung", "mute"] = "well"

    @property
    def mood(self) -> Literal["well", "away", "hung", "mute"]:
        """How it is; see the class."""
        return self._mood

    @mood.setter
    def mood(self, mood: Literal["well", "away", "hung", "mute"]) -> None:
        self._mood = mood
        for stream in list(self.streams):
            if mood == "away":
                stream.end("Socket closed")
            stream.news.set()

    async def call(self, method: Method, request: Any, timeout: float) -> Any:
        """Ask, and return the answer; see `Member`."""
        await asyncio.sleep(min(self.delay, timeout))
        if self._mood == "away":
            raise self._failed("none", "UNAVAILABLE", "cannot connect")
        if self._mood == "hung" or self.delay > timeout:
            await asyncio.sleep(max(0.0, timeout - self.delay))
            raise self._failed("maybe", "DEADLINE_EXCEEDED", "Deadline Exceeded")
        try:
            answer = self._cluster.answer(method.path, request)
        except Refusal as refusal:
            raise self._failed("refused", refusal.code, refusal.detail) from None
        await asyncio.sleep(timeout if self._mood == "mute" else 0)
        if self._mood == "mute":
            raise self._failed("maybe", "DEADLINE_EXCEEDED", "Deadline Exceeded")
        return answer

    async def open(self, method: Method, timeout: float) -> MemoryStream:
        """Begin a call on which both sides speak; see `Member`."""
        assert method in {WATCH, KEEP_ALIVE}
        await asyncio.sleep(self.delay)
        if self._mood == "away":
            raise self._failed("none", "UNAVAILABLE", "cannot connect")
        stream = MemoryStream(self, self._cluster)
        self.streams.append(stream)
        return stream

    async def aclose(self) -> None:
        """Break what is open; see `Member`."""
        for stream in list(self.streams):
            stream.end("the client was closed")

    def tell(self, events: list[rpc.Event], header: rpc.Header) -> None:
        """Tell all watches what has happened; for the cluster."""
        for stream in self.streams:
            stream.tell(events, header)

    def _failed(
        self, effect: Literal["none", "maybe", "refused"], code: str, detail: str
    ) -> MemberFailed:
        return MemberFailed(effect, code, detail, self.address)


class MemoryStream:
    """A watch at a member; see `Stream`."""

    def __init__(self, member: MemoryMember, cluster: MemoryEtcd) -> None:
        """Watch nothing yet."""
        self.news = asyncio.Event()
        self._member = member
        self._cluster = cluster
        self._told: deque[rpc.WatchResponse] = deque()
        self._create: rpc.WatchCreateRequest | None = None
        self._broken = ""

    async def write(self, request: rpc.WatchRequest) -> None:
        """Say something; see `Stream`."""
        await asyncio.sleep(0)
        self._check()
        if request.WhichOneof("request_union") == "create_request":
            self._create = request.create_request
            self._told.extend(self._cluster.begin_watch(self._create))
        else:
            self._told.append(self._cluster.progress())
        self.news.set()

    async def read(self) -> rpc.WatchResponse:
        """Return what the member says next; see `Stream`."""
        try:
            while not self._told or self._member.mood in {"hung", "mute"}:
                self._check()
                self.news.clear()
                await self.news.wait()
        except asyncio.CancelledError:
            self.end("Locally cancelled")
            raise
        return self._told.popleft()

    def cancel(self) -> None:
        """Break it; see `Stream`."""
        self.end("Locally cancelled")

    def end(self, why: str) -> None:
        """Break it, and say why to whoever reads."""
        self._broken = self._broken or why
        self._told.clear()
        if self in self._member.streams:
            self._member.streams.remove(self)
        self.news.set()

    def tell(self, events: list[rpc.Event], header: rpc.Header) -> None:
        """Tell what has happened, if it is watched."""
        create = self._create
        if create is None:
            return
        mine = [
            event
            for event in events
            if within(event.kv.key, create.key, create.range_end)
            and event.kv.mod_revision >= create.start_revision
        ]
        if mine:
            self._told.append(rpc.WatchResponse(header=header, events=mine))
            self.news.set()

    def _check(self) -> None:
        if self._broken:
            raise MemberFailed("maybe", "UNAVAILABLE", self._broken, self._member.address)
