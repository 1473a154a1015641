"""The `contextvars` context of a child that is started from outside its scope.

A child inherits its creator's values. Two things must come from its scope: who
owns it, and until when it may run. The creator's own deadline is not one of
them, be it another request's or that of a `timeout()` block inside the scope:
the child outlives both.
"""

from __future__ import annotations

from contextvars import Context, copy_context

from backstay import context as ambient
from backstay.tasks._owner import Owner, current_owner

__all__ = ["child_context"]


def child_context(owner: Owner, deadline: float | None, setter: str | None) -> Context:
    """Return a copy of the current context that belongs to `owner` and ends at `deadline`."""
    made = copy_context()
    made.run(_enter, owner, deadline, setter)
    return made


def _enter(owner: Owner, deadline: float | None, setter: str | None) -> None:
    current_owner.set(owner)
    context = ambient.current().without_deadline()
    if deadline is not None and setter is not None:
        context = context.with_deadline(deadline, setter)
    ambient.enter(context)
