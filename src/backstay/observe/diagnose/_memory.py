"""Which lines allocate what stays: read from a heap profile, shown, and never accused.

What was allocated within half a minute and is still there may be a leak, a cache that fills, or a
request in progress; only a longer look can tell.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from backstay.observe.profile import Profile

__all__ = ["Allocation", "allocations"]


@dataclass(frozen=True, slots=True)
class Allocation:
    """Memory that one line has allocated within the window, and that is still there."""

    site: str  # "path:line"
    objects: int
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def allocations(profile: Profile, most: int = 10) -> tuple[Allocation, ...]:
    """Return the lines that hold most of what was allocated meanwhile.

    Args:
        profile: ``heap?seconds=N`` of the target.
        most: lines to tell.
    """
    found: dict[str, tuple[int, int]] = {}
    for stack, values, _ in profile.samples:
        if not stack:
            continue
        frame = stack[0]
        site = f"{frame.file}:{frame.line}" if frame.file else frame.function
        objects, size = found.get(site, (0, 0))
        found[site] = objects + values[0], size + values[-1]
    ranked = sorted(found.items(), key=lambda item: (-item[1][1], item[0]))
    return tuple(Allocation(site, *held) for site, held in ranked[:most] if held[1] > 0)
