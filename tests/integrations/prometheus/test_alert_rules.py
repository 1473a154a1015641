"""The rules of deploy/prometheus: checked by promtool, and followed by a real Prometheus that scrapes real processes."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local_servers import local_services, running

pytestmark = pytest.mark.slow

RULES = Path(__file__).parents[3] / "deploy" / "prometheus"


@pytest.fixture(scope="module")
def promtool() -> str:
    """Return the path of promtool, or skip where it cannot be had."""
    try:
        return str(local_services.promtool_program())
    except local_services.Missing as missing:
        pytest.skip(f"no promtool: {missing}")


@pytest.mark.parametrize(
    "words", [("check", "backstay.rules.yml"), ("test", "backstay.rules.test.yml")]
)
def test_promtool_agrees(promtool: str, words: tuple[str, str]) -> None:
    """The rules are well-formed, and each alerts where it should and nowhere else."""
    done = subprocess.run(
        [promtool, words[0], "rules", words[1]],
        cwd=RULES,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_of_the_rules_is_one_that_we_have() -> None:
    """A rule about a metric that was renamed would be silent for ever."""
    page = (RULES.parents[1] / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`(backstay_[a-z0-9_]+)`", page))
    for name in ("backstay.rules.yml", "backstay.dashboard.json"):
        text = (RULES / name).read_text(encoding="utf-8")
        used = set(re.findall(r"(?<![:a-z_])backstay_[a-z0-9_]+(?!:)\b", text))
        ends = r"_(bucket|count|sum)$"
        unknown = {one for one in used if re.sub(ends, "", one) not in documented} - documented
        assert not unknown, name


def test_the_dashboard_asks_what_prometheus_understands(promtool: str, tmp_path: Path) -> None:
    """Each panel has a title and a place of its own, and its queries are well-formed."""
    board = json.loads((RULES / "backstay.dashboard.json").read_text(encoding="utf-8"))
    panels = [one for one in board["panels"] if one["type"] != "row"]
    assert len({(one["gridPos"]["x"], one["gridPos"]["y"]) for one in panels}) == len(panels)
    assert len({one["title"] for one in panels}) == len(panels)
    asked = [target["expr"] for one in panels for target in one["targets"]]
    rules = [
        {"record": f"panel:{number}", "expr": expr.replace("$__rate_interval", "1m")}
        for number, expr in enumerate(asked)
    ]
    path = tmp_path / "board.yml"
    path.write_text(json.dumps({"groups": [{"name": "board", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run(
        [promtool, "check", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(asked)} rules found" in done.stdout


class Apps:
    """A leaky and a healthy process, and where they are scraped."""

    def __init__(self) -> None:
        self.ports = {kind: local_services.free_port() for kind in ("leaky", "healthy")}
        script = str(Path(__file__).with_name("leaky_app.py"))
        self.processes = [
            subprocess.Popen([sys.executable, script, str(port), kind], stdin=subprocess.DEVNULL)
            for kind, port in self.ports.items()
        ]

    def place(self, kind: str) -> str:
        return f"127.0.0.1:{self.ports[kind]}"

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def apps() -> Iterator[Apps]:
    """Run both processes."""
    made = Apps()
    try:
        until = time.monotonic() + 30
        for kind in made.ports:
            while True:
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://{made.place(kind)}/metrics", timeout=5).read()
                    break
                assert time.monotonic() < until
                time.sleep(0.05)
        yield made
    finally:
        made.stop()


class Reporter:
    """`backstay diagnose --listen`, which a prometheus takes for its Alertmanager."""

    def __init__(self, home: Path, apps: Apps) -> None:
        self.home = home
        self.port = local_services.free_port()
        words = [sys.executable, "-m", "backstay", "diagnose", "--listen", f"127.0.0.1:{self.port}"]
        for kind in apps.ports:
            words += ["--target", f"{apps.place(kind)}=http://{apps.place(kind)}"]
        self.process = subprocess.Popen(
            [*words, "--seconds", "24", "-o", str(home)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        assert "listening on" in self.process.stderr.readline()

    def reports(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted(self.home.glob("*.json"))]

    def stop(self) -> None:
        assert self.process.stderr is not None
        self.process.terminate()
        assert self.process.wait(40) == 0
        self.process.stderr.close()


@pytest.fixture(scope="module")
def reporter(tmp_path_factory: pytest.TempPathFactory, apps: Apps) -> Iterator[Reporter]:
    """Run it."""
    made = Reporter(tmp_path_factory.mktemp("reports"), apps)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, apps: Apps, reporter: Reporter
) -> Iterator[Any]:
    """Run a prometheus that scrapes both, with our rules where a minute is a second."""
    home = tmp_path_factory.mktemp("rules")
    rules = (RULES / "backstay.rules.yml").read_text(encoding="utf-8")
    quick = re.sub(r"\[(\d+)m\]", r"[\1s]", rules.replace('than="60"', 'than="1"'))
    quick = re.sub(r"(offset|for:) (\d+)m", r"\1 \2s", quick)
    assert quick.count("[5s]") > 5
    path = home / "quick.rules.yml"
    path.write_text(quick, encoding="utf-8")
    targets = [apps.place(kind) for kind in apps.ports]
    yield from running(
        local_services.PrometheusServer(
            home / "server",
            targets,
            interval=0.2,
            rules=[path],
            alertmanagers=[f"127.0.0.1:{reporter.port}"],
        )
    )


def api(server: Any, path: str, **query: str) -> Any:
    address = f"{server.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(address, timeout=5) as answer:
        return json.load(answer)["data"]


def firing(server: Any) -> list[dict[str, str]]:
    return [one["labels"] for one in api(server, "alerts")["alerts"] if one["state"] == "firing"]


def test_the_leaky_process_is_alerted_on_and_the_healthy_one_is_not(
    server: Any, apps: Apps
) -> None:
    """The alert names the line that leaks; its exemplar is the trace of a request that leaked."""
    lines = Path(__file__).with_name("leaky_app.py").read_text(encoding="utf-8").splitlines()
    leak = next(number for number, line in enumerate(lines, 1) if line.endswith("# LEAK"))
    until = time.monotonic() + 50
    while True:
        piles = [one for one in firing(server) if one["alertname"] == "BackstayTasksPileUp"]
        if piles:
            break
        assert time.monotonic() < until, api(server, "alerts")
        time.sleep(0.5)
    assert {(one["instance"], one["site"].rpartition("/")[2]) for one in piles} == {
        (apps.place("leaky"), f"leaky_app.py:{leak}")
    }
    time.sleep(5)
    others = [one for one in firing(server) if one["instance"] == apps.place("healthy")]
    assert not others, "no alert of any kind, for as long as it took and a while longer"
    now = time.time()
    (found,) = api(
        server,
        "query_exemplars",
        query=f'backstay_tasks_seen_total{{site="{piles[0]["site"]}"}}',
        start=str(now - 60),
        end=str(now + 1),
    )
    traces = [int(one["labels"]["trace_id"], 16) for one in found["exemplars"]]
    assert traces
    assert not [number for number in traces if number % 5], "each is a request that leaked"


def test_the_alert_has_brought_its_own_report(server: Any, apps: Apps, reporter: Reporter) -> None:
    """From the rule that fires to the line that leaks and requests whose tasks are alive; nobody has looked."""
    lines = Path(__file__).with_name("leaky_app.py").read_text(encoding="utf-8").splitlines()
    leak = next(number for number, line in enumerate(lines, 1) if line.endswith("# LEAK"))
    until = time.monotonic() + 55
    while not (found := [one for one in reporter.reports() if one["findings"]]):
        assert time.monotonic() < until, list(reporter.home.iterdir())
        time.sleep(0.5)
    for report in reporter.reports():
        assert report["target"] == f"http://{apps.place('leaky')}", "no other was accused"
    first = found[0]["findings"][0]
    assert (first["verdict"], first["site"].rpartition("/")[2]) == (
        "GROWING",
        f"leaky_app.py:{leak}",
    )
    assert first["trace_ids"]
    assert not [one for one in first["trace_ids"] if int(one, 16) % 5], "each is one that leaked"
    assert found[0]["alert"]["alertname"].startswith("Backstay")
    assert found[0]["alert"]["instance"] == apps.place("leaky")


def test_a_real_prometheus_reads_all_of_it(server: Any, apps: Apps) -> None:
    """No scrape has failed, and the recorded rules have figures."""
    targets = api(server, "targets")["activeTargets"]
    assert {one["health"] for one in targets} == {"up"}
    assert [one["lastError"] for one in targets] == ["", ""]
    healthy = {group["name"]: group["rules"] for group in api(server, "rules")["groups"]}
    assert {rule["health"] for rules in healthy.values() for rule in rules} == {"ok"}
    recorded = api(
        server,
        "query",
        query='job_policy_outcome:backstay_policy_calls:rate5m{outcome="ok",policy="pay"}',
    )["result"]
    assert float(recorded[0]["value"][1]) > 10
    kinds = api(server, "metadata", metric="backstay_policy_duration_seconds")
    assert kinds["backstay_policy_duration_seconds"][0]["type"] == "histogram"
    ready = api(server, "query", query="instance_loop:backstay_loop_ready_seconds:p99_rate5m")
    free = api(server, "query", query="instance_loop:backstay_loop_free:ratio_rate5m")
    for told in (ready, free):
        found = {one["metric"]["instance"]: float(one["value"][1]) for one in told["result"]}
        assert set(found) == set(map(apps.place, apps.ports))
        assert all(0 < value < 1 for value in found.values())
    kinds = api(server, "metadata", metric="backstay_loop_step_seconds")
    assert kinds["backstay_loop_step_seconds"][0]["type"] == "histogram"
    found = api(server, "query", query='backstay_channel_capacity{channel="jobs"}')["result"]
    assert {one["value"][1] for one in found} == {"8"}, "it was found by itself"
