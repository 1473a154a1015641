"""Simulated services for the growth rule: when each task is born, and when it ends.

A scenario is a list of lives; what a sampler would have seen of them is worked
out exactly, and the rule is asked after every sample, as a sampler that runs for
ever asks it.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable
from itertools import accumulate
from random import Random

from backstay.leak import Backing, Growth, GrowthRule, Lifelines

Lives = list[tuple[float, float]]  # (born, ends), ends may be math.inf
Scenario = Callable[[Random, float], Lives]
FOREVER = math.inf


def lifelines(lives: Lives, times: list[float]) -> Lifelines:
    """What a sampler that looked at `times` knows of these lives."""
    n = len(times)
    ended_after: list[dict[int, int]] = [{} for _ in range(n)]  # [cohort][last sample seen alive]
    for born, ends in lives:
        cohort = _first_at_or_after(times, born)
        last = n - 1 if ends is FOREVER else _first_at_or_after(times, ends) - 1
        if cohort < n and last >= cohort:
            ended_after[cohort][last] = ended_after[cohort].get(last, 0) + 1
    rows: list[list[int]] = []
    for sample in range(n):
        born_in = [
            sum(count for last, count in ended_after[cohort].items() if last >= sample)
            for cohort in range(sample + 1)
        ]
        row = list(accumulate(born_in))
        rows.append(row[next((k for k, count in enumerate(row) if count), len(row)) :])
    return Lifelines(tuple(times), tuple(rows))


def _first_at_or_after(times: list[float], at: float) -> int:
    """Samples are even, so no search is needed."""
    pace = times[1] - times[0]
    return max(0, min(len(times), math.ceil((at - times[0]) / pace - 1e-9)))


def arrivals(
    dice: Random, rate: Callable[[float], float], peak: float, begin: float, end: float
) -> list[float]:
    """Poisson arrivals at a changing rate, by thinning (Lewis and Shedler 1979)."""
    at, found = begin, []
    while True:
        at += dice.expovariate(peak)
        if at >= end:
            return found
        if dice.random() * peak <= rate(at):
            found.append(at)


def first_accusation(
    past: Lifelines,
    rule: GrowthRule,
    *,
    backing: Backing,
    concurrency: bool = True,
    memory: int = 80,
) -> tuple[int, Growth] | None:
    """The first sample after which the rule says GROWING, asked after every one."""
    for last in range(1, len(past.times) + 1):
        first = max(0, last - memory)
        window = Lifelines(past.times[first:last], past.rows[first:last])
        busy = peak_concurrency(window) if concurrency else 0.0
        growth = rule.judge(window, backing=backing, concurrency=busy)
        if growth.movement == "growing":
            return last - 1, growth
    return None


def peak_concurrency(past: Lifelines) -> float:
    """Most tasks that were alive at one sample and have ended by the last."""
    last = len(past.times) - 1
    return float(max(past.alive(k) - past.born_by(k, last) for k in range(last + 1)))


def steady(rate: float) -> Callable[[float], float]:
    """A rate that never changes."""
    return lambda _at: rate


# -- healthy services ----------------------------------------------------------


def _traffic(dice: Random, span: float) -> tuple[Callable[[float], float], float, float]:
    """A rate over time, its peak, and how long before the samples the service began."""
    base = dice.uniform(0.5, 8.0) * 80 / span
    warm = dice.choice([0.0, 0.0, span])
    kind = dice.choice(["steady", "ramp", "daily", "plateau", "step"])
    if kind == "steady":
        return steady(base), base, warm
    if kind == "ramp":
        slope = base * dice.uniform(1, 5) / span
        return (lambda t: base + slope * max(0.0, t)), base + slope * span, warm
    if kind == "daily":
        period, phase = span * dice.uniform(0.3, 4), dice.uniform(0, 2 * math.pi)
        return (
            (lambda t: base * (1 + 0.9 * math.sin(2 * math.pi * t / period + phase))),
            base * 1.9,
            warm,
        )
    if kind == "plateau":
        until = span * dice.uniform(0.1, 0.7)
        return (lambda t: base * 4 * min(1.0, max(0.0, t) / until)), base * 4, warm
    at, factor = span * dice.uniform(0.1, 0.8), dice.uniform(2, 8)
    return (lambda t: base * (factor if t > at else 1)), base * factor, warm


def _residence(dice: Random, span: float) -> Callable[[], float]:
    """How long a task stays: very short to a fifth of the window, of several shapes."""
    mean = span * 10 ** dice.uniform(-3, -0.7)
    kind = dice.choice(["fixed", "exponential", "lognormal", "pareto", "two"])
    if kind == "fixed":
        return lambda: mean
    if kind == "exponential":
        return lambda: dice.expovariate(1 / mean)
    if kind == "lognormal":
        return lambda: dice.lognormvariate(math.log(mean), 1.2)
    if kind == "pareto":
        return lambda: mean / 3 * dice.paretovariate(1.5)
    return lambda: dice.expovariate(1 / mean) if dice.random() < 0.05 else mean / 50


def healthy_requests(dice: Random, span: float) -> Lives:
    """Requests under steady, rising, swinging, flattening or stepping traffic."""
    rate, peak, warm = _traffic(dice, span)
    stay = _residence(dice, span)
    return [(born, born + stay()) for born in arrivals(dice, rate, peak, -warm, span)]


def healthy_bursts(dice: Random, span: float) -> Lives:
    """Batches: a crowd at once every so often, gone some time later."""
    period, size = span * dice.uniform(0.03, 0.4), dice.randint(20, 300)
    stay = period * dice.uniform(0.1, 1.5)
    lives: Lives = []
    at = -span * dice.random()
    while at < span:
        lives += [(at + dice.random(), at + stay * dice.uniform(0.5, 1)) for _ in range(size)]
        at += period * dice.uniform(0.7, 1.3)
    return [(born, ends) for born, ends in lives if ends > born]


def healthy_restart(dice: Random, span: float) -> Lives:
    """A component is restarted once or twice: all its tasks go, new ones come back quickly."""
    lives = healthy_requests(dice, span)
    keepers = dice.randint(5, 150)
    starts = sorted([0.0, *(span * dice.random() for _ in range(dice.randint(1, 2)))])
    for start, end in zip(starts, [*starts[1:], FOREVER], strict=True):
        ramp = span * dice.uniform(0.0, 0.1)
        lives += [(start + ramp * dice.random(), end) for _ in range(keepers)]
    return lives


def healthy_slowdown(dice: Random, span: float) -> Lives:
    """A dependency gets slower and recovers; everything ends, only later."""
    rate, peak, warm = _traffic(dice, span)
    begin, length = span * dice.uniform(0.1, 0.6), span * dice.uniform(0.1, 0.5)
    slow = span * dice.uniform(0.02, 0.2)

    def stay(born: float) -> float:
        return dice.uniform(0.5, 1.5) * slow if begin < born < begin + length else slow / 50

    return [(born, born + stay(born)) for born in arrivals(dice, rate, peak, -warm, span)]


def healthy_overload(dice: Random, span: float) -> Lives:
    """More comes than can be served, first come first served: the line grows, yet it moves."""
    rate = dice.uniform(2, 10) * 80 / span
    served = rate * dice.uniform(0.4, 0.95)
    free, lives = 0.0, []
    for born in arrivals(dice, steady(rate), rate, 0, span):
        free = max(free, born) + dice.expovariate(served)
        lives.append((born, free))
    return lives


def healthy_pool(dice: Random, span: float) -> Lives:
    """A connection pool: a reader for each connection, made when all are busy, kept for good."""
    rate, peak, warm = _traffic(dice, span)
    stay = _residence(dice, span)
    lives: Lives = []
    busy: list[float] = []
    pool = 0
    for born in arrivals(dice, rate, peak, -warm, span):
        ends = born + min(stay(), span * 0.1)
        lives.append((born, ends))
        busy = [end for end in busy if end > born] + [ends]
        if len(busy) > pool:
            pool += 1
            lives.append((born, FOREVER))
    return lives


def healthy_sessions(dice: Random, span: float) -> Lives:
    """Long sessions from a cold start, up to five windows long on average; they end, but seldom."""
    mean = span * dice.uniform(0.3, 5)
    rate = dice.uniform(1, 8) * 80 / span
    return [
        (born, born + dice.expovariate(1 / mean))
        for born in arrivals(dice, steady(rate), rate, 0, span)
    ]


HEALTHY = [
    healthy_requests,
    healthy_requests,
    healthy_bursts,
    healthy_restart,
    healthy_slowdown,
    healthy_overload,
    healthy_pool,
    healthy_sessions,
]


def backing_against(scenario: Scenario) -> Backing:
    """The most suspicious owner that tasks of a scenario can have.

    Sessions that outlive several windows are only healthy while somebody answers
    for them; all others must be let off even when their owner has ended.
    """
    return "shared" if scenario is healthy_sessions else "ended"


# -- leaking services ------------------------------------------------------------


def leaking(
    dice: Random, span: float, *, rate: float, share: float, since: float, stay: float
) -> Lives:
    """Traffic of `rate`, of which `share` never ends once `since` has passed."""
    return [
        (
            born,
            FOREVER
            if born > since and dice.random() < share
            else born + dice.expovariate(1 / stay),
        )
        for born in arrivals(dice, steady(rate), rate, -5 * stay, span)
    ]


def _false_alarms(series: int, pace: float, samples: int = 120) -> None:
    """Print how many of so many healthy services were accused at any sample."""
    times = [k * pace for k in range(samples)]
    accused: Counter[str] = Counter()
    for seed in range(series):
        scenario = HEALTHY[seed % len(HEALTHY)]
        past = lifelines(scenario(Random(seed), times[-1]), times)
        found = first_accusation(past, GrowthRule(), backing=backing_against(scenario))
        if found is not None:
            accused[scenario.__name__] += 1
            print(f"  seed {seed} {scenario.__name__} at sample {found[0]}: {found[1].reason}")
    print(f"{series} healthy services, a sample each {pace:g} s: {accused.total()} accused")


if __name__ == "__main__":
    for every in (1.0, 30.0):
        _false_alarms(int(sys.argv[1]) if len(sys.argv) > 1 else 2000, every)
