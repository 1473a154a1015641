"""One run of one variant: start, load, break, look, ask for leaks, stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backstay._base import now
from backstay.errors import BackstayError, TargetGone, UsageError
from backstay.lab.compare._faulting import Faulting
from backstay.lab.compare._observer import Observer, Tick
from backstay.lab.compare._records import VariantRun
from backstay.lab.compare._root_cause import merge_findings
from backstay.lab.compare._sampling import Sampler, fetch_leaks
from backstay.lab.load import (
    LoadOptions,
    LoadResult,
    SecondRecord,
    WorkloadSpec,
    run_load,
)
from backstay.lab.scenario import Scenario, Variant
from backstay.lab.system import System, SystemFailed, Wardship
from backstay.tasks import Scope

__all__ = ["Setting", "load_options", "run_variant", "watch", "workload_spec"]

# How long before the end of the fault the leaks are asked for: late, so that the
# growth shows, and early enough for a busy process to answer before it ends.
_LEAKS_BEFORE_END_S = 3.0
_WATCH_S = 0.25
# A variant that need not end well is not waited for long: hung tasks are its very point.
_SHORT_GRACE_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is the same for all variants: the experiment's controlled conditions."""

    scenario: Scenario
    rate: float  # requests per second, offered
    seed: int
    out: Path
    cwd: Path
    wardship: Wardship
    observer: Observer


@dataclass(slots=True)
class _Running:
    """What a run has gathered so far, kept when it breaks off."""

    seconds: list[SecondRecord] = field(default_factory=list[SecondRecord])
    leaks: Mapping[str, Mapping[str, object]] = field(
        default_factory=dict[str, "Mapping[str, object]"]
    )
    load: LoadResult | None = None
    load_began: float | None = None


def load_options(scenario: Scenario, port: int, *, rate: float, seed: int) -> LoadOptions:
    """Return what the generator is asked for.

    Raises:
        UsageError: a value is out of the generator's range.
    """
    load = scenario.load
    return LoadOptions(
        f"http://127.0.0.1:{port}",
        rate=rate,
        duration_s=load.duration_s,
        warmup_s=load.warmup_s,
        seed=seed,
        arrivals=load.arrivals,
        connections=load.connections,
        timeout_s=load.client_timeout_s,
        max_lag_p99_s=scenario.thresholds.lag_p99_max_ms / 1e3,
    )


def workload_spec(scenario: Scenario) -> WorkloadSpec:
    """Return where the generator finds the workload."""
    load = scenario.load
    return WorkloadSpec(
        load.workload, dict(load.options), tuple(str(folder) for folder in load.pythonpath)
    )


async def run_variant(setting: Setting, variant: Variant, *, attempt: int = 1) -> VariantRun:
    """Run one variant from start to stop and return everything that was read.

    A process that ends by itself, or a fault that cannot be set, breaks the run
    off; what was seen until then is returned, with the reason in `failures`.

    Cancelled:
        All processes are killed at once, and none is left.
    """
    scenario = setting.scenario
    must_end_well = variant.name in scenario.thresholds.clean_exit
    system = System(
        scenario,
        variant,
        setting.out / f"run-{variant.name}",
        setting.wardship,
        seed=setting.seed,
        cwd=setting.cwd,
        on_progress=lambda what: setting.observer.phase(variant.name, what),
    )
    running, failures, fell = _Running(), list[str](), False
    sampler: Sampler | None = None
    try:
        async with system:
            sampler = Sampler(system)
            await _measure(setting, variant, system, sampler, running)
            await system.stop(None if must_end_well else _SHORT_GRACE_S)
    except BackstayError as error:
        failures, fell = _why_broken_off([error], running)
    except ExceptionGroup as group:
        ours, foreign = group.split(BackstayError)
        if foreign is not None or ours is None:
            raise
        failures, fell = _why_broken_off(_leaves(ours), running)
    began = running.load_began if running.load_began is not None else now()
    return VariantRun(
        name=variant.name,
        title=variant.title,
        samples=sampler.samples(began) if sampler is not None else (),
        load=None if failures else running.load,
        seconds=tuple(running.load.seconds if running.load is not None else running.seconds),
        root_causes=merge_findings(
            running.leaks, setting.cwd, scenario.thresholds.root_cause_marker
        ),
        exit_codes={name: child.exit_code for name, child in system.children.items()},
        unclean_exits=tuple(system.unclean_exits()) if must_end_well and not failures else (),
        failures=tuple(failures),
        fell=fell,
        attempt=attempt,
    )


def _why_broken_off(errors: Sequence[BackstayError], running: _Running) -> tuple[list[str], bool]:
    """Return the reasons, and whether a process fell under the load; let a person's slip through."""
    for error in errors:
        if isinstance(error, UsageError) and not isinstance(error, TargetGone):
            raise error
    fell = any(isinstance(error, SystemFailed) for error in errors)
    return [str(error) for error in errors], fell and running.load_began is not None


def _leaves(group: ExceptionGroup[BackstayError]) -> list[BackstayError]:
    found: list[BackstayError] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, ExceptionGroup) else [error]
    return found


async def _measure(
    setting: Setting, variant: Variant, system: System, sampler: Sampler, running: _Running
) -> None:
    """Offer the load, with everything that happens beside it."""
    scenario = setting.scenario
    faulting = Faulting(scenario.faults, system)
    began = asyncio.Event()
    options = load_options(
        scenario, system.ports[scenario.load.target], rate=setting.rate, seed=setting.seed
    )
    setting.observer.phase(variant.name, "load")
    async with Scope(f"run {variant.name}", on_exit="cancel", unwrap=True) as scope:
        scope.go(watch, system)
        scope.go(sampler.run)
        scope.go(_break_things, began, faulting, running)
        scope.go(_ask_for_leaks, began, scenario, system, running)

        def on_start(at: float) -> None:
            running.load_began = at
            began.set()

        def on_second(second: SecondRecord) -> None:
            running.seconds.append(second)
            latest = sampler.latest
            setting.observer.tick(
                Tick(
                    variant.name,
                    second,
                    scenario.load.duration_s,
                    latest.tasks if latest else None,
                    latest.rss if latest else None,
                    faulting.active,
                )
            )

        running.load = await run_load(
            options, workload_spec(scenario), progress=on_second, on_start=on_start
        )
        exits = system.unexpected_exits()
        if exits:
            raise SystemFailed("\n".join(exits))


async def _break_things(began: asyncio.Event, faulting: Faulting, running: _Running) -> None:
    """Set the faults once the load has begun, since their times count from there."""
    await began.wait()
    await faulting.run(running.load_began if running.load_began is not None else now())


async def watch(system: System) -> None:
    """Break the run off as soon as a process ends by itself."""
    while True:
        await asyncio.sleep(_WATCH_S)
        exits = system.unexpected_exits()
        if exits:
            raise SystemFailed("\n".join(exits))


async def _ask_for_leaks(
    began: asyncio.Event, scenario: Scenario, system: System, running: _Running
) -> None:
    """Fetch the leak reports shortly before the fault ends, when there is most to see."""
    await began.wait()
    end = max(
        (fault.until_s or scenario.load.duration_s for fault in scenario.faults),
        default=scenario.load.duration_s,
    )
    at = max(min(end, scenario.load.duration_s) - _LEAKS_BEFORE_END_S, 0.0)
    await asyncio.sleep((running.load_began or now()) + at - now())
    running.leaks = await fetch_leaks(system)
