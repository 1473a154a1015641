"""What a store has done so far, for people and for metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """Counters since `start()`; durations are seconds, over the last 1024 commits."""

    queued: int  # write jobs waiting or in the batch at work
    reading: int  # read jobs waiting or at work
    jobs: int  # write jobs that were committed
    failed_jobs: int  # write jobs whose error went to their caller
    skipped_jobs: int  # write jobs whose caller was gone before they began
    batches: int  # commits
    mean_batch: float  # jobs per commit
    largest_batch: int
    reads: int
    commit_p50_s: float  # time inside COMMIT, where the disk is waited for
    commit_p99_s: float
