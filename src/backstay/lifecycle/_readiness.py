"""May I get traffic: one flag, readable from any thread, with the reason beside it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Readiness"]


@dataclass(frozen=True, slots=True)
class _State:
    ready: bool
    reason: str


class Readiness:
    """Tells load balancers whether to send traffic here.

    Not ready at first, ready once started, not ready for good when the end has
    begun: a process that drains must not be talked back into service.
    """

    __slots__ = ("_draining", "_state")

    def __init__(self) -> None:
        """Begin as not ready."""
        self._state = _State(False, "starting")  # replaced whole, so readers need no lock
        self._draining = False

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
        if not self._draining:
            self._state = _State(True, "ready")

    def fail(self, reason: str) -> None:
        """Ask for no more traffic for now, for example while a dependency is away."""
        if not self._draining:
            self._state = _State(False, reason)

    def drain(self, reason: str) -> None:
        """Ask for no more traffic for good."""
        self._draining = True
        self._state = _State(False, reason)

    def __repr__(self) -> str:
        """Show the reason."""
        return f"<Readiness {self._state.reason}>"
