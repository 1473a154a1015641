"""Look at every service's admin plane twice a second, and once at its leaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from backstay._base import now
from backstay.lab.compare._records import Sample
from backstay.lab.system import System, http_exchange
from backstay.tasks import Scope

__all__ = ["INTERVAL_S", "RawSample", "Sampler", "fetch_leaks"]

INTERVAL_S = 0.5
# A service that needs longer is too busy to count; the sample is then incomplete and says so.
_POLL_TIMEOUT_S = 2.0
_LEAKS_TIMEOUT_S = 10.0

RawSample = tuple[float, Mapping[str, int], Mapping[str, int]]
Answer = asyncio.Task[Mapping[str, object] | None]


class Sampler:
    """Collects (time, tasks per service, bytes per service) until it is cancelled."""

    def __init__(self, system: System) -> None:
        """Prepare to look at the services of `system`."""
        self._planes = {name: system.admins[name] for name in system.services()}
        self._raw: list[RawSample] = []

    async def run(self) -> None:
        """Look again and again, at a fixed beat that a slow answer does not shift.

        Cancelled:
            The samples taken so far are kept.
        """
        due = now()
        while True:
            await self.look()
            due = max(due + INTERVAL_S, now())
            await asyncio.sleep(due - now())

    async def look(self) -> None:
        """Ask all services at once and keep what they say, stamped with the time of asking."""
        at = now()
        asked: dict[str, Answer] = {}
        async with Scope("look") as scope:
            for name, plane in self._planes.items():
                asked[name] = scope.go(_document, plane, "/v1/statistics", _POLL_TIMEOUT_S)
        tasks: dict[str, int] = {}
        memory: dict[str, int] = {}
        for name, answer in asked.items():
            document = answer.result() or {}
            count, rss = document.get("tasks"), document.get("rss_bytes")
            if isinstance(count, int):
                tasks[name] = count
            if isinstance(rss, int):
                memory[name] = rss
        self._raw.append((at, tasks, memory))

    @property
    def latest(self) -> Sample | None:
        """The last look; its time is not yet on the load's scale."""
        return self._sample(self._raw[-1], 0.0) if self._raw else None

    def samples(self, load_began: float) -> tuple[Sample, ...]:
        """Return all looks, on the load's time scale."""
        return tuple(self._sample(raw, load_began) for raw in self._raw)

    def _sample(self, raw: RawSample, load_began: float) -> Sample:
        at, tasks, memory = raw
        return Sample(at - load_began, tasks, memory, len(self._planes))


async def fetch_leaks(system: System, *, prove: bool = False) -> dict[str, Mapping[str, object]]:
    """Ask all services what they leak; a service that cannot answer is left out.

    Args:
        system: whose services.
        prove: whether blocked tasks are judged by a proof as well.
    """
    path = "/v1/leaks?prove=1" if prove else "/v1/leaks"
    asked: dict[str, Answer] = {}
    async with Scope("fetch leaks") as scope:
        for name in system.services():
            asked[name] = scope.go(_document, system.admins[name], path, _LEAKS_TIMEOUT_S)
    answers = {name: answer.result() for name, answer in asked.items()}
    return {name: document for name, document in answers.items() if document is not None}


async def _document(plane: Path, path: str, timeout: float) -> Mapping[str, object] | None:
    try:
        status, body = await http_exchange(plane, "GET", path, timeout=timeout)
        document: object = json.loads(body) if status == 200 else None
    except (OSError, TimeoutError, ValueError):
        return None
    return cast("Mapping[str, object]", document) if isinstance(document, dict) else None
