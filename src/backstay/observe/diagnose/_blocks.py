"""From what the watch over the loops remembers to causes: which line keeps everybody waiting."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from backstay.observe.diagnose._cause import Cause
from backstay.observe.diagnose._look import Document, Look, rows, words

__all__ = ["block_causes"]

#: Seconds in one piece that are worth a word, however long the window is.
LONG_S: Final = 0.5
#: Or this share of the window, in many pieces.
SHARE: Final = 0.05
#: Seconds that a block from before the window must have lasted, and how long ago it may have
#: been: an alert comes minutes after its cause.
EARLIER_LONG_S: Final = 1.0
EARLIER_AGE_S: Final = 600.0
_EARLIER_CERTAINTY = 0.7
# Seconds in one piece at which the harm is half of the most.
_HALF_S = 0.5


@dataclass(slots=True)
class _Line:
    """All blocks by one line."""

    function: str
    times: int = 0
    total_s: float = 0.0
    longest_s: float = 0.0
    lasts: bool = False
    task: str = ""
    owner: str = ""
    trace_ids: dict[str, None] = field(default_factory=dict[str, None])
    stack: tuple[str, ...] = ()

    def add(self, block: Document, seconds: float) -> None:
        self.times += 1
        self.total_s += seconds
        self.longest_s = max(self.longest_s, seconds)
        self.lasts = self.lasts or not block.get("ended", True)
        self.task = str(block.get("task") or self.task)
        path = words(block.get("owner_path"))
        self.owner = path[-1] if path else self.owner
        self.stack = words(block.get("stack")) or self.stack
        if block.get("trace_id"):
            self.trace_ids[str(block["trace_id"])] = None


def block_causes(before: Look, after: Look) -> list[Cause]:
    """Return a cause for each line that has blocked a loop for long.

    Args:
        before: at the begin of the window.
        after: at its end; it remembers the blocks in between.
    """
    seconds = max(after.at - before.at, 0.0)
    inside: dict[tuple[str, str], _Line] = {}
    earlier: dict[tuple[str, str], _Line] = {}
    for block in _blocks(after):
        lasted = float(block.get("duration_s") or 0.0)
        began = float(block.get("started_at") or 0.0)
        key = str(block.get("site") or ""), str(block.get("function") or "")
        if began + lasted >= before.at:
            # What began before the window counts whole: it is what somebody waited for.
            inside.setdefault(key, _Line(key[1])).add(block, lasted)
        elif lasted >= EARLIER_LONG_S and after.at - began <= EARLIER_AGE_S:
            earlier.setdefault(key, _Line(key[1])).add(block, lasted)
    causes: list[Cause] = []
    for key, line in inside.items():
        if line.longest_s >= LONG_S or (seconds and line.total_s >= SHARE * seconds):
            causes.append(_cause(key[0], line, seconds))
            earlier.pop(key, None)
    causes += [_cause(site, line, None) for (site, _), line in earlier.items()]
    return causes


def _blocks(look: Look) -> list[Document]:
    present = look.blocked.get("now")
    return rows(look.blocked, "recent") + rows({"now": [present]}, "now")


def _cause(site: str, line: _Line, seconds: float | None) -> Cause:
    how = "the loop is blocked right now" if line.lasts else "the loop was blocked"
    when = f"within {seconds:.0f} s" if seconds is not None else "in the minutes before"
    at_most = "up to " if line.times > 1 else ""
    headline = f"{how} for {at_most}{line.longest_s:.1f} s by {line.function}()"
    evidence = [
        f"{line.times} {'time' if line.times == 1 else 'times'} {when}, {line.total_s:.1f} s in all: "
        f"meanwhile nothing else ran on that loop"
    ]
    if line.task:
        evidence.append(f"in the task {line.task}")
    if line.stack:
        evidence.append("called by " + " < ".join(line.stack[:6]))
    share = line.total_s / seconds if seconds else 0.0
    return Cause(
        kind="blocked loop",
        verdict="BLOCKED",
        headline=headline,
        site=site,
        function=line.function,
        count=line.times,
        owner=line.owner,
        trace_ids=tuple(line.trace_ids)[:5],
        evidence=tuple(evidence),
        certainty=1.0 if seconds is not None else _EARLIER_CERTAINTY,
        harm=min(1.0, max(share, line.longest_s / (line.longest_s + _HALF_S))),
        advice=(
            "Do not wait in the loop's thread: await an asynchronous call in place of the synchronous one, or "
            "hand it to a thread with `await asyncio.to_thread(...)`; split long computations, or give "
            "them to a process."
        ),
        page="docs/how-to/find-what-blocks-the-loop.md",
    )
