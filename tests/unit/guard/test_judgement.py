"""What an exception says about the dependency, and who is to blame for a cut."""

from __future__ import annotations

import asyncio

import pytest

from backstay import deadline_at, now, timeout
from backstay.errors import DeadlineExceeded, FullError
from backstay.guard._judgement import counts, judge
from backstay.guard.rules import FAIL, NEUTRAL, OK

EVERYTHING = counts(Exception)


def of(error: BaseException, elapsed: float = 1.0, usual: float | None = 0.5) -> str:
    return judge(error, elapsed, usual, None, EVERYTHING, now())


async def test_errors_count_as_the_user_says() -> None:
    """What `on` does not count is an answer of the dependency."""
    only_os = counts(OSError)
    assert judge(ConnectionError(), 1.0, None, None, only_os, now()) == FAIL
    assert judge(KeyError(), 1.0, None, None, only_os, now()) == OK
    several = counts((KeyError, OSError))
    assert judge(KeyError(), 1.0, None, None, several, now()) == FAIL
    by_text = counts(lambda error: "5" in str(error))
    assert judge(ValueError("503"), 1.0, None, None, by_text, now()) == FAIL
    assert judge(ValueError("404"), 1.0, None, None, by_text, now()) == OK


async def test_a_cancel_is_neutral_unless_a_deadline_gave_it() -> None:
    """A caller that goes away accuses nobody; a deadline after the usual time does."""
    assert of(asyncio.CancelledError()) == NEUTRAL
    async with timeout(5.0):
        assert of(asyncio.CancelledError()) == NEUTRAL
    with pytest.raises(DeadlineExceeded):
        async with deadline_at(now()):
            assert of(asyncio.CancelledError()) == FAIL
            assert of(asyncio.CancelledError(), elapsed=0.1) == NEUTRAL
            assert of(DeadlineExceeded("us", 1.0), elapsed=0.1) == NEUTRAL
            assert of(DeadlineExceeded("us", 1.0), elapsed=0.9) == FAIL
            await asyncio.sleep(1)


async def test_a_timeout_inside_the_call_is_a_failure_of_it() -> None:
    """Time that ran out further down, while we still have some, is their fault."""
    assert of(DeadlineExceeded("theirs", 0.1)) == FAIL
    assert of(TimeoutError()) == FAIL


async def test_rejections_and_the_end_of_the_process_are_neutral() -> None:
    """A guard of ours that said no has not asked the dependency."""
    assert of(FullError("full", policy="x")) == NEUTRAL
    assert of(KeyboardInterrupt()) == NEUTRAL
    assert of(GeneratorExit()) == NEUTRAL


@pytest.mark.parametrize("nonsense", [3, int, (OSError, int)])
def test_nonsense_is_refused_when_the_guard_is_made(nonsense: object) -> None:
    """Not at three in the morning, at the first error."""
    with pytest.raises(TypeError, match="classes of exceptions or a function"):
        counts(nonsense)  # type: ignore[arg-type]
