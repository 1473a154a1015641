"""How long the garbage collector holds the process up."""

from __future__ import annotations

import gc
import threading
import time

__all__ = ["GcPauses"]


class GcPauses:
    """Times each collection of the garbage collector, for as long as it is started.

    It stops every thread of an interpreter with a lock, and so every loop: a pause of the oldest
    generation is one of the few that no code of the application makes.

    Cost: about half a microsecond a collection, and nothing for an allocation.
    """

    def __init__(self) -> None:
        """Time nothing yet."""
        self.seconds = [0.0, 0.0, 0.0]  # by generation, together
        self.longest = [0.0, 0.0, 0.0]
        self._begun: dict[int, float] = {}  # by thread: without the lock two could be at it

    def start(self) -> None:
        """Time from now on; harmless when repeated."""
        if self not in gc.callbacks:
            gc.callbacks.append(self)

    def stop(self) -> None:
        """Time no more; what was counted stays."""
        if self in gc.callbacks:
            gc.callbacks.remove(self)
        self._begun.clear()

    def __call__(self, phase: str, details: dict[str, int]) -> None:
        """Hear of the begin or the end of a collection; the collector calls this."""
        thread = threading.get_ident()
        if phase == "start":
            self._begun[thread] = time.perf_counter()
            return
        begun = self._begun.pop(thread, None)
        generation = details.get("generation", 0)
        if begun is None or not 0 <= generation < len(self.seconds):
            return  # it had begun before we were started
        took = time.perf_counter() - begun
        self.seconds[generation] += took
        self.longest[generation] = max(self.longest[generation], took)
