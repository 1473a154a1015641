"""`process_workers`: a pool of processes for functions that compute.

Each worker process is an executor of its own. In a `ProcessPoolExecutor` of several,
one process that dies (out of memory, a crash in C) fails the jobs of all others, and the
executor is unusable from then on.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor
from contextvars import Context
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack

from backstay.errors import BackstayError
from backstay.guard._blocking_workers import BlockingWorkers, call_outside
from backstay.guard._worker_settings import WorkerOptions

if TYPE_CHECKING:  # `multiprocessing` takes as long to import as half of Backstay
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing.context import BaseContext

__all__ = ["WorkerDied", "process_workers"]

P = ParamSpec("P")
T = TypeVar("T")

# A process that died is looked at until its exit code is known, so often at most and so far apart.
_LOOKS = 50
_LOOK_S = 0.005


class WorkerDied(BackstayError, RuntimeError):
    """The process that ran a job died: killed, out of memory, or by `os._exit` or a crash in C.

    Only that job fails; the next one gets a new process. Think before it is tried again: what
    killed one process may kill each that it is given to.
    """


class _Processes:
    """Functions run in processes, each an executor of one."""

    def __init__(self, context: BaseContext, on_death: Callable[[], None]) -> None:
        self._context = context
        self._on_death = on_death
        self._idle: list[ProcessPoolExecutor] = []
        self._busy: set[ProcessPoolExecutor] = set()
        self._killed: set[ProcessPoolExecutor] = set()

    def start(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> asyncio.Future[Any]:
        while True:
            executor = self._idle.pop() if self._idle else self._make()
            try:
                source = executor.submit(call_outside, fn, args, kwargs)
                break
            except BrokenExecutor:  # it died while it was idle: nobody has to know
                self._on_death()
                executor.shutdown(wait=False)
        self._busy.add(executor)
        outside = asyncio.get_running_loop().create_future()
        inside = asyncio.wrap_future(source)
        inside.add_done_callback(functools.partial(self._ended, executor, outside, fn))
        return outside

    def _make(self) -> ProcessPoolExecutor:
        from concurrent.futures import ProcessPoolExecutor

        return ProcessPoolExecutor(1, mp_context=self._context)

    def _ended(
        self,
        executor: ProcessPoolExecutor,
        outside: asyncio.Future[Any],
        fn: Callable[..., Any],
        inside: asyncio.Future[Any],
    ) -> None:
        self._busy.discard(executor)
        error = inside.exception()
        if executor in self._killed or outside.done():
            self._idle.append(executor)  # to be joined with the others
            if not outside.done():
                outside.set_result(None)  # nobody waits for it any more
        elif isinstance(error, BrokenExecutor):
            self._on_death()
            self._explain(executor, outside, fn, error, _LOOKS)
        else:
            self._idle.append(executor)
            if error is None:
                outside.set_result(inside.result())
            else:
                outside.set_exception(error)

    def _explain(
        self,
        executor: ProcessPoolExecutor,
        outside: asyncio.Future[Any],
        fn: Callable[..., Any],
        error: BaseException,
        looks: int,
    ) -> None:
        """Say of which process it was and how it ended; that is known a moment after its pipe broke."""
        processes = _processes_of(executor)
        if looks and any(process.exitcode is None for process in processes):
            outside.get_loop().call_later(
                _LOOK_S, self._explain, executor, outside, fn, error, looks - 1, context=Context()
            )
            return
        ends = "; ".join(f"pid {p.pid}, exit code {p.exitcode}" for p in processes)
        died = WorkerDied(
            f"a worker process died while it ran {getattr(fn, '__qualname__', fn)!r} ({ends}): look "
            f"for a kill for lack of memory, os._exit, or a crash in C; the next job gets a new process"
        )
        died.__cause__ = error
        executor.shutdown(wait=False)
        if not outside.done():
            outside.set_exception(died)

    def cut(self) -> None:
        """Kill what works for nobody any more; it was named in the log."""
        for executor in self._busy - self._killed:
            self._killed.add(executor)
            for process in _processes_of(executor):
                process.kill()

    async def shut_down(self, overrunning: int) -> None:
        self.cut()
        executors = self._idle + [executor for executor in self._busy if executor in self._killed]
        self._idle, self._busy = [], set()
        await asyncio.get_running_loop().run_in_executor(None, _join, executors)


def _join(executors: list[ProcessPoolExecutor]) -> None:
    for executor in executors:
        executor.shutdown(wait=True)


def _processes_of(executor: Executor) -> list[Any]:
    processes: dict[int, Any] | None = getattr(executor, "_processes", None)
    return list((processes or {}).values())


def process_workers(
    fn: Callable[P, T] | None = None,
    *,
    start_method: str = "spawn",
    **options: Unpack[WorkerOptions],
) -> BlockingWorkers[P, T]:
    """Return a pool of processes for a function that computes, and would hold the interpreter's lock.

    ::

        async with process_workers(render, workers=4, name="pages") as renderers:
            page = await renderers.run(template, values)

    Function, arguments and result must be picklable. A process that dies fails the job that it ran,
    with `WorkerDied`, and is replaced. What still runs at the end of the block is killed.

    Args:
        fn: what a job does; a function of a module. None to hand one over with each.
        start_method: how `multiprocessing` starts them, each when it is first needed. "fork" is
            quicker, and breaks where the parent has threads.
        options: see `WorkerOptions`.

    Raises:
        TypeError: the function is async.
        ValueError: a number is out of range, or there is no such word.

    Cost: two pipes a job, and a tenth of a second to start a process.
    """
    from multiprocessing import get_context

    pool: BlockingWorkers[P, T] = BlockingWorkers(fn, options)
    pool._outside = _Processes(get_context(start_method), pool.note_death)
    return pool
