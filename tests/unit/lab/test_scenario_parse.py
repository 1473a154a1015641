"""Scenarios: what parses, and how a slip is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from backstay.errors import UsageError
from backstay.lab.scenario import Scenario, load_scenario, parse

GOOD = """\
name = "leaky"
title = "A leak"

[load]
workload = "toy.workload:Reads"
rate = 100
duration_s = 10
warmup_s = 2
options = { share = 0.5 }

[[fault]]
at_s = 3
until_s = 8
process = "bank"
body = { latency_ms = 500 }
reset = { latency_ms = 1 }

[[process]]
name = "bank"
role = "outsider"
command = ["{python}", "bank.py", "{port:bank}"]
ready = "http:/readyz"

[[process]]
name = "order"
role = "service"
admin = true
command = ["{python}", "order.py", "{port:order}", "--admin", "{admin:order}", '{"json": 1}']
env = { BANK = "http://127.0.0.1:{port:bank}", MODE = "{variant}" }

[[variant]]
name = "naive"

[[variant]]
name = "governed"
[variant.command]
order = ["{python}", "governed.py", "{run_dir}", "{seed}"]
[variant.env]
GUARD = "on"

[verdict]
root_cause = "naive"
tasks_ratio_pass = 5
"""


def read(text: str) -> Scenario:
    return parse(text, Path("some/leaky.toml"))


def complaint(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read(text)
    message = str(caught.value)
    assert "\n" not in message, "a usage error is one line"
    return message


def test_a_whole_scenario_becomes_frozen_records() -> None:
    """Every part of a scenario is read, and what is left out gets its default."""
    scenario = read(GOOD)
    assert (scenario.name, scenario.title) == ("leaky", "A leak")
    assert scenario.load.rate == 100
    assert scenario.load.target == "order", "the last service is the edge unless told otherwise"
    assert scenario.load.options == {"share": 0.5}
    assert scenario.load.arrivals == "poisson"
    fault = scenario.faults[0]
    assert (fault.at_s, fault.until_s, fault.path) == (3, 8, "/control")
    assert fault.label == "bank latency_ms=500"
    assert [p.name for p in scenario.processes] == ["bank", "order"]
    assert (scenario.processes[0].ready.kind, scenario.processes[0].ready.path) == (
        "http",
        "/readyz",
    )
    assert scenario.processes[1].ready.kind == "tcp"
    assert scenario.thresholds.root_cause == "naive"
    assert scenario.thresholds.tasks_ratio_pass == 5
    assert scenario.thresholds.p99_ratio_goal == 22
    assert scenario.thresholds.clean_exit == ("governed",)


def test_a_variant_overrides_commands_and_adds_environment() -> None:
    """Only what a variant names is different; everything else is shared."""
    scenario = read(GOOD)
    naive = scenario.processes_of(scenario.variant("naive"))
    governed = scenario.processes_of(scenario.variant("governed"))
    assert naive[0].command == governed[0].command
    assert naive[1].command[1] == "order.py"
    assert governed[1].command[1] == "governed.py"
    assert "GUARD" not in naive[1].env
    assert governed[1].env["GUARD"] == "on"
    assert governed[1].env["MODE"] == "{variant}"
    with pytest.raises(KeyError):
        scenario.variant("other")


def test_a_process_may_be_stopped_in_its_tracks() -> None:
    """A fault with a signal has no document, and ends by itself at `until_s`."""
    text = GOOD.replace("body = { latency_ms = 500 }", 'signal = "stop"')
    fault = read(text.replace("reset = { latency_ms = 1 }", "")).faults[0]
    assert (fault.signal, fault.body, fault.until_s) == ("stop", {}, 8)
    assert fault.label == "bank is stopped"


def test_the_verdict_table_may_be_left_out() -> None:
    """Without thresholds the project's own promises count."""
    scenario = read(GOOD.partition("[verdict]")[0])
    assert scenario.thresholds.tasks_ratio_pass == 12
    assert scenario.thresholds.root_cause is None


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("rate = 100", "rate = -5", ["leaky.toml:6:", "[load] rate = -5", "requests per second"]),
        ("rate = 100", "rate = true", ["rate = True", "requests per second"]),
        ("rate = 100", "rate = nan", ["rate = nan"]),
        ("rate = 100", "rat = 100", ["leaky.toml:4:", "rate is missing", "found 'rat'"]),
        ("warmup_s = 2", "warmup_s = 10", ["leaky.toml:8:", "less than duration_s = 10"]),
        ("warmup_s = 2", "warmup = 2", ["leaky.toml:8:", "unknown key 'warmup'", "'warmup_s'"]),
        ("warmup_s = 2", "zzz = 2", ["unknown key 'zzz'", "remove it"]),
        ("warmup_s = 2", "seed = 1.5", ["seed = 1.5", "a whole number"]),
        ("warmup_s = 2", 'arrivals = "bursty"', ["arrivals = 'bursty'", "'poisson', 'constant'"]),
        ("warmup_s = 2", 'target = "bus"', ["target = 'bus'", "'bank', 'order'"]),
        ("warmup_s = 2", 'pythonpath = ["no/where"]', ["'no/where' is neither"]),
        ("warmup_s = 2", "pythonpath = [1]", ["a list of folders"]),
        ("warmup_s = 2", 'pythonpath = "x"', ["a list of folders"]),
        ("toy.workload:Reads", "toy.workload", ["workload", '"module:Class"']),
        ("until_s = 8", "until_s = 2", ["leaky.toml:13:", "more than at_s = 3"]),
        ("at_s = 3\nuntil_s = 8", "at_s = 30", ["leaky.toml:12:", "less than duration_s = 10"]),
        ("reset = { latency_ms = 1 }", "", ["until_s is set but reset is missing"]),
        ('process = "bank"', 'process = "bnk"', ["leaky.toml:14:", "'bnk'", "bank, order"]),
        ("body = { latency_ms = 500 }", 'signal = "kill"', ["signal = 'kill'", "'stop'"]),
        ("body = { latency_ms = 500 }", 'signal = "stop"', ["reset is for a document"]),
        ('root_cause = "naive"', 'judged = ["taks"]', ["judged", "tasks, p99, memory"]),
        ("warmup_s = 2", 'calibrate = "no"', ["calibrate = 'no'", "true or false"]),
        ("body = { latency_ms = 500 }", "body = 5", ["body = 5", "a table"]),
        ('role = "outsider"', 'role = "boss"', ["leaky.toml:20:", "role = 'boss'", "'service'"]),
        ('ready = "http:/readyz"', 'ready = "udp"', ["ready = 'udp'", '"tcp"']),
        ('command = ["{python}", "bank.py", "{port:bank}"]', "command = []", ["the program first"]),
        ("{port:bank}\"]", "{port:bnk}\"]", ["{port:bnk}", "bank, order"]),
        ("{port:bank}\"]", "{admin:bank}\"]", ["has no admin plane", "admin = true"]),
        ("{port:bank}\"]", "{pid}\"]", ["unknown blank {pid}", "{run_dir}"]),
        ("{port:bank}\"]", "{run_dir:x}\"]", ["unknown blank {run_dir:x}"]),
        ("admin = true\n", "", ["service 'order' has no admin plane"]),
        ("admin = true\n", 'admin = "yes"\n', ["admin = 'yes'", "true or false"]),
        ('env = { BANK = "http://127.0.0.1:{port:bank}", MODE = "{variant}" }', "env = { A = 1 }",
         ["env.A = 1", "a table of strings"]),
        ('order = ["{python}", "governed.py", "{run_dir}", "{seed}"]', 'ordr = ["x"]',
         ["'ordr' of variant 'governed'", "bank, order"]),
        ('name = "governed"', 'name = "naive"', ["'naive' appears twice"]),
        ('name = "order"', 'name = "bank"', ["'bank' appears twice"]),
        ('root_cause = "naive"', 'root_cause = "nave"', ["root_cause = 'nave'", "'governed'"]),
        ('root_cause = "naive"', 'clean_exit = ["nobody"]', ["clean_exit", "naive, governed"]),
        ("tasks_ratio_pass = 5", "task_ratio_pass = 5", ["did you mean 'tasks_ratio_pass'"]),
        ('name = "leaky"', 'name = "two words"', ["leaky.toml:1:", "two words", "letters"]),
        ('name = "leaky"', 'name = "leaky"\nnaem = 1', ["leaky.toml:2:", "unknown key 'naem'"]),
        ('name = "leaky"', 'name = "leaky', ["not a TOML document", "line 1"]),
        ("[[variant]]", "[[variants]]", ["one or more tables [[variant]]"]),
        ("[[fault]]", "[fault]", ["fault = ", "[[fault]]"]),
    ],
)  # fmt: skip
def test_a_slip_is_named_with_its_place_and_its_cure(old: str, new: str, parts: list[str]) -> None:
    """Every wrong value ends in one line with file, key, what was seen and what was expected."""
    assert old in GOOD
    message = complaint(GOOD.replace(old, new))
    for part in ["some/leaky.toml", *parts]:
        assert part in message


def test_a_scenario_without_variants_is_refused() -> None:
    """At least one process and one variant are needed."""
    text = GOOD[: GOOD.index("[[variant]]")]
    assert "no [[variant]] found: expected at least 1" in complaint(text)


def test_a_list_that_is_not_made_of_tables_is_refused() -> None:
    """`process = [1]` is an array, and not of tables."""
    assert "[[process]]" in complaint('name = "x"\nprocess = [1]\n')


def test_folders_are_found_beside_the_scenario_first(tmp_path: Path) -> None:
    """A folder in pythonpath is looked up beside the file, then in the working directory."""
    (tmp_path / "code").mkdir()
    path = tmp_path / "leaky.toml"
    path.write_text(GOOD.replace("warmup_s = 2", 'pythonpath = ["code", "."]'))
    assert load_scenario(path).load.pythonpath == (tmp_path / "code", tmp_path)


def test_folders_in_the_working_directory_count_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not beside the scenario may be in the working directory."""
    (tmp_path / "code").mkdir()
    monkeypatch.chdir(tmp_path)
    scenario = read(GOOD.replace("warmup_s = 2", 'pythonpath = ["code"]'))
    assert scenario.load.pythonpath == (tmp_path / "code",)


def test_a_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    """A missing file and a file that is not text are told apart."""
    with pytest.raises(UsageError, match="No such file"):
        load_scenario(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        load_scenario(tmp_path / "bad.toml")
