"""How tests run here: async tests on virtual time, unless they ask for a real loop."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from backstay.testing import run_virtual


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test: in virtual time, or with `real_loop` on a stock loop."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    if pyfuncitem.get_closest_marker("explore") is not None:
        return None  # our plugin runs it, under many schedules
    wanted = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in wanted}
    if pyfuncitem.get_closest_marker("real_loop") is not None:
        asyncio.run(pyfuncitem.obj(**arguments))
    else:
        run_virtual(lambda: pyfuncitem.obj(**arguments))
    return True
