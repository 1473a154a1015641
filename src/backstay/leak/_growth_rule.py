"""Does a site leak? The one rule that may say GROWING, as arithmetic only.

A wrong accusation costs more than a late one: people mute a detector that cried
wolf. So the rule does not ask "is the count high" or "did it rise", which every
busy afternoon answers with yes. It looks at those who stay, the *stayers*: tasks
older than W, where W is well above the age at which tasks of this site are seen
to end. Little's law says that traffic alone cannot raise their number. GROWING
needs all of this at once, in one window of samples:

1. enough samples and time, and W at most half of the history;
2. a rising trend of the stayers (Mann-Kendall) with a slope whose 99 % interval
   is above zero (Theil-Sen);
3. it goes on: each quarter of the window gains, the last one and the second half
   nearly as much as those before. A warm-up that flattens fails here;
4. nobody leaves: at most 5 % as many stayers ended as came, and from the time
   that all of them together were watched it follows (Poisson, 99 %) that they
   live for more than three windows and two minutes on average. Long sessions and
   overload fail here, since in both tasks end, only late;
5. the oldest age itself grows by about one second each second;
6. more than chance (4 standard deviations of a Poisson count) and more than a
   connection pool can explain: a pool keeps a task per connection for good, and
   grows until the peak of concurrent work, never past it;
7. more patience the less the owner says. Stayers whose owner has ended have
   outlived their reason, so the minimum is enough. Stayers without an owner, or
   under one that is meant to stay, need twice the samples, 500 of them or half an
   hour, and ten windows of life, unless their siblings keep ending: then it is the odd ones out that
   leak. Stayers with a living owner each (sessions, requests in progress) always
   need the half hour and the ten windows.

What no rule can know: whether work that has *never* ended so far will end after
the window. A hang longer than the window reads as a leak, and is one until it ends.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from backstay.leak._lifelines import Lifelines
from backstay.leak._trend import Slope, Trend, mann_kendall, theil_sen

__all__ = ["Backing", "Growth", "GrowthRule", "Movement"]

Movement = Literal["growing", "rising", "steady", "falling", "unsure"]
"""growing: a leak. rising: more tasks, but none stays longer. unsure: too little seen."""

Backing = Literal["ended", "shared", "own"]
"""Who answers for the oldest tasks: an owner that has ended; nobody, or one owner for all
of them; or a living owner for each."""

# The pairwise tests see at most this many points of a window; 780 pairs are plenty
# for a trend, and the cost stays the same however long the history is.
_POINTS = 40

# No connection pool in the field keeps more than about a thousand connections in a process.
_LARGEST_POOL = 1000.0


@dataclass(frozen=True, slots=True)
class Growth:
    """What the rule says about one site, with the numbers it stands on."""

    movement: Movement
    reason: str  # one sentence for people
    samples: int  # in the window that decided
    span_s: float  # length of that window
    older_than_s: float = 0.0  # W: who is older counts as a stayer
    stayers: int = 0  # tasks older than W at the last sample
    came: int = 0  # stayers gained in the window
    left: int = 0  # stayers that ended in the window
    slope_per_s: float = 0.0  # stayers gained a second, median of all pairs
    slope_low: float = 0.0  # its 99 % interval
    slope_high: float = 0.0
    p_value: float = 1.0  # of the rising trend, one-sided
    age_rate: float = 0.0  # seconds by which the oldest age grows each second
    share_before: float = 0.0  # stayers among all alive, when the window began
    share_after: float = 0.0  # and when it ended
    residence_s: float = 0.0  # age by which 99 of 100 tasks that were seen to end had ended
    needs_s: float = 0.0  # when unsure for want of time: about how many seconds more


@dataclass(frozen=True, slots=True)
class _Stayers:
    """The stayers over one window."""

    times: list[float]
    counts: list[int]
    alive: list[int]
    came: int
    left: int
    watched_s: float  # seconds that all stayers together were watched for
    age_rate: float

    @property
    def gain(self) -> int:
        return self.counts[-1] - self.counts[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthRule:
    """Judges one site from its lifelines; holds thresholds and no state.

    Each number is the least at which 2,000 simulated healthy services, judged at
    every sample, were never accused, with a margin; see docs/explanation/leak-verdicts.md.
    """

    min_samples: int = 25  # below, a window says nothing
    min_span_s: float = 20.0  # shorter than this, a slow call looks like a leak
    windows: tuple[int, ...] = (0, 50, 25)  # last so many samples; 0: all; tried in this order
    residence_factor: float = 2.0  # W is at least this times the residence
    span_share: float = 0.25  # and at least this share of the window
    max_p: float = 0.001  # of Mann-Kendall
    min_gain: int = 20  # stayers; below, it is not worth waking anybody
    chance_sigmas: float = 4.0
    max_left_share: float = 0.05  # of those who came
    min_life_windows: float = 3.0  # how long stayers live at least, in windows
    min_life_s: float = 120.0  # and in seconds: few calls that end at all take longer
    min_age_rate: float = 0.9
    late_share: float = 0.7  # last quarter against the mean quarter
    half_share: float = 0.75  # second half against the first
    fading_share: float = 0.5  # newborns gone by the next sample: "siblings keep ending"
    patient_samples: int = 50
    patient_gain: int = 500
    patient_span_s: float = 1800.0
    patient_life_windows: float = 10.0  # instead of min_life_windows

    def judge(
        self, past: Lifelines, *, backing: Backing = "shared", concurrency: float = 0.0
    ) -> Growth:
        """Say how the site moves.

        Args:
            past: its lifelines.
            backing: who answers for its oldest tasks.
            concurrency: most tasks of the whole loop that were alive at one
                sample and have ended since; the size a pool may have reached.

        Returns:
            The verdict with its evidence.

        Cost: a few hundred microseconds for a healthy site, a few milliseconds
            for a suspect; bounded for any history of a given length.
        """
        total = len(past.times)
        span = past.times[-1] - past.times[0] if total else 0.0
        if total < self.min_samples or span < self.min_span_s:
            return self._too_early(total, span)
        residence = _residence(past)
        refusal: Growth | None = None
        for window in self.windows:
            if window >= total or (window and window < self.min_samples):
                continue
            growth = self._judge_window(
                past, total - window if window else 0, residence, backing, concurrency
            )
            if growth.movement == "growing":
                return growth
            refusal = refusal or growth
        assert refusal is not None
        return refusal

    def _too_early(self, samples: int, span: float) -> Growth:
        pace = span / (samples - 1) if samples > 1 else 0.0
        needs = max(self.min_span_s - span, (self.min_samples - samples) * pace)
        reason = (
            f"{samples} samples over {span:.0f} s; growth is judged from "
            f"{self.min_samples} samples over at least {self.min_span_s:.0f} s"
        )
        return Growth("unsure", reason, samples, span, needs_s=needs)

    def _judge_window(
        self, past: Lifelines, start: int, residence: float, backing: Backing, concurrency: float
    ) -> Growth:
        samples = len(past.times) - start
        span = past.times[-1] - past.times[start]
        older_than = max(self.residence_factor * residence, self.span_share * span)
        if older_than > 0.5 * (past.times[-1] - past.times[0]):
            needs = 2 * older_than - (past.times[-1] - past.times[0])
            reason = (
                f"tasks here take up to {residence:.0f} s to end, so growth can be judged "
                f"after {2 * older_than:.0f} s of samples"
            )
            return Growth("unsure", reason, samples, span, residence_s=residence, needs_s=needs)
        stayers = _stayers(past, start, older_than)
        doubt = self._doubt(stayers, span)
        if doubt is None:
            doubt = self._doubt_of_backing(past, stayers, samples, span, backing, concurrency)
        # The tests compare all pairs, so they are asked last, when all cheap questions agree.
        trend, slope = (Trend(0, 0.0, 1.0), Slope(0.0, 0.0, 0.0)) if doubt else _tests(stayers)
        if doubt is None and not (trend.p_rising < self.max_p and slope.low > 0):
            doubt = f"the rise may be chance (p = {trend.p_rising:.2g})"
        return Growth(
            movement="growing" if doubt is None else _movement(stayers),
            reason=doubt or _why_growing(stayers, slope, older_than),
            samples=samples,
            span_s=span,
            older_than_s=older_than,
            stayers=stayers.counts[-1],
            came=stayers.came,
            left=stayers.left,
            slope_per_s=slope.value,
            slope_low=slope.low,
            slope_high=slope.high,
            p_value=trend.p_rising,
            age_rate=stayers.age_rate,
            share_before=_share(stayers, 0),
            share_after=_share(stayers, -1),
            residence_s=residence,
        )

    def _doubt(self, stayers: _Stayers, span: float) -> str | None:
        """Return why these stayers are not a leak whatever their owner, or None."""
        gain = stayers.gain
        chance = self.chance_sigmas * math.sqrt(max(1, stayers.counts[0]))
        if len(stayers.counts) < self.min_samples // 2 or gain < max(self.min_gain, chance):
            return f"{gain:+d} tasks that stay, within {span:.0f} s"
        if stayers.left > self.max_left_share * stayers.came:
            return (
                f"tasks stay long but end: {stayers.left} old ones ended while {stayers.came} came"
            )
        life = max(self.min_life_windows * span, self.min_life_s)
        if stayers.watched_s < life * _most_departures(stayers.left):
            return f"too little seen to tell whether these {stayers.counts[-1]} tasks will end"
        quarters = _quarter_gains(stayers)
        if min(quarters) < 0.2 * gain / 4 or quarters[3] < self.late_share * gain / 4:
            return "the rise is not going on: it came in steps or flattens"
        if quarters[2] + quarters[3] < self.half_share * (quarters[0] + quarters[1]):
            return "the rise is flattening"
        if stayers.age_rate < self.min_age_rate:
            return f"the oldest tasks get replaced (oldest age grows {stayers.age_rate:.2f} s a second)"
        return None

    def _doubt_of_backing(
        self,
        past: Lifelines,
        stayers: _Stayers,
        samples: int,
        span: float,
        backing: Backing,
        concurrency: float,
    ) -> str | None:
        """Return what the owner, or a pool, could still explain, or None."""
        # Between two samples the concurrency went higher than seen: 3 sigmas and a few.
        pool = min(_LARGEST_POOL, concurrency + 3 * math.sqrt(concurrency) + self.min_gain)
        if concurrency and stayers.counts[-1] < pool:
            return f"{stayers.counts[-1]} that stay could still be a pool (up to {pool:.0f} for this load)"
        if backing == "ended":
            return None
        if backing == "shared" and past.fading() >= self.fading_share:
            return None
        patient = samples >= self.patient_samples and (
            span >= self.patient_span_s
            or (backing == "shared" and stayers.gain >= self.patient_gain)
        )
        life = self.patient_life_windows * span
        if patient and stayers.watched_s >= life * _most_departures(stayers.left):
            return None
        enough = f" or {self.patient_gain} tasks" if backing == "shared" else ""
        return (
            f"none is seen to end, but nobody's time is up either: judged from {self.patient_samples} "
            f"samples and {self.patient_span_s / 60:.0f} min{enough}"
        )


def _residence(past: Lifelines) -> float:
    """Age by which 99 of 100 tasks that were seen to end had ended; 0 when none was."""
    departures = past.departures()
    rest = 0.99 * sum(count for _, count in departures)
    for age, count in departures:
        rest -= count
        if rest <= 0:
            return age
    return 0.0


def _stayers(past: Lifelines, start: int, older_than: float) -> _Stayers:
    times: list[float] = []
    counts: list[int] = []
    alive: list[int] = []
    came = left = 0
    watched = 0.0
    before: int | None = None  # the edge used for the previous sample
    for sample in range(start, len(past.times)):
        edge = bisect_right(past.times, past.times[sample] - older_than) - 1
        if edge < 0:
            continue  # the history does not reach back far enough yet
        count = past.born_by(edge, sample)
        if before is not None:
            survived = past.born_by(before, sample)
            left += max(0, counts[-1] - survived)  # a late stamp may even add one
            came += count - survived
            watched += survived * (past.times[sample] - times[-1])
        times.append(past.times[sample])
        counts.append(count)
        alive.append(past.alive(sample))
        before = edge
    return _Stayers(times, counts, alive, came, left, watched, _age_rate(past, start))


def _most_departures(seen: int) -> float:
    """Upper 99 % bound of a Poisson mean of which `seen` events were seen.

    Exact for none (-ln 0.01 = 4.61); above, the normal approximation rounded up.
    """
    return seen + 2.33 * math.sqrt(seen) + 4.61


def _age_rate(past: Lifelines, start: int) -> float:
    """How fast the oldest age grows over the second half of the window, in seconds a second."""
    last = len(past.times) - 1
    middle = (start + last) // 2
    passed = past.times[last] - past.times[middle]
    return (past.oldest_age(last) - past.oldest_age(middle)) / passed if passed > 0 else 0.0


def _quarter_gains(stayers: _Stayers) -> list[int]:
    begin, end = stayers.times[0], stayers.times[-1]
    marks = [stayers.counts[0]]
    for quarter in (1, 2, 3):
        at = bisect_right(stayers.times, begin + quarter * (end - begin) / 4) - 1
        marks.append(stayers.counts[at])
    marks.append(stayers.counts[-1])
    return [later - earlier for earlier, later in pairwise(marks)]


def _thinned(values: Sequence[float]) -> list[float]:
    """At most `_POINTS` of the values, evenly spread, first and last included."""
    last = len(values) - 1
    if last < _POINTS:
        return list(values)
    return [values[round(k * last / (_POINTS - 1))] for k in range(_POINTS)]


def _tests(stayers: _Stayers) -> tuple[Trend, Slope]:
    times, counts = _thinned(stayers.times), _thinned(stayers.counts)
    return mann_kendall(counts), theil_sen(times, counts)


def _movement(stayers: _Stayers) -> Movement:
    """Which way the plain count goes, for sites that are not accused."""
    alive = _thinned(stayers.alive)
    trend = mann_kendall(alive)
    if trend.p_rising < 0.01:
        return "rising"
    return "falling" if trend.p_rising > 0.99 and trend.z < 0 else "steady"


def _share(stayers: _Stayers, at: int) -> float:
    if not stayers.counts or not stayers.alive[at]:
        return 0.0
    return stayers.counts[at] / stayers.alive[at]


def _why_growing(stayers: _Stayers, slope: Slope, older_than: float) -> str:
    return (
        f"of the tasks older than {older_than:.0f} s, {stayers.came} came and {stayers.left} left "
        f"in {stayers.times[-1] - stayers.times[0]:.0f} s: {slope.value:+.3g}/s "
        f"({slope.low:.3g} to {slope.high:.3g}, 99 %)"
    )
