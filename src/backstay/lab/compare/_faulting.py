"""Break things at the scenario's set times: documents posted to simulators, processes stopped."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Mapping

from backstay._base import now
from backstay.errors import BackstayError
from backstay.lab.scenario import Fault
from backstay.lab.system import System, http_exchange
from backstay.tasks import Scope

__all__ = ["FaultNotSet", "Faulting"]

_TIMEOUT_S = 3.0
_TRIES = 3


class FaultNotSet(BackstayError):
    """A simulator did not take its fault, so the run shows nothing."""


class Faulting:
    """The fault schedule of one run, and what is broken right now."""

    def __init__(self, faults: tuple[Fault, ...], system: System) -> None:
        """Prepare; `run` sets the faults."""
        self._faults = faults
        self._system = system
        self._ports = system.ports
        self._active: list[str] = []

    @property
    def active(self) -> tuple[str, ...]:
        """What is broken right now, in words for people."""
        return tuple(self._active)

    async def run(self, load_began: float) -> None:
        """Set and end every fault at its time.

        Args:
            load_began: the instant from which the scenario counts, on `now()`'s scale.

        Raises:
            FaultNotSet: a simulator refused or did not answer.
        """
        async with Scope("faults", unwrap=True) as scope:
            for fault in self._faults:
                scope.go(self._one, fault, load_began)

    async def _one(self, fault: Fault, load_began: float) -> None:
        await asyncio.sleep(load_began + fault.at_s - now())
        if fault.signal is not None:
            await self._stop(fault, load_began)
            return
        await self._post(fault, fault.body)
        self._active.append(fault.label)
        if fault.until_s is not None and fault.reset is not None:
            await asyncio.sleep(load_began + fault.until_s - now())
            await self._post(fault, fault.reset)
            self._active.remove(fault.label)

    async def _stop(self, fault: Fault, load_began: float) -> None:
        """Stop a process in its tracks, and let it go on at the end, or when the run breaks off."""
        child = self._system.children[fault.process]
        child.send(signal.SIGSTOP)
        self._active.append(fault.label)
        try:
            if fault.until_s is None:
                await asyncio.Event().wait()
            else:
                await asyncio.sleep(load_began + fault.until_s - now())
        finally:
            child.send(signal.SIGCONT)
            self._active.remove(fault.label)

    async def _post(self, fault: Fault, document: Mapping[str, object]) -> None:
        body = json.dumps(dict(document)).encode()
        seen = ""
        for _ in range(_TRIES):
            try:
                status, answer = await http_exchange(
                    self._ports[fault.process], "POST", fault.path, body, timeout=_TIMEOUT_S
                )
            except (OSError, TimeoutError, ValueError) as error:
                seen = f"{type(error).__name__}: {error}".rstrip(": ")
                continue
            if 200 <= status < 300:
                return
            seen = f"status {status}: {answer[:120].decode(errors='replace')}"
        raise FaultNotSet(
            f"{fault.process} did not take the fault {body.decode()} at {fault.path}: {seen}"
        )
