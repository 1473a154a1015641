"""The error tree of the store.

StoreError
+- StoreBusy      too many jobs wait: shed load, try later
+- StoreClosed    the store was never started, or is closed
"""

from __future__ import annotations


class StoreError(Exception):
    """The store itself failed (file, disk, a job that broke the rules), not the caller's SQL."""


class StoreBusy(StoreError):
    """More jobs wait than the store lets in; nothing was written. Retry later, or shed load."""


class StoreClosed(StoreError):
    """The store is not open, so the job was not run."""
