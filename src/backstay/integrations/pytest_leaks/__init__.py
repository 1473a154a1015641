"""The check for leaks in a pytest run; written for pytest 8 and 9, tested with 9.2.

`_backstay_pytestplugin`, which pytest loads everywhere, imports this only where the check was asked for. It
works with pytest-asyncio 1.5, the plugin of anyio 4.16, pytest-xdist 3.8, and tests that run loops themselves.
"""

from backstay.integrations.pytest_leaks._plugin import LeakPlugin

__all__ = ["LeakPlugin"]
