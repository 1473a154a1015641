"""Run a soak: start, find the knee, load, break and mend, settle, ask for leaks, stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from backstay._base import now
from backstay.errors import UsageError
from backstay.lab.calibrate import KneePlan
from backstay.lab.compare import (
    Check,
    Observer,
    RootCause,
    Sample,
    Silent,
    Tick,
    knee_of,
    merge_findings,
    verdict_of,
)
from backstay.lab.compare._faulting import Faulting
from backstay.lab.compare._run_variant import load_options, watch, workload_spec
from backstay.lab.compare._sampling import Sampler, fetch_leaks
from backstay.lab.load import LoadResult, SecondRecord, run_load
from backstay.lab.scenario import Fault, Scenario
from backstay.lab.soak._judge import SoakLimits, SoakLook, judge_soak, look
from backstay.lab.soak._plan import soak_faults
from backstay.lab.system import System, SystemFailed, Wardship
from backstay.tasks import Scope

__all__ = ["Soak", "SoakOptions", "soak"]

_WARMUP_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakOptions:
    """How a soak is run; what is in it, the scenario says."""

    out: Path = Path("out")
    variant: str = ""  # the scenario's last when ""
    minutes: float = 10.0
    share: float = 0.6  # of the knee that is offered
    rate: float | None = None  # offered instead, without looking for the knee
    settle_s: float = 30.0  # without load, before the services are asked what leaks
    calibrate_budget_s: float = 60.0
    limits: SoakLimits = field(default_factory=SoakLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """The whole outcome."""

    scenario: str
    variant: str
    rate: float  # offered, requests a second
    rate_note: str  # why so much
    minutes: float
    faults: tuple[Fault, ...]
    looks: tuple[
        SoakLook, ...
    ]  # one after the other, from the end of the warm-up to the last, judged one
    requests: int
    success: float  # of all judged requests, those during faults too; 0 to 1
    root_causes: tuple[RootCause, ...]
    checks: tuple[Check, ...]
    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE"]
    samples: tuple[Sample, ...]  # of tasks and memory, for the picture
    seconds: tuple[SecondRecord, ...]  # of the load, for the picture

    def to_json(self) -> dict[str, object]:
        """Return the document of soak.json."""
        return {
            "scenario": self.scenario,
            "variant": self.variant,
            "rate": round(self.rate, 1),
            "rate_note": self.rate_note,
            "minutes": self.minutes,
            "faults": [
                {
                    "title": one.label,
                    "at_s": round(one.at_s, 1),
                    "until_s": round(one.until_s or 0, 1),
                }
                for one in self.faults
            ],
            "looks": [
                {
                    "from_s": round(one.from_s, 1),
                    "until_s": round(one.until_s, 1),
                    "tasks": one.tasks,
                    "rss_bytes": one.rss,
                }
                for one in self.looks
            ],
            "requests": self.requests,
            "success": round(self.success, 6),
            "root_causes": [one.to_json() for one in self.root_causes],
            "checks": [
                {"name": one.name, "status": one.status, "sentence": one.sentence}
                for one in self.checks
            ],
            "verdict": self.verdict,
        }


@dataclass(slots=True)
class _Seen:
    """What the run has gathered."""

    load: LoadResult | None = None
    began: float = 0.0
    seconds: list[SecondRecord] = field(default_factory=list[SecondRecord])
    leaks: Mapping[str, Mapping[str, object]] = field(
        default_factory=dict[str, "Mapping[str, object]"]
    )


async def soak(
    scenario: Scenario, options: SoakOptions | None = None, observer: Observer | None = None
) -> Soak:
    """Run one variant of `scenario` for long, and judge what is left of it.

    Raises:
        UsageError: there is no such variant, a fault never ends, or it is too short to be judged.
        SystemFailed: a process did not start, or ended by itself.

    Cancelled: no process is left behind.
    """
    options, observer = options or SoakOptions(), observer or Silent()
    duration = 60.0 * options.minutes
    minute = min(60.0, (duration - _WARMUP_S) / 4)
    if minute < 5:
        raise UsageError(
            f"a soak of {options.minutes:g} minutes cannot be judged: give 0.6 minutes or more"
        )
    variant = options.variant or scenario.variants[-1].name
    faults = soak_faults(
        scenario.faults,
        begin_s=_WARMUP_S + minute,
        end_s=duration - minute - 5.0,
        seed=scenario.load.seed,
    )
    rate, note = await _rate(scenario, variant, options, observer)
    planned = replace(
        scenario,
        faults=faults,
        load=replace(scenario.load, rate=rate, duration_s=duration, warmup_s=_WARMUP_S),
    )
    seen, sampler, asked = await _run(planned, variant, options, observer)
    samples = sampler.samples(seen.began)
    causes = merge_findings(seen.leaks, Path.cwd(), scenario.thresholds.root_cause_marker)
    # Whole ones from the warm-up on, and the last one, which ends with the load and may overlap.
    begins = [_WARMUP_S + k * minute for k in range(int((duration - _WARMUP_S) / minute - 1e-6))]
    looks = [look(samples, at, at + minute) for at in (*begins, duration - minute)]
    checks = judge_soak(
        first=looks[0],
        last=looks[-1],
        seconds=seen.seconds,
        faults=faults,
        warmup_s=_WARMUP_S,
        causes=causes,
        asked=asked,
        limits=options.limits,
    )
    overall = seen.load.overall if seen.load is not None else None
    return Soak(
        scenario=scenario.name,
        variant=variant,
        rate=rate,
        rate_note=note,
        minutes=options.minutes,
        faults=faults,
        looks=tuple(looks),
        requests=overall.requests if overall else 0,
        success=overall.success_rate if overall else 0.0,
        root_causes=tuple(causes),
        checks=(*_generator(seen.load), *checks),
        verdict=verdict_of((*_generator(seen.load), *checks)),
        samples=tuple(samples),
        seconds=tuple(seen.seconds),
    )


async def _rate(
    scenario: Scenario, variant: str, options: SoakOptions, observer: Observer
) -> tuple[float, str]:
    if options.rate is not None:
        return options.rate, f"{options.rate:g}/s as asked for"
    plan = KneePlan(budget_s=options.calibrate_budget_s)
    knee = await knee_of(scenario, variant, out=options.out, plan=plan, observer=observer)
    if knee.rate <= 0:
        raise UsageError(
            "no rate was sustained, so there is no knee to offer a share of: give --rate"
        )
    rate = options.share * knee.rate
    return rate, f"{rate:.0f}/s, {options.share:.0%} of the knee at {knee.rate:.0f}/s"


async def _run(
    scenario: Scenario, variant: str, options: SoakOptions, observer: Observer
) -> tuple[_Seen, Sampler, dict[str, bool]]:
    seen = _Seen()
    with Wardship() as wardship:
        system = System(
            scenario,
            scenario.variant(variant),
            options.out / f"soak-{variant}",
            wardship,
            seed=scenario.load.seed,
            cwd=Path.cwd(),
            on_progress=lambda what: observer.phase(variant, what),
        )
        async with system:
            sampler = Sampler(system)
            await _load(scenario, variant, system, sampler, observer, seen)
            observer.phase(variant, "settling, then asking what leaks")
            await asyncio.sleep(options.settle_s)
            await fetch_leaks(system, prove=True)  # a proof counts when it is made twice
            await asyncio.sleep(1.2)
            seen.leaks = await fetch_leaks(system, prove=True)
            asked = {name: _was_proved(seen.leaks.get(name)) for name in system.services()}
            exits = system.unexpected_exits()
            if exits:
                raise SystemFailed("\n".join(exits))
        return seen, sampler, asked


async def _load(
    scenario: Scenario,
    variant: str,
    system: System,
    sampler: Sampler,
    observer: Observer,
    seen: _Seen,
) -> None:
    faulting = Faulting(scenario.faults, system)
    began = asyncio.Event()
    options = load_options(
        scenario,
        system.ports[scenario.load.target],
        rate=scenario.load.rate,
        seed=scenario.load.seed,
    )

    def on_start(at: float) -> None:
        seen.began = at
        began.set()

    def on_second(second: SecondRecord) -> None:
        seen.seconds.append(second)
        latest = sampler.latest
        tasks, rss = (latest.tasks, latest.rss) if latest else (None, None)
        observer.tick(Tick(variant, second, scenario.load.duration_s, tasks, rss, faulting.active))

    async def break_and_mend() -> None:
        await began.wait()
        await faulting.run(seen.began)

    observer.phase(variant, "load")
    async with Scope(f"soak {variant}", on_exit="cancel", unwrap=True) as scope:
        scope.go(watch, system)
        scope.go(sampler.run)
        scope.go(break_and_mend)
        seen.load = await run_load(
            options, workload_spec(scenario), progress=on_second, on_start=on_start
        )
    seen.began = seen.began or now()


def _was_proved(report: Mapping[str, object] | None) -> bool:
    """Tell whether a service has said what leaks, and could prove all that it has seen."""
    said = "" if report is None else str(report.get("proof", ""))
    return " proved of " in said and "not confirmed" not in said


def _generator(load: LoadResult | None) -> tuple[Check, ...]:
    if load is None or load.valid:
        return ()
    return (Check("generator", "unknown", "; ".join(load.reasons)),)
