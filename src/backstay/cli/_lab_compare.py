"""`backstay lab compare`: one experiment, one verdict."""

from __future__ import annotations

import argparse
import json
import os
import sys

from backstay.cli._lab_run import Interrupted, run_experiment
from backstay.errors import UsageError
from backstay.lab.compare import CompareOptions, compare, write_result
from backstay.lab.report import (
    ansi_paint,
    no_paint,
    progress_for,
    to_text,
    write_page,
    write_picture,
)
from backstay.lab.scenario import Scenario, find_scenario, load_scenario

__all__ = ["execute"]


def execute(args: argparse.Namespace) -> int:
    """Run the comparison and write what it found.

    Returns:
        0 for PASS, 1 for FAIL or INCONCLUSIVE, 128 + n when signal n ended it.

    Raises:
        UsageError: the scenario, a flag or the output folder is wrong.
    """
    scenario = _scenario(args)
    options = CompareOptions(
        out=args.out,
        variants=tuple(name.strip() for name in args.variants.split(",") if name.strip()),
        calibrate=not args.no_calibrate,
    )
    try:
        with progress_for(sys.stderr) as progress:
            comparison = run_experiment(lambda: compare(scenario, options, progress))
    except Interrupted as end:
        return end.code
    write_result(comparison, args.out)
    write_page(comparison, args.out)
    write_picture(comparison, args.out)
    if args.json:
        print(json.dumps(comparison.to_json(), indent=2))
    else:
        colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        print(to_text(comparison, out=args.out, paint=ansi_paint if colours else no_paint))
    return 0 if comparison.verdict == "PASS" else 1


def _scenario(args: argparse.Namespace) -> Scenario:
    scenario = load_scenario(find_scenario(args.scenario))
    if args.duration is not None and not 4 <= args.duration <= 86_400:
        raise UsageError(
            f"--duration {args.duration:g}: expected 4 to 86400 seconds, or nothing can be judged"
        )
    return scenario.asked_for(rate=args.rate, seed=args.seed, duration_s=args.duration)
