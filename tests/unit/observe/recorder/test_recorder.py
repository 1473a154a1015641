"""The flight recorder on real loops: what it sees, that it disturbs nothing, and keeps nothing alive."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import backstay
from backstay import Scope
from backstay.errors import UsageError
from backstay.observe.recorder import Recorder, Trace, current_recorder
from backstay.observe.recorder._pure import EVENT
from backstay.tasks import install, uninstall

Make = Callable[..., Recorder]


async def spin(times: int = 3) -> int:
    for _ in range(times):
        await asyncio.sleep(0)
    return times


def of(trace: Trace, name: str) -> list[Any]:
    return [step for step in trace.steps if step.task >= 0 and trace.tasks[step.task].name == name]


def test_steps_of_a_task_are_seen(run: Any, make: Make) -> None:
    """Each one, in order, with name, function, line, owner and trace of the task."""

    async def main() -> Trace:
        with make() as recorder:
            async with Scope("checkout", trace_id="a" * 32) as scope:
                scope.go(spin).set_name("spinner")
            return recorder.snapshot()

    trace = run(main)
    steps = of(trace, "spinner")
    assert len(steps) == 4
    task = trace.tasks[steps[0].task]
    assert task.function == "spin"
    assert task.site.startswith(__file__)
    assert (task.owner, task.trace_id, task.done) == ("checkout", "a" * 32, True)
    for step in trace.steps:
        assert trace.from_s <= step.ready <= step.begin <= step.end <= trace.to_s
    for one, other in zip(trace.steps, trace.steps[1:], strict=False):
        assert one.end <= other.begin, "steps of one loop follow each other"


def test_who_has_woken_whom(run: Any, make: Make) -> None:
    """A task that sets an event is the waker of the one that waits for it; a timer is nobody."""

    async def main() -> Trace:
        event = asyncio.Event()
        with make() as recorder:
            waiting = asyncio.create_task(event.wait(), name="waiting")
            await asyncio.sleep(0)

            async def sets() -> None:
                event.set()

            await asyncio.create_task(sets(), name="setter")
            await waiting
            await asyncio.create_task(asyncio.sleep(0.001), name="sleeper")
            return recorder.snapshot()

    trace = run(main)
    first, woken = of(trace, "waiting")
    assert first.end <= woken.ready
    assert trace.tasks[woken.waker].name == "setter"
    assert of(trace, "sleeper")[-1].waker == -1
    assert ("test_who_has_woken_whom.<locals>.main.<locals>.sets", "Event.wait", 1) in trace.wakes()


def test_nothing_is_changed_for_what_runs(run: Any, make: Make) -> None:
    """Contexts, arguments, errors, handles that are cancelled, and what a handle shows."""
    word: contextvars.ContextVar[str] = contextvars.ContextVar("word", default="none")
    seen: list[Any] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        problems: list[Any] = []
        loop.set_exception_handler(lambda _, told: problems.append(told["exception"]))
        with make():
            context = contextvars.copy_context()
            context.run(word.set, "inside")
            loop.call_soon(lambda *given: seen.append((word.get(), given)), 1, 2, context=context)
            loop.call_soon(seen.append, "plain")
            loop.call_soon(seen.append, "never").cancel()
            loop.call_soon(lambda: 1 / 0)
            assert "append" in repr(loop.call_soon(seen.append, "shown"))
            await asyncio.sleep(0.001)
            assert isinstance(problems[0], ZeroDivisionError)
            with pytest.raises(TypeError):
                loop.call_soon()  # type: ignore[call-arg]
            with pytest.raises(RuntimeError, match="odd"):
                await asyncio.create_task(fails())

    async def fails() -> None:
        await asyncio.sleep(0)
        raise RuntimeError("odd")

    run(main)
    assert seen == [("inside", (1, 2)), "plain", "shown"]


def test_it_comes_and_goes_on_a_living_loop(run: Any, make: Make) -> None:
    """Attached while tasks are at work, taken off again, and the loop is as before."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        counts = [0] * 20

        async def works(at: int) -> None:
            while not stop.is_set():
                counts[at] += 1
                await asyncio.sleep(0)

        tasks = [asyncio.create_task(works(at), name=f"old-{at}") for at in range(20)]
        await spin(5)
        for _ in range(10):
            with make() as recorder:
                await spin(5)
                trace = recorder.snapshot()
                assert {f"old-{at}" for at in range(20)} <= {task.name for task in trace.tasks}
            assert loop.call_soon == type(loop).call_soon.__get__(loop)
            total = recorder.statistics().steps
            await spin(5)
            assert recorder.statistics().steps - total <= 30, "only what was scheduled before"
        stop.set()
        await asyncio.gather(*tasks)
        assert min(counts) == max(counts), "each has had its turns"

    run(main)


def test_from_another_thread_while_the_loop_is_blocked(run: Any, make: Make) -> None:
    """The step that blocks is told, with its task, for as long as it has lasted."""
    told: list[Trace] = []

    async def main() -> None:
        with make() as recorder:

            def look() -> None:
                time.sleep(0.05)
                told.append(recorder.snapshot())

            thread = threading.Thread(target=look)

            async def blocks() -> None:
                thread.start()
                thread.join()

            await asyncio.create_task(blocks(), name="blocker")

    run(main)
    (last,) = [step for step in told[0].steps if step.lasts]
    assert told[0].tasks[last.task].name == "blocker"
    assert last.end - last.begin >= 0.04
    assert told[0].longest(1) == [last]


def test_the_ring_keeps_the_newest(run: Any, make: Make) -> None:
    """Older events are overwritten and counted."""

    async def main() -> tuple[Trace, int]:
        with make(max_bytes=EVENT.size * 50) as recorder:
            await asyncio.create_task(spin(200), name="long")
            await asyncio.create_task(spin(5), name="late")
            return recorder.snapshot(), recorder.statistics().steps

    trace, steps = run(main)
    assert len([step for step in trace.steps if not step.lasts]) == 50
    assert trace.lost == steps - 50 > 100
    assert len(of(trace, "late")) == 6


def test_it_keeps_no_task_alive_and_confuses_none(run: Any, make: Make) -> None:
    """A task, what it holds and its scope go when they would; an address that is used again is another task."""

    class Held:
        pass

    async def main() -> None:
        with make() as recorder:
            names = set()
            for number in range(300):
                held = Held()

                async def holds(kept: Held) -> Held:
                    await asyncio.sleep(0)
                    return kept

                async with Scope(f"scope-{number}") as scope:
                    task = scope.go(holds, held)
                    task.set_name(f"task-{number}")
                names.add(f"task-{number}")
                watched = [weakref.ref(one) for one in (held, task, scope)]
                del held, task, scope, holds
                if number % 50 == 0:
                    gc.collect()
                    await asyncio.sleep(0)
                    assert [one() for one in watched] == [None, None, None]
            trace = recorder.snapshot()
            found = [task.name for task in trace.tasks if task.name.startswith("task-")]
            assert sorted(found) == sorted(names), "each once, with its own name"
        kept = weakref.ref(asyncio.get_running_loop())
        assert kept() is not None

    run(main)


def test_a_recorder_and_its_loop_can_be_collected(make: Make) -> None:
    """Once it is stopped; one that goes on lets go of loops that were closed."""

    def lives() -> weakref.ref[Any]:
        loop = asyncio.new_event_loop()
        install(loop)
        recorder = make(loops=[loop]).start()
        loop.run_until_complete(spin())
        uninstall(loop)
        recorder.stop()
        loop.close()
        return weakref.ref(loop)

    gone = lives()
    gc.collect()
    assert gone() is None
    recorder = make().start()
    try:
        closed = []
        for _ in range(3):
            loop = asyncio.new_event_loop()
            install(loop)
            recorder.follow()
            assert recorder.statistics().loops == 1
            loop.run_until_complete(spin())
            uninstall(loop)
            loop.close()
            closed.append(weakref.ref(loop))
        del loop
        recorder.follow()
        gc.collect()
        assert [one() for one in closed] == [None, None, None]
    finally:
        recorder.stop()


def test_one_at_a_time(run: Any, make: Make) -> None:
    """The second is refused and leaves the first at work; one cannot be started twice."""

    async def main() -> None:
        with make() as recorder:
            assert current_recorder() is recorder
            with pytest.raises(UsageError, match="one at a time"):
                make().start()
            with pytest.raises(RuntimeError, match="started before"):
                recorder.start()
            assert current_recorder() is recorder
            assert recorder.attached
        assert current_recorder() is None
        assert not recorder.attached
        recorder.stop()
        recorder.follow()
        assert recorder.snapshot().recording is False

    run(main)


def test_a_loop_that_has_no_place_is_refused(make: Make) -> None:
    """Somebody stands there already: nothing is recorded, nothing is lost."""
    loop = asyncio.new_event_loop()
    try:
        before = loop.call_soon
        loop.call_soon = lambda *args, **more: before(*args, **more)  # type: ignore[method-assign]
        with pytest.raises(UsageError, match="somebody does already"):
            make(loops=[loop]).start()
        assert current_recorder() is None
        install(loop)
        with make(loops=[]) as recorder:
            recorder._asked = None
            recorder.follow()
            recorder.follow()
            assert recorder.snapshot().steps == ()
        uninstall(loop)
    finally:
        loop.close()
    with pytest.raises(ValueError, match="give more"):
        make(max_bytes=10)


def test_counters_say_how_long_things_took(run: Any, make: Make) -> None:
    """By powers of two, of everything since the start."""

    async def main() -> Any:
        with make() as recorder:

            async def slow() -> None:
                time.sleep(0.004)

            await asyncio.create_task(slow())
            await asyncio.sleep(0)
            return recorder.statistics()

    told = run(main)
    assert sum(told.step) == sum(told.ready) == told.steps
    assert sum(told.step[21:]) >= 1, "2 ms and more"
    assert told.step_s >= 0.004
    assert told.loops == 1


def test_a_region_belongs_to_its_task(run: Any, make: Make) -> None:
    """Across awaits, within another, with others at work meanwhile, cancelled inside, and open at the end."""

    async def charges() -> None:
        with backstay.region("charge"):
            await asyncio.sleep(0)
            with backstay.region("sign"):
                await asyncio.sleep(0)

    async def hangs() -> None:
        with backstay.region("hang"):
            await asyncio.Event().wait()

    async def main() -> Trace:
        with make() as recorder:
            tasks = [asyncio.create_task(charges(), name=f"charges-{one}") for one in range(3)]
            hanging = asyncio.create_task(hangs(), name="hanging")
            await asyncio.wait(tasks)
            hanging.cancel()
            await asyncio.wait([hanging])
            assert hanging.cancelled()
            with backstay.region("open"):
                return recorder.snapshot()

    trace = run(main)
    told = sorted((trace.tasks[one.task].name, one.name, one.lasts) for one in trace.regions)
    expected = [(f"charges-{n}", name, False) for n in range(3) for name in ("charge", "sign")]
    assert {*expected, ("hanging", "hang", False)} <= set(told)
    assert len(told) == len(expected) + 2
    assert [one.name for one in trace.regions if one.lasts] == ["open"]
    for name in ("charges-0", "charges-1", "charges-2"):
        charge, sign = (one for one in trace.regions if trace.tasks[one.task].name == name)
        assert charge.begin <= sign.begin <= sign.end <= charge.end
    for region, run_s, ready_s in trace.shares():
        assert 0 <= run_s + ready_s <= region.end - region.begin + 1e-6


def test_regions_cost_nothing_and_do_nothing_without_a_recorder(run: Any, make: Make) -> None:
    """One object for all of them; also beside a loop, in a callback, and when a recorder goes meanwhile."""
    assert backstay.region("a") is backstay.region("b")

    async def main() -> None:
        recorder = make().start()
        with backstay.region("cut"):
            await asyncio.sleep(0)
            recorder.stop()
        other = threading.Thread(target=lambda: backstay.region("thread").__enter__())
        other.start()
        other.join()
        with make() as again:
            asyncio.get_running_loop().call_soon(in_callback)
            await asyncio.sleep(0.001)
            assert [one.name for one in again.snapshot().regions] == []
        assert [one.name for one in recorder.snapshot().regions] == ["cut"]

    def in_callback() -> None:
        with backstay.region("callback"):
            pass

    run(main)


def test_names_of_regions_are_bounded(run: Any, make: Make) -> None:
    """Names made from data: the first are kept, cut to size, and the rest are one."""

    async def main() -> Trace:
        with make() as recorder:
            for number in range(5_000):
                with backstay.region(f"{number:04}" + "x" * 200):
                    pass
            assert len(recorder.names.all) == 4_096
            assert recorder.statistics().steps < 10
            return recorder.snapshot()

    names = [one.name for one in run(main).regions]
    assert len(names) == 5_000
    assert max(map(len, names)) == 120
    assert names.count("(other regions)") == 5_000 - 4_095


def test_a_request_of_one_step_has_an_owner(run: Any, make: Make) -> None:
    """Said within the step; in a later step whose a task is was seen already."""

    async def serve(recorder: Recorder, steps: int) -> None:
        for _ in range(steps):
            await asyncio.sleep(0)
        recorder.attribute("GET /pay", "b" * 32)

    async def main() -> None:
        with make() as recorder:
            await asyncio.create_task(serve(recorder, 0), name="short")
            await asyncio.create_task(serve(recorder, 1), name="long")
            told = {one.name: one.trace_id for one in recorder.snapshot().tasks}
            assert (told["short"], told["long"]) == ("b" * 32, "")

    run(main)
