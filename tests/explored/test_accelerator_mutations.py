"""Breaks the C extension on purpose: each seeded fault must be noticed by the tests of both twins."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mutations import Mutation

from backstay._base import accelerated

ROOT = Path(__file__).parent.parent.parent
JUDGE = "native/trial_deletion.c"
FACTORY = "native/task_factory.c"
TESTS = {
    JUDGE: ["tests/property/test_prover_accelerated.py", "tests/property/test_prover_model.py"],
    FACTORY: ["tests/unit/tasks/test_accelerated_factory.py", "tests/unit/tasks/test_tracking.py"],
}

# Puts the broken extension in the place of the one that was built.
_PLUGIN = """
import importlib.machinery, importlib.util, sys
loader = importlib.machinery.ExtensionFileLoader("backstay._accel", {path!r})
module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
loader.exec_module(module)
sys.modules[loader.name] = module
"""


FAULTS = [
    Mutation("an edge is not counted", JUDGE, "trial->nodes[known].edges++;", ";"),
    Mutation("numbers and classes are nodes", JUDGE, "sort == SKIPPED || set_has", "set_has"),
    Mutation("namespaces are looked into", JUDGE, "sort == SKIPPED || set_has(", "sort == SKIPPED || 0 * set_has("),
    Mutation("a done future is dead", JUDGE, "trial->nodes[number].flags |= LIVELY;\n        }\n        return 0;\n    default", "}\n        return 0;\n    default"),
    Mutation("references from elsewhere are not noticed", JUDGE, "int elsewhere = references != node->edges;", "int elsewhere = 0;"),
    Mutation("the list of those asked counts as a holder", JUDGE, "(number < asked ? 1 : 0)", "0"),
    Mutation("weak references from elsewhere are overlooked", JUDGE, "            held = 1;\n", "            held = 0;\n"),
    Mutation("weak references from within lead nowhere", JUDGE, "trial->nodes[within].weak = number;", ";"),
    Mutation("the loop counts as a holder of generators", JUDGE, "!(node->flags & IS_GENERATOR) || ", "1 || "),
    Mutation("those barred are judged", JUDGE, "sort_of(trial, task) == TASK && !set_has(trial->barred, trial->barred_mask, task)", "sort_of(trial, task) == TASK"),
    Mutation("tasks of other loops are judged", JUDGE, "answer(state->task_get_loop, task) != trial->loop", "0"),
    Mutation("holding a task wakes it", JUDGE, "node->flags |= REFERRED;\n        return 0;", "return open_gate(trial, node->gate);"),
    Mutation("a coroutine that is held wakes its task", JUDGE, "if (node->flags & (ALIVE | BODY)) {", "if (node->flags & ALIVE) {"),
    Mutation("what lives wakes nobody", JUDGE, "    return open_waiters(trial, number);\n", "    return 0;\n"),
    Mutation("whoever waits for a woken task stays asleep", JUDGE, "            for (int32_t next = task->waiter; next >= 0;", "            for (int32_t next = -1; next >= 0;"),
    Mutation("only the first one that waits is woken", JUDGE, "gate->next_waiter = trial->nodes[future].waiter;", ";"),
    Mutation("the body of a woken task stays dead", JUDGE, "trial->nodes[gate->body].flags &= ~(uint32_t)BODY;", ";"),
    Mutation("held by the dead counts as held", JUDGE, "flags & REFERRED ? HELD : UNHELD", "HELD"),
    Mutation("one more is looked into than the budget says", JUDGE, "at < trial->count && at < budget", "at < trial->count && at <= budget"),
    Mutation("what the loop of a woken task refers to is lost", JUDGE, "if (walk(trial, trial->nodes[source].thing, reach) != 0 ||", "if ("),
    Mutation("the first frame is the site", FACTORY, "if (judgement == USER) {", "if (1) {"),
    Mutation("the floor is not seen", FACTORY, "*judgement = found > 0 ? FLOOR : SKIP;", "*judgement = SKIP;"),
    Mutation("offsets are mixed up", FACTORY, "return Py_XNewRef(self->offsets[lasti]);", "return Py_XNewRef(self->offsets[lasti] ? self->offsets[lasti] : NULL) ? PyLong_FromLong(lasti + 2) : NULL;"),
    Mutation("spawns are not counted", FACTORY, "PyNumber_InPlaceAdd(before, state->one)", "Py_NewRef(before)"),
    Mutation("nobody owns", FACTORY, "fill(task, self->owner_at, Py_NewRef(owner));", "fill(task, self->owner_at, Py_NewRef(Py_None));"),
    Mutation("a context is dropped", FACTORY, "        return value == Py_None;\n", "        return 1;\n"),
    Mutation("an eager start is dropped", FACTORY, "        return is_false(value);\n", "        return 1;\n"),
    Mutation("a reference to the code is lost", FACTORY, "fill(task, self->site_at, (PyObject *)PyFrame_GetCode(frame));", "fill(task, self->site_at, (PyObject *)PyFrame_GetCode(frame)); Py_INCREF(task);"),
    Mutation("a frame is never given back", FACTORY, "            Py_DECREF(frame);\n            return lasti == NULL", "            return lasti == NULL"),
    Mutation("the tracking is kept for ever", FACTORY, "    Py_VISIT(self->tracking);\n", ""),
    Mutation("any object is taken for a task", FACTORY, "if (!PyObject_TypeCheck(task, (PyTypeObject *)self->make)) {", "if (0) {"),
]  # fmt: skip


def build(fault: Mutation, folder: Path) -> Path:
    """Compile the sources with the fault in them; return the extension."""
    shutil.copytree(ROOT / "native", folder / "native")
    shutil.copy(ROOT / "setup.py", folder)
    source = folder / fault.module
    text = source.read_text(encoding="utf-8")
    assert text.count(fault.old) == 1, f"occurs {text.count(fault.old)} times: {fault.old}"
    source.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", "built"],
        cwd=folder,
        env={**os.environ, "BACKSTAY_PURE": "0", "CFLAGS": "-O1 -fPIC"},
        capture_output=True,
        check=True,
    )
    (built,) = (folder / "built" / "backstay").iterdir()
    return built


@pytest.mark.slow
@pytest.mark.skipif(accelerated() is None, reason="the extension is not there, or off")
@pytest.mark.skipif(
    os.environ.get("BACKSTAY_SCHEDULES") != "full",
    reason="each fault takes seconds: they are seeded with BACKSTAY_SCHEDULES=full",
)
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_both_twins_are_held_to_each_other(fault: Mutation, tmp_path: Path) -> None:
    """A fault in C shows as a difference to Python, or as a crash."""
    if "eager" in fault.name and sys.version_info < (3, 12):
        pytest.skip("eager tasks came with Python 3.12")
    extension = build(fault, tmp_path)
    (tmp_path / "broken_extension.py").write_text(_PLUGIN.format(path=str(extension)))
    options = ["-x", "-q", "-p", "broken_extension", "-p", "no:cacheprovider", "--timeout=100"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *TESTS[fault.module]],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(tmp_path),
            "BACKSTAY_SCHEDULES": "",
            "BACKSTAY_PURE": "0",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert "Timeout" not in done.stdout, "the machine is too busy to tell"
    assert done.returncode == 1 or done.returncode < 0, f"not noticed:\n{done.stdout[-2000:]}"
