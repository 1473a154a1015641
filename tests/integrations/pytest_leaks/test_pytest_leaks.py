"""The check for leaks, in pytest runs of its own: frameworks, loops, fixtures, outcomes."""

from __future__ import annotations

from pathlib import Path

import pytest
from leaky_runs import run_pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

FRAMEWORKS = """
def leave():
    kept.append(asyncio.get_running_loop().create_task(asyncio.sleep(3600), name="left over"))

async def ends_soon():
    asyncio.get_running_loop().create_task(asyncio.sleep(0.02))

@pytest.fixture
def anyio_backend():
    return {backend}

def run(main):
    with asyncio.Runner({loop}) as runner:
        runner.run(main())

async def leaves():
    leave()

def test_plain_clean():
    run(ends_soon)

def test_plain_leak():
    run(leaves)

@pytest.mark.asyncio
async def test_asyncio_clean():
    await ends_soon()

@pytest.mark.asyncio
async def test_asyncio_leak():
    leave()

@pytest.mark.anyio
async def test_anyio_clean():
    await ends_soon()

@pytest.mark.anyio
async def test_anyio_leak():
    leave()

@pytest.mark.asyncio
async def test_failing_leak():
    leave()
    raise RuntimeError("its own")

def test_manual_leak():
    loop = {new_loop}
    loop.run_until_complete(leaves())
    loop.close()
"""
STOCK = FRAMEWORKS.format(backend='"asyncio"', loop="", new_loop="asyncio.new_event_loop()")
UVLOOP = """
import uvloop

@pytest.fixture(scope="session")
def event_loop_policy():
    return uvloop.EventLoopPolicy()
""" + FRAMEWORKS.format(
    backend='"asyncio", {"use_uvloop": True}',
    loop="loop_factory=uvloop.new_event_loop",
    new_loop="uvloop.new_event_loop()",
)


@pytest.mark.parametrize("source", [STOCK, UVLOOP], ids=["stock", "uvloop"])
def test_each_framework_is_watched(tmp_path: Path, source: str) -> None:
    """pytest-asyncio, anyio, runners and bare loops: leaks are errors, clean tests pass, a failure stays itself."""
    run = run_pytest(tmp_path, source, "--leaks", "-W", "ignore::DeprecationWarning")
    for name in ("plain", "asyncio", "anyio"):
        assert f"PASSED test_it.py::test_{name}_clean" in run.text, run.text
        assert (
            f"ERROR test_it.py::test_{name}_leak - Failed: 1 task outlived the test" in run.text
        ), run.text
        assert f"ERROR test_it.py::test_{name}_clean" not in run.text
    assert "ERROR test_it.py::test_manual_leak" in run.text
    assert "FAILED test_it.py::test_failing_leak - RuntimeError: its own" in run.text
    assert "ERROR test_it.py::test_failing_leak" not in run.text
    assert "- leaks at teardown -" in run.text
    assert "owner      test test_it.py::test_failing_leak" in run.text
    assert "in leave()" in run.text
    assert run.code == 1


def test_off_by_default(tmp_path: Path) -> None:
    """Who has Backstay installed and asks for nothing gets the outcomes of before, and none of our modules."""
    run = run_pytest(
        tmp_path,
        STOCK,
        every_plugin=True,
        conftest="import sys\ndef pytest_unconfigure():\n    print('ours:', [m for m in sys.modules if m.startswith('backstay')])\n",
    )
    assert "error" not in run.outcomes(), run.text
    assert run.outcomes()["failed"] == 1
    assert "ours: []" in run.text


def test_proved_leaks_need_no_patience(tmp_path: Path) -> None:
    """What nothing can wake is called LEAKED or STUCK; who swallows a cancel UNDEAD; who nobody keeps LOST."""
    source = """
import gc

async def forgotten():
    await asyncio.Event().wait()

def test_leaked():
    async def main():
        asyncio.create_task(forgotten())
        await asyncio.sleep(0)
    gc.disable()
    asyncio.run(main())
    gc.enable()

def test_stuck():
    async def main():
        kept.append(asyncio.create_task(forgotten()))
        await asyncio.sleep(0)
    asyncio.run(main())

def test_undead():
    async def stubborn():
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(0.8)
    async def main():
        kept.append(asyncio.create_task(stubborn()))
        await asyncio.sleep(0)
        kept[-1].cancel()
    asyncio.run(main())

def test_lost():
    async def main():
        asyncio.create_task(forgotten())
        await asyncio.sleep(0)
        gc.collect()
    asyncio.run(main())
"""
    run = run_pytest(tmp_path, source, "--leaks")
    for verdict in ("LEAKED", "STUCK", "UNDEAD", "LOST"):
        heading = run.text.partition(f"ERROR at teardown of test_{verdict.lower()}")[2]
        assert f"\n{verdict:<8}test_it.py:" in heading[:200], (verdict, run.text)
    assert "Nothing alive can wake it" in run.text
    assert "held by    a list in test_it.kept" in run.text, run.text


def test_wider_fixtures_own_their_tasks(tmp_path: Path) -> None:
    """Tasks of session and module fixtures run on between tests of one loop; those of a test are told apart."""
    source = """
import pytest_asyncio

pytestmark = pytest.mark.asyncio(loop_scope="session")

@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def background():
    async def beat():
        while True:
            await asyncio.sleep(0.001)
            kept.append(asyncio.create_task(asyncio.sleep(0.3)))
    task = asyncio.create_task(beat())
    yield task
    task.cancel()

@pytest_asyncio.fixture(loop_scope="session")
async def own():
    task = asyncio.create_task(asyncio.sleep(3600))
    yield task
    task.cancel()

async def test_one(background, own):
    await asyncio.sleep(0.05)

async def test_two(background):
    kept.append(asyncio.create_task(asyncio.sleep(3600)))
    await asyncio.sleep(0.05)

async def test_three(background):
    await asyncio.sleep(0.05)
"""
    run = run_pytest(tmp_path, source, "--leaks")
    assert run.outcomes() == {"passed": 3, "error": 1}, run.text
    assert "ERROR test_it.py::test_two - Failed: 1 task outlived" in run.text


def test_shared_anyio_runner_names_the_right_test(tmp_path: Path) -> None:
    """A module fixture keeps one runner task for all tests; each leak is still of its own test."""
    source = """
@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"

@pytest.fixture(scope="module")
async def server(anyio_backend):
    task = asyncio.create_task(asyncio.sleep(3600))
    yield task
    task.cancel()

pytestmark = pytest.mark.anyio

async def test_one(server):
    pass

async def test_two(server):
    kept.append(asyncio.create_task(asyncio.sleep(3600)))

async def test_three(server):
    pass
"""
    run = run_pytest(tmp_path, source, "--leaks")
    assert run.outcomes() == {"passed": 3, "error": 1}, run.text
    assert "ERROR test_it.py::test_two - Failed: 1 task outlived" in run.text


def test_closing_generators_are_no_leak(tmp_path: Path) -> None:
    """The `aclose()` that the collector schedules for an abandoned generator is waited for."""
    source = """
async def source():
    try:
        while True:
            yield 1
    finally:
        await asyncio.sleep(0.05)

async def body():
    async for _ in source():
        break

def test_plain():
    asyncio.run(body())

@pytest.mark.asyncio
async def test_asyncio():
    await body()
"""
    run = run_pytest(tmp_path, source, "--leaks")
    assert run.outcomes() == {"passed": 2}, run.text


def test_report_mode_only_tells(tmp_path: Path) -> None:
    """With --leaks=report nothing fails, and the end of the run has a table by spawn site."""
    source = """
@pytest.mark.parametrize("n", range(3))
def test_leak(n):
    async def main():
        kept.append(asyncio.create_task(asyncio.sleep(3600)))
    asyncio.run(main())
"""
    run = run_pytest(tmp_path, source, "--leaks=report")
    assert run.code == 0, run.text
    assert "    3      3  ORPHAN     test_it.py:8  test_leak.<locals>.main()" in run.text, run.text
    assert "test_it.py::test_leak[0] and 2 more" in run.text


def test_workers_of_xdist_report_to_one_table(tmp_path: Path) -> None:
    """Leaks found in worker processes fail their tests and stand in the one table."""
    source = """
@pytest.mark.parametrize("n", range(6))
def test_leak(n):
    async def main():
        kept.append(asyncio.create_task(asyncio.sleep(3600 if n % 2 else 0)))
    asyncio.run(main())
"""
    run = run_pytest(tmp_path, source, "--leaks", "-n", "2")
    assert run.outcomes() == {"passed": 6, "error": 3}, run.text
    assert "    3      3  ORPHAN     test_it.py:8" in run.text, run.text


def test_extras_on_request(tmp_path: Path) -> None:
    """Timers, threads and abandoned generators are told where they were asked for, and only there."""
    source = """
import threading

stop = threading.Event()

def ring():
    pass

async def numbers():
    yield 1
    yield 2

def test_timer():
    async def main():
        asyncio.get_running_loop().call_later(60, ring)
    asyncio.run(main())

def test_generator():
    async def main():
        generator = numbers()
        kept.append(generator)
        await generator.__anext__()
    asyncio.run(main())

def test_thread():
    threading.Thread(target=stop.wait, args=(20,), name="lingering").start()

def test_last():
    stop.set()
"""
    quiet = run_pytest(tmp_path, source, "--leaks")
    assert quiet.code == 0, quiet.text
    every = ["--leaks", *(f"--leaks-also={one}" for one in ("timers", "threads", "generators"))]
    run = run_pytest(tmp_path, source, *every)
    for name, what in (("timer", "timer"), ("generator", "async generator"), ("thread", "thread")):
        assert f"ERROR test_it.py::test_{name} - Failed: 1 {what} outlived" in run.text, run.text
    assert run.outcomes() == {"passed": 4, "error": 3}


def test_cases_of_unittest_under_pytest(tmp_path: Path) -> None:
    """The mixin works where pytest runs the cases, with or without --leaks; beside a failure the leak is an error."""
    source = """
import unittest
from backstay.leak.per_test import LeakFreeTestCase

class Cases(LeakFreeTestCase, unittest.IsolatedAsyncioTestCase):
    async def test_clean(self):
        await asyncio.sleep(0)

    async def test_leaks(self):
        kept.append(asyncio.create_task(asyncio.Event().wait()))
        await asyncio.sleep(0)

    async def test_fails(self):
        kept.append(asyncio.create_task(asyncio.Event().wait()))
        await asyncio.sleep(0)
        self.fail("its own")
"""
    for words in ([], ["--leaks"]):
        run = run_pytest(tmp_path, source, *words)
        assert run.outcomes() == {"passed": 1, "failed": 2, "error": 1}, run.text
        assert "ERROR test_it.py::Cases::test_fails - backstay.leak.per_test" in run.text
        assert "FAILED test_it.py::Cases::test_fails - AssertionError: its own" in run.text
        assert "FAILED test_it.py::Cases::test_leaks - " in run.text
        assert "STUCK   test_it.py:" in run.text
