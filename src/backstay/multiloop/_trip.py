"""A job's way: out to the loop that runs it, and back to the caller with the result.

The caller holds a task of its own loop, the *proxy*, owned by the caller's
scope like any other child. The proxy sends the job off in its first step, waits
for the outcome, and passes a cancel on; it ends when the job has ended, never
before. So all that a scope promises of its children holds for jobs too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from backstay._base import now
from backstay.errors import DeadlineExceeded
from backstay.multiloop._job import Job, Outcome
from backstay.tasks import Scope, set_owner
from backstay.tasks._coroutine import as_coroutine
from backstay.tasks._owner import current_owner
from backstay.tasks._tracked_task import card_of, set_card

__all__ = ["Host", "fetch", "run_job"]

# How long a proxy waits for the cut that its own scope owes it, when the job was quicker to
# notice the deadline that both have. Longer than a loop is ever late that is not in trouble.
_CUT_PATIENCE_S = 0.25

_PATH_DEPTH = 16  # as for scopes: deeper paths are shown by their end


class Host(Protocol):
    """What a job needs of the loop that runs it."""

    root: Scope

    def claim(self, job: Job) -> bool:
        """Take the job; False when it is not to be run here."""
        ...


async def run_job(host: Host, job: Job) -> None:
    """Run `job` on this loop, unless another loop has it or its caller gave it up."""
    if not host.claim(job):
        return
    outcome = await _outcome_of(host, job)
    if not job.home.post(job.deliver, outcome) and outcome.error is not None:
        asyncio.get_running_loop().call_exception_handler(
            {
                "message": f"{job.name} failed, and the loop of its caller is closed",
                "exception": outcome.error,
            }
        )


async def _outcome_of(host: Host, job: Job) -> Outcome:
    # The caller's scope belongs to another loop: our own stands in for it, and shows the
    # caller's path. Deadline and values have come with the context.
    current_owner.set(host.root)
    scope = Scope(job.name, kind="job", trace_id=job.trace_id)
    assert job.fn is not None
    try:
        async with scope:
            scope.path = (*job.owner_path, job.name)[-_PATH_DEPTH:]
            task = asyncio.current_task()
            if task is not None and job.card is not None:
                site, lasti, _, born = job.card
                set_card(task, (site, lasti, scope, born))
            elif task is not None:
                set_owner(task, scope)
            return Outcome(value=await as_coroutine(job.fn, *job.args, **job.kwargs))
    except asyncio.CancelledError:
        return Outcome(cancelled=True)
    except BaseException as error:  # it is the caller's, whatever it is
        return Outcome(error=error)
    return Outcome(cancelled=True)


async def fetch(job: Job, send: Callable[[Job], None]) -> Any:
    """Be the proxy of `job`: send it off, wait, pass on cancels, and end as it ends.

    Cancelled: a job that has not started never will; one that has is cancelled
    where it runs, and waited for.
    """
    job.proxy = asyncio.current_task()
    if job.proxy is not None:
        job.card = card_of(job.proxy)
    struck: asyncio.CancelledError | None = None
    send(job)
    try:
        while job.outcome is None:
            job.waiter = asyncio.get_running_loop().create_future()
            try:
                await job.waiter
            except asyncio.CancelledError as error:
                struck = struck or error
                _call_off(job)
        return await _end_alike(job, job.outcome, struck)
    finally:
        del struck  # holds this frame by its traceback
        job.waiter = None


def _call_off(job: Job) -> None:
    if job.drop():
        job.outcome = Outcome(cancelled=True)
    elif job.runner is not None:
        job.runner.post(job.strike, "its caller was cancelled")


async def _end_alike(job: Job, outcome: Outcome, struck: asyncio.CancelledError | None) -> Any:
    error = outcome.error
    if outcome.cancelled:
        raise struck or asyncio.CancelledError(f"{job.name} was cancelled where it ran")
    if error is None:
        return outcome.value
    if (
        isinstance(error, DeadlineExceeded)
        and error.scope == job.deadline_setter
        and job.deadline is not None
        and job.deadline <= now()
    ):
        # The deadline is the caller's own, and its scope is about to say so itself.
        if struck is not None:
            raise struck
        await asyncio.sleep(_CUT_PATIENCE_S)
    try:
        raise error
    finally:
        del error, outcome
