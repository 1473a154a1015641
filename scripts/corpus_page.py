"""Writes docs/explanation/leak-corpus.md from the programs of the corpus, or checks that it is as they say.

python scripts/corpus_page.py --write
python scripts/corpus_page.py --check
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ROOT / "tests" / "corpus" / "programs"
PAGE = ROOT / "docs" / "explanation" / "leak-corpus.md"

HEAD = """\
# Leak corpus: real leaks, and what is said of each

Each pattern below was met in real code; the cases are its issues. Each is a small program in `tests/corpus/programs`,
with its cure, that runs in a process of its own, on the stock loop and on uvloop, on every Python that we support. The leak
must get the verdict of the table, for as many tasks, at the very line that starts them and the line where they wait.
Nothing else may be accused, and in the cured program nobody. `python -m pytest tests/corpus` plays them.

| # | what goes wrong | cases | what is said |
| --- | --- | --- | --- |
"""

TAIL = """
Not every one is the fault of a task. Then this is said: LEFT OVER by the last lines of a shutdown, HOLDS EXIT and
LINGERS by `leak.keepers()`, ABANDONED by the report's list of generators.

## Silence

Besides the cures, these must stay silent: 32 small shapes of tasks that something will wake
(`tests/corpus/live_shapes.py`: a thread's local, a signal handler, what C holds, a traceback, a weak dictionary), beside
23 shapes of which all 30 tasks must be proved (`leaked_shapes.py`), each alone and all in one loop; 290 waits inside of a
dozen libraries with real sockets (`tests/integrations/blocked_on`), the live tasks of 10,000 random graphs
(`tests/property/test_prover_model.py`), and what the pages of the verdicts list as look-alikes.
"""


def row(path: Path) -> str:
    """Return the line of the table for one program."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    said = ast.get_docstring(tree) or ""
    first = said.splitlines()[0].rstrip(".")
    found = re.search(r"^Cases: (.*?)(?=^\w+: |\Z)", said, re.MULTILINE | re.DOTALL)
    cases = " ".join(found.group(1).split()).rstrip(".") if found else ""
    number = int(path.stem[1:3])
    return f"| {number} | {first} | {cases} | {verdicts(tree) or 'nothing'} |"


def verdicts(tree: ast.Module) -> str:
    """Return the verdicts that a program declares, in words."""
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "EXPECT":
            calls = [one for one in ast.walk(node) if isinstance(one, ast.Call)]
            names = [one.args[0].value for one in calls if isinstance(one.args[0], ast.Constant)]
            return ", ".join(dict.fromkeys(str(name) for name in names))
    return ""


def page() -> str:
    """Return the page as the programs say it."""
    rows = [row(path) for path in sorted(PROGRAMS.glob("p[0-9][0-9]_*.py"))]
    return HEAD + "\n".join(rows) + "\n" + TAIL


def main(arguments: list[str]) -> int:
    """Write the page, or return 1 when it is not as the programs say."""
    if arguments == ["--write"]:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if arguments == ["--check"]:
        if PAGE.read_text(encoding="utf-8") == page():
            return 0
        print(
            "docs/explanation/leak-corpus.md is not as the corpus says: run scripts/corpus_page.py --write"
        )
        return 1
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
