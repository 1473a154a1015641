"""`backstay lab calibrate`: the highest rate that a system sustains."""

from __future__ import annotations

import argparse
import json
import sys

from backstay.cli._lab_run import Interrupted, run_experiment
from backstay.errors import BackstayError, UsageError
from backstay.lab.calibrate import Knee, KneeGoal, KneePlan, StepResult, find_knee
from backstay.lab.compare import knee_of
from backstay.lab.load import LoadOptions, url_workload
from backstay.lab.report import progress_for
from backstay.lab.scenario import find_scenario, load_scenario

__all__ = ["execute"]


def execute(args: argparse.Namespace) -> int:
    """Search for the knee and print it.

    Returns:
        0 when some rate was sustained, 1 when none was, 128 + n when signal n ended it.

    Raises:
        UsageError: a flag, the scenario or the URL is wrong.
    """
    search = _at_url if "://" in args.target else _at_scenario
    try:
        knee = search(args)
    except Interrupted as end:
        return end.code
    except UsageError:
        raise
    except BackstayError as error:
        print(f"backstay lab calibrate: {error}", file=sys.stderr)
        return 1
    print(json.dumps(knee.to_json(), indent=2) if args.json else _to_text(knee))
    return 0 if knee.rate > 0 else 1


def _at_scenario(args: argparse.Namespace) -> Knee:
    scenario = load_scenario(find_scenario(args.target)).asked_for(seed=args.seed)
    variant = args.variant or scenario.variants[-1].name
    plan = KneePlan(budget_s=args.budget)
    with progress_for(sys.stderr) as progress:
        return run_experiment(
            lambda: knee_of(
                scenario,
                variant,
                out=args.out,
                plan=plan,
                goal=KneeGoal(p99_s=args.p99 / 1e3),
                observer=progress,
            )
        )


def _at_url(args: argparse.Namespace) -> Knee:
    if args.variant is not None:
        raise UsageError(f"--variant {args.variant}: only a scenario has variants, not a URL")
    base_url, spec = url_workload(args.target)
    plan = KneePlan(budget_s=args.budget)
    # Rate and duration are replaced step by step.
    options = LoadOptions(
        base_url, rate=plan.start_rate, duration_s=plan.step_s, seed=args.seed or 1
    )
    goal = KneeGoal(p99_s=args.p99 / 1e3)
    return run_experiment(lambda: find_knee(options, spec, goal=goal, plan=plan, progress=_show))


def _show(step: StepResult) -> None:
    print(f"  {_step(step)}", file=sys.stderr)


def _step(step: StepResult) -> str:
    word = {True: "sustained", False: "too much", None: "cannot tell"}[step.sustained]
    why = f" ({step.reason})" if step.reason else ""
    return f"{step.rate:8,.0f}/s  p99 {step.p99_s * 1e3:7,.0f} ms  {word}{why}"


def _to_text(knee: Knee) -> str:
    lines = [_step(step) for step in knee.steps]
    if knee.rate <= 0:
        return "\n".join(
            [*lines, "no rate was sustained: is the goal too strict, or the target sick?"]
        )
    at_least = "at least " if knee.censored else ""
    below = f", below {knee.upper:,.0f}" if knee.upper is not None else ""
    return "\n".join(
        [
            *lines,
            f"knee: {at_least}{knee.rate:,.0f} requests/s{below} (limited by the {knee.limited_by})",
        ]
    )
