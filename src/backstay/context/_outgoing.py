"""What a call to another process takes along of the ambient context."""

from __future__ import annotations

from backstay.context._context import current, remaining
from backstay.context._keys import REQUEST_ID, TRACE, carried, current_span
from backstay.context._wire import (
    BAGGAGE_HEADER,
    REQUEST_ID_HEADER,
    TIMEOUT_HEADER,
    TRACE_HEADER,
    TraceParent,
    format_baggage,
    format_timeout_ms,
    format_traceparent,
    new_span_id,
)
from backstay.errors import ExpiredError

__all__ = ["identity_headers", "outgoing_headers", "time_for_call"]

# Where nobody records spans (SPAN), nobody has decided, and the trace goes on as "sampled":
# "not sampled" would switch off tracing in every OpenTelemetry service behind us.
_SAMPLED = 1


def time_for_call(margin: float = 0.0) -> float | None:
    """Return the seconds that a call may take, or None without a deadline.

    Args:
        margin: seconds kept back for our own work after the call returns.

    Raises:
        ExpiredError: no time is left, so the call would only be work for nobody.
    """
    left = remaining()
    if left is None:
        return None
    if left - margin <= 0:
        setter = current().deadline_setter or "unknown"
        raise ExpiredError(
            f"the deadline set by {setter!r} leaves {left * 1000:.0f} ms and the margin is "
            f"{margin * 1000:.0f} ms: the call was not made",
            policy=setter,
        )
    return left - margin


def outgoing_headers(margin: float = 0.0) -> dict[str, str]:
    """Return the headers with which an HTTP call carries deadline, trace and carried keys.

    ::

        await client.get(url, headers=outgoing_headers(margin=0.01))

    Args:
        margin: seconds of the deadline kept back for our own work after the call returns.

    Raises:
        ExpiredError: no time is left.
    """
    headers = identity_headers()
    left = time_for_call(margin)
    if left is not None:
        headers[TIMEOUT_HEADER] = format_timeout_ms(left)
    return headers


def identity_headers() -> dict[str, str]:
    """Return the headers that say who calls: trace, request id, carried keys."""
    headers: dict[str, str] = {}
    values = carried()
    trace_id = values.pop(TRACE.name, None)
    if trace_id is not None:
        span = current_span() or TraceParent(trace_id, new_span_id(), _SAMPLED)
        headers[TRACE_HEADER] = format_traceparent(span)
    request_id = values.pop(REQUEST_ID.name, None)
    if request_id is not None:
        headers[REQUEST_ID_HEADER] = request_id
    if values and (baggage := format_baggage(values)):
        headers[BAGGAGE_HEADER] = baggage
    return headers
