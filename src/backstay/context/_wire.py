"""How a context looks on the wire: deadlines, trace and request ids, carried keys.

Why pure: the same codecs serve the HTTP guard, the gRPC interceptors and every
client, and a header is the one place where a stranger's bytes reach us. Each
parser is total: whatever arrives, it answers with a value or with None, it never
raises, and its work is bounded by a length check that comes before anything else.

Times on the wire are relative (milliseconds, or `grpc-timeout` units), since two
machines never agree on what time it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from backstay._base import Chance

__all__ = [
    "BAGGAGE_HEADER",
    "DEADLINE_MARKER",
    "DEADLINE_MARKER_VALUE",
    "REQUEST_ID_HEADER",
    "TIMEOUT_HEADER",
    "TRACE_HEADER",
    "TraceParent",
    "clean_request_id",
    "format_baggage",
    "format_timeout_ms",
    "format_traceparent",
    "new_ids",
    "new_request_id",
    "new_span_id",
    "new_trace_id",
    "parse_baggage",
    "parse_grpc_timeout",
    "parse_timeout_ms",
    "parse_traceparent",
]

TIMEOUT_HEADER: Final = "backstay-timeout-ms"
TRACE_HEADER: Final = "traceparent"
REQUEST_ID_HEADER: Final = "x-request-id"
BAGGAGE_HEADER: Final = "baggage"
# The answer's marker: the time was spent, so sending the same call again is a waste.
DEADLINE_MARKER: Final = "backstay-deadline"
DEADLINE_MARKER_VALUE: Final = "expired"

# 10 digits of milliseconds are 115 days: more than any call may last, less than
# what could overflow a timer.
_MAX_TIMEOUT_MS: Final = 9_999_999_999
_TIMEOUT_MS: Final = re.compile(r"[0-9]{1,10}")
# "TimeoutValue: positive integer as ASCII string of at most 8 digits" (gRPC over HTTP/2).
# Real clients send 0 for a deadline that has just passed, so 0 is taken as spent.
_GRPC_TIMEOUT: Final = re.compile(r"([0-9]{1,8})([HMSmun])")
_GRPC_UNIT_S: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
# W3C Trace Context level 1, §3.2: lower case only; version ff is forbidden; a later
# version may append fields after another dash, version 00 may not.
_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MAX_TRACEPARENT: Final = 512  # of a future version; version 00 has exactly 55
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16
# What ids in the wild consist of (UUID, ULID, base64, "Root=1-67…" of AWS), and nothing
# that could break out of a log line, a header or a JSON string.
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._~:/+=@;-]{1,128}")
# W3C Baggage §3.3: what an intermediary must at least carry, so the most we dare to send.
_MAX_BAGGAGE_MEMBERS: Final = 64
_MAX_BAGGAGE: Final = 8192
_BAGGAGE_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_BAGGAGE_SAFE: Final = "!#$&'()*+-./:<=>?@[]^_`{|}~"  # W3C Baggage: baggage-octet without "%"

# Ids must differ between the workers of one machine, so the dice are thrown anew
# in every forked child (a copied generator would repeat its parent's ids).
_ids = Chance()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ids.seed)


class TraceParent(NamedTuple):
    """The three parts of a W3C `traceparent` that mean something to us."""

    trace_id: str  # 32 lower-case hex digits, not all zero
    parent_id: str  # 16 lower-case hex digits, not all zero: the caller's span
    flags: int  # 0 to 255; bit 0 = the caller may have recorded this trace


def parse_timeout_ms(text: str) -> float | None:
    """Read relative milliseconds, as in `Backstay-Timeout-Ms: 250`.

    Args:
        text: the header's value, of any length and content.

    Returns:
        Seconds, 0.0 meaning that the time is already spent; None when it is not
        a plain whole number of 1 to 10 ASCII digits.
    """
    if len(text) > 32 or _TIMEOUT_MS.fullmatch(text := text.strip(" \t")) is None:
        return None
    return int(text) / 1000


def format_timeout_ms(seconds: float) -> str:
    """Write the time that is left as whole milliseconds.

    Rounded down, so that nobody downstream believes in time that is not there;
    less than a millisecond is "0", which the receiver answers at once.

    Args:
        seconds: time left; below 0 counts as 0, infinity as the largest value.

    Raises:
        ValueError: not a number.
    """
    if seconds != seconds:
        raise ValueError("cannot send NaN as a time-out: pass the seconds that are left")
    # A deadline is kept as a sum of floats; 0.25 s must not arrive as 249 ms.
    millis = seconds * 1000 + 1e-6
    return str(int(max(0.0, min(millis, _MAX_TIMEOUT_MS))))


def parse_grpc_timeout(text: str) -> float | None:
    """Read a `grpc-timeout` such as `250m`.

    Returns:
        Seconds, 0.0 meaning already spent; None when it is not 1 to 8 ASCII
        digits followed by one of H, M, S, m, u, n.
    """
    if len(text) > 32 or (match := _GRPC_TIMEOUT.fullmatch(text.strip(" \t"))) is None:
        return None
    return int(match[1]) * _GRPC_UNIT_S[match[2]]


def parse_traceparent(text: str) -> TraceParent | None:
    """Read a W3C `traceparent`, strictly.

    Returns:
        Its parts, or None when the standard calls it invalid, in which case the
        receiver must begin a new trace.
    """
    if len(text) > _MAX_TRACEPARENT:
        return None
    match = _TRACEPARENT.fullmatch(text.strip(" \t"))
    if match is None:
        return None
    version, trace_id, parent_id, flags, rest = match.groups()
    if trace_id == _NO_TRACE or parent_id == _NO_SPAN or version == "ff":
        return None
    if rest is not None and version == "00":
        return None
    return TraceParent(trace_id, parent_id, int(flags, 16))


def format_traceparent(parent: TraceParent) -> str:
    """Write a `traceparent` of version 00."""
    return f"00-{parent.trace_id}-{parent.parent_id}-{parent.flags & 0xFF:02x}"


def clean_request_id(text: str) -> str | None:
    """Accept a caller's request id if it is harmless to log and to send on.

    Returns:
        The id, or None when it is empty, longer than 128 characters or has
        anything but letters, digits and ``. _ ~ : / + = @ ; -``. It is not
        repaired, since a repaired id matches nothing in the caller's logs.
    """
    if len(text) > 160 or _REQUEST_ID.fullmatch(text := text.strip(" \t")) is None:
        return None
    return text


def new_trace_id() -> str:
    """Make a trace id: 32 hex digits, never all zero."""
    return f"{_ids.getrandbits(128) or 1:032x}"


def new_span_id() -> str:
    """Make a span id: 16 hex digits, never all zero."""
    return f"{_ids.getrandbits(64) or 1:016x}"


def new_request_id() -> str:
    """Make a request id: 16 hex digits."""
    return f"{_ids.getrandbits(64):016x}"


def new_ids() -> tuple[str, str]:
    """Make a trace id and a request id with one throw of the dice."""
    both = f"{_ids.getrandbits(192):048x}"
    trace_id = both[:32]
    return (trace_id if trace_id != _NO_TRACE else new_trace_id()), both[32:]


def format_baggage(carried: Mapping[str, str]) -> str:
    """Write carried values as a W3C `baggage` header.

    Values are percent-encoded. Whatever would break the standard's limits (64
    members, 8192 bytes) or has a name that is no token is left out: a context
    must never make a call fail.

    Returns:
        The header's value, empty when there is nothing to send.
    """
    members: list[str] = []
    size = 0
    for name, value in carried.items():
        if _BAGGAGE_NAME.fullmatch(name) is None:
            continue
        member = f"{name}={quote(value, safe=_BAGGAGE_SAFE, errors='replace')}"
        if len(members) == _MAX_BAGGAGE_MEMBERS or size + len(member) + 1 > _MAX_BAGGAGE:
            continue
        members.append(member)
        size += len(member) + 1
    return ",".join(members)


def parse_baggage(text: str, wanted: Iterable[str]) -> dict[str, str]:
    """Read the values of `wanted` names out of a `baggage` header.

    Only names asked for are returned, so a stranger cannot plant values; the
    first of several members with one name counts.

    Args:
        text: the header's value; more than 8192 characters are refused whole.
        wanted: the names of the keys that this process knows.
    """
    found: dict[str, str] = {}
    if len(text) > _MAX_BAGGAGE:
        return found
    names = frozenset(wanted)
    for member in text.split(",", _MAX_BAGGAGE_MEMBERS)[:_MAX_BAGGAGE_MEMBERS]:
        name, equals, rest = member.partition("=")
        name = name.strip(" \t")
        if not equals or name not in names or name in found:
            continue
        value = unquote(rest.partition(";")[0].strip(" \t"), errors="replace")
        if value.isprintable():
            found[name] = value
    return found
