"""Run a scenario once under a plan, and say what happened."""

from __future__ import annotations

import asyncio
import inspect
import random
from asyncio import CancelledError, Future
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeAlias

from backstay._base import reseed, use_clock
from backstay.errors import UsageError
from backstay.tasks import install
from backstay.testing._virtual_loop import DeadlockError
from backstay.testing.exploration._exploring_loop import (
    ExploringLoop,
    Order,
    StepBudgetExceeded,
    Timers,
)
from backstay.testing.exploration._plan import Plan, Record
from backstay.testing.exploration._trace import Tracer, where_they_wait

__all__ = ["Rules", "Scenario", "refuse_inside_a_loop", "run_once"]

Scenario: TypeAlias = Callable[[], Awaitable[object]]
"""An async function without arguments that builds its own state and checks its own result."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for every run of one exploration; see `explore`."""

    order: Order = "tasks"
    timers: Timers = "due"
    max_steps: int = 10_000
    track: bool = True
    spare: Callable[[asyncio.Task[Any]], bool] | None = None


def run_once(scenario: Scenario, plan: Plan, rules: Rules, tracer: Tracer | None = None) -> Record:
    """Run `scenario` under `plan` on a loop of its own.

    Raises:
        KeyboardInterrupt: and whatever else is no verdict on the code, such as a
            skipped test, goes through.
    """
    loop = ExploringLoop(
        plan,
        order=rules.order,
        timers=rules.timers,
        max_steps=rules.max_steps,
        spare=rules.spare,
        watcher=None if tracer is None else tracer.watch,
    )
    record = loop.record
    random.seed(plan.chance)
    reseed(plan.chance)
    try:
        with use_clock(loop.clock):
            if rules.track:
                install(loop, exact=True)
            _run_scenario(loop, scenario, record)
            if tracer is not None:
                tracer.finish(loop)
            if rules.spare is not None:
                record.spared = frozenset(t.number for t in loop.tasks if rules.spare(t))
            loop.stop_exploring()
            _end_the_rest(loop, record)
            _look_at_what_was_left(loop, record)
    finally:
        loop.close()
    return record


def _run_scenario(loop: ExploringLoop, scenario: Scenario, record: Record) -> None:
    try:
        loop.run_until_complete(loop.create_task(_coroutine_of(scenario), name="scenario"))
    except StepBudgetExceeded as error:
        record.kind, record.error = "budget", error
    except DeadlockError as error:
        waits = where_they_wait(loop.pending())
        record.kind, record.error = "deadlock", DeadlockError(f"{error}\n{waits}")
    except CancelledError as error:
        if record.cancels:
            record.tolerated = True  # what a cancelled task ends with is no fault of it
        else:
            record.kind, record.error = "error", error
    except BaseException as error:
        if not isinstance(error, Exception) and not _is_verdict(error):
            raise
        record.kind, record.error = "error", error


def _coroutine_of(scenario: Scenario) -> Coroutine[Any, Any, object]:
    if inspect.iscoroutinefunction(scenario):
        return scenario()

    async def call() -> object:  # so that what a plain function does happens inside the loop
        return await scenario()

    return call()


def _is_verdict(error: BaseException) -> bool:
    # pytest.fail() raises something that is no Exception; skip() and exit() do too, but judge nothing.
    return type(error).__name__ == "Failed"


def _end_the_rest(loop: ExploringLoop, record: Record) -> None:
    """Cancel what is still alive, as `asyncio.run` does."""
    pending = loop.pending()
    if not pending and not loop._asyncgens:
        return
    for task in pending:
        task.cancel()
    all_ended: Future[None] = loop.create_future()

    def on_ended(_: object) -> None:
        if not loop.pending() and not all_ended.done():
            all_ended.set_result(None)

    for task in pending:
        task.add_done_callback(on_ended)
    try:
        if pending:
            loop.run_until_complete(all_ended)
        loop.run_until_complete(loop.shutdown_asyncgens())
    except DeadlockError as error:
        if record.error is None:
            waits = where_they_wait(loop.pending())
            record.kind = "refuses to end"
            record.error = type(error)(
                f"the scenario is over and its tasks were cancelled, but they live on:\n{waits}"
            )
        all_ended.cancel()


def _look_at_what_was_left(loop: ExploringLoop, record: Record) -> None:
    """Count as failures the errors that a service would only log."""
    for task in loop.tasks:
        # _log_traceback is how asyncio itself knows that nobody has looked.
        if task.done() and getattr(task, "_log_traceback", False) and not task.cancelled():
            error = task.exception()
            if record.error is None and error is not None:
                record.kind, record.error = "unretrieved", error
    if loop.faults and record.error is None:
        record.kind, record.error = "callback", loop.faults[0][1]


def refuse_inside_a_loop() -> None:
    """Raise where a loop is running already.

    Raises:
        UsageError: exploring starts a loop for each schedule, and a thread has room for one.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError(
        "explore() was called inside a running loop: call it from a plain function, or mark the async "
        "test with @pytest.mark.explore"
    )
