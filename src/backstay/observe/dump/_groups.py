"""Groups: the tasks that came from one line, for one owner, and wait for one thing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from backstay.leak._places import relative
from backstay.observe.dump._places import frame_to_json, relative_at_end, relative_or_none
from backstay.tasks import BlockedOn, ChainFrame, TaskInfo

__all__ = ["Group", "Member"]


@dataclass(frozen=True, slots=True)
class Member:
    """One task of a group, with its await chain."""

    name: str
    age_s: float | None
    trace_id: str | None
    cancel_by: str | None  # who asked it to end
    blocked_on: str | None  # with the numbers of this task
    stack: tuple[ChainFrame, ...]  # outermost first

    @classmethod
    def of(cls, known: TaskInfo, what: BlockedOn | None, stack: tuple[ChainFrame, ...]) -> Member:
        """Note what is particular to one task."""
        said = str(what) if what is not None else None
        return cls(known.name, known.age, known.trace_id, known.cancel_by, said, stack)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "name": self.name,
            "age_s": _rounded(self.age_s),
            "trace_id": self.trace_id,
            "cancel_by": self.cancel_by,
            "blocked_on": relative_at_end(self.blocked_on),
            "stack": [frame_to_json(step) for step in self.stack],
        }


@dataclass(frozen=True, slots=True)
class Group:
    """Tasks with one spawn site, owner, state and await site.

    Attributes:
        count: how many tasks.
        site: "file:line" that started them; None when no line of code did, or tracking began later.
        function: the function that contains that line; without one, the coroutine.
        coroutine: qualified name of what they run.
        definition: "file:line" where that is defined.
        owner_path: names of the scopes from the root to the owner; empty without an owner.
        kind: the owner's kind, such as "request"; "" without an owner.
        state: "waiting", "ready", "running" or "cancelling".
        blocked_on: what they wait for; with numbers where a handful who were asked agree on them.
        running_at: "file:line" being executed, of the task that runs right now.
        age_min_s: age of the youngest, seconds; None for untracked tasks.
        age_max_s: age of the oldest, seconds.
        trace_ids: a few of the traces that they belong to.
        examples: the oldest few, when stacks were asked for.
    """

    count: int
    site: str | None
    function: str
    coroutine: str
    definition: str
    owner_path: tuple[str, ...]
    kind: str
    state: str
    blocked_on: BlockedOn | None
    running_at: str | None
    age_min_s: float | None
    age_max_s: float | None
    trace_ids: tuple[str, ...]
    examples: tuple[Member, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        what = self.blocked_on
        if what is not None:
            what = replace(what, site=relative(what.site))
        document: dict[str, Any] = {
            "count": self.count,
            "site": relative_or_none(self.site),
            "function": self.function,
            "coroutine": self.coroutine,
            "definition": relative(self.definition),
            "owner": self.owner_path[-1] if self.owner_path else None,
            "owner_path": list(self.owner_path),
            "kind": self.kind,
            "state": self.state,
            "blocked_on": str(what) if what is not None else None,
            "waits": None
            if what is None
            else {"kind": what.kind, "label": what.label, "detail": what.detail, "site": what.site},
            "running_at": relative_or_none(self.running_at),
            "age_min_s": _rounded(self.age_min_s),
            "age_max_s": _rounded(self.age_max_s),
            "trace_ids": list(self.trace_ids),
        }
        if self.examples:
            document["stack"] = [frame_to_json(step) for step in self.examples[0].stack]
            document["examples"] = [member.to_json() for member in self.examples]
        return document


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
