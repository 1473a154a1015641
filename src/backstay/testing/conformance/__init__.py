"""Conformance kits: what every lock and every channel must do, as checks for yours.

A kit is generic: say how to make, take and give back the thing under test, and
get a tuple of checks, each a small scenario that runs under many schedules::

    LOCK = LockKit(asyncio.Lock)

    @pytest.mark.parametrize("check", LOCK.checks(), ids=str)
    def test_asyncio_lock(check):
        check.run()
"""

from backstay.testing.conformance._channel_kit import ChannelKit
from backstay.testing.conformance._check import Check
from backstay.testing.conformance._lock_kit import LockKit

__all__ = ["ChannelKit", "Check", "LockKit"]
