"""What breaks when in a soak, and what it must show."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.errors import UsageError
from backstay.lab.compare import RootCause, Sample, verdict_of
from backstay.lab.load import SecondRecord
from backstay.lab.scenario import Fault
from backstay.lab.soak import SoakLimits, SoakLook, judge_soak, soak_faults
from backstay.lab.soak._judge import look
from backstay.lab.soak._run import _was_proved

FAULTS = tuple(
    Fault(
        at_s=0.0,
        until_s=lasts,
        process="bank",
        path="/control",
        body={"hang": True},
        reset={"hang": False},
        title=title,
    )
    for lasts, title in ((12.0, "hangs"), (8.0, "is slow"), (5.0, "refuses"))
)


@given(st.integers(0, 2**32), st.floats(60.0, 2_000.0))
def test_faults_come_one_after_the_other_and_all_end_in_time(seed: int, end: float) -> None:
    """In an order of the seed's, with pauses, none before the beginning."""
    found = soak_faults(FAULTS, begin_s=30.0, end_s=end, seed=seed)
    assert found == soak_faults(FAULTS, begin_s=30.0, end_s=end, seed=seed)
    before = 30.0
    for fault in found:
        assert before + 5.0 <= fault.at_s <= before + 15.0
        before = fault.until_s or 0.0
    assert before <= end
    if end > 400:
        assert {fault.title for fault in found} == {"hangs", "is slow", "refuses"}


def test_faults_that_never_end_are_no_soak() -> None:
    """Neither without an end nor without what ends them."""
    for wrong in (replace(FAULTS[0], until_s=None), replace(FAULTS[0], reset=None)):
        with pytest.raises(UsageError, match="never ends"):
            soak_faults([wrong], begin_s=0, end_s=100, seed=1)
    stopped = replace(FAULTS[0], signal="stop", reset=None)
    assert soak_faults([stopped], begin_s=0, end_s=100, seed=1)
    assert soak_faults([], begin_s=0, end_s=100, seed=1) == ()


def second(number: int, ok: int = 100, failed: int = 0) -> SecondRecord:
    return SecondRecord(number, ok + failed, ok + failed, ok, failed, 0.01, 0.02, 0)


CAUSE = RootCause(
    site="shop/order/naive.py:52",
    function="create",
    verdict="ORPHAN",
    count=65,
    blocked_on="http",
    owner="",
    trace_ids=(),
    services=("order",),
)


def seen(tasks: float | None, rss: float | None) -> SoakLook:
    return SoakLook(15.0, 75.0, tasks, rss)


GOOD = {
    "first": seen(100.0, 200e6),
    "last": seen(110.0, 205e6),
    "seconds": [second(k) for k in range(200)],
    "faults": (replace(FAULTS[0], at_s=50.0, until_s=62.0),),
    "warmup_s": 15.0,
    "causes": (),
    "asked": {"order": True, "payment": True},
    "limits": SoakLimits(),
}


def judged(**other: object) -> dict[str, str]:
    return {check.name: check.status for check in judge_soak(**{**GOOD, **other})}


def test_a_good_soak_passes() -> None:
    """Everything that was asked is met."""
    assert set(judged().values()) == {"met"}
    assert verdict_of(judge_soak(**GOOD)) == "PASS"


@pytest.mark.parametrize(
    ("other", "name", "status"),
    [
        ({"causes": (CAUSE,)}, "verdicts", "missed"),
        ({"asked": {"order": True, "payment": False}}, "verdicts", "unknown"),
        ({"last": seen(146.0, 205e6)}, "tasks", "missed"),
        ({"last": seen(None, 205e6)}, "tasks", "unknown"),
        ({"last": seen(110.0, 221e6)}, "memory", "missed"),
        ({"first": seen(100.0, None)}, "memory", "unknown"),
        ({"seconds": [second(k, 90, 10) for k in range(200)]}, "success", "missed"),
        ({"seconds": []}, "success", "unknown"),
        ({"faults": ()}, "faults", "unknown"),
    ],
)
def test_each_thing_that_is_asked_can_be_missed(
    other: dict[str, object], name: str, status: str
) -> None:
    """And what cannot be told makes no verdict."""
    assert judged(**other)[name] == status
    wanted = "FAIL" if status == "missed" else "INCONCLUSIVE"
    assert verdict_of(judge_soak(**{**GOOD, **other})) == wanted


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        ("0 proved of 12 tasks asked, in 1.2 ms; 3 will be ended by a timer", True),
        ("0 proved of 12 tasks asked, in 1.2 ms; 1 not confirmed yet: ask again", False),
        ("refused: the loop did not answer within 2 s", False),
        ("not asked for", False),
    ],
)
def test_a_service_that_could_not_prove_has_not_answered(said: str, counts: bool) -> None:
    """Its silence is no proof that nothing leaks."""
    assert _was_proved({"findings": [], "proof": said}) is counts
    assert not _was_proved(None)


def test_failures_during_a_fault_and_just_after_are_let_off() -> None:
    """So are those of the warm-up."""
    bad = [second(k, 0, 100) if k < 15 or 49 <= k <= 67 else second(k) for k in range(200)]
    assert judged(seconds=bad)["success"] == "met"
    bad[100] = second(100, 0, 100)
    assert judged(seconds=bad)["success"] == "missed"


def test_a_look_takes_the_median_of_complete_samples() -> None:
    """One that misses a service says nothing."""
    samples = [
        Sample(float(k), {"a": k, "b": 1}, {"a": 10, "b": 5}, 2 if k != 3 else 3) for k in range(6)
    ]
    assert look(samples, 1.0, 5.0) == SoakLook(1.0, 5.0, 3.0, 15.0)
    assert look(samples, 50.0, 60.0) == SoakLook(50.0, 60.0, None, None)
