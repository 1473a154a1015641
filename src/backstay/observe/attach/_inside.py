"""What runs inside a process that never heard of Backstay; its text is sent there, so it imports the stdlib only.

It keeps nothing: all that is left behind by `look` is the file with the answer. It is run between two
bytecodes, or while the loop waits, so it waits for nothing and calls no code of the program's.
"""

from __future__ import annotations

import json
import os
import sys
import time
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

MOST_TASKS = 5_000
MOST_STEPS = 64
MOST_EDGES = 20
INSISTENT_S = 50e-6
REST_S = 2e-3
LONGEST_REST_S = 5.0

kind_of: Any = type  # the exact type: asking a thing for its class may run code of the program's


def answer(path: str, make: Any) -> None:
    """Write what `make` returns, or why it failed, to the file at `path`."""
    interrupted = False
    try:
        document = make()
    except KeyboardInterrupt:  # a signal that met the program in here: it is sent again
        interrupted = True
        document = {"error": "the program was being interrupted: try again"}
    except BaseException as error:
        document = {"error": f"{type(error).__name__}: {error}"}
    try:
        file = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            data = json.dumps(document).encode() + b"\n"
            while data:
                data = data[os.write(file, data) :]
        finally:
            os.close(file)
    except OSError:
        pass  # nobody waits for it any more
    if interrupted:
        import _thread

        _thread.start_new_thread(interrupt_again, ())


def interrupt_again() -> None:
    """Give the program the interrupt that it has missed."""
    import signal

    time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)


def look() -> dict[str, Any]:
    """Return all tasks, what they are inside of and what they wait for, as plain values."""
    begun = time.perf_counter()
    tasks = all_tasks()
    names = {id(task): named(task) for task in tasks}
    asyncio = sys.modules.get("asyncio")
    running = {id(one) for one in running_tasks(asyncio)}
    found = [describe(task, names, id(task) in running) for task in tasks[:MOST_TASKS]]
    return {
        "pid": os.getpid(),
        "python": "{}.{}.{}".format(*sys.version_info[:3]),
        "asyncio": asyncio is not None,
        "tasks": len(tasks),
        "left_out": max(0, len(tasks) - MOST_TASKS),
        "list": found,
        "took_s": round(time.perf_counter() - begun, 6),
    }


def all_tasks() -> list[Any]:
    """Return the tasks of all loops that have not ended."""
    module = sys.modules.get("asyncio.tasks")
    if module is None:
        return []
    found: dict[int, Any] = {}
    for name in ("_all_tasks", "_scheduled_tasks", "_eager_tasks"):  # 3.11; 3.12 and later
        known = getattr(module, name, ())
        for _ in range(100):
            try:
                found.update((id(task), task) for task in list(known))
                break
            except RuntimeError:  # changed by another thread meanwhile
                continue
    return [task for task in found.values() if not task.done()]


def running_tasks(asyncio: Any) -> list[Any]:
    """Return the tasks that run at this moment, one a loop at most."""
    current: dict[Any, Any] = getattr(getattr(asyncio, "tasks", None), "_current_tasks", {})
    return list(dict(current).values())


def named(task: Any) -> str:
    """Return a task's name, cut to what a line can hold."""
    return str(task.get_name())[:200]


def describe(task: Any, names: dict[int, str], running: bool) -> dict[str, Any]:
    """Return one task."""
    coroutine = task.get_coro()
    code = getattr(coroutine, "cr_code", None) or getattr(coroutine, "gi_code", None)
    stack = [] if running else chain(coroutine)
    future = getattr(task, "_fut_waiter", None)
    state = "running" if running else "waiting" if future is not None else "ready"
    return {
        "name": names[id(task)],
        "coroutine": str(getattr(coroutine, "__qualname__", type(coroutine).__name__)),
        "definition": f"{code.co_filename}:{code.co_firstlineno}" if code is not None else "",
        "state": "cancelling" if task.cancelling() else state,
        "stack": stack,
        "waits_for": type(future).__name__ if future is not None else "",
        "waits_on": edges(future, names),
    }


def chain(link: Any) -> list[list[Any]]:
    """Return the calls that a suspended coroutine is inside of, outermost first: function, file, line."""
    found: list[list[Any]] = []
    while link is not None and len(found) < MOST_STEPS:
        kind = kind_of(link)
        if kind is CoroutineType:
            frame, code, link = link.cr_frame, link.cr_code, link.cr_await
        elif kind is GeneratorType:
            frame, code, link = link.gi_frame, link.gi_code, link.gi_yieldfrom
        elif kind is AsyncGeneratorType:
            frame, code, link = link.ag_frame, link.ag_code, link.ag_await
        else:
            following = inside(link)
            if following is None:
                break
            link = following
            continue
        if frame is not None:
            found.append([code.co_qualname, code.co_filename, frame.f_lineno or 0])
    return found


def inside(wrapper: Any) -> Any:
    """Return the awaitable in a wrapper that is written in C, where there is one."""
    if type(wrapper).__name__ not in (
        "coroutine_wrapper",
        "async_generator_asend",
        "anext_awaitable",
    ):
        return None
    import gc

    for one in gc.get_referents(wrapper):
        if type(one) in (CoroutineType, GeneratorType, AsyncGeneratorType):
            return one
    return None


def edges(future: Any, names: dict[int, str]) -> list[str]:
    """Return the names of the tasks that must end for this future to be done."""
    if future is None:
        return []
    if id(future) in names:
        return [names[id(future)]]
    children: list[Any] = getattr(future, "_children", [])  # of a gather
    return [names[id(one)] for one in children if id(one) in names and not one.done()][:MOST_EDGES]


def late(home: str, arguments: dict[str, Any], path: str) -> None:
    """Load Backstay in a thread of its own, so that the loop goes on meanwhile, and open the admin plane."""
    import _thread

    interval = sys.getswitchinterval()
    done: list[bool] = []

    def work() -> None:
        try:
            answer(path, lambda: load(home, arguments))
        finally:
            done.append(True)
            sys.setswitchinterval(interval)

    # A loop that never rests takes the interpreter's lock back before a thread that waits for it has woken up.
    # So it is made to rest a little in each round, and what does not come round is interrupted more often.
    sys.setswitchinterval(min(interval, INSISTENT_S))
    try:
        _thread.start_new_thread(work, ())
    except BaseException as error:  # no more threads
        sys.setswitchinterval(interval)
        reason = f"no thread can be started in it: {error}"
        answer(path, lambda: {"error": reason})
        return
    until = time.monotonic() + LONGEST_REST_S  # noqa: TID251 - the stdlib is all there is in here
    for loop in {task.get_loop() for task in all_tasks()}:
        if loop.is_running():
            loop.call_soon_threadsafe(rest, loop, done, until)


def rest(loop: Any, done: list[bool], until: float) -> None:
    """Let the other thread get on, once each round of the loop."""
    if not done and time.monotonic() < until:  # noqa: TID251 - as above
        time.sleep(REST_S)
        loop.call_soon(rest, loop, done, until)


def load(home: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Import Backstay, from `home` where the program has none, and open the admin plane."""
    import importlib
    import importlib.util

    where = "its own"
    if "backstay" not in sys.modules and importlib.util.find_spec("backstay") is None:
        where = home
        # Not through sys.path: the program's own imports are to find what they found before.
        spec = importlib.util.spec_from_file_location(
            "backstay", os.path.join(home, "__init__.py"), submodule_search_locations=[home]
        )
        if (
            spec is None
            or spec.loader is None
            or not os.access(os.path.join(home, "__init__.py"), os.R_OK)
        ):
            raise ImportError(f"it cannot import backstay, and {home} is not there for it")
        module = importlib.util.module_from_spec(spec)
        sys.modules["backstay"] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules["backstay"]
            raise
    opened = importlib.import_module("backstay.observe.attach").open_plane(
        [task.get_loop() for task in all_tasks()], **arguments
    )
    return {**opened, "backstay": where}
