"""How tests run here: async tests on virtual time, unless they ask for a real loop."""

from __future__ import annotations

import asyncio
import inspect
import os
from functools import partial

import pytest
from hypothesis import settings

from backstay.testing import run_virtual

# A commit passes or fails by what is in it: the same examples each time. The search for new ones
# is `make search` (docs/decisions/0006).
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("fresh", deadline=None, print_blob=True)
settings.load_profile("fresh" if os.environ.get("BACKSTAY_SEARCH") == "fresh" else "same")


#: Files that take longest. A worker takes a file at a time: what begins last must not last long.
_LONGEST = (
    "property/test_prover_model.py",
    "pytest_leaks/test_expectations.py",
    "pytest_leaks/test_pytest_leaks.py",
    "redis/test_sharing.py",
    "corpus/test_corpus.py",
    "lab/test_soak_end_to_end.py",
    "lab/test_cascading_failure.py",
    "contracts/test_docs.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files begin first."""
    items.sort(key=lambda item: not item.nodeid.partition("::")[0].endswith(_LONGEST))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test: in virtual time, or with `real_loop` on a stock loop."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    if pyfuncitem.get_closest_marker("explore") is not None:
        return None  # our plugin runs it, under many schedules
    wanted = inspect.signature(pyfuncitem.obj).parameters
    # A partial, and no closure over the item: a test that looks at what its own task holds would
    # see the whole session through it, and the more tests there are, the more.
    test = partial(pyfuncitem.obj, **{name: pyfuncitem.funcargs[name] for name in wanted})
    if pyfuncitem.get_closest_marker("real_loop") is not None:
        asyncio.run(test())
    else:
        run_virtual(test)
    return True
