"""Start the processes of one variant in order, watch them, and stop them in reverse.

Rules: every process has its own group and its own log; nothing outlives the
lab; a process that ends by itself makes the run worthless, and its log says
why; how each one ended is kept, since an orderly end is part of the proof.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType

from backstay._base import now
from backstay.errors import BackstayError
from backstay.lab.scenario import Blanks, Process, Scenario, Variant, fill
from backstay.lab.system._child import Child
from backstay.lab.system._ports import allocate_ports
from backstay.lab.system._readiness import is_ready
from backstay.lab.system._wardship import Wardship

__all__ = ["System", "SystemFailed"]

# sun_path has 108 bytes on Linux and 104 on macOS, the closing zero included.
_MAX_SOCKET_PATH = 100
_POLL_S = 0.05


class SystemFailed(BackstayError):
    """A process of the system could not be started, or ended by itself.

    The message has the last lines of its log; no verdict can be given.
    """


class System:
    """One variant of a scenario, running.

    Use as an async context manager: the block begins when every process is
    ready. Leaving it stops them all.

    Cancelled:
        At any moment, also while starting or stopping: the processes are
        killed at once, and none is left.
    """

    def __init__(
        self,
        scenario: Scenario,
        variant: Variant,
        run_dir: Path,
        wardship: Wardship,
        *,
        seed: int,
        cwd: Path | None = None,
        on_progress: Callable[[str], None] | None = None,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            scenario: what to start.
            variant: in which way.
            run_dir: logs and data go here; emptied at the start.
            wardship: makes sure that no process outlives the lab.
            seed: for the {seed} blank.
            cwd: working directory of the processes; ours when None.
            on_progress: told in a few words what is being started or stopped.
        """
        self.name = variant.name
        self.processes: tuple[Process, ...] = scenario.processes_of(variant)
        self.run_dir = run_dir.resolve()
        self.ports: Mapping[str, int] = MappingProxyType({})
        self.admins: Mapping[str, Path] = MappingProxyType({})
        self.children: dict[str, Child] = {}
        self._wardship = wardship
        self._seed = seed
        self._cwd = (cwd or Path.cwd()).resolve()
        self._say = on_progress or _silent
        self._sockets: Path | None = None

    async def __aenter__(self) -> System:
        """Start everything.

        Raises:
            SystemFailed: a process did not become ready; all others are stopped.
        """
        try:
            await self._start()
        except BaseException:
            self.kill()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything: in order when the block ended well, at once when it did not."""
        try:
            if kind is None:
                await self.stop()
        finally:
            self.kill()

    def services(self) -> list[str]:
        """Return the names of the processes that are measured."""
        return [process.name for process in self.processes if process.role == "service"]

    def unexpected_exits(self) -> list[str]:
        """Return one line, with the log's tail, per process that ended by itself."""
        return [
            f"{self.name}: {child.name} ended by itself ({child.how_it_ended()}){_quoted(child)}"
            for child in self.children.values()
            if child.exit_code is not None and not child.asked_to_stop and not child.was_killed
        ]

    def unclean_exits(self) -> list[str]:
        """Return one line per service that did not end with code 0 when asked to.

        How a simulator ends is nobody's concern: it is not what is tested.
        """
        lines: list[str] = []
        for process in self.processes:
            child = self.children.get(process.name)
            if process.role != "service" or child is None or child.exit_code == 0:
                continue
            if child.was_killed:
                lines.append(
                    f"{self.name}: {child.name} did not stop within {process.grace_s:g} s of SIGTERM"
                )
            elif child.asked_to_stop:
                lines.append(
                    f"{self.name}: {child.name} did not stop in order: {child.how_it_ended()}"
                )
        return lines

    async def stop(self, grace_s: float | None = None) -> None:
        """Stop in reverse order: SIGTERM, wait, and kill what does not listen.

        Args:
            grace_s: seconds for each process, instead of its own `grace_s`.

        Cancelled:
            Everything is killed at once.
        """
        try:
            for process in reversed(self.processes):
                child = self.children.get(process.name)
                if child is None or not child.is_running:
                    continue
                self._say(f"stopping {process.name}")
                child.ask_to_stop()
                give_up = now() + (process.grace_s if grace_s is None else grace_s)
                while child.is_running and now() < give_up:
                    await asyncio.sleep(_POLL_S)
                child.kill()
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill what is left and remove the sockets. Idempotent, and safe at any moment."""
        for child in reversed(self.children.values()):
            child.kill()
        if self._sockets is not None:
            folder, self._sockets = self._sockets, None
            self._wardship.drop_folder(folder)

    async def _start(self) -> None:
        shutil.rmtree(self.run_dir, ignore_errors=True)
        self.run_dir.mkdir(parents=True)
        self.ports = MappingProxyType(allocate_ports([p.name for p in self.processes]))
        self.admins = MappingProxyType(self._socket_paths())
        blanks = Blanks(
            python=sys.executable,
            variant=self.name,
            run_dir=self.run_dir,
            seed=self._seed,
            ports=self.ports,
            admins=self.admins,
        )
        for process in self.processes:
            self._say(f"starting {process.name}")
            command = [fill(word, blanks) for word in process.command]
            child = Child(process.name, command, self.run_dir / f"{process.name}.log")
            self.children[process.name] = child
            child.start(self._wardship, _environment(process, blanks), self._cwd)
            await self._wait_ready(process, child)

    def _socket_paths(self) -> dict[str, Path]:
        names = [process.name for process in self.processes if process.admin]
        longest = max((len(name) for name in names), default=0) + len(".sock") + 1
        folder = self.run_dir / "sock"
        if len(os.fsencode(folder)) + longest <= _MAX_SOCKET_PATH:
            folder.mkdir(mode=0o700)
        else:
            folder = self._wardship.temporary_folder()
        self._sockets = folder
        return {name: folder / f"{name}.sock" for name in names}

    async def _wait_ready(self, process: Process, child: Child) -> None:
        port = self.ports[process.name]
        give_up = now() + process.ready_timeout_s
        while True:
            if not child.is_running:
                raise SystemFailed(
                    f"{self.name}: {process.name} ended before it was ready "
                    f"({child.how_it_ended()}){_quoted(child)}"
                )
            if await is_ready(process.ready, port):
                return
            if now() >= give_up:
                raise SystemFailed(
                    f"{self.name}: {process.name} was not ready on 127.0.0.1:{port} within "
                    f"{process.ready_timeout_s:g} s{_quoted(child)}"
                )
            await asyncio.sleep(_POLL_S)


def _silent(_: str) -> None:
    """Say nothing."""


def _environment(process: Process, blanks: Blanks) -> dict[str, str]:
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    env.update({name: fill(value, blanks) for name, value in process.env.items()})
    folders = [str(folder) for folder in process.pythonpath]
    if folders:
        inherited = env.get("PYTHONPATH")
        env["PYTHONPATH"] = os.pathsep.join([*folders, *([inherited] if inherited else [])])
    return env


def _quoted(child: Child) -> str:
    tail = child.tail()
    if not tail:
        return f"; its log {child.log} is empty"
    quoted = "\n".join(f"    | {line}" for line in tail.splitlines())
    return f"; the end of {child.log}:\n{quoted}"
