"""`backstay probe` on a real process that was started with --allow-actions, and on one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backstay.cli import main
from backstay.observe.admin import AdminClient

pytestmark = pytest.mark.slow

_PROGRAM = """\
import asyncio
from backstay import Scope

async def charge(order, token):
    amount = order["price"] * 2
    await asyncio.sleep(0.005)
    return amount  # line 7

async def main():
    async with Scope("checkout") as scope:
        for number in range(100_000):
            task = scope.go(charge, {"id": number, "price": 3}, "hunter2")
            await task

asyncio.run(main())
"""


@contextmanager
def shop(folder: Path, *flags: str) -> Iterator[str]:
    """Run the program under Backstay; return its socket."""
    script, socket = folder / "shop.py", folder / "admin.sock"
    script.write_text(_PROGRAM)
    with subprocess.Popen(
        [sys.executable, "-m", "backstay", "run", "--admin", str(socket), *flags, str(script)]
    ) as process:
        try:
            until = time.monotonic() + 20
            while time.monotonic() < until and process.poll() is None and not socket.exists():
                time.sleep(0.02)
            time.sleep(0.1)
            yield str(socket)
            assert process.poll() is None
        finally:
            process.kill()


def test_hits_are_printed_and_the_process_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Owner, spawn site, values and stack of each; secrets are hidden; the probe is gone afterwards."""
    with shop(tmp_path, "--allow-actions") as socket:
        expressions = ["--expr", "order", "--expr", "amount", "--expr", "token"]
        assert (
            main(["probe", socket, "shop.py:7", "--hits", "2", "--rate", "100", *expressions]) == 0
        )
        out = capsys.readouterr().out
        assert "owner checkout" in out
        assert f"started at {tmp_path}/shop.py:12" in out
        assert "amount = 6" in out
        assert "'price': 3" in out
        assert "token = <hidden>" in out
        assert "hunter2" not in out
        assert "charge at" in out
        assert "2 hits" in out
        assert "hit often enough" in out
        arguments = ["probe", socket, "shop.py:7", "--hits", "1", "--json", "--expr", "order['id']"]
        assert main(arguments) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["functions"] == ["charge"]
        assert document["hits"][0]["values"]["order['id']"].isdecimal()
        assert all(one["ended"] for one in AdminClient(socket).get("/v1/probes")["probes"])


def test_a_plane_that_may_only_look_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --allow-actions it is one line and exit code 2."""
    with shop(tmp_path) as socket:
        assert main(["probe", socket, "shop.py:7"]) == 2
        assert "--allow-actions" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["shop.py:8"], "the nearest lines are 7 (charge)"),
        (["shop.py"], "is not FILE:LINE"),
        (["shop.py:7", "--expr", "order()"], "would run code of the program"),
        (["shop.py:7", "--hits", "100000"], "give 1 to 1000"),
        (["shop.py:7", "--seconds", "301"], "give 0.1 to 300"),
        (["nothere.py:7"], "no loaded module comes from a file"),
    ],
)
def test_what_cannot_be_is_one_line(
    shared: str, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    """It names what was seen and what is expected; exit code 2."""
    assert main(["probe", shared, *arguments]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One program for all slips."""
    with shop(tmp_path_factory.mktemp("shop"), "--allow-actions") as socket:
        yield socket


def test_a_killed_command_leaves_no_probe(tmp_path: Path) -> None:
    """When the command is killed, the process takes the probe away by itself within seconds."""
    with shop(tmp_path, "--allow-actions") as socket:
        command = [
            sys.executable,
            "-m",
            "backstay",
            "probe",
            socket,
            "shop.py:7",
            "--seconds",
            "60",
        ]
        with subprocess.Popen(
            [*command, "--rate", "0.2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as probing:
            assert probing.stderr is not None
            assert b"watching" in probing.stderr.readline()
            os.kill(probing.pid, signal.SIGKILL)
        client, until = AdminClient(socket), time.monotonic() + 15
        while time.monotonic() < until:
            (found,) = client.get("/v1/probes")["probes"]
            if found["ended"]:
                break
            time.sleep(0.1)
        assert found["ended"] == "nobody asks"
