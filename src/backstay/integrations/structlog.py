"""A processor for structlog: each event says which request, trace and owner it is about.

Tested with structlog 25 to 26. Nothing of structlog is imported: a processor is a function.

    structlog.configure(processors=[add_context, structlog.processors.JSONRenderer()])
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from backstay.integrations._identity import identity

__all__ = ["add_context"]


def add_context(
    logger: Any, method_name: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Add "request_id", "trace_id" and "owner" as far as they are known; what is bound stays.

    Args:
        logger: not used.
        method_name: not used.
        event_dict: the event; changed in place.
    """
    for name, value in identity().items():
        event_dict.setdefault(name, value)
    return event_dict
