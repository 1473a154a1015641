"""What a proof says: plain values that keep nothing alive."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

__all__ = ["Proof", "Proved"]


@dataclass(frozen=True, slots=True)
class Proved:
    """One task that nothing can wake any more."""

    verdict: Literal["LEAKED", "STUCK"]  # LEAKED: nothing alive even holds it to cancel it
    task_id: int  # id() of the task: tells two of them apart, and may be used again once it ends
    task_name: str  # its coroutine's name unless somebody named it
    site: str  # spawn site as "path:line", relative to the working directory when inside it
    function: str  # the function that contains that line
    owner: str  # whose task, as "kind name"; "" without an owner
    born: float | None  # seconds on the clock of now(); None when it was started before tracking
    age: float | None  # seconds
    blocked_on: str  # what it waits for, and at which line
    wait_kind: str  # one word, see BlockedOn.kind
    await_site: str  # "path:line"
    held_by: str | None  # who could cancel it, in words; None when nobody was found or looked for
    trace_ids: tuple[str, ...]  # of the request that started it
    chain: tuple[str, ...]  # the calls it is inside of, outermost first


@dataclass(frozen=True, slots=True)
class Proof:
    """What came out of one look at the blocked tasks of a loop."""

    proved: tuple[Proved, ...]  # oldest first
    alive: int  # tasks of the loop that had not ended
    waiting: int  # of these, how many waited for something that had not happened
    asked: int  # of these, how many were asked
    spared: int  # tasks that nothing but a pending timer will end
    unconfirmed: int  # proved, but not yet twice with time between; see Prover
    nodes: int  # objects that were looked at, in all passes
    cost_s: float  # processor time of the proof, during which nothing else ran
    told_s: float  # the same, to put what was proved into words
    refused: str  # why it could not be done; "" when it could

    def to_json(self) -> dict[str, object]:
        """Return the fields as they are, tuples as lists."""
        document = asdict(self)
        document["proved"] = [
            {**asdict(one), "trace_ids": list(one.trace_ids), "chain": list(one.chain)}
            for one in self.proved
        ]
        return document
