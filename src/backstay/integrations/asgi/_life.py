"""What a guard holds for one event loop: its app scope, its timers, its censuses."""

from __future__ import annotations

import asyncio

from backstay.integrations.asgi._home import AppHome
from backstay.integrations.asgi._options import GuardOptions
from backstay.integrations.asgi._orphans import OrphanCensus
from backstay.integrations.asgi._slow import SlowRequests
from backstay.integrations.asgi._statistics import Counters
from backstay.tasks import DeadlineWheel, install

__all__ = ["Life", "Lives"]


class Life:
    """The parts of a guard that belong to one loop."""

    __slots__ = ("census", "home", "loop", "slow", "wheel")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, options: GuardOptions, counters: Counters
    ) -> None:
        """Begin on `loop`, which is tracked from now on."""
        install(loop)
        self.loop = loop
        self.wheel = DeadlineWheel(loop)
        self.slow = SlowRequests(loop, options.disconnect_delay)
        self.home = AppHome(loop)
        self.census = OrphanCensus(
            loop, options.on_orphan, counters, self.home.adopt, silent=options.observe
        )


class Lives:
    """One `Life` per loop; nearly always there is exactly one."""

    __slots__ = ("_counters", "_latest", "_lives", "_options")

    def __init__(self, options: GuardOptions, counters: Counters) -> None:
        """Nothing happens before the first request or lifespan."""
        self._options = options
        self._counters = counters
        self._lives: dict[asyncio.AbstractEventLoop, Life] = {}
        self._latest: Life | None = None

    def here(self) -> Life:
        """Return the life on the running loop, beginning it if need be."""
        loop = asyncio.get_running_loop()
        life = self._latest
        if life is not None and life.loop is loop:
            return life
        life = self._lives.get(loop)
        if life is None:
            for other in [other for other in self._lives if other.is_closed()]:
                del self._lives[other]
            life = self._lives[loop] = Life(loop, self._options, self._counters)
        self._latest = life
        return life

    def adopted_alive(self) -> int:
        """How many adopted tasks run, on all loops; callable from any thread."""
        return sum(life.home.alive for life in list(self._lives.values()))
