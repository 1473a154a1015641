"""Every seeded fault can still be made: its text stands once in the code that it breaks.

The faults themselves take seconds each and run with ``BACKSTAY_SCHEDULES=full`` only, so that
without this a change of the code would leave them behind unseen.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import pytest
from mutations import Mutation

EXPLORED = Path(__file__).parents[1] / "explored"
FILES = sorted(path.stem for path in EXPLORED.glob("*_mutations.py"))


def mutations_in(value: Any) -> list[Mutation]:
    """Return the faults in nested lists and tuples."""
    if isinstance(value, Mutation):
        return [value]
    if isinstance(value, list | tuple):
        return [found for part in value for found in mutations_in(part)]
    return []


def source_of(fault: Mutation) -> Path:
    """Return the file that the fault is put into."""
    if fault.module.endswith(".c"):
        return EXPLORED.parents[1] / fault.module
    spec = importlib.util.find_spec(fault.module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


@pytest.mark.parametrize("name", FILES)
def test_its_text_occurs_once(name: str) -> None:
    """A fault whose text is gone, or stands twice, breaks nothing or the wrong thing."""
    module = importlib.import_module(name)
    faults = [found for value in vars(module).values() for found in mutations_in(value)]
    assert faults
    for fault in faults:
        source = source_of(fault).read_text(encoding="utf-8")
        assert source.count(fault.old) == 1, fault.name
        assert fault.old != fault.new, fault.name
