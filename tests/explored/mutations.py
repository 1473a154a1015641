"""Breaks a module on purpose, one fault at a time, and asks whether the explored tests notice.

Coverage tells which lines ran; only this tells whether a scenario would see them
being wrong. A mutation replaces a piece of source text that must occur exactly
once; the module is compiled from the changed text in a process of its own, which
runs pytest on the tests that ought to fail. Nothing on disk changes. Since that
takes seconds for each fault, it is done with ``BACKSTAY_SCHEDULES=full`` only.

    from mutations import Mutation, assert_caught

    GIVE_BACK = Mutation("drop the give-back", "backstay.tasks._places", "self._hand_over()", "pass")
    assert_caught(GIVE_BACK, "tests/explored/test_scope.py")
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Mutation:
    """One fault.

    Attributes:
        name: what is broken, in words; the test id.
        module: where; the path of a file, relative to the root, where that is not Python.
        old: source text that occurs exactly once there.
        new: what stands there instead.
    """

    name: str
    module: str
    old: str
    new: str

    def __str__(self) -> str:
        return self.name.replace(" ", "_")


def assert_caught(
    mutation: Mutation,
    *tests: str,
    schedules: int = 400,
    options: Sequence[str] = (),
    explored: bool = True,
) -> None:
    """Fail unless a test fails on the broken module, and says why as a schedule.

    Args:
        mutation: the fault.
        tests: paths or node ids for pytest, relative to the root.
        schedules: how many each marked test may run.
        options: further words for pytest.
        explored: whether the failure has to be one of a schedule; False for a fault
            that shows in every order.
    """
    __tracebackhide__ = True
    if os.environ.get("BACKSTAY_SCHEDULES") != "full":
        pytest.skip("each mutation takes seconds: they are run with BACKSTAY_SCHEDULES=full")
    done = subprocess.run(
        [
            sys.executable,
            str(Path(__file__)),
            json.dumps(asdict(mutation)),
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--backstay-schedules={schedules}",
            *options,
            *tests,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = f"{done.stdout}\n{done.stderr}"
    assert done.returncode != 0, f"nobody noticed: {mutation.name}"
    assert done.returncode == 1, f"pytest itself failed on {mutation.name!r}:\n{said}"
    assert not explored or "ExplorationFailure" in said, (
        f"{mutation.name!r} failed, but not by exploration:\n{said}"
    )


class _Mutant(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and loads one module, from changed source."""

    def __init__(self, mutation: Mutation) -> None:
        self._mutation = mutation

    def go_first(self) -> None:
        """Stand before all other finders."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        sys.meta_path.insert(0, self)

    @pytest.hookimpl(tryfirst=True)
    def pytest_load_initial_conftests(self) -> None:
        """Go before pytest's finder, which rewrites asserts in packages that bring a plugin.

        Our conftest, which is loaded next, imports the core.
        """
        self.go_first()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._mutation.module:
            return None
        found = importlib.machinery.PathFinder.find_spec(fullname, path)
        assert found is not None
        assert found.origin is not None
        return importlib.util.spec_from_loader(fullname, self, origin=found.origin)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None
        assert spec.origin is not None
        module.__file__ = spec.origin
        source = Path(spec.origin).read_text(encoding="utf-8")
        times = source.count(self._mutation.old)
        if times != 1:
            sys.exit(
                f"mutation {self._mutation.name!r}: its text occurs {times} times in {spec.name}, "
                "expected once: adapt it to the code"
            )
        changed = source.replace(self._mutation.old, self._mutation.new)
        exec(compile(changed, spec.origin, "exec"), module.__dict__)


def main(arguments: list[str]) -> int:
    """Run pytest with one module broken."""
    mutation = Mutation(**json.loads(arguments[0]))
    mutant = _Mutant(mutation)
    mutant.go_first()
    sys.path.insert(0, str(ROOT))
    status = int(pytest.main(arguments[1:], plugins=[mutant]))
    loaded = sys.modules.get(mutation.module)
    if loaded is None or loaded.__loader__ is not mutant:
        sys.exit(f"mutation {mutation.name!r}: no test has imported the broken {mutation.module}")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
