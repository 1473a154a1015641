"""One record per failed request, with everything needed to find it again and nothing secret.

The fields travel as `extra=`, so a JSON formatter gets them as they are. The query
string and the headers are left out on purpose: tokens live there.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping, Sequence
from types import TracebackType
from typing import Any, cast

from backstay._base import now
from backstay.tasks import ServedScope

__all__ = ["log", "log_failure", "log_overrun"]

log = logging.getLogger("backstay.asgi")


def log_failure(
    scope: MutableMapping[str, Any],
    served: ServedScope,
    request_id: str,
    error: BaseException | None,
    what: str,
    to: logging.Logger = log,
) -> None:
    """Write the one ERROR record of an unhandled error.

    Args:
        scope: the ASGI scope.
        served: the request's own scope.
        request_id: accepted or made by us.
        error: what the application raised; None when it broke the protocol quietly.
        what: what became of the request, for the message.
        to: the logger.
    """
    reason = what if error is None else f"{what}: {type(error).__name__}: {_line(str(error))}"
    to.error(
        "%s failed: %s",
        served.name,
        reason,
        exc_info=error,
        extra=_fields(scope, served, request_id),
    )


def log_overrun(
    scope: MutableMapping[str, Any],
    served: ServedScope,
    request_id: str,
    error: BaseException | None,
    what: str,
    to: logging.Logger = log,
) -> None:
    """Write the one WARNING record of a deadline that passed in flight.

    Without a traceback: under overload there are thousands of these. Where the
    handler waited is one field, `waited_at`.
    """
    waited_at = _innermost(error)
    to.warning(
        "%s: %s; it waited at %s",
        served.name,
        what,
        waited_at or "an unknown place",
        extra={**_fields(scope, served, request_id), "waited_at": waited_at},
    )


def _fields(
    scope: MutableMapping[str, Any], served: ServedScope, request_id: str
) -> dict[str, object]:
    return {
        "method": _line(str(scope.get("method", "WS"))),
        "path": _line(str(scope.get("path", ""))),
        "peer": _peer(scope.get("client")),
        "request_id": request_id,
        "trace_id": served.trace_id,
        "owner": "/".join(served.path),
        "elapsed": 0.0
        if served.opened_at is None
        else round(now() - served.opened_at, 6),  # seconds
    }


def _line(text: str) -> str:
    """Make `text` fit on one log line: a path may hold any decoded character."""
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:256]
    )
    return shown if len(text) <= 256 else f"{shown}…"


def _peer(client: object) -> str | None:
    if isinstance(client, list | tuple) and len(cast("Sequence[object]", client)) == 2:
        host, port = cast("Sequence[object]", client)
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return None


def _innermost(error: BaseException | None) -> str | None:
    """Return where the application waited: the last line of it that is not a library's."""
    while error is not None and error.__cause__ is not None:
        error = error.__cause__  # DeadlineExceeded is raised from the CancelledError that struck
    trace: TracebackType | None = error.__traceback__ if error is not None else None
    innermost = own = None
    while trace is not None:
        innermost = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if "site-packages" not in innermost and not module.startswith(("asyncio.", "backstay.")):
            own = innermost
        trace = trace.tb_next
    return own or innermost
