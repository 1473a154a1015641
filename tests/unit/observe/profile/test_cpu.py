"""The owner of the profiling signal: it takes it for a moment, and gives it back in every case."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import backstay
from backstay import Scope
from backstay.observe.profile import _cpu as cpu_module
from backstay.observe.profile import from_pprof, to_pprof
from backstay.observe.profile._asked import Refused
from backstay.observe.profile._cpu import CpuSampler, cpu_profile
from backstay.observe.profile._main_thread import in_main_thread
from backstay.observe.profile._profile import Profile, gathered


@pytest.fixture(autouse=True)
def signal_is_free() -> Iterator[None]:
    """Check before and after each test that nobody has the signal."""
    assert signal.getsignal(signal.SIGPROF) == signal.SIG_DFL
    yield
    assert signal.getsignal(signal.SIGPROF) == signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


def use_processor(seconds: float = 0.02) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_a_profile_counts_the_time_used() -> None:
    """The samples together are what the thread has used; the stack names the function that used it."""

    def waits(seconds: float) -> bool:
        use_processor(0.2)
        return True

    profile = cpu_profile(0.2, 500, waits)
    functions = {frame.function for sample in profile.samples for frame in sample.stack}
    assert "use_processor" in functions
    assert 0.1e9 < profile.total() < 2e9
    assert (profile.period, profile.default) == (2_000_000, "cpu")


def test_an_error_gives_the_signal_back() -> None:
    """Whatever happens while it waits."""

    def breaks(seconds: float) -> bool:
        assert signal.getsignal(signal.SIGPROF) != signal.SIG_DFL
        raise ValueError("odd")

    with pytest.raises(ValueError, match="odd"):
        cpu_profile(1, 100, breaks)


def test_another_owner_of_the_signal_is_respected() -> None:
    """Who has a handler or the timer keeps it, and is named."""

    def theirs(number: int, frame: Any) -> None:
        """Belong to another profiler."""

    signal.signal(signal.SIGPROF, theirs)
    try:
        with pytest.raises(Refused, match="theirs") as caught:
            CpuSampler().start()
        assert caught.value.status == 409
        assert signal.getsignal(signal.SIGPROF) is theirs
        signal.setitimer(signal.ITIMER_PROF, 1000, 1000)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        with pytest.raises(Refused, match="timer runs already"):
            CpuSampler().start()
        assert signal.getitimer(signal.ITIMER_PROF)[1] == 1000
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)


def test_an_ignored_signal_is_ignored_again() -> None:
    """What was there before comes back, also when it is not the default."""
    signal.signal(signal.SIGPROF, signal.SIG_IGN)
    try:
        cpu_profile(0.01, 100, lambda seconds: True)
        assert signal.getsignal(signal.SIGPROF) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)


def test_who_took_the_signal_meanwhile_keeps_it() -> None:
    """A handler that was set amid the profile is not ours to replace."""

    def theirs(number: int, frame: Any) -> None:
        """Come late."""

    sampler = CpuSampler()
    sampler.start()
    signal.signal(signal.SIGPROF, theirs)
    sampler.stop()
    sampler.stop()
    assert signal.getsignal(signal.SIGPROF) is theirs
    signal.signal(signal.SIGPROF, signal.SIG_DFL)


def test_an_error_in_a_sample_reaches_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interrupted code goes on, and the profile tells that samples failed."""

    def broken(task: object) -> None:
        raise ValueError("no labels today")

    monkeypatch.setattr(cpu_module, "labels_here", broken)
    sampler = CpuSampler()
    sampler.start()
    use_processor()
    signal.raise_signal(signal.SIGPROF)
    sampler.stop()
    assert "samples failed" in sampler.comments()[0]


async def test_a_sample_has_the_labels_of_its_task_and_keeps_nothing() -> None:
    """Task, owner, route, trace and span of the interrupted task; its stack ends at its coroutine."""
    backstay.install(exact=True)

    class Payload:
        pass

    async def working(payload: Payload) -> None:
        use_processor()
        signal.raise_signal(signal.SIGPROF)

    payload = Payload()
    gone = weakref.ref(payload)
    sampler = CpuSampler(rate=1)  # the only signals are those that we raise
    sampler.start()
    try:
        async with Scope("GET /x", kind="request", trace_id="a" * 32) as scope:
            span = backstay.context.TraceParent("a" * 32, "b" * 16, 1)
            with backstay.context.bind(backstay.context.SPAN, span):
                task: Any = scope.go(working, payload)
            await task
    finally:
        sampler.stop()
    (sample,) = [
        one
        for one in gathered(sampler.counted())
        if one.stack and one.stack[-1].function.endswith("working")
    ]
    labels = dict(sample.labels)
    assert labels.pop("task")
    assert labels == {
        "owner": "GET /x",
        "route": "GET /x",
        "trace_id": "a" * 32,
        "span_id": "b" * 16,
    }
    task_gone = weakref.ref(task)
    del task, scope, payload
    await asyncio.sleep(0)
    gc.collect()
    assert gone() is None
    assert task_gone() is None
    assert sampler.counted()


def test_too_many_stacks_become_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of a profile is bounded; what does not fit is counted nevertheless."""
    monkeypatch.setattr(cpu_module, "_MOST_STACKS", 2)
    table: Any = {}
    for name in "abcd":
        cpu_module._count(table, ((cpu_module.Frame(name, "", 0),), ()), 5)
    assert len(table) == 3
    assert sum(values[1] for values in table.values()) == 20


def test_a_profile_of_a_thread_reaches_the_main_thread() -> None:
    """Asked from another thread while the main one runs plain Python code, without any loop."""
    made: list[Profile] = []
    done = threading.Event()

    def waits(seconds: float) -> bool:
        done.wait(0.1)
        return True

    def make() -> None:
        made.append(cpu_profile(0.1, 100, waits))

    thread = threading.Thread(target=make)
    thread.start()
    while thread.is_alive():
        use_processor(0.01)
    assert from_pprof(to_pprof(made[0])).total() > 0


def test_what_cannot_be_done_in_time_is_withdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A main thread that sits in a lock does not come round, and nothing happens to it later."""
    from backstay.observe.profile import _main_thread

    monkeypatch.setattr(_main_thread, "_PATIENCE_S", 0.05)
    done: list[str] = []
    found: list[bool] = []

    def ask() -> None:
        found.append(in_main_thread(lambda: done.append("late")))
        found.append(in_main_thread(lambda: done.append("kept"), keep=True))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    use_processor()
    assert found == [False, False]
    assert done == ["kept"]


def test_what_an_action_raises_is_raised_to_who_asked() -> None:
    """And not in the main thread."""
    errors: list[BaseException] = []

    def broken() -> None:
        raise ValueError("odd")

    def ask() -> None:
        try:
            in_main_thread(broken)
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    while thread.is_alive():
        use_processor(0.01)
    assert [str(error) for error in errors] == ["odd"]
