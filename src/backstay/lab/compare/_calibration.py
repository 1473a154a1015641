"""How much to offer: as the scenario asks, or less on a machine that cannot."""

from __future__ import annotations

from backstay.lab.calibrate import Knee, KneeGoal, KneePlan, StepResult, find_knee
from backstay.lab.compare._run_variant import Setting, load_options, workload_spec
from backstay.lab.scenario import Variant
from backstay.lab.system import System

__all__ = ["KNEE_SHARE", "calibrate", "offered_rate"]

KNEE_SHARE = 0.6  # of the knee is offered at most, so that the fault is what hurts and not the load


def offered_rate(wanted: float, knee: Knee | None) -> tuple[float, str]:
    """Return the rate to offer, and one sentence that says why it is that.

    Args:
        wanted: the scenario's rate.
        knee: what calibration found; None when there was none.
    """
    if knee is None:
        return wanted, f"{wanted:g} requests/s as asked; the machine was not calibrated"
    if knee.rate <= 0:
        return wanted, f"{wanted:g} requests/s as asked; calibration found no knee"
    ceiling = KNEE_SHARE * knee.rate
    at_least = "at least " if knee.censored else ""
    # A knee found at exactly rate / share may come back a hair below it.
    if ceiling >= wanted * 0.995:
        return wanted, (
            f"{wanted:g} requests/s as asked: the healthy system sustains "
            f"{at_least}{knee.rate:,.0f}/s on this machine"
        )
    lowered = max(1.0, float(int(ceiling)))
    return lowered, (
        f"{lowered:g} requests/s instead of {wanted:g}: the healthy system sustains "
        f"{knee.rate:,.0f}/s on this machine, and {KNEE_SHARE:.0%} of that is offered"
    )


async def calibrate(
    setting: Setting, variant: Variant, plan: KneePlan, goal: KneeGoal | None = None
) -> Knee:
    """Find out what a healthy variant sustains here.

    Args:
        setting: the experiment; its rate is what is hoped for.
        variant: the one to start.
        plan: where to search, and for how long; starting and stopping comes on top.
        goal: what a rate must meet to count as sustained.

    Raises:
        SystemFailed: it does not start.

    Cancelled:
        All processes are killed at once.
    """
    scenario, observer = setting.scenario, setting.observer
    system = System(
        scenario,
        variant,
        setting.out / "run-calibrate",
        setting.wardship,
        seed=setting.seed,
        cwd=setting.cwd,
        on_progress=lambda what: observer.phase(None, f"calibrating: {what}"),
    )

    def on_step(step: StepResult) -> None:
        word = {True: "sustained", False: "too much", None: "cannot tell"}[step.sustained]
        observer.note(f"calibrating: {step.rate:,.0f}/s {word}, p99 {step.p99_s * 1e3:,.0f} ms")

    async with system:
        options = load_options(
            scenario, system.ports[scenario.load.target], rate=setting.rate, seed=setting.seed
        )
        observer.phase(None, "calibrating: what does this machine sustain?")
        knee = await find_knee(
            options, workload_spec(scenario), plan=plan, goal=goal, progress=on_step
        )
        # How it ends proves nothing, so nobody waits for it.
        await system.stop(grace_s=1.0)
    return knee
