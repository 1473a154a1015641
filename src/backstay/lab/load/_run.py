"""The driver: runs the generator in a process of its own and never leaves that process behind."""

from __future__ import annotations

from collections.abc import Callable

from ._options import LoadOptions
from ._result import LoadResult, SecondRecord
from ._workload import WorkloadSpec

__all__ = ["run_load"]


async def run_load(
    options: LoadOptions, workload: WorkloadSpec | str, *, progress: Callable[[SecondRecord], None] | None = None
) -> LoadResult:
    """Offer load from a separate process and return what it found."""
    raise NotImplementedError
