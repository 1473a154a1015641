"""A chain of three small services, to show how one that hangs takes the others with it.

    visitors -> front -> orders -> ledger

The scenario `cascading-failure` stops the ledger in its tracks.
"""
