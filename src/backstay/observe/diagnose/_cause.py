"""One thing that is wrong, with all that is known of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

__all__ = ["Cause", "Kind"]

Kind = Literal["leak", "blocked loop", "saturated guard"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A finding of a diagnosis: plain values, ready to be printed.

    What does not apply is empty: a guard has no line, a blocked loop holds no task.
    """

    kind: Kind
    verdict: str  # of the leak report; BLOCKED for a loop; FULL, OPEN or REFUSING for a guard
    headline: str  # what is wrong, in one sentence
    site: str = ""  # "path:line" that has to change; the name of a guard
    function: str = ""  # that contains the line
    count: int = 0  # tasks held, times blocked, or calls refused
    per_s: float | None = None  # tasks gained, or calls refused, each second
    blocked_on: str = ""  # what its tasks wait for, and at which line
    held_by: str = ""  # who holds what they wait for, as far as a proof has told
    owner: str = ""  # whose work it is
    trace_ids: tuple[str, ...] = ()  # of requests whose tasks are alive, or that blocked the loop
    bytes_held: int | None = None  # memory of its tasks, at least
    evidence: tuple[str, ...] = ()  # one sentence each
    certainty: float = 0.0  # 0 to 1: how sure it is that this is wrong
    harm: float = 0.0  # 0 to 1: how bad it gets if nothing changes
    advice: str = ""  # what to change
    page: str = ""  # of the documentation

    @property
    def score(self) -> float:
        """What it is ranked by, 0 to 100: harm that is certain comes first."""
        return round(100 * self.certainty * self.harm, 1)

    @property
    def sure(self) -> str:
        """The certainty in a word."""
        if self.certainty >= 1:
            return "proved"
        if self.certainty >= 0.9:
            return "nearly certain"
        return "likely" if self.certainty >= 0.6 else "possible"

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON values, with the score and the certainty in words."""
        told = asdict(self)
        told["trace_ids"] = list(self.trace_ids)
        told["evidence"] = list(self.evidence)
        return {"score": self.score, "sure": self.sure, **told}
