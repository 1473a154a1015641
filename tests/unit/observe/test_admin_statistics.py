"""The numbers of the process, read on request."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from importlib import metadata

import pytest

from backstay._base import now
from backstay.observe.admin import _statistics
from backstay.observe.admin._statistics import Pulses, backstay_version, process_statistics
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
    pulse = _statistics._Pulse()
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

    monkeypatch.setattr(_statistics, "open", absent, raising=False)
    assert read().rss_bytes is None
