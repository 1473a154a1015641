"""Plays programs of the corpus, each in a process of its own, and compares what is said of them.

``python corpus_runner.py stock p30_producer_gone`` plays one here, and prints what was seen as JSON;
`play` does that in a new process. `differences` compares with what a program declares.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import logging
import os
import re
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from corpus_stage import Expect, LeapingClock, Stage

from backstay import install, leak
from backstay._base import use_clock

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"

_LATER = 30.0  # seconds after the program ended when it is judged: beyond every grace
_LIMIT_S = 50.0  # that a process may take, real time


@dataclass(frozen=True, slots=True)
class Seen:
    """One accusation that was made."""

    verdict: str
    count: int
    site: str  # "path:line", relative to the root of the repository
    function: str
    await_site: str
    says: str  # what they wait for, in words


@dataclass(frozen=True, slots=True)
class Played:
    """What was said of the two halves of a program."""

    leak: tuple[Seen, ...]
    fix: tuple[Seen, ...]
    census: dict[str, int]  # of the leak: how many live tasks each site has


def program_names() -> list[str]:
    """Return the names of all programs, in their order."""
    return sorted(path.stem for path in PROGRAMS.glob("p[0-9][0-9]_*.py"))


def load(name: str) -> ModuleType:
    """Import a program by its name."""
    if str(PROGRAMS) not in sys.path:
        sys.path.insert(0, str(PROGRAMS))
    return importlib.import_module(name)


def expectations(program: ModuleType) -> tuple[Expect, ...]:
    """Return what a program declares, as a tuple."""
    declared: Any = program.EXPECT
    return declared if isinstance(declared, tuple) else (declared,)


# -- in the process of the program --------------------------------------------


async def _judged(
    play: Any, loop_sees: LeapingClock, later: float, asked: tuple[str, ...]
) -> tuple[list[Seen], dict[str, int]]:
    install()
    loop = asyncio.get_running_loop()
    stage = Stage(loop_sees, loop)
    await play(stage)
    await stage.settle()
    stage.leap(later)
    leak.prove()  # what is said must also be there when somebody looks again
    await stage.settle()
    if "generators" in asked:  # one look at a generator says nothing
        leak.report(stage.sampler)
        await stage.settle()
        stage.leap(later)
    report = leak.report(stage.sampler)
    seen = [*_proved(leak.prove()), *_reported(report), *_left_over(stage)]
    if "generators" in asked:
        seen += _abandoned(report)
    if {"jobs", "timers"} & set(asked):
        seen += _keepers(loop, asked)
    census = leak.take_census(loop)
    return seen, {_relative(str(site.site)): site.alive for site in census.sites}


def _proved(proof: leak.Proof) -> Iterable[Seen]:
    assert not proof.refused, proof.refused
    sites = Counter(
        (one.verdict, one.site, one.function, one.await_site, one.blocked_on.partition(" at ")[0])
        for one in proof.proved
    )
    for (verdict, site, function, await_site, says), count in sites.items():
        yield Seen(verdict, count, site, function, await_site, says)


def _reported(report: leak.Report) -> Iterable[Seen]:
    for finding in report.findings:
        told = {line.partition(":")[0] for line in finding.detail} | {finding.verdict}
        says, _, await_site = finding.blocked_on.rpartition(" at ")
        for verdict in sorted(one for one in told if one.isupper()):
            yield Seen(verdict, finding.count, finding.site, finding.function, await_site, says)


def _left_over(stage: Stage) -> Iterable[Seen]:
    for one in stage.remains:
        says, _, await_site = one.blocked_on.rpartition(" at ")
        yield Seen(
            "LEFT OVER", one.count, _relative(one.site), one.coroutine, _relative(await_site), says
        )


def _abandoned(report: leak.Report) -> Iterable[Seen]:
    for one in report.generators:
        yield Seen(
            "ABANDONED", one.count, one.definition, one.function, one.suspended_at, "a consumer"
        )


def _keepers(loop: asyncio.AbstractEventLoop, asked: tuple[str, ...]) -> Iterable[Seen]:
    for one in leak.keepers(loop).found:
        if one.kind == "timer" and "timers" in asked:
            yield Seen("LINGERS", one.count, one.site, one.name, "", "")
        elif one.holds_exit and one.kind == "job" and "jobs" in asked:
            yield Seen("HOLDS EXIT", one.count, one.site, one.name, "", "")


def _relative(site: str) -> str:
    return site.removeprefix(f"{ROOT}/")


def _run(name: str, loop: str) -> Played:
    program = load(name)
    clock = LeapingClock()
    later, asked = getattr(program, "LATER", _LATER), getattr(program, "ASK", ())
    halves: list[tuple[list[Seen], dict[str, int]]] = []
    with use_clock(clock):
        for play in (program.fix, program.leak):  # the leak last: then the process ends as it is
            runner = asyncio.Runner(loop_factory=_factory(loop))
            halves.append(runner.run(_judged(play, clock, later, asked)))
            if play is program.fix:
                runner.close()
    (fixed, _), (leaked, census) = halves
    return Played(tuple(leaked), tuple(fixed), census)


def _factory(loop: str) -> Any:
    if loop == "stock":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


def main() -> None:
    """Play the program named on the command line, print what was seen, and end at once."""
    loop, name = sys.argv[1:]
    gc.disable()  # a program says itself when garbage is collected: then each run is the same
    warnings.simplefilter("error")
    logging.disable(logging.CRITICAL)  # what asyncio says of tasks that are lost
    print(json.dumps(asdict(_run(name, loop))), flush=True)
    os._exit(0)  # whatever still runs, waits, or does not want to end: it was meant to


# -- in the process that asks ---------------------------------------------------


def play(name: str, loop: str) -> Played:
    """Play a program in a new process."""
    done = subprocess.run(
        [sys.executable, __file__, loop, name],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=_LIMIT_S,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert done.returncode == 0, f"{name} on {loop} failed:\n{done.stderr}"
    document = json.loads(done.stdout.splitlines()[-1])
    return Played(
        leak=tuple(Seen(**one) for one in document["leak"]),
        fix=tuple(Seen(**one) for one in document["fix"]),
        census=document["census"],
    )


def marks(program: ModuleType) -> dict[str, str]:
    """Return the marked lines of a program as "path:line", by what the mark says."""
    path = Path(program.__file__ or "")
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        for label in re.findall(r"# leak: ([\w-]+(?:, [\w-]+)*)", line):
            for one in label.split(", "):
                assert one not in found, f"{path.name} marks {one!r} twice"
                found[one] = f"{path.relative_to(ROOT)}:{number}"
    return found


def differences(expected: Iterable[Expect], marked: dict[str, str], played: Played) -> list[str]:
    """Say in sentences where what was said is not what was expected; empty when all is well."""
    wrong = [f"the cured program is accused: {_words(one)}" for one in played.fix]
    rest = list(played.leak)
    accused: set[tuple[str, str]] = set()
    for expect in expected:
        mine = [
            one for one in rest if one.verdict == expect.verdict and _is_at(one, expect, marked)
        ]
        if not mine:
            said = "; ".join(map(_words, played.leak)) or "nothing"
            wrong.append(f"{expect.verdict} is not said at {_place(expect, marked)}: {said}")
            continue
        wrong += _wrong_in(mine, expect, marked)
        accused |= {(one.site, one.verdict) for one in mine}
        if (
            expect.verdict != "LOST"
            and expect.tasks
            and max(played.census.get(one.site, 0) for one in mine) < expect.count
        ):
            wrong.append(f"the census does not count {expect.count} tasks at {mine[0].site}")
    also = [one for one in rest if (one.site, one.verdict) not in accused]
    wrong += [f"somebody else is accused: {_words(one)}" for one in also]
    return wrong


def _wrong_in(mine: list[Seen], expect: Expect, marked: dict[str, str]) -> list[str]:
    wrong: list[str] = []
    count = sum(one.count for one in mine)
    if count != expect.count and not (expect.verdict == "GROWING" and count > expect.count):
        wrong.append(f"{expect.verdict} counts {count} tasks, not {expect.count}")
    if expect.waits:
        at = marked.get(expect.waits, f"(no mark {expect.waits!r})")
        wrong += [
            f"{expect.verdict}: they wait at {one.await_site or 'no line'}, not at {at}"
            for one in mine
            if one.await_site != at
        ]
    return wrong


def _is_at(one: Seen, expect: Expect, marked: dict[str, str]) -> bool:
    if expect.spawn in marked:
        return one.site == marked[expect.spawn]
    file, _, function = expect.spawn.partition(" ")
    path = one.site.rpartition(":")[0]
    return bool(function) and path.endswith("/" + file) and one.function.endswith(function)


def _place(expect: Expect, marked: dict[str, str]) -> str:
    return marked.get(expect.spawn, expect.spawn)


def _words(one: Seen) -> str:
    waits = f", waiting for {one.says} at {one.await_site}" if one.says else ""
    return f"{one.verdict} of {one.count} at {one.site} in {one.function}{waits}"


if __name__ == "__main__":
    main()
