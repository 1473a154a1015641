"""What the flight recorder counts on each loop as histograms: how long callbacks wait, and how long they hold it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from backstay.observe.metrics._families import Page
from backstay.observe.metrics._task_sites import OTHER
from backstay.observe.readings import loop_name
from backstay.observe.recorder import current_recorder
from backstay.sync._durations import Spread

__all__ = ["STEP_EDGES", "put_steps"]

#: Upper edges in seconds: 1 µs to 17 s, each four times the last. The recorder counts by powers of two of
#: nanoseconds, and these are some of them, so no count is guessed.
STEP_EDGES: Final = tuple(2**bits / 1e9 for bits in range(10, 35, 2))
#: Loops with rows of their own; each has 30.
_MOST_LOOPS: Final = 16


def put_steps(page: Page) -> None:
    """Put ready latency and step duration of each loop; nothing where no flight recorder is at work.

    Cost: some 50 microseconds a loop.
    """
    recorder = current_recorder()
    if recorder is None:
        return
    for number, (loop, said) in enumerate(recorder.statistics_by_loop()):
        name = loop_name(loop) if number < _MOST_LOOPS else OTHER
        page.histogram(
            "backstay_loop_ready_seconds",
            "From being scheduled to being run.",
            _spread(said.ready, said.ready_s),
            STEP_EDGES,
            loop=name,
        )
        page.histogram(
            "backstay_loop_step_seconds",
            "For how long a callback held the loop.",
            _spread(said.step, said.step_s),
            STEP_EDGES,
            loop=name,
        )


def _spread(counts: Sequence[int], total_s: float) -> Spread:
    """Return counts by the highest bit of the nanoseconds as a spread; bucket n ends below 2**(n+1)."""
    edges = [(2 ** (bits + 1) / 1e9, count) for bits, count in enumerate(counts) if count]
    # The loop may have run on between the buckets and the other figures: what is in them is what counts.
    return Spread(sum(counts), total_s, 0.0, 0.0, 0.0, tuple(edges))
