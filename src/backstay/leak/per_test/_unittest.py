"""The mixin for unittest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, cast

from backstay.leak.per_test._check import LeakCheck, LeaksLeft
from backstay.leak.per_test._left import Left

__all__ = ["LeakFreeTestCase"]


class LeakFreeTestCase:
    """Fails each test of a `TestCase` or `IsolatedAsyncioTestCase` that leaves tasks alive.

    ::

        class MailTests(LeakFreeTestCase, unittest.IsolatedAsyncioTestCase):
            leaks_allow = ("function=Pool.*",)

    Name it before the class of unittest. A test that fails keeps its own error, with the report below it
    (where pytest runs the case: as one more error).

    Attributes:
        leaks_allow: patterns of what may be left, see `Pattern.parse`.
        leaks_also: what to tell besides tasks: "timers", "threads", "generators".
    """

    leaks_allow: ClassVar[Iterable[str]] = ()
    leaks_also: ClassVar[Iterable[str]] = ()

    def run(self, result: Any = None) -> Any:
        """Run the test, and judge once its fixtures and its loop are gone."""
        case = cast("Any", self)
        check = LeakCheck(case.id(), allow=self.leaks_allow, also=self.leaks_also)
        if result is None:
            result = case.defaultTestResult()
        before = _complaints(result)
        check.begin()
        try:
            run = cast("Callable[[Any], Any]", cast("Any", super()).run)
            returned = run(result)
        finally:
            left = check.end()
        if left:
            _tell(case, result, left, failed=_complaints(result) > before)
        return returned


def _complaints(result: Any) -> int:
    # pytest hands in a result of its own, which has no such lists.
    return len(getattr(result, "failures", ())) + len(getattr(result, "errors", ()))


def _tell(case: Any, result: Any, left: list[Left], *, failed: bool) -> None:
    error = LeaksLeft(left)
    if failed:
        for rows in (result.failures, result.errors):
            if rows and rows[-1][0] is case:
                rows[-1] = (case, f"{rows[-1][1]}\n{error}")
        return
    try:
        raise error
    except LeaksLeft as raised:
        result.addFailure(case, (LeaksLeft, raised, raised.__traceback__))
