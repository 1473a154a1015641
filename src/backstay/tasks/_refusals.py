"""What a scope says when it must refuse: the value seen, what was expected, what to do."""

from __future__ import annotations

from backstay.errors import BackstayError, FullError, ScopeClosed, ScopeMisuse
from backstay.tasks._scope_record import State

__all__ = [
    "cancelled_elsewhere",
    "cannot_start",
    "full",
    "late_failure",
    "left_elsewhere",
    "used_twice",
]


def cannot_start(name: str, state: State, accepts: bool, why: object) -> BackstayError:
    """Say why `go` cannot start anything in the scope now."""
    if state == "new":
        return ScopeClosed(f"scope {name!r} is not open yet: enter it with 'async with'")
    if state == "ended":
        return ScopeClosed(
            f"scope {name!r} has ended: start the task inside its block, "
            f"or in a scope that lives longer"
        )
    if not accepts:
        return ScopeClosed(
            f"scope {name!r} is ending ({why or 'its body is over'}): nothing new can start in it"
        )
    return ScopeMisuse(
        f"scope {name!r} lives in another event loop or thread: a task cannot be started across "
        f"loops; use a scope of this loop, or from a thread "
        f"loop.call_soon_threadsafe(scope.go, fn, ...) on its own loop"
    )


def cancelled_elsewhere(name: str) -> ScopeMisuse:
    """Say that a scope is cancelled in its own thread."""
    return ScopeMisuse(
        f"scope {name!r} runs in another thread, and tasks can be cancelled in their own only: "
        f"use loop.call_soon_threadsafe(scope.cancel, reason) on its loop"
    )


def late_failure(name: str, task: object, error: BaseException) -> dict[str, object]:
    """Say, for the loop's exception handler, that a task failed when nobody waited for it any more."""
    return {
        "message": f"task of the ended scope {name!r} failed",
        "exception": error,
        "task": task,
    }


def full(name: str, alive: int, limit: int | None) -> FullError:
    """Say that the limit on live tasks is reached."""
    return FullError(
        f"scope {name!r} has {alive} live tasks and max_tasks={limit}: "
        f"wait for a place with go_wait(), shed the work, or raise the limit",
        policy=name,
    )


def used_twice(name: str, state: State) -> ScopeMisuse:
    """Say that a scope is good for one block."""
    return ScopeMisuse(
        f"scope {name!r} was entered before (it is {state}): "
        f"a scope is used once; make a new Scope for each block"
    )


def left_elsewhere(name: str, entered_in: str, alive: int) -> ScopeMisuse:
    """Say that a block was entered in one task and left in another."""
    return ScopeMisuse(
        f"scope {name!r} was entered in task {entered_in!r} and left in another: enter and leave "
        f"it in one function (a scope around a 'yield' moves with its consumer); "
        f"its {alive} live tasks were cancelled"
    )
