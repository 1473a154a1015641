"""Who a task belongs to, as the stamp and the factory need to know it.

`Scope` is the only owner there is; naming it here by what it shows keeps the
stamp of a task free of the machinery of scopes.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

__all__ = ["Owner", "current_owner"]


class Owner(Protocol):
    """What a task's stamp holds of its owner."""

    raw_spawned: int  # tasks started inside by other means than go()


current_owner: ContextVar[Owner | None] = ContextVar("backstay_scope", default=None)
"""The scope around the running code; every task starts with a copy of its creator's."""
