"""The ambient context: a deadline that only shrinks, and typed values.

It is plain state: no asyncio here, no timers. The `tasks` room enforces what
this room remembers. Every asyncio task starts with a copy of its creator's
context, so what is set here reaches everything that is called or spawned.
"""

from backstay.context._context import Context, current, deadline, enter, leave, remaining
from backstay.context._keys import REQUEST_ID, TRACE, Key, bind, carried

__all__ = [
    "REQUEST_ID",
    "TRACE",
    "Context",
    "Key",
    "bind",
    "carried",
    "current",
    "deadline",
    "enter",
    "leave",
    "remaining",
]
