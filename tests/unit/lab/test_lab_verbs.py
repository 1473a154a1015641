"""`backstay lab`: slips are one line and exit code 2; experiments end as promised."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_up_comparison import SCENARIO, comparison, run

from backstay.cli import _lab_calibrate, _lab_compare, _lab_load, _lab_run, main
from backstay.errors import BackstayError
from backstay.lab.calibrate import Knee, StepResult


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a scenario's path, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.toml").write_text(SCENARIO)
    return tmp_path / "x.toml"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("lab compare nope", "no scenario named 'nope'"),
        ("lab compare ./none.toml", "no scenario at ./none.toml"),
        ("lab compare ./x.toml --rate 0", "--rate: '0' is not a number above 0"),
        ("lab compare ./x.toml --rate ten", "'ten' is not a number above 0"),
        ("lab compare ./x.toml --rate 1e9", "rate is 1000000000.0"),
        ("lab compare ./x.toml --duration 1", "--duration 1: expected 4 to 86400"),
        ("lab compare ./x.toml --seed -1", "--seed"),
        ("lab compare ./x.toml --seed x", "'x' is not a whole number"),
        ("lab compare ./x.toml --variants a,b", "unknown variant 'a'"),
        ("lab compare ./x.toml --out x.toml/sub", "cannot make the output folder"),
        ("lab compare", "SCENARIO"),
        ("lab nothing", "nothing"),
        ("lab load nope", "'nope' is not a URL"),
        ("lab load https://x/", "no TLS"),
        ("lab load http://127.0.0.1:1/ --header bad", "--header 'bad': expected 'Name: value'"),
        ("lab load http://127.0.0.1:1/", "nothing listens on 127.0.0.1:1"),
        ("lab load http://127.0.0.1:1/ --workload no.such:Thing", "cannot load workload"),
        ("lab calibrate http://127.0.0.1:1/ --variant x", "only a scenario has variants"),
        ("lab calibrate ./x.toml --variant x", "unknown variant 'x'"),
        ("lab calibrate ./x.toml --out x.toml", "cannot make the output folder"),
    ],
)
def test_a_slip_is_one_line_and_exit_code_2(
    line: str, says: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is started, and the line names the value."""
    try:
        code = main(line.split())
    except SystemExit as end:
        code = int(str(end.code))
    said = capsys.readouterr().err
    assert code == 2
    assert says in said
    assert len(said.strip().splitlines()) == 1
    assert not (path.parent / "out" / "run-naive").exists()


@pytest.mark.parametrize(("late", "code"), [(False, 0), (True, 1)])
@pytest.mark.parametrize("as_json", [True, False])
def test_compare_writes_its_files_and_says_its_verdict(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    late: bool,
    code: int,
    as_json: bool,
) -> None:
    """0 is PASS, 1 is anything else; stdout has the table or the document, and nothing besides."""
    found = (
        comparison(run("naive"), run("governed", root_causes=()))
        if not late
        else comparison(run("naive"))
    )
    monkeypatch.setattr(_lab_compare, "run_experiment", lambda _: found)
    (path.parent / "out").mkdir()
    assert main(["lab", "compare", "./x.toml", *(["--json"] if as_json else [])]) == code
    said = capsys.readouterr().out
    if as_json:
        assert json.loads(said)["verdict"] == found.verdict
    else:
        assert found.verdict in said
    written = {entry.name for entry in (path.parent / "out").iterdir()}
    assert written == {"result.json", "report.html", "demo.svg"}


@pytest.mark.parametrize(
    "command", ["compare ./x.toml", "load http://127.0.0.1:1/", "calibrate ./x.toml"]
)
def test_a_signal_ends_without_a_verdict(
    path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """The exit code is the signal's, as shells count."""

    def interrupted(_: object) -> None:
        raise _lab_run.Interrupted(143)

    for module in (_lab_compare, _lab_load, _lab_calibrate):
        monkeypatch.setattr(module, "run_experiment", interrupted)
    assert main(["lab", *command.split()]) == 143


@pytest.mark.parametrize("command", ["load http://127.0.0.1:1/", "calibrate http://127.0.0.1:1/"])
def test_a_broken_experiment_is_one_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """The generator's own failure is nobody's slip, and no traceback either."""

    def broken(_: object) -> None:
        raise BackstayError("the load worker ended without a result")

    monkeypatch.setattr(_lab_load, "run_experiment", broken)
    monkeypatch.setattr(_lab_calibrate, "run_experiment", broken)
    assert main(["lab", *command.split()]) == 1
    assert "the load worker ended" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("end", "code"), [(SystemExit(0), 143), (SystemExit(130), 130), (KeyboardInterrupt(), 130)]
)
def test_every_ending_by_signal_becomes_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, end: BaseException, code: int
) -> None:
    """SIGTERM is a clean stop for a service, and no verdict for an experiment."""

    def run_and_end(*_: object, **__: object) -> None:
        raise end

    monkeypatch.setattr(_lab_run, "run", run_and_end)
    with pytest.raises(_lab_run.Interrupted) as caught:
        _lab_run.run_experiment(lambda: None)  # type: ignore[arg-type, return-value]
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("knee", "code", "says"),
    [
        (Knee(240.0, 300.0, False, "target", (StepResult(240.0, True, 0.1, 1.0, 240.0, ""),)), 0, "knee: 240 requests/s, below 300"),
        (Knee(500.0, None, True, "plan", ()), 0, "at least 500"),
        (Knee(0.0, 5.0, False, "target", (StepResult(5.0, False, 9.0, 0.1, 1.0, "p99 too high"),)), 1, "no rate was sustained"),
    ],
)  # fmt: skip
def test_calibrate_prints_the_knee(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    knee: Knee,
    code: int,
    says: str,
) -> None:
    """The rate, what lies above it, and every step; as text or as a document."""
    monkeypatch.setattr(_lab_calibrate, "run_experiment", lambda _: knee)
    assert main(["lab", "calibrate", "http://127.0.0.1:1/"]) == code
    assert says in capsys.readouterr().out
    assert main(["lab", "calibrate", "http://127.0.0.1:1/", "--json"]) == code
    assert json.loads(capsys.readouterr().out)


def test_a_missing_package_of_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cure is one command."""

    def missing(_: object) -> None:
        raise ModuleNotFoundError("No module named 'hdrh'", name="hdrh.histogram")

    monkeypatch.setattr(_lab_load, "run_experiment", missing)
    assert main(["lab", "load", "http://127.0.0.1:1/"]) == 2
    assert "pip install 'backstay[lab]'" in capsys.readouterr().err


def test_a_module_of_our_own_that_is_missing_is_our_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not dressed up as a user's slip."""

    def missing(_: object) -> None:
        raise ModuleNotFoundError("No module named 'backstay.nope'", name="backstay.nope")

    monkeypatch.setattr(_lab_load, "run_experiment", missing)
    with pytest.raises(ModuleNotFoundError):
        main(["lab", "load", "http://127.0.0.1:1/"])
