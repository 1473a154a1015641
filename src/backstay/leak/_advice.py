"""What to change: the sentence at the end of a finding.

It names the line, what its tasks wait for, and the cure. Advice that fits every
leak helps with none, so the words follow the verdict, the owner and the wait.
"""

from __future__ import annotations

from backstay.leak._census import Witness
from backstay.leak._finding import Verdict
from backstay.leak._growth_rule import Backing

__all__ = ["advice", "cure_of_wait"]

_CALL = "give the call a deadline, for example `async with backstay.timeout(2.0):` around it"
_HAND_OVER = "see to it that somebody always sends or closes, also when the producer fails"

_CURE_OF_WAIT = {
    "channel": _HAND_OVER,
    "queue": _HAND_OVER,
    "db": _CALL + ", and bound the wait for a connection",
    "executor": "a thread cannot be cancelled: give the blocking call a timeout of its own",
    "grpc": "give the RPC a deadline (`timeout=`), or put `backstay.timeout(2.0)` around it",
    "http": _CALL,
    "socket": _CALL,
    "process": "bound the wait for the process and kill it when time is up",
    "lock": "find who holds the lock and does not let go; bound the wait with `backstay.timeout`",
    "semaphore": "find who took the places and does not return them; bound the wait with `backstay.timeout`",
    "condition": "see to it that the condition is always notified, also when the notifier fails",
    "event": "see to it that the event is always set, also when the setter fails",
    "future": "see to it that the future always gets a result, an error or a cancel",
    "barrier": "a party never arrives: bound the wait with `backstay.timeout`",
    "task": "look at the task it waits for: that one decides",
    "timer": "it sleeps again and again and nothing tells it to stop: let its scope cancel it",
}


def cure_of_wait(kind: str) -> str:
    """Say what helps at the line that waits; "" for a kind of wait that nothing general is known of."""
    return _CURE_OF_WAIT.get(kind, "")


def advice(
    verdict: Verdict, witness: Witness, place: str, *, growing: bool, backing: Backing
) -> str:
    """Say what to change about the tasks that `witness` stands for.

    Args:
        verdict: the leading one.
        witness: a typical accused task.
        place: the spawn site, as shown to the reader.
        growing: whether the site grows.
        backing: who answers for its tasks.
    """
    waits = (
        f" and wait for {witness.waits_for} at {witness.await_site}" if witness.waits_for else ""
    )
    name = witness.task_name.rpartition(".")[2] or "fn"
    parts = [
        _what(verdict, witness, place, waits, backing),
        _cure(verdict, witness, name, growing, backing),
    ]
    if (growing or verdict == "OVERDUE") and witness.wait_kind in _CURE_OF_WAIT:
        parts.append(f"At the await site: {_CURE_OF_WAIT[witness.wait_kind]}.")
    if verdict != "UNDEAD" and witness.cancel_by and witness.cancel_for is not None:
        parts.append(
            f"It was asked to end {witness.cancel_for:.0f} s ago by {witness.cancel_by} and did not: "
            f"look for an `except` that swallows CancelledError, or for clean-up that hangs."
        )
    return " ".join(parts)


def _what(verdict: Verdict, witness: Witness, place: str, waits: str, backing: Backing) -> str:
    owner = witness.owner_kind or "scope"
    if verdict == "OVERDUE":
        return f"Tasks started at {place} live past the deadline of their {owner}{waits}."
    if verdict == "UNDEAD":
        return f"Tasks started at {place} were cancelled and live on{waits}."
    if backing == "ended" or verdict == "ORPHAN":
        return f"Tasks started at {place} outlive their {owner}: nobody awaits or ends them. They are alive{waits}."
    if backing == "own":
        return f"Each task started at {place} has a living {owner} that does not end; they are alive{waits}."
    if witness.owner:
        return f"Tasks started at {place} pile up under {witness.owner!r}{waits}."
    return f"Tasks started at {place} have no owner and do not end{waits}."


def _cure(verdict: Verdict, witness: Witness, name: str, growing: bool, backing: Backing) -> str:
    owner = witness.owner_kind or "scope"
    if verdict == "OVERDUE":
        return "The deadline cannot end what does not answer to cancellation."
    if verdict == "UNDEAD":
        return _undead_cure(witness)
    if verdict == "ORPHAN" and not growing:
        return (
            f"If it is a keeper of a connection or cache, it may stay: start it before the first {owner}, or "
            f"let a longer-lived scope own it (`backstay.adopt`). If it belongs to the {owner}, start it "
            f"with `scope.go({name}, ...)`."
        )
    if backing == "own":
        return f"Give the {owner} a deadline: `Scope(..., timeout=...)`."
    if witness.owner and backing == "shared":
        return (
            f"Bound them: `Scope(..., max_tasks=...)` with `await scope.go_wait({name}, ...)`, and a "
            f"deadline for each."
        )
    return (
        f"Start them with `scope.go({name}, ...)` inside `async with Scope(..., timeout=...) as scope:`, so that "
        f"they end with it; work that must go on belongs into a scope that lives longer, bounded by "
        f"`max_tasks` and a deadline."
    )


def _undead_cure(witness: Witness) -> str:
    asked = (
        f" One was asked to end {witness.cancel_for:.0f} s ago by {witness.cancel_by}."
        if witness.cancel_by and witness.cancel_for is not None
        else ""
    )
    if witness.wait_kind == "task":
        return f"They wait for a task that does not end either: that one decides; look at it first.{asked}"
    if witness.wait_kind == "executor":
        return f"A thread hears no cancel: give the blocking call a timeout of its own.{asked}"
    return (
        f"If it is clean-up that hangs, bound it: `async with backstay.timeout(2.0):` inside the `finally`. "
        f"If it goes on working, look for an `except` that swallows CancelledError, and let it pass with `raise`.{asked}"
    )
