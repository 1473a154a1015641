"""May I get traffic: one flag, readable from any thread, with the reason beside it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Readiness"]

_log = logging.getLogger("backstay.service")


@dataclass(frozen=True, slots=True)
class _State:
    ready: bool
    reason: str


class Readiness:
    """Tells load balancers whether to send traffic here.

    Not ready at first, ready once started, not ready for good when the end has
    begun: a process that drains must not be talked back into service.

    Whoever has started it says `succeed`; others may `hold` it back, each under a name of its own:
    a dependency that is away, a cache that is cold. It is ready when it has started and nobody holds it.
    """

    __slots__ = ("_draining", "_holds", "_listeners", "_own", "_state")

    def __init__(self) -> None:
        """Begin as not ready."""
        self._own = self._state = _State(
            False, "starting"
        )  # replaced whole, so readers need no lock
        self._draining = False
        self._holds: dict[str, str] = {}  # replaced whole, too
        self._listeners: tuple[Callable[[], object], ...] = ()

    @property
    def ready(self) -> bool:
        """Whether traffic is wanted."""
        return self._state.ready

    @property
    def draining(self) -> bool:
        """Whether the end has begun; never unsaid."""
        return self._draining

    @property
    def reason(self) -> str:
        """Why not, in a few words; "ready" when ready."""
        return self._state.reason

    def succeed(self) -> None:
        """Ask for traffic; without effect once draining."""
        self._say(_State(True, "ready"))

    def fail(self, reason: str) -> None:
        """Ask for no more traffic for now, for example while a dependency is away."""
        self._say(_State(False, reason))

    def drain(self, reason: str) -> None:
        """Ask for no more traffic for good."""
        self._draining = True  # first, so that a listener is told what kind of "not ready" it is
        self._own = _State(False, reason)
        self._settle()

    def hold(self, name: str, reason: str) -> None:
        """Hold it back until `release(name)`, whatever others say.

        Args:
            name: of who holds; one reason for each.
            reason: why, in a few words.
        """
        self._holds = {**self._holds, name: reason}
        self._settle()

    def release(self, name: str) -> None:
        """Do not hold it back any more; harmless when it was not held."""
        self._holds = {key: reason for key, reason in self._holds.items() if key != name}
        self._settle()

    def on_change(self, listener: Callable[[], object]) -> Callable[[], None]:
        """Call `listener` after each change, in the thread that made it; return what ends that.

        It must not wait. What it raises is logged.
        """
        self._listeners = (*self._listeners, listener)

        def end() -> None:
            self._listeners = tuple(one for one in self._listeners if one is not listener)

        return end

    def _say(self, state: _State) -> None:
        if not self._draining:
            self._own = state
            self._settle()

    def _settle(self) -> None:
        before = self._state
        state = self._own
        if state.ready and self._holds:
            state = _State(False, "; ".join(self._holds.values()))
        self._state = state
        if state == before:
            return
        for listener in self._listeners:
            try:
                listener()
            except Exception:  # whoever listens must not change what is told
                _log.exception("a listener of the readiness failed")

    def __repr__(self) -> str:
        """Show the reason."""
        return f"<Readiness {self._state.reason}>"
