"""Looking for leaks wakes no module and trips over nothing that poses as one."""

from __future__ import annotations

import asyncio
import sys
from types import ModuleType
from typing import Any

import pytest

from backstay import leak
from backstay.leak._memory import memory_held
from backstay.leak._namespaces import namespaces
from backstay.leak._trial_deletion import LIVE, judge


class Lazy(ModuleType):
    """Loads what it stands for as soon as anybody asks it for anything, as importlib's does."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"a module was asked for {name}")

    def __bool__(self) -> bool:
        raise AssertionError("a module was asked whether it is true")


class Poser:
    """Stands in `sys.modules` and is none; it has no namespace either."""

    __slots__ = ()

    def __bool__(self) -> bool:
        raise AssertionError("what poses as a module was asked whether it is true")


@pytest.fixture
def odd_modules(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Put modules into `sys.modules` that must not be touched."""
    lazy = Lazy("lazy")
    monkeypatch.setitem(sys.modules, "lazy", lazy)
    monkeypatch.setitem(sys.modules, "poser", Poser())
    monkeypatch.setitem(sys.modules, "missing", None)  # as after a failed import
    return lazy


def test_modules_are_read_past_their_own_ways(odd_modules: ModuleType) -> None:
    """A lazy module stays asleep, and its namespace is known all the same."""
    found = dict(namespaces())
    assert found["lazy"]["__name__"] == "lazy"
    assert found["sys"] is vars(sys)
    assert "poser" not in found
    assert "missing" not in found


@pytest.mark.real_loop
async def test_a_proof_wakes_no_module(odd_modules: ModuleType) -> None:
    """Judging, naming holders and weighing what is held go past lazy modules, both ways."""
    loop = asyncio.get_running_loop()
    held = [loop.create_task(asyncio.Event().wait())]
    await asyncio.sleep(0)
    (proved,) = leak.prove().proved
    assert proved.verdict == "STUCK"
    assert memory_held(held).tasks == 1
    assert judge(held, loop).verdicts != bytes([LIVE])
    held[0].cancel()
    await asyncio.gather(*held, return_exceptions=True)
