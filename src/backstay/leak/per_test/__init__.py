"""What a test leaves behind: the check at its end, for every framework that runs tests.

It lives beside the detector, since it judges; `testing` is blind to it. It needs no test
framework: `LeakCheck` is a context manager for any code, sync or async, `LeakFreeTestCase` the
mixin for unittest, and the pytest plugin (`integrations/pytest_leaks`) is made of the same parts.
"""

from backstay.leak.per_test._check import LeakCheck, LeaksLeft
from backstay.leak.per_test._expectations import Pattern
from backstay.leak.per_test._left import Left
from backstay.leak.per_test._unittest import LeakFreeTestCase

__all__ = ["LeakCheck", "LeakFreeTestCase", "LeaksLeft", "Left", "Pattern"]
