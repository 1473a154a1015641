"""Merging, spreading and chaining channels, by tasks that have an owner.

Each of these is an async context manager around a scope: what it starts ends with
its block, an error in it cancels the rest and leaves the block, and its output is
closed when its inputs are exhausted, and then only: a stream that was cut short
never looks complete. Leaving early is fine; items that were on
their way inside are dropped then, because nobody is left to take them.
"""

from __future__ import annotations

from asyncio import Task
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from backstay.channels._channel import Channel
from backstay.channels._views import RecvOnly, SendOnly
from backstay.errors import ChannelMisuse
from backstay.tasks import Scope

__all__ = ["fan_in", "fan_out", "merge", "pipeline"]

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")


class _Crew:
    """A scope that takes it as an error when a stranger cancels one of its tasks.

    For a scope that is nothing: a cancelled child has ended. Here its items would be
    missing, and the end of the stream would look like any other.
    """

    def __init__(self, name: str, *, leads: bool = False, unwrap: bool = False) -> None:
        """Prepare.

        Args:
            name: of the scope.
            leads: whether it is the user's block, which may be left early.
            unwrap: whether its one task leads a crew, whose group of errors is enough.
        """
        self._scope = Scope(name, on_exit="cancel" if leads else "wait", unwrap=unwrap)
        self._leads = leads
        self._lost = False

    def go(self, fn: Callable[P, Awaitable[object]], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Start a task of the crew."""
        self._scope.go(fn, *args, **kwargs).add_done_callback(self._on_done)

    def _on_done(self, task: Task[object]) -> None:
        scope = self._scope
        # A cut has a cause, except for the one at the end of a block that does not wait.
        cut = scope.cause is not None or (self._leads and scope.state != "open")
        if task.cancelled() and not cut:
            self._lost = True
            scope.cancel("one of its tasks was cancelled by a stranger")

    async def __aenter__(self) -> _Crew:
        """Open the scope."""
        await self._scope.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Leave the scope; raise when somebody was lost."""
        absorbed = await self._scope.__aexit__(kind, error, trace)
        if self._lost:
            raise ChannelMisuse(
                f"a task inside of {self._scope.name!r} was cancelled by a stranger, so items would be "
                f"missing: cancel the task around the block, or leave the block"
            )
        return absorbed


@asynccontextmanager
async def merge(
    *sources: RecvOnly[T], capacity: int = 0, name: str = "merge"
) -> AsyncGenerator[RecvOnly[T]]:
    """Receive what several channels send, as it comes, through one channel.

    ::

        async with merge(orders, returns) as both:
            async for item in both: ...          # until both are closed and drained

    Args:
        sources: channels, one task each.
        capacity: of the channel that comes out.
        name: of the scope and the channel, for people.

    Yields:
        The receiving end; it is closed when all sources are drained.

    Cancelled: an item that was taken from a source and not yet received is dropped.
    """
    out: Channel[T] = Channel(capacity, name=name)

    async def pump(source: RecvOnly[T]) -> None:
        """Move one source's items over."""
        async for item in source:
            await out.send(item)

    async with _Crew(name, leads=True, unwrap=True) as crew:
        crew.go(
            _run_all_then_close,
            name,
            out,
            [(pump, source) for source in sources],
        )
        yield out.recv_only


@asynccontextmanager
async def fan_in(
    *producers: Callable[[SendOnly[T]], Awaitable[object]], capacity: int = 0, name: str = "fan_in"
) -> AsyncGenerator[RecvOnly[T]]:
    """Run several producers into one channel.

    ::

        async with fan_in(read_mails, read_letters) as post:
            async for message in post: ...       # until both producers have returned

    Args:
        producers: async functions that get the sending end. They must not close it.
        capacity: of the channel.
        name: of the scope and the channel, for people.

    Yields:
        The receiving end; it is closed when all producers have returned.

    Cancelled: the producers are cancelled, and what nobody has received is dropped.
    """
    out: Channel[T] = Channel(capacity, name=name)
    async with _Crew(name, leads=True, unwrap=True) as crew:
        end = out.send_only
        crew.go(
            _run_all_then_close,
            name,
            out,
            [(producer, end) for producer in producers],
        )
        yield out.recv_only


@asynccontextmanager
async def fan_out(
    source: RecvOnly[T],
    fn: Callable[[T], Awaitable[R]],
    *,
    workers: int,
    capacity: int = 0,
    name: str = "fan_out",
) -> AsyncGenerator[RecvOnly[R]]:
    """Let several workers take items from one channel, and receive their results as they come.

    ::

        async with fan_out(urls, fetch, workers=8) as pages:
            async for page in pages: ...         # in the order in which they are done

    Args:
        source: where items come from.
        fn: what is done with each; an error ends everything and leaves the block.
        workers: how many at once, >= 1.
        capacity: results to buffer.
        name: of the scope and the channel, for people.

    Yields:
        The receiving end for results; closed when the source is drained and all is done.

    Raises:
        ValueError: fewer than 1 worker.

    Cancelled: items in the hands of a worker, and results nobody has received, are dropped.
    """
    if workers < 1:
        raise ValueError(f"fan_out needs 1 or more workers, not {workers!r}")
    out: Channel[R] = Channel(capacity, name=name)

    async def work(items: RecvOnly[T]) -> None:
        """Be one worker."""
        async for item in items:
            await out.send(await fn(item))

    async with _Crew(name, leads=True, unwrap=True) as crew:
        crew.go(_run_all_then_close, name, out, [(work, source)] * workers)
        yield out.recv_only


@asynccontextmanager
async def pipeline(
    source: RecvOnly[Any],
    *stages: Callable[[Any], Awaitable[Any]],
    capacity: int = 0,
    name: str = "pipeline",
) -> AsyncGenerator[RecvOnly[Any]]:
    """Send each item through several stages, all of them at work at once, in order.

    ::

        async with pipeline(lines, parse, enrich, price) as offers:
            async for offer in offers: ...       # in the order of the lines

    Args:
        source: where items come from.
        stages: async functions of one item; each has one task. For more workers in
            a stage nest `fan_out`, which gives up the order.
        capacity: items to buffer between two stages.
        name: of the scope and, with the stage's number, of the channels.

    Yields:
        The receiving end of the last stage (the source itself without stages).

    Cancelled: what is inside a stage or between two is dropped.
    """

    async def run_stage(
        number: int, fn: Callable[[Any], Awaitable[Any]], items: RecvOnly[Any]
    ) -> None:
        """Do one stage for each item, in order."""
        out = channels[number]
        async for item in items:
            await out.send(await fn(item))
        out.close()

    channels: list[Channel[Any]] = [
        Channel(capacity, name=f"{name}:{number}") for number, _ in enumerate(stages, 1)
    ]
    async with _Crew(name, leads=True) as crew:
        ends: list[RecvOnly[Any]] = [source, *(channel.recv_only for channel in channels)]
        for number, fn in enumerate(stages):
            crew.go(run_stage, number, fn, ends[number])
        yield ends[-1]


async def _run_all_then_close(
    name: str, out: Channel[Any], jobs: list[tuple[Callable[[Any], Awaitable[object]], Any]]
) -> None:
    async with _Crew(f"{name} workers") as crew:
        for fn, argument in jobs:
            crew.go(fn, argument)
    out.close()
