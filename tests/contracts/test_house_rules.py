"""Rules that keep the house readable, checked by a machine because documents rot."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
GENERATED = ("_pb2.py", "_pb2_grpc.py")


def python_files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not path.name.endswith(GENERATED) and "egg-info" not in str(path):
                yield path


def test_no_file_is_longer_than_600_lines() -> None:
    """A file that long holds more than one concept."""
    long = {
        str(path.relative_to(ROOT)): lines
        for path in python_files("src", "examples", "benchmarks", "scripts", "tests")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 600
    }
    assert not long


def test_no_function_is_longer_than_60_lines() -> None:
    """A function that long does more than one thing; docstrings are not counted."""
    long: dict[str, int] = {}
    for path in python_files("src", "examples", "benchmarks"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0]
                has_docstring = isinstance(first, ast.Expr) and isinstance(
                    first.value, ast.Constant
                )
                docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
                length = (node.end_lineno or 0) - node.lineno + 1 - docstring
                if length > 60:
                    long[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = length
    assert not long


def test_no_room_is_called_after_nothing() -> None:
    """If a thing has no home, its concept has to be named first."""
    banned = {"utils", "util", "common", "helpers", "misc", "shared", "tools"}
    found = [
        str(path.relative_to(ROOT))
        for path in python_files("src", "examples")
        if banned & {part.strip("_") for part in path.relative_to(ROOT).with_suffix("").parts}
    ]
    assert not found


def test_every_test_states_its_belief() -> None:
    """Each test has a docstring that says in a sentence what it holds true."""
    silent: list[str] = []
    for path in python_files("tests"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_function and node.name.startswith("test_") and not ast.get_docstring(node):
                silent.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not silent


def test_faces_export_sorted_names_that_exist() -> None:
    """`__all__` of each module is sorted and free of ghosts."""
    import importlib

    for path in python_files("src"):
        module_name = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
        module_name = module_name.removesuffix(".__init__")
        if module_name.endswith("__main__"):
            continue
        module = importlib.import_module(module_name)
        names = list(getattr(module, "__all__", []))
        assert len(names) == len(set(names)), module_name
        assert [name for name in names if not hasattr(module, name)] == [], module_name


def tracked_files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [name for name in listed.stdout.split("\0") if name]


def test_no_address_of_a_package_index_is_recorded() -> None:
    """Locks carry hashes and no addresses, so that any mirror can serve them."""
    address = re.compile(r"https?://[\w.-]*(pypi|pythonhosted|npmjs|debian)\.\w+", re.IGNORECASE)
    found = [
        name
        for name in tracked_files()
        if (ROOT / name).is_file()
        and (ROOT / name).suffix not in {".png", ".svg"}
        and address.search((ROOT / name).read_text(encoding="utf-8", errors="replace"))
    ]
    assert not found


def test_every_requirement_is_pinned_with_hashes() -> None:
    """A lock without hashes is a wish."""
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in text.splitlines():
            if line.strip() and not line.startswith("#"):
                assert "==" in line, (path.name, line[:60])
                assert "--hash=sha256:" in line, (path.name, line[:60])


def test_importing_does_nothing_and_loads_no_third_party() -> None:
    """`import backstay` starts no thread, patches nothing, reads no environment."""
    script = """
import sys, threading, asyncio
before = {name.partition('.')[0] for name in sys.modules}
create_task, policy = asyncio.create_task, asyncio.get_event_loop_policy()
import os
class Tripwire(dict):
    def __getitem__(self, key):
        raise AssertionError(f'read the environment: {key}')
    get = __getitem__
real, os.environ = os.environ, Tripwire()
import backstay
os.environ = real
after = {name.partition('.')[0] for name in sys.modules}
strangers = after - before - set(sys.stdlib_module_names) - {'backstay'}
assert not strangers, strangers
assert threading.active_count() == 1
assert asyncio.create_task is create_task
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_public_surface_is_the_one_under_review() -> None:
    """api-surface.txt is what the code exports: a change of the API shows in the diff."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "api_surface.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
