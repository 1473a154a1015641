"""How a process is asked, with a clock and a target of our own."""

from __future__ import annotations

from typing import Any

import pytest
from target_documents import finding, group, look, report

from backstay.errors import TargetGone, UsageError
from backstay.observe.diagnose import _survey, survey


class Target:
    """Answers what it is told to, and notes when it was asked what."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, next_s: float = 0.0) -> None:
        self.now = 0.0
        self.asked: list[tuple[float, str]] = []
        self.next_s = next_s
        self.missing: tuple[str, ...] = ()
        self.gone_at = float("inf")
        self.over_at = float("inf")
        monkeypatch.setattr(_survey, "now", lambda: self.now)

    def get(self, path: str) -> dict[str, Any]:
        self.asked.append((self.now, path))
        if self.now >= self.gone_at:
            raise TargetGone("it has ended")
        if path in self.missing:
            raise UsageError(f"no document at {path}")
        seen = look(1_000.0 + self.now, groups=[group("app.py:5", 3)])
        value = {"name": "backstay_process_open_fds", "samples": [{"value": 5.0 + self.now}]}
        answers: dict[str, dict[str, Any]] = {
            "/v1/ps": dict(seen.tasks),
            "/v1/statistics": dict(seen.statistics),
            "/v1/guards": {"guards": []},
            "/metrics?json=1": {"families": [value, {"name": "other"}]},
            "/v1/leaks?sample=1": {"next_s": self.next_s},
            "/v1/leaks": report(growth="3 samples"),
        }
        return answers.get(path) or report(finding("GROWING"))

    def wait(self, seconds: float) -> bool:
        assert seconds >= 0
        self.now += seconds
        return self.now >= self.over_at

    def samples(self) -> list[float]:
        return [at for at, path in self.asked if path == "/v1/leaks?sample=1"]


def test_two_looks_with_samples_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many samples as the growth rule wants, the first at once and the last at the end."""
    target = Target(monkeypatch)
    told: list[float] = []
    made = survey(
        target, 30.0, target.wait, target="x", tell=lambda passed, total: told.append(passed)
    )
    assert made is not None
    assert (made.target, made.window_s) == ("x", 30.0)
    assert [cause.verdict for cause in made.causes] == ["GROWING"]
    samples = target.samples()
    assert (len(samples), samples[0], samples[-1]) == (33, 0.0, 30.0)
    assert told == samples
    assert {fact.name: (fact.before, fact.after) for fact in made.facts}["open descriptors"] == (
        5,
        35,
    )
    assert made.doubts == (), "one history could judge growth, which is enough"


@pytest.mark.parametrize(("seconds", "samples"), [(0.1, 33), (100.0, 51), (3_600.0, 81)])
def test_how_many_samples(seconds: float, samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One each 2 s in a long window, within bounds."""
    target = Target(monkeypatch)
    survey(target, seconds, target.wait)
    assert len(target.samples()) == samples


def test_a_target_with_many_tasks_is_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how long a pause it wants; the window ends in time all the same."""
    target = Target(monkeypatch, next_s=8.0)
    survey(target, 30.0, target.wait)
    assert target.samples() == [0.0, 8.0, 16.0, 24.0, 30.0]


def test_a_proof_takes_two_looks_a_second_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is proved both times is told."""
    target = Target(monkeypatch)
    survey(target, 20.0, target.wait, prove=True)
    proofs = [at for at, path in target.asked if path.endswith("close=1&prove=1")]
    assert proofs == [20.0, pytest.approx(21.2)]


@pytest.mark.parametrize("over_at", [5.0, 20.5])
def test_whoever_asked_may_want_no_more(over_at: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the window as well as between two proofs; then there is no diagnosis."""
    target = Target(monkeypatch)
    target.over_at = over_at
    assert survey(target, 20.0, target.wait, prove=True) is None


def test_a_target_that_ends_within_the_window_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says so; half a diagnosis would be a wrong one."""
    target = Target(monkeypatch)
    target.gone_at = 10.0
    with pytest.raises(TargetGone, match="it has ended"):
        survey(target, 30.0, target.wait)


def test_an_older_target_lacks_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the rest is told."""
    target = Target(monkeypatch)
    target.missing = ("/v1/guards", "/metrics?json=1")
    made = survey(target, 30.0, target.wait)
    assert made is not None
    assert [fact.name for fact in made.facts] == ["tasks", "resident memory"]
