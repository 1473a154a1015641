"""The experiment: the same load and the same fault on each variant, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backstay._base import now, wall
from backstay.errors import UsageError
from backstay.lab.calibrate import Knee, KneeGoal, KneePlan
from backstay.lab.compare._calibration import KNEE_SHARE, calibrate, offered_rate
from backstay.lab.compare._machine import describe_machine
from backstay.lab.compare._observer import Observer, Silent
from backstay.lab.compare._records import Comparison, RootCause, VariantRun
from backstay.lab.compare._run_variant import Setting, load_options, run_variant
from backstay.lab.compare._summary import summarise
from backstay.lab.compare._verdict import judge, verdict_of
from backstay.lab.scenario import Scenario, Variant
from backstay.lab.system import SystemFailed, Wardship

__all__ = ["CompareOptions", "compare", "conclude", "knee_of", "write_result"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """How an experiment is run; what is in it, the scenario says."""

    out: Path = Path("out")
    variants: tuple[str, ...] = ()  # empty = all
    calibrate: bool = True
    calibrate_budget_s: float = 25.0
    # A variant whose run proved nothing is run again once, when it still fits in here.
    budget_s: float = 265.0


@dataclass(slots=True, kw_only=True)
class _Course:
    """How the experiment went, apart from what the runs saw."""

    rate: float
    rate_note: str
    notes: list[str]
    runs: list[VariantRun]


async def compare(
    scenario: Scenario,
    options: CompareOptions | None = None,
    observer: Observer | None = None,
) -> Comparison:
    """Run the experiment and judge it.

    Args:
        scenario: what to run.
        options: how to run it.
        observer: told how it goes.

    Returns:
        The comparison; nothing but the runs' logs and data was written, under
        `options.out`.

    Raises:
        UsageError: an unknown variant is asked for, or `out` cannot be made.

    Cancelled:
        No process is left behind.
    """
    options = options or CompareOptions()
    variants = _chosen(scenario, options.variants)
    began, started_at, machine = now(), wall(), describe_machine()
    with Wardship() as wardship:
        setting = _setting(scenario, options.out, wardship, observer)
        course = await _run_all(setting, variants, options)
    comparison = conclude(scenario, course.runs, variants)
    return replace(
        comparison,
        offered_rps=course.rate,
        rate_note=course.rate_note,
        notes=tuple(course.notes),
        machine=machine,
        started_at=started_at,
        took_s=now() - began,
    )


async def knee_of(
    scenario: Scenario,
    variant: str,
    *,
    out: Path,
    plan: KneePlan | None = None,
    goal: KneeGoal | None = None,
    observer: Observer | None = None,
) -> Knee:
    """Start one variant, healthy, and find the highest rate it sustains.

    Args:
        scenario: what to run; its faults are left out.
        variant: which way.
        out: logs go to a folder in here.
        plan: where to search and for how long; a thorough search when None.
        goal: what a rate must meet to count as sustained.
        observer: told how it goes.

    Raises:
        UsageError: there is no such variant, or `out` cannot be made.
        SystemFailed: it does not start.

    Cancelled:
        No process is left behind.
    """
    chosen = _chosen(scenario, (variant,))[0]
    with Wardship() as wardship:
        setting = _setting(scenario, out, wardship, observer)
        return await calibrate(setting, chosen, plan or KneePlan(), goal)


def _setting(
    scenario: Scenario, out: Path, wardship: Wardship, observer: Observer | None
) -> Setting:
    """Check what can be checked before anything is started, and make the output folder."""
    load_options(scenario, 1, rate=scenario.load.rate, seed=scenario.load.seed)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot make the output folder {out}: {error.strerror}; choose another with --out"
        ) from error
    return Setting(
        scenario=scenario,
        rate=scenario.load.rate,
        seed=scenario.load.seed,
        out=out,
        cwd=Path.cwd(),
        wardship=wardship,
        observer=observer or Silent(),
    )


async def _run_all(
    setting: Setting, variants: Sequence[Variant], options: CompareOptions
) -> _Course:
    """Calibrate, then run each variant, once more when its first run proved nothing."""
    course = _Course(rate=setting.rate, rate_note="nothing was offered", notes=[], runs=[])
    give_up = now() + options.budget_s
    knee: Knee | None = None
    if options.calibrate and setting.scenario.load.calibrate:
        try:
            plan = KneePlan.quick(
                setting.rate, share=KNEE_SHARE, budget_s=options.calibrate_budget_s
            )
            knee = await calibrate(setting, variants[-1], plan)
        except SystemFailed as error:
            # The same variant would fail again: say why now, and spare the minutes.
            course.runs.append(_not_started(variants[-1], error))
            return course
    course.rate, course.rate_note = offered_rate(setting.rate, knee)
    setting = replace(setting, rate=course.rate)
    setting.observer.note(f"offering {course.rate_note}")
    for index, variant in enumerate(variants):
        began = now()
        run = await run_variant(setting, variant)
        took = now() - began
        if run.load is not None and not run.load.valid:
            note = f"{variant.name}: {'; '.join(run.load.reasons)}"
            if now() + took * (len(variants) - index) <= give_up:
                note += "; it was run again"
                setting.observer.note(note)
                run = await run_variant(setting, variant, attempt=2)
            course.notes.append(note)
        course.runs.append(run)
        if run.load is None:
            break  # there is nothing to compare any more
    return course


def _not_started(variant: Variant, error: SystemFailed) -> VariantRun:
    return VariantRun(
        name=variant.name,
        title=variant.title,
        samples=(),
        load=None,
        seconds=(),
        failures=(f"during calibration: {error}",),
    )


def conclude(
    scenario: Scenario, runs: Sequence[VariantRun], variants: Sequence[Variant]
) -> Comparison:
    """Judge the runs of an experiment; arithmetic only.

    Args:
        scenario: what was asked.
        runs: what was seen, in the order of running.
        variants: what was to be run; the first is to be beaten by the last.
    """
    found = {run.name: run for run in runs}
    results = {run.name: result for run in runs if (result := summarise(run, scenario)) is not None}
    baseline, candidate = variants[0].name, variants[-1].name
    root_cause: tuple[RootCause, ...] = ()
    guilty = found.get(scenario.thresholds.root_cause or baseline)
    if guilty is not None:
        root_cause = guilty.root_causes
    fallen = found.get(candidate)
    checks = judge(
        scenario.thresholds,
        results.get(baseline) if baseline != candidate else None,
        results.get(candidate),
        root_cause,
        failures=[
            line
            for run in runs
            for line in run.failures
            if not (run.name == candidate and run.fell)
        ],
        candidate_failures=fallen.failures if fallen is not None and fallen.fell else (),
        unclean_exits=[line for run in runs for line in run.unclean_exits],
    )
    return Comparison(
        scenario=scenario,
        seed=scenario.load.seed,
        offered_rps=scenario.load.rate,
        rate_note="",
        duration_s=scenario.load.duration_s,
        runs=tuple(runs),
        results=results,
        root_cause=root_cause,
        verdict=verdict_of(checks),
        checks=checks,
        notes=(),
        machine=describe_machine(),
        started_at=0.0,
        took_s=0.0,
    )


def write_result(comparison: Comparison, out: Path) -> Path:
    """Write result.json and return its path.

    Raises:
        UsageError: the folder cannot be written.
    """
    path = out / "result.json"
    try:
        path.write_text(json.dumps(comparison.to_json(), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}; choose another folder with --out"
        ) from error
    return path


def _chosen(scenario: Scenario, names: tuple[str, ...]) -> list[Variant]:
    known = [variant.name for variant in scenario.variants]
    for name in names:
        if name not in known:
            raise UsageError(
                f"unknown variant {name!r} in {scenario.path}: expected some of {', '.join(known)}"
            )
    return [variant for variant in scenario.variants if not names or variant.name in names]
