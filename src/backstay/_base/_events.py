"""What can be heard: one frozen record per event, units in the field names."""

from __future__ import annotations

from dataclasses import dataclass

from backstay._base._hooks import Hook

__all__ = [
    "DeadlineHit",
    "OrphansFound",
    "ScopeEnded",
    "deadline_hit",
    "orphans_found",
    "scope_ended",
]


@dataclass(frozen=True, slots=True)
class ScopeEnded:
    """A scope was left and everything it had started has ended."""

    path: tuple[str, ...]  # names from the root scope to this one
    kind: str  # "scope", "request", "app", …
    lived_s: float  # seconds between enter and end
    spawned: int  # tasks started with go() over its life
    failed: int  # of these, how many ended with an error
    cause: str | None  # why it was cut short, None when it ran to its end
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class DeadlineHit:
    """A deadline passed while its scope was still at work."""

    path: tuple[str, ...]
    set_by: str  # the scope whose deadline it was
    timeout_s: float | None
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class OrphansFound:
    """Tasks were still alive when their owner ended."""

    path: tuple[str, ...]
    kind: str
    count: int
    sites: tuple[str, ...]  # distinct spawn sites, "file:line", at most 8
    trace_id: str | None


scope_ended: Hook[ScopeEnded] = Hook("scope_ended")
deadline_hit: Hook[DeadlineHit] = Hook("deadline_hit")
orphans_found: Hook[OrphansFound] = Hook("orphans_found")
