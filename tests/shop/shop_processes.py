"""The whole shop as processes, from the commands of the scenario file."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

from backstay.lab.scenario import Blanks, Process, Scenario, fill, load_scenario
from backstay.lab.system import allocate_ports

ROOT = Path(__file__).resolve().parents[2]
SCENARIO = ROOT / "examples" / "shop" / "scenarios" / "leaky-checkout.toml"
SERVICES = ("order", "fulfilment", "payment", "inventory")


class Shop:
    """Starts, kills, stops and talks to the processes of one variant.

    Args:
        run_dir: an empty directory with a short path (unix sockets have 107 bytes).
        variant: "naive" or "governed".
    """

    def __init__(self, run_dir: Path, variant: str) -> None:
        self.run_dir = run_dir
        self.scenario: Scenario = load_scenario(SCENARIO)
        processes = self.scenario.processes_of(self.scenario.variant(variant))
        self.processes: dict[str, Process] = {each.name: each for each in processes}
        self.blanks = Blanks(
            python=sys.executable,
            variant=variant,
            run_dir=run_dir,
            seed=1,
            ports=allocate_ports(list(self.processes)),
            admins={name: run_dir / f"{name}.sock" for name in self.processes},
        )
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def url(self, name: str) -> str:
        """The HTTP address of a process."""
        return f"http://127.0.0.1:{self.blanks.ports[name]}"

    def start(self, name: str) -> None:
        """Start one process; its output goes to a file beside its data."""
        process = self.processes[name]
        environment = {key: fill(text, self.blanks) for key, text in process.env.items()}
        path = os.pathsep.join(str(folder) for folder in process.pythonpath)
        with (self.run_dir / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [fill(word, self.blanks) for word in process.command],
                env={**os.environ, **environment, "PYTHONPATH": path},
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
            )

    async def start_all(self) -> None:
        """Start everything, and wait until everything is ready."""
        for name in self.processes:
            self.start(name)
        for name in self.processes:
            await self.wait_ready(name)

    async def wait_ready(self, name: str, patience_s: float = 20.0) -> None:
        """Wait until a process listens (and is ready, when it has a probe)."""
        ready = self.processes[name].ready
        until = time.monotonic() + patience_s
        while True:
            assert self.running[name].poll() is None, f"{name} ended:\n{self.log(name)}"
            try:
                if ready.kind == "tcp":
                    socket.create_connection(("127.0.0.1", self.blanks.ports[name]), 1).close()
                    return
                async with (
                    aiohttp.ClientSession() as session,
                    session.get(self.url(name) + ready.path) as reply,
                ):
                    if reply.status == 200:
                        return
            except (OSError, aiohttp.ClientError):
                pass
            assert time.monotonic() < until, f"{name} is not ready:\n{self.log(name)}"
            await asyncio.sleep(0.05)

    def log(self, name: str) -> str:
        """What a process has said."""
        return (self.run_dir / f"{name}.log").read_text()[-4000:]

    async def control(self, name: str, **script: Any) -> None:
        """Tell a simulator how to behave from now on."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url(name) + "/control", json=script) as reply,
        ):
            assert reply.status == 200, await reply.text()

    async def ledger(self, name: str) -> Any:
        """What a simulator really did."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.url(name) + "/ledger") as reply,
        ):
            return await reply.json()

    def kill(self, name: str) -> None:
        """End a process without a word."""
        self.running[name].kill()
        self.running[name].wait(10)

    def terminate(self, names: tuple[str, ...]) -> dict[str, int]:
        """Send SIGTERM to all of them at once; their exit codes."""
        for name in names:
            self.running[name].send_signal(signal.SIGTERM)
        return {name: self.running.pop(name).wait(20) for name in names}

    def close(self) -> None:
        """Leave no process behind."""
        for process in self.running.values():
            process.kill()
            process.wait(10)
