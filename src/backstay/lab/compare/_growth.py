"""How fast memory grows, as a number that one outlier cannot move.

The slope is Theil and Sen's: the median of the slopes of all pairs of samples.
Up to 29 % of the samples may be wild (a garbage collection, a paused machine)
before it moves, where least squares is moved by one.
(P. K. Sen, 1968, "Estimates of the regression coefficient based on Kendall's tau".)
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

__all__ = ["growth_pct_per_min", "theil_sen"]

# 400 points are 80,000 pairs, some tens of milliseconds; more would add no precision.
_MAX_POINTS = 400
_MIN_POINTS = 8
_MIN_SPAN_S = 4.0


def theil_sen(points: Sequence[tuple[float, float]]) -> float:
    """Return the median slope over all pairs of points.

    Args:
        points: (time, value), at least two different times.

    Returns:
        Value per unit of time.

    Raises:
        ValueError: fewer than two different times.
    """
    if len(points) > _MAX_POINTS:
        step = len(points) / _MAX_POINTS
        points = [points[int(index * step)] for index in range(_MAX_POINTS)]
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for index, earlier in enumerate(points)
        for later in points[index + 1 :]
        if later[0] != earlier[0]
    ]
    if not slopes:
        raise ValueError(
            f"no slope through {len(points)} points: expected at least two different times"
        )
    return median(slopes)


def growth_pct_per_min(points: Sequence[tuple[float, float]]) -> float | None:
    """Return how fast a level grows, in percent of its first level per minute.

    Args:
        points: (seconds, bytes) in order of time.

    Returns:
        Percent per minute, negative when it shrinks; None when there are too few
        samples, or over too short a time, to say.
    """
    if len(points) < _MIN_POINTS or points[-1][0] - points[0][0] < _MIN_SPAN_S:
        return None
    first = median(value for _, value in points[: max(3, len(points) // 10)])
    if first <= 0:
        return None
    return theil_sen(points) * 60.0 / first * 100.0
