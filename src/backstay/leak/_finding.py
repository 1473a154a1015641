"""What the detector says about one spawn site."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

__all__ = ["Finding", "Verdict"]

Verdict = Literal["GROWING", "LEAKED", "LOST", "ORPHAN", "OVERDUE", "STUCK", "UNDEAD"]

# Evidence of a shape of its own has a page of its own.
_SHAPES = {"deadlock": "deadlock", "lost wake-up": "lost-wake-up", "pile": "piles"}


@dataclass(frozen=True, slots=True)
class Finding:
    """An accusation with its evidence: plain values that keep nothing alive.

    A site has one finding, led by the verdict of the greatest impact; weaker
    ones about the same site are told in `detail`.
    """

    verdict: Verdict
    count: int  # tasks accused
    alive: int  # all living tasks of the site, accused or not
    task_name: str  # of one accused task; its coroutine's name unless somebody named it
    site: str  # spawn site as "path:line", relative to the working directory when inside it
    function: str  # the function that contains that line
    owner: str  # whose tasks, as "kind name"; "" without an owner
    age: float | None  # of the oldest accused task, seconds
    blocked_on: str  # what they wait for, and at which line; "" when they are not waiting
    held_by: str | None  # who holds them and could cancel them; None when no proof has told
    trace_ids: tuple[str, ...]  # traces that started accused tasks, oldest first
    advice: str  # what to change, in words
    impact: float  # tasks that will be held one hour from now if nothing changes
    slope_per_s: float | None  # GROWING: accused tasks gained each second
    detail: tuple[str, ...]  # the evidence, one sentence each
    bytes_each: int | None = None  # memory that one of its tasks holds alone, at least; an estimate

    @property
    def bytes_held(self) -> int | None:
        """Memory that the accused tasks hold, at least; None when it is not known."""
        return None if self.bytes_each is None else self.bytes_each * self.count

    @property
    def page(self) -> str:
        """The page of the documentation that explains it: what it means, typical code, the cure."""
        shape = self.detail[0].partition(":")[0] if self.detail else ""
        return f"docs/reference/verdicts/{_SHAPES.get(shape, self.verdict.lower())}.md"

    def to_json(self) -> dict[str, object]:
        """Return the fields as they are, tuples as lists."""
        document = asdict(self)
        document["page"] = self.page
        document["bytes_held"] = self.bytes_held
        document["trace_ids"] = list(self.trace_ids)
        document["detail"] = list(self.detail)
        return document
