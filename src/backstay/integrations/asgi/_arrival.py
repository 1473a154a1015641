"""What the headers of a request say: until when, in which trace, under which id.

Each header has one rule for nonsense. `Backstay-Timeout-Ms` is our own contract,
so a value that cannot be read is the caller's bug and is answered with 400 (a
silent default would hide it). Everything else is read as a courtesy, often set by
a proxy that the caller does not know of: nonsense there is ignored and counted.
Names come in lower case, as ASGI promises.
"""

from __future__ import annotations

from collections.abc import Iterable

from backstay.context import (
    clean_request_id,
    new_ids,
    parse_grpc_timeout,
    parse_timeout_ms,
    parse_traceparent,
)

__all__ = ["Special", "read_arrival"]

_OURS, _ENVOY, _MS, _GRPC, _TRACE, _ID, _EXPECT = range(7)
_WANTED = {
    b"backstay-timeout-ms": _OURS,
    b"x-envoy-expected-rq-timeout-ms": _ENVOY,
    b"x-request-timeout-ms": _MS,
    b"grpc-timeout": _GRPC,
    b"traceparent": _TRACE,
    b"x-request-id": _ID,
    b"expect": _EXPECT,
}


class Special:
    """What only some requests say; there is none for a request that says nothing of it.

    Attributes:
        timeout: seconds that the caller gives us, the least of several; None when it names none.
        malformed: the value of our own header that cannot be read, cut short.
        ignored: how many headers of others could not be read.
        expects_continue: the body must not be asked for before the application does.
    """

    __slots__ = ("expects_continue", "ignored", "malformed", "timeout")

    def __init__(self) -> None:
        """Begin with nothing read."""
        self.timeout: float | None = None
        self.malformed: str | None = None
        self.ignored = 0
        self.expects_continue = False


def read_arrival(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, str, Special | None]:
    """Read the headers; never raises, and its work is bounded by their number.

    Returns:
        Trace id, request id (both made here if need be), and what else there was.
    """
    found: list[tuple[int, bytes]] | None = None
    for name, value in headers:
        if name in _WANTED:
            if found is None:
                found = []
            found.append((_WANTED[name], value))
    if found is None:
        return (*new_ids(), None)
    return _read(found)


def _read(found: list[tuple[int, bytes]]) -> tuple[str, str, Special | None]:
    special = Special()
    trace: bytes | None = None
    own_id: bytes | None = None
    for what, value in found:
        if what == _TRACE:
            trace = value if trace is None else b""  # two of them are as good as none (W3C)
        elif what == _ID:
            own_id = value if own_id is None else b""
        elif what == _EXPECT:
            special.expects_continue = value.lower() == b"100-continue"
        else:
            _read_timeout(special, what, value)
    trace_id, request_id = new_ids()
    if trace is not None:
        parent = parse_traceparent(trace[:600].decode("latin-1"))
        special.ignored += parent is None
        trace_id = trace_id if parent is None else parent.trace_id
    if own_id is not None:
        cleaned = clean_request_id(own_id[:200].decode("latin-1"))
        special.ignored += cleaned is None
        request_id = cleaned or request_id
    return trace_id, request_id, special


def _read_timeout(special: Special, what: int, value: bytes) -> None:
    text = value[:64].decode("latin-1")  # longer ones are malformed anyway
    seconds = parse_grpc_timeout(text) if what == _GRPC else parse_timeout_ms(text)
    if seconds is None:
        if what == _OURS:
            special.malformed = text
        else:
            special.ignored += 1
    elif what == _ENVOY and seconds == 0.0:
        pass  # Envoy's 0 means "no time-out", as in its configuration
    elif special.timeout is None or seconds < special.timeout:
        special.timeout = seconds
