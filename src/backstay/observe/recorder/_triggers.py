"""What sets a recording off: words, and a rule that looks at one event. No clock, no file, no thread."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from backstay._base import (
    Hook,
    deadline_hit,
    guard_moved,
    leak_found,
    loop_blocked,
    scope_ended,
    shutdown_overrun,
)
from backstay.errors import UsageError

__all__ = ["Cause", "Trigger", "parse_triggers"]

#: A block that lasts this long is recorded while it lasts: the process may not live to its end.
LONG_BLOCK_S: Final = 1.0


class Cause(NamedTuple):
    """Why a recording was made.

    Attributes:
        kind: the word of the trigger.
        text: what has happened, in one sentence.
        trace_id: of the request concerned; "" for none.
        last: the process ends right after this.
        owner: name of the scope of a request, whose task has just told of its end; "" otherwise.
    """

    kind: str
    text: str
    trace_id: str
    last: bool = False
    owner: str = ""


Judge = Callable[[Any, float], Cause | None]


@dataclass(frozen=True, slots=True)
class Trigger:
    """One kind of event that sets a recording off.

    Attributes:
        kind: its word.
        at_least_s: seconds that it must have lasted; 0 where it has no length.
    """

    kind: str
    at_least_s: float = 0.0

    @property
    def hook(self) -> Hook[Any]:
        """Where its events are told."""
        return _KINDS[self.kind][0]

    def cause(self, event: Any) -> Cause | None:
        """Return why this event is worth a recording, or None."""
        return _KINDS[self.kind][1](event, self.at_least_s)

    def __str__(self) -> str:
        """Return it as it is written."""
        return f"{self.kind}={self.at_least_s:g}s" if self.at_least_s else self.kind


def parse_triggers(text: str) -> tuple[Trigger, ...]:
    """Read triggers as they are written: ``slow=500ms,blocked,deadline``.

    Args:
        text: words with commas between them. ``slow=D``: a request took that long. ``blocked`` or
            ``blocked=D``: a loop was blocked, as `Sysmon` sees it. ``breaker``: one opened. ``growth``: the
            tasks of a spawn site only ever get more. ``leak``: any verdict. ``deadline``: a scope was still at work
            when its deadline passed. ``shutdown``: the process did not end within its grace. D is
            a duration such as 500ms, 2s or 1m.

    Raises:
        UsageError: a word is none of these, comes twice, or its duration is missing or none.
    """
    found: dict[str, Trigger] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        kind, sign, length = word.partition("=")
        if kind not in _KINDS:
            raise UsageError(
                f"{kind!r} is no trigger: there are slow=DURATION, {', '.join(sorted(set(_KINDS) - {'slow'}))}"
            )
        if kind in found:
            raise UsageError(f"the trigger {kind!r} is given twice: leave one out")
        if kind == "slow" and not sign:
            raise UsageError("the trigger 'slow' needs to know what is slow: write slow=500ms")
        if sign and kind not in ("slow", "blocked"):
            raise UsageError(f"the trigger {kind!r} has no duration: write {kind} alone")
        found[kind] = Trigger(kind, _duration(word, length) if sign else 0.0)
    if not found:
        raise UsageError("no trigger is named: write for example slow=500ms,blocked,deadline")
    return tuple(found.values())


_UNITS: Final = {"ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0}


def _duration(word: str, text: str) -> float:
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{0,9})?)(ms|s|m|)", text)
    value = float(match[1]) * _UNITS[match[2]] if match else math.nan
    if not value > 0:
        raise UsageError(f"{word!r} has no duration above 0: write it like 500ms, 2s or 1m")
    return value


def _slow(event: Any, limit: float) -> Cause | None:
    if event.kind != "request" or event.lived_s < limit:
        return None
    text = f"request {event.path[-1]} took {event.lived_s:.3g} s, longer than {limit:g} s"
    return Cause("slow", text, event.trace_id or "", owner=event.path[-1])


def _blocked(event: Any, limit: float) -> Cause | None:
    if event.duration_s < limit or not (event.ended or event.duration_s >= LONG_BLOCK_S):
        return None
    so_far = "" if event.ended else " so far"
    text = f"the loop was blocked for {event.duration_s:.3g} s{so_far} by {event.function} at {event.site}"
    return Cause("blocked", text, event.trace_id or "")


def _breaker(event: Any, _: float) -> Cause | None:
    if event.kind != "breaker" or event.after not in ("open", "forced_open"):
        return None
    if event.before in ("open", "forced_open"):
        return None
    return Cause("breaker", f"breaker {event.guard} opened: {event.why}", "")


def _leak(event: Any, _: float) -> Cause | None:
    return _verdict("leak", event)


def _growth(event: Any, _: float) -> Cause | None:
    return _verdict("growth", event) if event.verdict == "GROWING" else None


def _verdict(kind: str, event: Any) -> Cause:
    text = f"{event.verdict}: {event.count} tasks of {event.function} at {event.site}"
    return Cause(kind, text, next(iter(event.trace_ids), ""))


def _deadline(event: Any, _: float) -> Cause:
    after = "" if event.timeout_s is None else f" of {event.timeout_s:g} s"
    text = (
        f"the deadline{after} set by {event.set_by} passed while {'/'.join(event.path)} was at work"
    )
    return Cause("deadline", text, event.trace_id or "")


def _shutdown(event: Any, _: float) -> Cause:
    return Cause("shutdown", event.what, "", event.last)


_KINDS: Final[dict[str, tuple[Hook[Any], Judge]]] = {
    "slow": (scope_ended, _slow),
    "blocked": (loop_blocked, _blocked),
    "breaker": (guard_moved, _breaker),
    "growth": (leak_found, _growth),
    "leak": (leak_found, _leak),
    "deadline": (deadline_hit, _deadline),
    "shutdown": (shutdown_overrun, _shutdown),
}
