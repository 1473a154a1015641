"""The error tree of the bus client.

BusError                the broker said no: a bug of the caller, do not retry
+- BusUnavailable       the broker cannot be reached: retry, every call is safe to repeat
"""

from __future__ import annotations


class BusError(Exception):
    """The broker refused the call; repeating it will not help."""


class BusUnavailable(BusError):
    """No answer from the broker within the client's patience. Every bus call may be repeated."""
