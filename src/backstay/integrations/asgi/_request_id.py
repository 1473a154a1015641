"""Request ids: unique, short, and cheap enough to be made for every request.

Not random as a trace id is, since nothing samples by it: a random prefix for each
process and a counter. They are no secrets.
"""

from __future__ import annotations

import os
from itertools import count

from backstay.context import new_request_id

__all__ = ["next_request_id"]

_prefix = new_request_id()[:8]
_number = count(1)


def next_request_id() -> str:
    """Return 16 hex digits (more after four billion requests)."""
    return "%s%08x" % (_prefix, next(_number))  # noqa: UP031 - faster than an f-string here


def _begin_anew() -> None:
    global _prefix
    _prefix = new_request_id()[:8]


if hasattr(os, "register_at_fork"):  # a forked worker must not repeat its parent's ids
    os.register_at_fork(after_in_child=_begin_anew)
