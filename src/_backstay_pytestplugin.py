"""The pytest plugin: `@pytest.mark.explore` runs an async test under many schedules.

pytest loads it in every run of every project where Backstay is installed, so it
imports nothing of ours before a marked test runs.

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


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark."""
    config.addinivalue_line(
        "markers",
        "explore(schedules, quick, strategy, cancel, ...): run this async test under many schedules",
    )


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
