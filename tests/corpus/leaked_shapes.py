"""Small shapes of tasks that nothing can wake any more: each starts some, and forgets what could.

A shape is a function that starts its tasks with `keep`, which holds the tasks as an application does that
follows the advice to hold them. Its number says how many are dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from backstay import Channel, select

__all__ = ["LEAKED", "keep", "kept"]

kept: set[asyncio.Task[Any]] = set()

LEAKED: dict[str, tuple[int, Callable[[], object]]] = {}


def keep(coroutine: Any) -> asyncio.Task[Any]:
    """Start a task, and hold it until it ends."""
    task = asyncio.get_running_loop().create_task(coroutine)
    kept.add(task)
    task.add_done_callback(kept.discard)
    return task


def dead(count: int) -> Callable[[Callable[[], object]], Callable[[], object]]:
    """Enter a shape in the table, with the number of its tasks that are dead."""

    def enter(shape: Callable[[], object]) -> Callable[[], object]:
        LEAKED[shape.__name__] = count, shape
        return shape

    return enter


def future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


async def wait_for(what: Any) -> object:
    return await what


@dead(1)
def a_producer_that_is_gone() -> None:
    keep(asyncio.Queue[int]().get())


@dead(1)
def a_full_queue_that_nobody_reads() -> None:
    queue = asyncio.Queue[int](1)
    queue.put_nowait(1)
    keep(queue.put(2))


@dead(1)
def a_queue_whose_work_nobody_does() -> None:
    queue = asyncio.Queue[int]()
    queue.put_nowait(1)
    keep(queue.join())


@dead(2)
def two_queues_that_wait_for_each_other() -> None:
    one, other = asyncio.Queue[int](), asyncio.Queue[int]()

    async def pass_on(inbox: asyncio.Queue[int], outbox: asyncio.Queue[int]) -> None:
        await outbox.put(await inbox.get())

    keep(pass_on(one, other))
    keep(pass_on(other, one))


@dead(2)
def two_locks_in_two_orders() -> None:
    one, other = asyncio.Lock(), asyncio.Lock()

    async def both(first: asyncio.Lock, second: asyncio.Lock) -> None:
        async with first:
            await asyncio.sleep(0)
            async with second:
                pass

    keep(both(one, other))
    keep(both(other, one))


@dead(1)
def a_bare_future() -> None:
    keep(wait_for(future()))


@dead(1)
def an_event_of_ones_own() -> None:
    keep(asyncio.Event().wait())


@dead(3)
def a_gather_of_dead_children() -> None:
    async def parent() -> None:
        await asyncio.gather(keep(wait_for(future())), keep(wait_for(future())))

    keep(parent())


@dead(2)
def a_group_with_a_dead_child() -> None:
    async def parent() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(wait_for(future()))

    keep(parent())


@dead(2)
def a_shield_around_a_dead_task() -> None:
    async def parent() -> None:
        await asyncio.shield(keep(wait_for(future())))

    keep(parent())


@dead(2)
def a_task_that_awaits_a_dead_one() -> None:
    keep(wait_for(keep(wait_for(future()))))


@dead(1)
def a_loser_of_a_race() -> None:
    async def race() -> None:
        winner, loser = keep(asyncio.sleep(0)), keep(wait_for(future()))
        await asyncio.wait({winner, loser}, return_when=asyncio.FIRST_COMPLETED)

    keep(race())


@dead(1)
def a_generator_that_waits_for_nobody() -> None:
    async def rows() -> AsyncIterator[int]:
        yield await future()

    async def read() -> None:
        async for _ in rows():
            pass

    keep(read())


@dead(1)
def a_condition_that_nobody_notifies() -> None:
    async def wait() -> None:
        condition = asyncio.Condition()
        async with condition:
            await condition.wait()

    keep(wait())


@dead(1)
def a_semaphore_whose_holder_has_ended() -> None:
    semaphore = asyncio.Semaphore(1)

    async def take() -> None:
        await semaphore.acquire()

    keep(take())
    keep(take())


@dead(1)
def a_barrier_with_one_party() -> None:
    keep(asyncio.Barrier(2).wait())


@dead(1)
def a_reader_without_a_connection() -> None:
    keep(asyncio.StreamReader().readline())


@dead(1)
def a_service_that_is_dead() -> None:
    class Service:
        def __init__(self) -> None:
            self.inbox = asyncio.Queue[int]()
            self.task = keep(self.run())

        async def run(self) -> None:
            await self.inbox.get()

    Service()


@dead(1)
def a_future_in_a_closure() -> None:
    answer = future()

    async def wait() -> None:
        await answer

    keep(wait())


@dead(1)
def a_channel_without_a_sender() -> None:
    keep(Channel[int](1).recv())


@dead(1)
def a_select_over_dead_channels() -> None:
    async def wait() -> None:
        await select(Channel[int](1), Channel[int]())

    keep(wait())


@dead(1)
def a_link_between_two_tasks_of_which_one_has_failed() -> None:
    link = asyncio.Queue[int]()

    async def produce() -> None:
        await asyncio.sleep(0)
        try:
            raise ConnectionError
        except ConnectionError:
            return
        link.put_nowait(1)

    keep(produce())
    keep(link.get())


@dead(1)
def a_result_that_only_its_waiter_knows() -> None:
    async def ask() -> None:
        pending = {1: future()}
        await pending[1]

    keep(ask())
