"""Is a series going up, and how fast: two tests without a bell curve in sight.

Task counts are spiky, bounded below by zero and full of ties, so a straight
line by least squares is led astray by one burst. Both tests here look only at
pairs of points:

* Mann-Kendall asks whether later points tend to be higher than earlier ones.
  H. B. Mann, "Nonparametric tests against trend", Econometrica 13 (1945);
  M. G. Kendall, "Rank Correlation Methods" (1975), for the variance under ties.
* Theil-Sen takes the median slope of all pairs, with the confidence interval
  that follows from Kendall's variance. H. Theil (1950); P. K. Sen, "Estimates
  of the regression coefficient based on Kendall's tau", JASA 63 (1968);
  worked recipe in R. O. Gilbert, "Statistical Methods for Environmental
  Pollution Monitoring" (1987), sections 16.4 and 17.3.

Caution: the p-value assumes independent points, and counts of living tasks are
not (who was alive a moment ago mostly still is). The growth rule therefore uses
it as a necessary sign and never as the sufficient one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Slope", "Trend", "mann_kendall", "theil_sen"]

# Two-sided 99 % quantile of the normal distribution, for the slope's interval.
_Z_99 = 2.5758293035489004


@dataclass(frozen=True, slots=True)
class Trend:
    """What Mann-Kendall says about one series."""

    s: int  # pairs that rise minus pairs that fall
    z: float  # s in standard deviations, continuity-corrected; 0.0 when nothing moves
    p_rising: float  # chance of such a rise, or a clearer one, without any trend


@dataclass(frozen=True, slots=True)
class Slope:
    """The median slope of a series and its 99 % interval, per unit of time."""

    value: float
    low: float
    high: float


def mann_kendall(values: Sequence[float]) -> Trend:
    """Test whether `values` tend to rise.

    Args:
        values: the series in the order of time; the distances do not matter.

    Returns:
        The one-sided verdict; a series of fewer than 3 points, or one that never
        moves, has z = 0 and p = 1.

    Cost: all pairs, n * n / 2 comparisons.
    """
    n = len(values)
    s = 0
    for later in range(1, n):
        value = values[later]
        for earlier in range(later):
            s += (value > values[earlier]) - (value < values[earlier])
    variance = _kendall_variance(values)
    if n < 3 or variance <= 0 or s == 0:
        return Trend(s, 0.0, 1.0)
    z = (s - math.copysign(1.0, s)) / math.sqrt(variance)
    return Trend(s, z, 0.5 * math.erfc(z / math.sqrt(2)))


def theil_sen(times: Sequence[float], values: Sequence[float]) -> Slope:
    """Measure how fast `values` rise, robustly.

    Args:
        times: when each value was seen, strictly ascending.
        values: the series, as long as `times`.

    Returns:
        Median of the pairwise slopes with the 99 % interval of Sen (1968); all
        zeros for fewer than 2 points.

    Cost: all pairs, sorted: n * n / 2 * log n.
    """
    n = len(values)
    slopes = sorted(
        (values[j] - values[i]) / (times[j] - times[i]) for j in range(1, n) for i in range(j)
    )
    if not slopes:
        return Slope(0.0, 0.0, 0.0)
    pairs = len(slopes)
    spread = _Z_99 * math.sqrt(max(0.0, _kendall_variance(values)))
    low = max(0, math.floor((pairs - spread) / 2))
    high = min(pairs - 1, math.ceil((pairs + spread) / 2))
    middle = pairs // 2
    median = slopes[middle] if pairs % 2 else (slopes[middle - 1] + slopes[middle]) / 2
    return Slope(median, slopes[low], slopes[high])


def _kendall_variance(values: Sequence[float]) -> float:
    """Variance of Kendall's S without a trend; each group of equal values takes its part away."""
    n = len(values)
    variance = n * (n - 1) * (2 * n + 5)
    for ties in Counter(values).values():
        if ties > 1:
            variance -= ties * (ties - 1) * (2 * ties + 5)
    return variance / 18
