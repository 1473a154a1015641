"""What a sample of the processor is labelled with: read where the interrupted task's context is current.

A Python signal handler runs in the context of the code that it interrupts, so the ambient
context, the owner and the span are exactly those of the task that was running.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from backstay.context import TRACE, current_span
from backstay.observe.profile._profile import Labels
from backstay.observe.profile._tasks import route_of
from backstay.tasks import Scope, current_scope, owner_of

__all__ = ["labels_here", "owner_labels"]

# A label is for telling samples apart, not for reading novels.
_LONGEST = 200


def labels_here(task: asyncio.Task[Any] | None) -> Labels:
    """Return the labels of the code that runs in this thread, in its own context.

    Args:
        task: the task that runs, None for a bare callback.
    """
    owner = current_scope()
    if owner is None and task is not None:
        owner = owner_of(task)
    trace_id, span_id = _span_here()
    if trace_id is None:
        trace_id = TRACE.get() or (owner.trace_id if owner is not None else None)
    found: list[tuple[str, str | int]] = []
    if task is not None:
        found.append(("task", task.get_name()[:_LONGEST]))
    found += owner_labels(owner)
    if trace_id:
        found.append(("trace_id", trace_id[:_LONGEST]))
    if span_id:
        found.append(("span_id", span_id[:_LONGEST]))
    return tuple(found)


def owner_labels(owner: Scope | None) -> Labels:
    """Return the labels `owner` and `route`, as far as there are any."""
    if owner is None:
        return ()
    route = route_of(owner)
    own = ("owner", owner.name[:_LONGEST])
    return (own, ("route", route[:_LONGEST])) if route else (own,)


def _span_here() -> tuple[str | None, str | None]:
    """Return trace id and span id of OpenTelemetry, where the program uses it, else of our own."""
    module = sys.modules.get("opentelemetry.trace")
    if module is not None:
        span = module.get_current_span().get_span_context()
        if span.is_valid:
            return f"{span.trace_id:032x}", f"{span.span_id:016x}"
    own = current_span()
    return None, None if own is None else own.parent_id
