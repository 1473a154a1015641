"""The error tree of the bus.

BusError                the broker said no: a bug of the caller, do not retry
+- BusUnavailable       the broker cannot be reached: retry, every call is safe to repeat
+- BusFull              the broker holds too many messages: keep yours, retry later
"""

from __future__ import annotations


class BusError(Exception):
    """The broker refused the call; repeating it will not help."""


class BusUnavailable(BusError):
    """No answer from the broker within the client's patience. Every bus call may be repeated."""


class BusFull(BusError):
    """More messages wait than the broker holds; nothing was stored. Keep yours, retry later."""
