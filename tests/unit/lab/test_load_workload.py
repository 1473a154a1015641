"""Workloads: how they are found, and the built-in one for plain URLs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backstay.errors import UsageError
from backstay.lab.load import Request, UrlWorkload, WorkloadSpec, url_workload


def test_a_url_becomes_base_address_and_workload() -> None:
    """One URL on the command line is all that a plain load needs."""
    base, spec = url_workload(
        "http://127.0.0.1:8000/orders?x=1", method="post", headers=(("a", "b"),), body="{}"
    )
    request = WorkloadSpec.from_json(json.loads(json.dumps(spec.to_json()))).load(1).next()
    assert base == "http://127.0.0.1:8000"
    assert request == Request("POST", "/orders?x=1", (("a", "b"),), b"{}")


def test_a_url_without_path_asks_for_the_root() -> None:
    """No path means the root path, as everywhere."""
    _, spec = url_workload("http://127.0.0.1:8000")
    assert spec.load(1).next().path == "/"


@pytest.mark.parametrize("url", ["", "ftp://h/x", "http:///x", "http://[::1", "https://h/x"])
def test_a_bad_url_is_refused(url: str) -> None:
    """What this client cannot request is named before anything starts."""
    with pytest.raises(UsageError, match="expected http://host:port"):
        url_workload(url)


@pytest.mark.parametrize(
    ("status", "good"), [(200, True), (399, True), (404, False), (500, False), (None, False)]
)
def test_statuses_below_400_are_successes(status: int | None, good: bool) -> None:
    """The built-in workload has the plainest idea of success."""
    workload = UrlWorkload(1, {})
    assert workload.observe(workload.next(), status, b"") is good


@pytest.mark.parametrize("target", ["", "shop", "shop:", ":Checkout"])
def test_a_workload_address_has_two_parts(target: str) -> None:
    """`module:Class` is the only form."""
    with pytest.raises(UsageError, match="expected module:Class"):
        WorkloadSpec(target).load(1)


@pytest.mark.parametrize("target", ["no_such_module_here:X", "json:NoSuchClass"])
def test_a_missing_workload_is_named(target: str) -> None:
    """A module or class that is not there is a slip of the user, with the reason."""
    with pytest.raises(UsageError, match=f"cannot load workload '{target}'"):
        WorkloadSpec(target).load(1)


def test_a_workload_is_found_on_its_own_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scenario can bring a directory that is not installed, and the seed arrives."""
    (tmp_path / "brought_workload.py").write_text(
        "class Mine:\n    def __init__(self, seed, options):\n        self.got = seed, options\n"
    )
    monkeypatch.setattr("sys.path", ["/already"])
    spec = WorkloadSpec("brought_workload:Mine", {"k": 1}, (str(tmp_path), "/already"))
    workload: object = spec.load(42)
    assert vars(workload) == {"got": (42, {"k": 1})}


def test_a_workload_that_refuses_its_options_is_reported() -> None:
    """An error in the constructor is the scenario's mistake, said in one line."""
    with pytest.raises(UsageError, match="refused its options: ValueError"):
        WorkloadSpec("backstay.lab.load:UrlWorkload", {"headers": [["a"]]}).load(1)
