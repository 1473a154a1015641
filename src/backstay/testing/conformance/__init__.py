"""Conformance kits: what every lock, channel and guard must do, as checks for yours.

A kit is generic: say how to make, take and give back the thing under test, and
get a tuple of checks, each a small scenario that runs under many schedules::

    LOCK = LockKit(asyncio.Lock)

    @pytest.mark.parametrize("check", LOCK.checks(), ids=str)
    def test_asyncio_lock(check):
        check.run()

Kits of guards, `BreakerKit` and `LimiterKit`, tell what they saw beside what is right, so
that a table of several libraries can be made of them as well as a test. `SubscriptionKit` asks
a subscription of a broker what a `Consumer` must be able to rely on.
"""

from backstay.testing.conformance._channel_kit import ChannelKit
from backstay.testing.conformance._check import Check
from backstay.testing.conformance._guard_kit import BreakerKit, GuardCase, LimiterKit
from backstay.testing.conformance._lock_kit import LockKit
from backstay.testing.conformance._subscription_kit import (
    SubscriptionBench,
    SubscriptionCase,
    SubscriptionKit,
)

__all__ = [
    "BreakerKit",
    "ChannelKit",
    "Check",
    "GuardCase",
    "LimiterKit",
    "LockKit",
    "SubscriptionBench",
    "SubscriptionCase",
    "SubscriptionKit",
]
