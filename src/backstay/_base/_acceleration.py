"""Whether the optional C extension does the work, or pure Python.

Pure Python is complete and decides what is right; the extension (`native/`) does
the same faster where it was built. This is the only place that chooses, so one
variable of the environment switches all of it off: a process with
``BACKSTAY_PURE=1`` runs no C code of ours.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from contextvars import ContextVar
from importlib import import_module
from typing import Any, Protocol, cast

__all__ = ["Accelerator", "accelerated"]

# The number that native/accel.h has: an extension left behind by other sources may call
# functions of ours by what they were, so it is not used.
_REVISION = 5


class Accelerator(Protocol):
    """What the extension offers; each function says in which module its twin is.

    This is what type checkers know of `backstay._accel`; nothing but `accelerated` imports it.
    """

    def task_factory(
        self,
        make: type[Any],
        uncommon: Callable[..., Any],
        user: set[int],
        skip: set[int],
        floor: set[int],
        learn: Callable[[dict[str, Any]], bool],
        tick: list[float],
        owner: ContextVar[Any],
        skip_caller: bool,
    ) -> Callable[..., Any]:
        """Make a task factory: `backstay.tasks._tracking`."""
        ...

    def judge(
        self,
        tasks: list[Any],
        loop: Any,
        barred: Collection[int],
        budget: int,
        passed_by: Collection[int],
        registry: Any,
        rosters: tuple[Any, ...],
    ) -> tuple[bytes, int]:
        """Return verdicts and the number of objects met: `backstay.leak._trial_deletion`."""
        ...

    def recorder(
        self, original: Callable[..., Any], capacity: int, tracked: type[Any], /
    ) -> Callable[..., Any]:
        """Make a stand-in for ``call_soon`` that records: `backstay.observe.recorder._pure`."""
        ...


def accelerated() -> Accelerator | None:
    """Return the extension when it is there and wanted, else None: then pure Python does it.

    ``BACKSTAY_PURE`` is read anew each time; "", "0" and its absence mean that the
    extension is wanted. Ask once where work begins, not once for each piece of it.

    Cost: about 2 µs.
    """
    if os.environ.get("BACKSTAY_PURE", "") not in ("", "0"):
        return None
    try:
        found = import_module("backstay._accel")
    except ImportError:  # not built: no compiler was there, or the interpreter is not one we know
        return None
    return cast("Accelerator", found) if found.REVISION == _REVISION else None
