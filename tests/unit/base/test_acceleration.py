"""The C extension is used where it is there, fits and is wanted, and nowhere else."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from backstay._base import _acceleration, accelerated


def extension(revision: int = _acceleration._REVISION) -> ModuleType:
    module = ModuleType("backstay._accel")
    vars(module)["REVISION"] = revision
    return module


@pytest.mark.parametrize(
    ("value", "wanted"), [("1", False), ("yes", False), ("0", True), ("", True)]
)
def test_the_environment_switches_it_off(
    monkeypatch: pytest.MonkeyPatch, value: str, wanted: bool
) -> None:
    """BACKSTAY_PURE=1 leaves all work to Python; "0" and "" are as if it were not set."""
    there = extension()
    monkeypatch.setitem(sys.modules, "backstay._accel", there)
    monkeypatch.setenv("BACKSTAY_PURE", value)
    assert accelerated() is (there if wanted else None)


def test_it_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no compiler was, nothing is said and Python does the work."""
    monkeypatch.setitem(sys.modules, "backstay._accel", None)  # importing it fails
    monkeypatch.delenv("BACKSTAY_PURE", raising=False)
    assert accelerated() is None


def test_one_that_other_sources_left_behind_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extension of another revision might be called by what its functions no longer are."""
    there = extension(_acceleration._REVISION + 1)
    monkeypatch.setitem(sys.modules, "backstay._accel", there)
    monkeypatch.delenv("BACKSTAY_PURE", raising=False)
    assert accelerated() is None
