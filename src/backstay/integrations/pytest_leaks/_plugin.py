"""The hooks: who is checked, when, and what becomes of a finding.

A test is judged when its fixtures are torn down, since what a fixture ends is no leak; and at the close of each
loop that ends before, since its runner cancels what is left. Fixtures of a wider scope have a token of their
own, so that what they keep running is nobody's leak.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Generator
from typing import Any

import pytest

from backstay.integrations.pytest_leaks._baseline import Baseline, plain, stable
from backstay.integrations.pytest_leaks._settings import Mode, Settings, Wanted, wanted_of
from backstay.integrations.pytest_leaks._summary import Row, Tally
from backstay.leak.per_test import LeakCheck, Left, _doors
from backstay.leak.per_test._check import counted
from backstay.leak.per_test._checked import Checked, current
from backstay.leak.per_test._left import told

__all__ = ["LeakPlugin"]

_CHECK = pytest.StashKey[LeakCheck]()
_WANTED = pytest.StashKey[Wanted]()
_FAILED = pytest.StashKey[bool]()
_FOUND = pytest.StashKey[list[tuple[Left, Row]]]()


class LeakPlugin:
    """Checks tests for what they leave behind."""

    def __init__(self, config: pytest.Config, mode: Mode) -> None:
        """Read what is asked for.

        Raises:
            pytest.UsageError: it cannot be meant.
        """
        self._config = config
        self._settings = settings = Settings.read(config, mode)
        self._tally = Tally()
        self._baseline = Baseline()
        if settings.baseline is not None:
            self._baseline = Baseline.read(settings.baseline, must_exist=not settings.write)
        self._written: int | None = None

    # -- the run -----------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, Any, Any]:
        """Watch the doors of loops for as long as tests run."""
        _doors.watch()
        try:
            return (yield)
        finally:
            _doors.unwatch()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count, also what workers of pytest-xdist have found."""
        if report.when == "call" and report.passed:
            self._tally.passed.add(plain(report.nodeid))
        rows: list[Row] | None = getattr(report, "backstay_leaks", None)
        if rows is not None:
            self._tally.add(report.nodeid, rows)

    def pytest_sessionfinish(self) -> None:
        """Write the baseline, once for all workers."""
        settings = self._settings
        if settings.write and settings.baseline and not hasattr(self._config, "workerinput"):
            self._written = self._baseline.write(
                settings.baseline, self._tally.entries(), self._tally.checked
            )

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Tell the table, and known leaks that did not happen."""
        table = self._tally.table()
        passed = self._tally.checked & self._tally.passed
        gone = self._baseline.gone(self._tally.entries(), passed)
        if table or gone or self._written is not None:
            terminalreporter.section("leaks")
        for line in table:
            terminalreporter.write_line(line)
        if self._written is not None:
            terminalreporter.write_line(
                f"{self._settings.baseline}: {self._written} known leaks written"
            )
        elif gone:
            terminalreporter.write_line("known leaks that did not happen; delete their lines:")
            for one in gone:
                terminalreporter.write_line(f"  {one}")

    # -- one test ----------------------------------------------------------------

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Begin, before the first fixture of the test."""
        item.stash[_FAILED] = False
        wanted, complaint = None, ""
        try:
            wanted = wanted_of(item, self._settings)
        except pytest.UsageError as error:
            complaint = str(error)
        if wanted is not None:
            check = LeakCheck(item.nodeid, allow=wanted.allow, also=wanted.also)
            item.stash[_CHECK] = check
            item.stash[_WANTED] = wanted
            check.begin()
        result = yield
        if complaint:  # not before the hooks that the teardown counts upon
            pytest.fail(complaint, pytrace=False)
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, Any, Any]:
        """Have what a wider fixture starts belong to the fixture."""
        before = current.get()
        if before is None or fixturedef.scope == "function":
            return (yield)
        current.set(Checked(f"{fixturedef.argname} ({fixturedef.scope})", "fixture"))
        try:
            return (yield)
        finally:
            current.set(before)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
        """Name the test inside its coroutine: a framework may run many in one task."""
        check = pyfuncitem.stash.get(_CHECK, None)
        function: Any = pyfuncitem.obj
        if check is None or not inspect.iscoroutinefunction(function):
            return (yield)

        @functools.wraps(function)
        async def in_its_name(*args: Any, **options: Any) -> Any:
            __tracebackhide__ = True
            before = current.get()
            current.set(check.test)
            try:
                return await function(*args, **options)
            finally:
                current.set(before)

        pyfuncitem.obj = in_its_name
        try:
            return (yield)
        finally:
            pyfuncitem.obj = function

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Judge, after the last fixture of the test."""
        try:
            result = yield
        except BaseException:
            self._judge(item)
            raise
        complaint = self._judge(item)
        if complaint and not item.stash.get(_FAILED, False) and self._settings.mode != "report":
            pytest.fail(complaint, pytrace=False)
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Let the report of a test carry its leaks."""
        report = yield
        if call.when != "teardown":
            item.stash[_FAILED] = item.stash.get(_FAILED, False) or call.excinfo is not None
            return report
        found = item.stash.get(_FOUND, None)
        if found is not None:
            del item.stash[_FOUND]
            setattr(report, "backstay_leaks", [row for _, row in found])
            new = [left for left, row in found if row["status"] == "new"]
            failed = item.stash.get(_FAILED, False)
            if new and failed:
                report.sections.append(
                    ("leaks at teardown", f"{counted(new)} outlived the test\n\n{told(new)}")
                )
        return report

    def _judge(self, item: pytest.Item) -> str:
        """Return what there is to complain of; "" when nothing."""
        check = item.stash.get(_CHECK, None)
        if check is None:
            return ""
        del item.stash[_CHECK]
        left = check.end()
        expect = item.stash[_WANTED].expect
        rows = [(one, self._row(one, item, expect is not None)) for one in left]
        item.stash[_FOUND] = rows
        if expect is not None:
            return _unlike(expect, left)
        new = [one for one, row in rows if row["status"] == "new"]
        if not new or self._settings.write:
            return ""
        return f"{counted(new)} outlived the test\n\n{told(new)}"

    def _row(self, one: Left, item: pytest.Item, expected: bool) -> Row:
        place = stable(one.place, item.config.rootpath)
        known = self._baseline.knows(place, plain(item.nodeid))
        status = "expected" if expected else "known" if known else "new"
        return Row(
            status=status, verdict=one.verdict, site=one.site, function=one.function, place=place
        )


def _unlike(expect: int, left: list[Left]) -> str:
    if len(left) == expect:
        return ""
    seen = f"{counted(left)}\n\n{told(left)}" if left else "none"
    return f"the mark 'leaks' expects {expect} to outlive the test; there were: {seen}"
