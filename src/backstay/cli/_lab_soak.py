"""`backstay lab soak`: one variant for long, and what is left of it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from backstay.cli._lab_run import Interrupted, run_experiment
from backstay.errors import BackstayError, UsageError
from backstay.lab.report import progress_for, write_soak_picture
from backstay.lab.scenario import find_scenario, load_scenario
from backstay.lab.soak import Soak, SoakOptions, soak

__all__ = ["execute"]


def execute(args: argparse.Namespace) -> int:
    """Run the soak and write what it found.

    Returns:
        0 for PASS, 1 for FAIL or INCONCLUSIVE, 128 + n when signal n ended it.

    Raises:
        UsageError: the scenario, a flag or the output folder is wrong.
    """
    scenario = load_scenario(find_scenario(args.scenario)).asked_for(seed=args.seed)
    names = [variant.name for variant in scenario.variants]
    if args.variant is not None and args.variant not in names:
        raise UsageError(f"--variant {args.variant}: the scenario has {', '.join(names)}")
    options = SoakOptions(
        out=args.out,
        variant=args.variant or "",
        minutes=args.minutes,
        share=args.share,
        rate=args.rate,
        settle_s=args.settle,
    )
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        with progress_for(sys.stderr) as progress:
            seen = run_experiment(lambda: soak(scenario, options, progress))
    except Interrupted as end:
        return end.code
    except UsageError:
        raise
    except BackstayError as error:
        print(f"backstay lab soak: {error}", file=sys.stderr)
        return 1
    written = _write(seen, args.out)
    print(json.dumps(seen.to_json(), indent=2) if args.json else _to_text(seen, written))
    return 0 if seen.verdict == "PASS" else 1


def _write(seen: Soak, out: Path) -> Path:
    path = out / "soak.json"
    path.write_text(json.dumps(seen.to_json(), indent=2) + "\n", encoding="utf-8")
    write_soak_picture(seen, out)
    return path


def _to_text(seen: Soak, written: Path) -> str:
    lines = [
        f"backstay lab soak · {seen.scenario}, {seen.variant} · {seen.minutes:g} min at {seen.rate_note}",
        f"{seen.requests:,} requests, {seen.success:.2%} succeeded",
        "",
        f"{'seconds':>11} {'tasks':>8} {'memory':>10}",
    ]
    for one in seen.looks:
        tasks = "-" if one.tasks is None else f"{one.tasks:,.0f}"
        memory = "-" if one.rss is None else f"{one.rss / 1e6:,.0f} MB"
        when = f"{one.from_s:.0f} - {one.until_s:.0f}"
        lines.append(f"{when:>11} {tasks:>8} {memory:>10}")
    marks = {"met": "ok  ", "missed": "MISS", "unknown": "?   "}
    lines += ["", *(f"{marks.get(one.status, '    ')} {one.sentence}" for one in seen.checks)]
    return "\n".join([*lines, "", f"{seen.verdict}  ({written})"])
