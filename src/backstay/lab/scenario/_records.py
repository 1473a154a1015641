"""What a scenario says, as frozen records.

A scenario lists everything the lab needs: what to start, what to send, what to
break and when, and what counts as a pass. The lab itself knows no product.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

__all__ = ["Fault", "LoadPlan", "Process", "Readiness", "Scenario", "Thresholds", "Variant"]

Role = Literal["infra", "outsider", "service"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """The traffic: how much, for how long, and who invents the requests."""

    workload: str  # "module:Class", imported by the generator
    target: str  # the process that receives the traffic
    rate: float  # requests per second that are offered, > 0
    duration_s: float  # seconds of traffic, warm-up included
    warmup_s: float = 5.0  # the first of them: healthy, sent but not judged
    seed: int = 1
    arrivals: Literal["poisson", "constant"] = "poisson"
    calibrate: bool = True  # ask first what the machine sustains, and offer less than that
    connections: int = 256  # most connections open at once
    client_timeout_s: float = 10.0  # a user gives up after this
    options: Mapping[str, object] = field(default_factory=dict[str, object])
    pythonpath: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that breaks at a set time.

    Either a JSON document is posted to a simulator, or a process is stopped in its tracks
    (SIGSTOP): its connections stay open, and nothing answers. It goes on at `until_s` (SIGCONT).
    """

    at_s: float  # seconds after the load began, warm-up included
    until_s: float | None  # the same scale; None = to the end
    process: str
    path: str
    body: Mapping[str, object]
    reset: Mapping[str, object] | None  # what is posted at `until_s`
    title: str = ""  # for people: "the bank slows down"
    signal: Literal["stop"] | None = None  # instead of a document

    @property
    def label(self) -> str:
        """What people read in the progress line and under the curves."""
        if self.title:
            return self.title
        if self.signal is not None:
            return f"{self.process} is stopped"
        return f"{self.process} {', '.join(f'{k}={v}' for k, v in self.body.items())}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """How the lab learns that a process may get traffic."""

    kind: Literal["http", "tcp"]
    path: str = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process of the system, in the order in which it is started."""

    name: str
    role: Role
    command: tuple[str, ...]
    ready: Readiness
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    admin: bool = False  # has an admin plane at {admin:NAME}
    pythonpath: tuple[Path, ...] = ()
    ready_timeout_s: float = 20.0
    grace_s: float = 10.0  # from SIGTERM to SIGKILL


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way of writing the same system."""

    name: str
    title: str = ""
    command: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    env: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What counts as a pass.

    The defaults are the least that the project promises; a goal is reported as
    met or not met, and does not decide.
    """

    judged: tuple[str, ...] = ("tasks", "p99", "memory", "unaffected")  # what decides
    failed_drop_min: float = 0.9  # by how much the share of failed requests falls, at least
    recovery_s: float = 5.0  # from the end of the last fault until all requests succeed, at most
    tasks_ratio_pass: float = 12.0  # naive peak tasks / governed peak tasks, at least
    p99_ratio_pass: float = 10.0  # naive p99 / governed p99, at least
    p99_ratio_goal: float = 22.0
    rss_growth_max_pct_per_min: float = 2.0  # of the governed variant
    rss_settle_s: float = (
        10.0  # seconds after the first fault that memory may take to find its level
    )
    unaffected_success_min: float = (
        0.999  # success of requests that do not need the faulted dependency
    )
    root_cause: str | None = None  # the variant whose leak must be found
    root_cause_marker: str = "# leak:"  # comment that marks the guilty line in the source
    clean_exit: tuple[str, ...] = ("governed",)  # variants whose processes must end with code 0
    lag_p99_max_ms: float = 5.0  # the generator's own lateness; above it the run proves nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Everything the lab needs to run one experiment."""

    name: str
    title: str
    path: Path
    load: LoadPlan
    faults: tuple[Fault, ...]
    processes: tuple[Process, ...]
    variants: tuple[Variant, ...]
    thresholds: Thresholds

    def processes_of(self, variant: Variant) -> tuple[Process, ...]:
        """Return the processes as this variant starts them, its overrides applied."""
        return tuple(
            replace(
                process,
                command=variant.command.get(process.name, process.command),
                env={**process.env, **variant.env},
            )
            for process in self.processes
        )

    def asked_for(
        self,
        *,
        rate: float | None = None,
        seed: int | None = None,
        duration_s: float | None = None,
    ) -> Scenario:
        """Return the scenario with what a person asked for instead.

        Another duration stretches the whole experiment: the warm-up, the faults
        and the time that memory may take to settle keep their share of it.
        """
        load = self.load
        stretch = 1.0 if duration_s is None else duration_s / load.duration_s
        return replace(
            self,
            load=replace(
                load,
                rate=load.rate if rate is None else rate,
                seed=load.seed if seed is None else seed,
                duration_s=load.duration_s * stretch,
                warmup_s=load.warmup_s * stretch,
            ),
            faults=tuple(
                replace(
                    fault,
                    at_s=fault.at_s * stretch,
                    until_s=None if fault.until_s is None else fault.until_s * stretch,
                )
                for fault in self.faults
            ),
            thresholds=replace(
                self.thresholds, rss_settle_s=self.thresholds.rss_settle_s * stretch
            ),
        )

    def variant(self, name: str) -> Variant:
        """Return the variant called `name`.

        Raises:
            KeyError: there is none; names from users are checked before.
        """
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise KeyError(name)
