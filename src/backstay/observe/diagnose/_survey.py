"""The thin shell: two looks at a process, samples in between, and the judgement.

All of it runs on the asking side, from documents that the admin plane has anyway. The target
then does nothing but answer short questions: no thread of it waits for the window to
pass, whoever gives up leaves nothing behind, and a target that is half dead is still asked piece by piece.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from backstay._base import now
from backstay.errors import TargetGone, UsageError
from backstay.observe.diagnose._diagnosis import Diagnosis, judge
from backstay.observe.diagnose._look import Document, Look, rows

__all__ = ["CONFIRM_S", "Source", "Tell", "Wait", "survey"]

#: Seconds between two looks of a proof; the target wants one second at least.
CONFIRM_S: Final = 1.2
#: The growth rule wants 25 samples; some may come late.
_LEAST_SAMPLES: Final = 32
_MOST_SAMPLES: Final = 80

Wait = Callable[[float], bool]
"""Waits for seconds; returns True when whoever asked wants no more."""

Tell = Callable[[float, float], None]
"""Is told the seconds that have passed, and how many there will be."""

_FIGURES: Final = {
    "backstay_process_open_fds": "open descriptors",
    "backstay_gc_collections": "garbage collections",
    "backstay_process_cpu_seconds": "processor seconds",
}


class Source(Protocol):
    """Whatever answers for the target, such as an `AdminClient`."""

    def get(self, path: str) -> dict[str, Any]:
        """Return the document at `path`."""
        ...


def survey(
    source: Source,
    seconds: float,
    wait: Wait,
    *,
    target: str = "",
    prove: bool = False,
    tell: Tell | None = None,
    alert: tuple[tuple[str, str], ...] = (),
) -> Diagnosis | None:
    """Look at a process for some seconds and say what is wrong with it.

    Args:
        source: answers for it.
        seconds: length of the window, > 0. Growth needs 20 s at least, unless the process has been
            sampled for long enough already.
        wait: waits; called from this thread.
        target: how the process was named.
        prove: also prove which tasks nothing can wake any more, which stops the application
            twice for some milliseconds.
        tell: is told how far it has come.
        alert: labels and annotations of the alert that asks.

    Returns:
        The diagnosis; None when `wait` has cut it short.

    Raises:
        TargetGone: the process cannot be reached, or ended within the window.

    Cost: for the target a census of its tasks (a microsecond each) about once a second, and two dumps.
    """
    before = _look(source)
    if _sampled(source, seconds, wait, tell):
        return None
    if prove:
        source.get("/v1/leaks?close=1&prove=1")
        if wait(CONFIRM_S):
            return None
    reports: list[Document] = [source.get("/v1/leaks")]
    reports.append(source.get(f"/v1/leaks?close=1&prove={int(prove)}"))
    return judge(before, _look(source), reports, target=target, alert=alert)


def _sampled(source: Source, seconds: float, wait: Wait, tell: Tell | None) -> bool:
    """Have samples taken until the time is over; return whether it was cut short."""
    samples = min(_MOST_SAMPLES, max(_LEAST_SAMPLES, round(seconds / 2)))
    step = seconds / samples
    began = now()
    due = 0.0
    while True:
        answer = _if_there(source, "/v1/leaks?sample=1")  # one that fails is one less
        passed = now() - began
        if tell is not None:
            tell(min(passed, seconds), seconds)
        if passed >= seconds:
            return False
        # A target with a great many tasks says how often it can afford to be sampled.
        due = max(due + step, passed + float(answer.get("next_s") or 0.0))
        if wait(max(0.0, min(due, seconds) - passed)):
            return True


def _look(source: Source) -> Look:
    tasks = source.get("/v1/ps")
    statistics = source.get("/v1/statistics")
    guards = _if_there(source, "/v1/guards")
    figures = _figures(_if_there(source, "/metrics?json=1"))
    return Look(tasks, statistics, guards, figures)


def _if_there(source: Source, path: str) -> dict[str, Any]:
    try:
        return source.get(path)
    except TargetGone:
        raise
    except UsageError:
        return {}  # an older target does not have it, or fails at it: the rest is better than nothing


def _figures(document: Document) -> dict[str, float]:
    found: dict[str, float] = {}
    for family in rows(document, "families"):
        name = _FIGURES.get(str(family.get("name")))
        values = [one.get("value") for one in rows(family, "samples")]
        numbers = [float(value) for value in values if isinstance(value, int | float)]
        if name is not None and numbers:
            found[name] = sum(numbers)
    return found
