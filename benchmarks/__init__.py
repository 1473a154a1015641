"""Speed and size promises, one file each, gated by budgets.toml.

Every figure is a ratio of interleaved rounds in one process or one pair of
processes, because the machines this runs on are small and noisy: a neighbour
slows both sides of a ratio. Run all with ``make bench``, one with
``python -m benchmarks spawn``.
"""
