"""Who goes first when not everybody can be served: four levels, and the share of each.

A level may use its share of the cap, counted over what all levels have in flight.
So the background goes first and the critical last, without a queue and without
anybody deciding in the moment: each level simply meets its own limit. The levels
follow "Handling Overload" in Site Reliability Engineering (Beyer and others,
O'Reilly 2016, chapter 21), which found four to be enough.

What a level keeps free for those above is what protects them. With a cap of 20, of which
5 are kept free, calls that ask for a third of the capacity find those taken one time in
200, however hard everybody below pushes; what is refused beyond that is refused while
the cap is being lowered. The shares have a floor of a half: a cap in quiet times is about
twice what is in flight, and a smaller share would refuse on an idle afternoon.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

__all__ = ["CRITICALITIES", "SHARES", "Criticality", "check_shares", "limit_of"]

Criticality: TypeAlias = Literal["critical", "default", "sheddable", "background"]

CRITICALITIES: Final[tuple[Criticality, ...]] = ("critical", "default", "sheddable", "background")
"""From the last to be refused to the first."""

SHARES: Final[Mapping[str, float]] = MappingProxyType(
    {
        "critical": 1.0,  # users would see an outage: log in, pay
        "default": 0.75,  # nobody has said anything; a quarter is kept free for what is critical
        "sheddable": 0.6,  # a page is poorer without it: recommendations, a badge
        "background": 0.5,  # nobody waits for it: exports, prefetching, crawlers
    }
)
"""Which part of the cap each level may use."""


def limit_of(share: float, cap: int) -> int:
    """Return how much may be in flight, of all levels together, for one more of this one.

    Args:
        share: of the level, 0 < share <= 1.
        cap: of all.

    Returns:
        At least 1: a process that has nothing to do takes work of any level.
    """
    return max(1, int(share * cap))


def check_shares(shares: Mapping[str, float]) -> Mapping[str, float]:
    """Return a copy of somebody's own shares, after a look at them.

    Raises:
        ValueError: one is no share, or there is none for "default".
    """
    if "default" not in shares:
        raise ValueError(
            f"levels need one called 'default', for calls that name none; got {sorted(shares)}"
        )
    for level, share in shares.items():
        if not 0 < share <= 1:
            raise ValueError(f"the share of {level!r} is above 0 and at most 1, not {share!r}")
    return MappingProxyType(dict(shares))
