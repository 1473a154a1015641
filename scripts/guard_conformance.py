"""The table of docs/explanation/guard-conformance.md, made by running every library in it.

    python scripts/guard_conformance.py --write | --check

Everything runs at once, on the real clock, since the libraries ask the machine's.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from backstay.testing.conformance import BreakerKit, GuardCase, LimiterKit  # noqa: E402

PAGE = ROOT / "docs" / "explanation" / "guard-conformance.md"
OURS = "| backstay |"
CHANCE = 4  # answers that may differ from one run to the next
START, END = "<!-- table: scripts/guard_conformance.py -->\n", "<!-- end of table -->\n"


async def see(case: GuardCase) -> str:
    """Run one case; what raises says so."""
    try:
        seen = await asyncio.wait_for(case.see(), 60)
    except Exception as error:
        return f"raises {type(error).__name__}"
    return seen if seen in (case.right, "no weights") else f"**{seen}**"


async def column(cases: tuple[GuardCase, ...]) -> list[str]:
    """Run the cases of one library, one after another."""
    return [await see(case) for case in cases]


async def table(kits: Mapping[str, BreakerKit] | Mapping[str, LimiterKit]) -> list[str]:
    """Return a table with a row a library and a column a case."""
    names = list(kits)
    columns = await asyncio.gather(*(column(kits[name].cases()) for name in names))
    questions = [case.question for case in kits[names[0]].cases()]
    return [
        f"| library | {' | '.join(questions)} |",
        f"| --- |{' --- |' * len(questions)}",
        *(
            f"| {titled(name)} | {' | '.join(seen)} |"
            for name, seen in zip(names, columns, strict=True)
        ),
    ]


def titled(name: str) -> str:
    """Return a library's name with its version; ours without."""
    library, comma, rest = name.partition(",")
    if library == "backstay":
        return name
    return f"{library} {metadata.version(library)}{comma}{rest}"


async def tables() -> str:
    """Return both tables."""
    from benchmarks.peers import breakers, limiters

    both = await asyncio.gather(table(breakers.KITS), table(limiters.KITS))
    return "\n".join(["", *both[0], "", *both[1], "", ""])


def main(arguments: list[str]) -> int:
    """Write the tables into the page, or compare."""
    warnings.simplefilter("ignore")
    if arguments not in (["--write"], ["--check"]):
        sys.stderr.write("usage: guard_conformance.py --write | --check\n")
        return 2
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(START)
    shown, _, after = rest.partition(END)
    now = asyncio.run(tables())
    if arguments == ["--write"]:
        PAGE.write_text(f"{before}{START}{now}{END}{after}", encoding="utf-8")
        return 0
    if agree(shown, now):
        return 0
    sys.stderr.write(f"the page shows:\n{shown}\nthe run saw:\n{now}\n")
    return 1


def agree(shown: str, seen: str) -> bool:
    """Tell whether a run saw what the page shows, but for what rests on chance.

    One library lets probes through by dice, another is asked again each millisecond and
    may or may not be overtaken. Ours may not differ in a single answer, nor be wrong.
    """
    pages, runs = shown.splitlines(), seen.splitlines()
    if len(pages) != len(runs) or any("**" in row for row in runs if row.startswith(OURS)):
        return False
    differing = 0
    for page, run in zip(pages, runs, strict=True):
        cells, others = page.split("|"), run.split("|")
        if cells[:2] != others[:2] or len(cells) != len(others):
            return False
        differing += sum(a != b for a, b in zip(cells, others, strict=True))
    return differing <= CHANCE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
