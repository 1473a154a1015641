"""The numbers of the process, read on request."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from importlib import metadata

import pytest

from backstay._base import now
from backstay.multiloop import Multiloop
from backstay.observe.admin import _statistics
from backstay.observe.admin._statistics import backstay_version, process_statistics
from backstay.observe.readings import Pulses, _memory, _pulses
from backstay.tasks import install


@dataclass
class Numbers:
    """What a guard may return."""

    in_flight: int = 3


def read(requests: object = None) -> _statistics.ProcessStatistics:
    provider = None if requests is None else (lambda: requests)
    return process_statistics(started_at=now(), pulses=Pulses(), ready=True, requests=provider)


@pytest.mark.real_loop
async def test_the_numbers_of_a_running_loop() -> None:
    """Tasks, memory, threads and the loop's name are those of this process."""
    install()
    numbers = await asyncio.to_thread(read)
    assert numbers.tasks == 1
    assert numbers.loop == "asyncio"
    assert numbers.rss_bytes is not None
    assert numbers.rss_bytes > 1_000_000
    assert numbers.threads >= 2
    assert 0.0 <= numbers.loop_lag_s < 5.0
    assert numbers.requests is None


def test_without_a_loop_there_is_no_lag() -> None:
    """A script that has not begun its loop is not late."""
    assert Pulses().lag() == 0.0


def test_uvloop_is_named() -> None:
    """People compare loops; the name has to be right."""
    uvloop = pytest.importorskip("uvloop")

    async def main() -> str | None:
        install()
        return (await asyncio.to_thread(read)).loop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == "uvloop"


def test_a_guard_may_return_a_record_or_a_mapping() -> None:
    """Both become plain fields; anything else is a bug that is named."""
    assert read(Numbers()).requests == {"in_flight": 3}
    assert read({"in_flight": 4}).requests == {"in_flight": 4}
    with pytest.raises(TypeError, match="returned int, not a dataclass"):
        read(5)


def test_a_loop_that_closes_meanwhile_is_not_late() -> None:
    """Asking a loop that has just been closed is no error."""
    loop = asyncio.new_event_loop()
    loop.close()
    pulse = _pulses._Pulse()
    pulse.ask(loop)
    assert pulse.read(0.0) < 1.0


def test_the_version_is_that_of_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree that was never installed has none, and says so."""

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    assert backstay_version() == metadata.version("backstay")
    backstay_version.cache_clear()
    monkeypatch.setattr(metadata, "version", absent)
    assert backstay_version() == "unknown"
    backstay_version.cache_clear()


def test_memory_is_unknown_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other systems tell it in other ways; None is honest."""

    def absent(*_: object) -> object:
        raise FileNotFoundError

    monkeypatch.setattr(_memory, "open", absent, raising=False)
    assert read().rss_bytes is None


@pytest.mark.real_loop
async def test_on_the_thread_of_a_loop_the_last_answer_counts() -> None:
    """Waiting there would hold up the very loop that is asked; so it answers for the next time."""
    install()
    pulses = Pulses()
    assert pulses.lag() == 0.0, "nobody has answered yet"
    time.sleep(0.02)
    assert pulses.lag() >= 0.02, "the question has waited since"
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert pulses.lag() >= 0.02, "and that was the answer"


@pytest.mark.real_loop
async def test_a_loop_that_is_made_to_be_blocked_is_not_late() -> None:
    """A restart, which a failed ``/livez`` asks for, would end the very work that a multiloop is there for."""
    install()
    begun, go_on = threading.Event(), threading.Event()

    async def block() -> None:
        begun.set()
        go_on.wait(5)

    async with Multiloop("render", procs=1) as pool:
        pool.go(block)
        await asyncio.to_thread(begun.wait, 5)
        pulses = Pulses()
        await asyncio.to_thread(pulses.lag)
        await asyncio.sleep(0.1)
        assert await asyncio.to_thread(pulses.lag) < 0.1
        go_on.set()
