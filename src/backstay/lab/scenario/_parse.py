"""From a TOML file to a checked `Scenario`.

Everything is checked here, before a single process is started: a scenario that
parses can be run.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeVar, cast

from backstay.errors import UsageError
from backstay.lab.load import MAX_RATE
from backstay.lab.scenario._placeholders import NAMED, PLAIN, blanks_in
from backstay.lab.scenario._records import (
    Fault,
    LoadPlan,
    Process,
    Readiness,
    Role,
    Scenario,
    Thresholds,
    Variant,
)
from backstay.lab.scenario._section import Section

__all__ = ["load_scenario", "parse"]

T = TypeVar("T")

_NAME = r"[A-Za-z][A-Za-z0-9_-]{0,39}"
_DAY = 86_400.0

JUDGEABLE = ("tasks", "p99", "memory", "unaffected", "failed", "recovery")


def load_scenario(path: Path) -> Scenario:
    """Read and check a scenario file.

    Args:
        path: the TOML file.

    Raises:
        UsageError: one line that names the file, the line, the key, the value
            seen and what was expected.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot read the scenario {path}: {reason}") from error
    return parse(text, path)


def parse(text: str, path: Path) -> Scenario:
    """Check a scenario's text; `path` is for messages and for relative folders.

    Raises:
        UsageError: see `load_scenario`.
    """
    try:
        document: dict[str, object] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not a TOML document: {error}") from error
    top = Section(path, text, "", document)
    name = top.text("name", "a short name of letters, digits and dashes", pattern=_NAME)
    title = top.text("title", "one sentence for people", name)
    processes = tuple(_many(top, text, "process", _process))
    _unique(top, "process", [process.name for process in processes])
    variants = tuple(_many(top, text, "variant", _variant))
    _unique(top, "variant", [variant.name for variant in variants])
    scenario = Scenario(
        name=name,
        title=title,
        path=path,
        load=_load(_one(top, text, "load"), processes),
        faults=tuple(_many(top, text, "fault", _fault, at_least=0)),
        processes=processes,
        variants=variants,
        thresholds=_thresholds(_one(top, text, "verdict"), [v.name for v in variants]),
    )
    top.finish()
    _check_references(top, scenario)
    return scenario


def _one(top: Section, text: str, table: str) -> Section:
    if table == "verdict" and not top.has(table):
        return Section(top.path, text, table, {})
    return Section(top.path, text, table, top.mapping(table, f"a table [{table}]"))


def _many(
    top: Section, text: str, table: str, build: Callable[[Section], T], at_least: int = 1
) -> list[T]:
    found = top.tables(table)
    if len(found) < at_least:
        raise top.error(None, f"no [[{table}]] found: expected at least {at_least}")
    return [
        build(Section(top.path, text, table, values, index)) for index, values in enumerate(found)
    ]


def _unique(top: Section, table: str, names: list[str]) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise top.error(None, f"[[{table}]] name {name!r} appears twice: expected unique names")


def _folders(section: Section) -> tuple[Path, ...]:
    """Take `pythonpath`: folders relative to the scenario file, else to the working directory."""
    folders: list[Path] = []
    for entry in section.texts("pythonpath", "a list of folders", ()):
        beside = (section.path.parent / entry).resolve()
        here = Path(entry).resolve()
        if beside.is_dir():
            folders.append(beside)
        elif here.is_dir():
            folders.append(here)
        else:
            raise section.wrong(
                "pythonpath", f"folders that exist; {entry!r} is neither {beside} nor {here}"
            )
    return tuple(folders)


def _load(section: Section, processes: tuple[Process, ...]) -> LoadPlan:
    services = [process.name for process in processes if process.role == "service"]
    last = services[-1] if services else processes[-1].name
    plan = LoadPlan(
        workload=section.text(
            "workload", '"module:Class"', pattern=r"[A-Za-z_][\w.]*:[A-Za-z_]\w*"
        ),
        target=section.choice("target", tuple(p.name for p in processes), last),
        rate=section.number("rate", "requests per second", 0.1, MAX_RATE),
        duration_s=section.number("duration_s", "seconds", 1, _DAY),
        warmup_s=section.number("warmup_s", "seconds", 0, _DAY, 5.0),
        seed=section.whole("seed", "a seed", 0, 2**63 - 1, 1),
        arrivals=cast(
            "Literal['poisson', 'constant']",
            section.choice("arrivals", ("poisson", "constant"), "poisson"),
        ),
        calibrate=section.flag("calibrate", True),
        connections=section.whole("connections", "open connections", 1, 10_000, 256),
        client_timeout_s=section.number("client_timeout_s", "seconds", 0.05, 60, 10.0),
        options=section.mapping("options", "a table of options for the workload", {}),
        pythonpath=_folders(section),
    )
    section.finish()
    if plan.warmup_s >= plan.duration_s:
        raise section.wrong(
            "warmup_s", f"less than duration_s = {plan.duration_s:g}, which includes it"
        )
    return plan


def _fault(section: Section) -> Fault:
    at_s = section.number("at_s", "seconds after the load began", 0, _DAY)
    until_s = (
        section.number("until_s", "seconds after the load began, later than at_s", 0, _DAY)
        if section.has("until_s")
        else None
    )
    if until_s is not None and until_s <= at_s:
        raise section.wrong("until_s", f"more than at_s = {at_s:g}")
    stops = section.has("signal")
    if stops:
        section.choice("signal", ("stop",))
        for key in ("path", "body", "reset"):
            if section.has(key):
                raise section.error(
                    key, f"{key} is for a document: a fault with signal = 'stop' takes none"
                )
    fault = Fault(
        at_s=at_s,
        until_s=until_s,
        process=section.text("process", "the name of a process", pattern=_NAME),
        path=section.text("path", "a path like /control", "/control", pattern=r"/\S*"),
        body={} if stops else section.mapping("body", "a table, posted as JSON"),
        reset=(
            section.mapping("reset", "a table, posted as JSON at until_s")
            if section.has("reset")
            else None
        ),
        title=section.text("title", "a few words for people", ""),
        signal="stop" if stops else None,
    )
    section.finish()
    if fault.until_s is not None and fault.reset is None and not stops:
        raise section.error(
            "until_s", "until_s is set but reset is missing: say how the fault ends"
        )
    return fault


def _process(section: Section) -> Process:
    name = section.text("name", "letters, digits and dashes", pattern=_NAME)
    ready = section.text("ready", '"http:/path" or "tcp"', "tcp", pattern=r"tcp|http:/\S*")
    kind, _, path = ready.partition(":")
    process = Process(
        name=name,
        role=cast("Role", section.choice("role", ("infra", "outsider", "service"))),
        command=_command(section, "command"),
        ready=Readiness(kind="http" if kind == "http" else "tcp", path=path or "/"),
        env=section.text_mapping("env", "a table of strings"),
        admin=section.flag("admin", False),
        pythonpath=_folders(section),
        ready_timeout_s=section.number("ready_timeout_s", "seconds", 0.1, 600, 20.0),
        grace_s=section.number("grace_s", "seconds from SIGTERM to SIGKILL", 0, 600, 10.0),
    )
    section.finish()
    if process.role == "service" and not process.admin:
        raise section.error(
            "admin",
            f"service {name!r} has no admin plane: expected admin = true, it is measured there",
        )
    return process


def _command(section: Section, key: str) -> tuple[str, ...]:
    command = section.texts(key, "a list of words, the program first")
    if not command:
        raise section.wrong(key, "a list of words, the program first")
    return command


def _variant(section: Section) -> Variant:
    commands = section.mapping("command", "a table of commands by process name", {})
    overrides = Section(section.path, section.source, "variant.command", commands)
    variant = Variant(
        name=section.text("name", "letters, digits and dashes", pattern=_NAME),
        title=section.text("title", "a few words for people", ""),
        command={name: _command(overrides, name) for name in commands},
        env=section.text_mapping("env", "a table of strings"),
    )
    section.finish()
    return variant


def _thresholds(section: Section, variants: list[str]) -> Thresholds:
    default = Thresholds()

    def ratio(key: str, fallback: float) -> float:
        return section.number(key, "a ratio", 0, 1_000_000, fallback)

    thresholds = Thresholds(
        judged=_judged(section, default.judged),
        failed_drop_min=section.number("failed_drop_min", "a share", 0, 1, default.failed_drop_min),
        recovery_s=section.number("recovery_s", "seconds", 0, _DAY, default.recovery_s),
        tasks_ratio_pass=ratio("tasks_ratio_pass", default.tasks_ratio_pass),
        p99_ratio_pass=ratio("p99_ratio_pass", default.p99_ratio_pass),
        p99_ratio_goal=ratio("p99_ratio_goal", default.p99_ratio_goal),
        rss_growth_max_pct_per_min=section.number(
            "rss_growth_max_pct_per_min", "percent per minute", 0, 1000, 2.0
        ),
        rss_settle_s=section.number("rss_settle_s", "seconds", 0, _DAY, default.rss_settle_s),
        unaffected_success_min=section.number(
            "unaffected_success_min", "a share", 0, 1, default.unaffected_success_min
        ),
        root_cause=(
            section.choice("root_cause", tuple(variants)) if section.has("root_cause") else None
        ),
        root_cause_marker=section.text(
            "root_cause_marker", "a comment like '# leak:'", default.root_cause_marker
        ),
        clean_exit=_known_variants(section, variants),
        lag_p99_max_ms=section.number(
            "lag_p99_max_ms", "milliseconds", 0.1, 1000, default.lag_p99_max_ms
        ),
    )
    section.finish()
    return thresholds


def _judged(section: Section, default: tuple[str, ...]) -> tuple[str, ...]:
    names = section.texts("judged", "a list of words", default)
    for name in names:
        if name not in JUDGEABLE:
            raise section.wrong("judged", f"some of {', '.join(JUDGEABLE)}")
    return names


def _known_variants(section: Section, variants: list[str]) -> tuple[str, ...]:
    if not section.has("clean_exit"):
        return tuple(name for name in Thresholds().clean_exit if name in variants)
    names = section.texts("clean_exit", "a list of variants")
    for name in names:
        if name not in variants:
            raise section.wrong("clean_exit", f"variants of this scenario: {', '.join(variants)}")
    return names


def _check_references(top: Section, scenario: Scenario) -> None:
    """Refuse names that lead nowhere: in faults, overrides and blanks."""
    names = {process.name: process for process in scenario.processes}
    known = ", ".join(names)
    for index, fault in enumerate(scenario.faults):
        section = Section(top.path, top.source, "fault", {"process": fault.process}, index)
        if fault.process not in names:
            raise section.wrong("process", f"one of the processes {known}")
        if fault.at_s >= scenario.load.duration_s:
            section = Section(top.path, top.source, "fault", {"at_s": fault.at_s}, index)
            raise section.wrong("at_s", f"less than duration_s = {scenario.load.duration_s:g}")
    for variant in scenario.variants:
        for name in variant.command:
            if name not in names:
                raise UsageError(
                    f"{top.path}: [variant.command] {name!r} of variant {variant.name!r}: "
                    f"expected one of the processes {known}"
                )
        for process in scenario.processes_of(variant):
            _check_blanks(top.path, process, names)


def _check_blanks(path: Path, process: Process, names: Mapping[str, Process]) -> None:
    where = f"{path}: [[process]] {process.name}"
    for text in (*process.command, *process.env.values()):
        for word, name in blanks_in(text):
            if name is None and word in PLAIN:
                continue
            if name is None or word not in NAMED:
                blank = f"{{{word}{':' + name if name else ''}}}"
                raise UsageError(
                    f"{where}: unknown blank {blank} in {text!r}: expected {{python}}, {{variant}}, "
                    f"{{run_dir}}, {{seed}}, {{port:NAME}} or {{admin:NAME}}"
                )
            if name not in names:
                raise UsageError(
                    f"{where}: {{{word}:{name}}} in {text!r}: expected one of the processes "
                    f"{', '.join(names)}"
                )
            if word == "admin" and not names[name].admin:
                raise UsageError(
                    f"{where}: {{admin:{name}}} in {text!r}: process {name!r} has no admin plane; "
                    "set admin = true on it"
                )
