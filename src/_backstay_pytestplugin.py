"""The pytest plugin: many schedules for a marked test, and tests that leave nothing behind.

pytest loads it in every run of every project where Backstay is installed, so it
imports nothing of ours before a marked test runs or ``--leaks`` is given.

``--leaks`` fails tests that leave tasks alive; the work is in `backstay.integrations.pytest_leaks`.
`@pytest.mark.explore` runs an async test under many schedules.

::

    @pytest.mark.explore(schedules=2000, cancel=True)
    async def test_nothing_is_lost():
        ...

Keywords of the mark are those of `backstay.testing.explore`, and `quick`: how
many schedules to run unless the full number is asked for with
``--backstay-schedules=full`` or the environment variable ``BACKSTAY_SCHEDULES=full``.
A number there counts for every marked test. Fixtures are set up once for all
schedules: let the test itself build what it changes.
"""

from __future__ import annotations

import functools
import inspect
import os
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that every marked test heeds."""
    group = parser.getgroup("backstay", "schedule exploration")
    group.addoption(
        "--backstay-replay",
        metavar="STRING",
        help="run tests marked 'explore' under this one schedule, as printed with a failure",
    )
    group.addoption(
        "--backstay-schedules",
        metavar="N|full",
        help="how many schedules each test marked 'explore' runs (or BACKSTAY_SCHEDULES)",
    )
    _add_leak_options(parser)


def _add_leak_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("backstay leaks", "tasks that tests leave behind")
    group.addoption(
        "--leaks",
        nargs="?",
        const="fail",
        metavar="fail|report|off",
        help="check what tests leave alive; before a path write --leaks=fail",
    )
    group.addoption(
        "--leaks-also",
        action="append",
        metavar="timers|threads|generators",
        help="check these besides tasks; may be given again",
    )
    group.addoption(
        "--leaks-baseline",
        metavar="FILE",
        help="leaks that are known and do not fail a test; switches the check on",
    )
    group.addoption(
        "--leaks-write-baseline",
        action="store_true",
        help="write the leaks of this run into the file of --leaks-baseline",
    )
    parser.addini(
        "backstay_leaks", "check what tests leave alive: true, report or false", default=""
    )
    parser.addini("backstay_leaks_ignore", "patterns of tasks that tests may leave", "linelist")
    parser.addini("backstay_leaks_also", "timers, threads, generators: check these too", "args")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marks, and switch the check for leaks on where it is asked for."""
    config.addinivalue_line(
        "markers",
        "explore(schedules, quick, strategy, cancel, ...): run this async test under many schedules",
    )
    config.addinivalue_line(
        "markers",
        "no_leaks(allow, also): fail when this test leaves tasks alive, also without --leaks",
    )
    config.addinivalue_line(
        "markers",
        "leaks(expect, allow, also, check): how many leaks there must be, which there may be, or check=False",
    )
    mode = _leak_mode(config)
    if mode in ("fail", "report"):
        _check_leaks(config, mode)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Switch the check for leaks on where only marks ask for it."""
    if _leak_mode(config) == "" and any(
        item.get_closest_marker("leaks") or item.get_closest_marker("no_leaks") for item in items
    ):
        _check_leaks(config, "marked")


def _leak_mode(config: pytest.Config) -> str:
    """Return "fail", "report", "off", or "" where nothing was said."""
    asked = config.getoption("--leaks")
    where = "--leaks"
    if asked is None:
        where = "the ini option backstay_leaks"
        said = str(config.getini("backstay_leaks")).lower()
        asked = {"true": "fail", "1": "fail", "yes": "fail", "false": "off"}.get(said, said)
    if asked not in ("", "fail", "report", "off"):
        raise pytest.UsageError(
            f"{where} is one of fail, report and off, not {asked!r}; before a path write --leaks=fail"
        )
    if not asked and (
        config.getoption("--leaks-baseline") or config.getoption("--leaks-write-baseline")
    ):
        return "fail"
    return str(asked)


def _check_leaks(config: pytest.Config, mode: Any) -> None:
    from backstay.integrations.pytest_leaks import LeakPlugin

    config.pluginmanager.register(LeakPlugin(config, mode), "backstay_leaks")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Explore a marked async test; leave all others alone."""
    __tracebackhide__ = True
    mark = pyfuncitem.get_closest_marker("explore")
    if mark is None:
        return None
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        raise pytest.UsageError(f"{pyfuncitem.nodeid} is marked 'explore' but is no async function")
    from backstay.testing import explore

    wanted = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in wanted if name in pyfuncitem.funcargs}
    seen = explore(
        functools.partial(pyfuncitem.obj, **arguments), **_options(pyfuncitem.config, mark)
    )
    pyfuncitem.add_report_section("call", "backstay", str(seen))
    pyfuncitem.user_properties.append(("backstay_schedules", seen.schedules))
    return True


def _options(config: pytest.Config, mark: pytest.Mark) -> dict[str, Any]:
    options = dict(mark.kwargs)
    if mark.args:
        raise pytest.UsageError(f"the mark 'explore' takes keywords only, not {mark.args!r}")
    quick = options.pop("quick", None)
    asked = config.getoption("--backstay-schedules") or os.environ.get("BACKSTAY_SCHEDULES")
    if not asked and quick is not None:
        options["schedules"] = quick
    elif asked and asked != "full":
        if not asked.isdecimal() or int(asked) < 1:
            raise pytest.UsageError(
                f"schedules must be a number of at least 1 or 'full', not {asked!r}"
            )
        options["schedules"] = int(asked)
    text = config.getoption("--backstay-replay")
    if text:
        options["replay"] = text
    return options
