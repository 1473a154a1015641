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
    parse_grpc_timeout,
    parse_timeout_ms,
    parse_traceparent,
)

__all__ = ["WANTED", "Arrival", "read_arrival"]

_OURS, _ENVOY, _MS, _GRPC, _TRACE, _ID, _EXPECT = range(7)
WANTED = {
    b"backstay-timeout-ms": _OURS,
    b"x-envoy-expected-rq-timeout-ms": _ENVOY,
    b"x-request-timeout-ms": _MS,
    b"grpc-timeout": _GRPC,
    b"traceparent": _TRACE,
    b"x-request-id": _ID,
    b"expect": _EXPECT,
}


class Arrival:
    """What some requests say; there is none for a request that says nothing of it.

    Attributes:
        trace_id: of a valid `traceparent`, or None.
        request_id: of a harmless `x-request-id`, or None.
        timeout: seconds that the caller gives us, the least of several; None when it names none.
        malformed: the value of our own header that cannot be read, cut short.
        ignored: how many headers of others could not be read.
        expects_continue: the body must not be asked for before the application does.
    """

    __slots__ = (
        "expects_continue",
        "ignored",
        "malformed",
        "request_id",
        "timeout",
        "trace_id",
    )

    def __init__(self) -> None:
        """Begin with nothing read."""
        self.trace_id: str | None = None
        self.request_id: str | None = None
        self.timeout: float | None = None
        self.malformed: str | None = None
        self.ignored = 0
        self.expects_continue = False


def read_arrival(headers: Iterable[tuple[bytes, bytes]]) -> Arrival | None:
    """Read the headers; never raises, and its work is bounded by their number.

    Returns:
        None when no header of interest is there, as for most callers from outside.
    """
    for name, _ in headers:
        if name in WANTED:
            return _read([(WANTED[name], value) for name, value in headers if name in WANTED])
    return None


def _read(found: list[tuple[int, bytes]]) -> Arrival:
    arrival = Arrival()
    trace: bytes | None = None
    own_id: bytes | None = None
    for what, value in found:
        if what == _TRACE:
            trace = value if trace is None else b""  # two of them are as good as none (W3C)
        elif what == _ID:
            own_id = value if own_id is None else b""
        elif what == _EXPECT:
            arrival.expects_continue = value.lower() == b"100-continue"
        else:
            _read_timeout(arrival, what, value)
    if trace is not None:
        parent = parse_traceparent(trace[:600].decode("latin-1"))
        if parent is None:
            arrival.ignored += 1
        else:
            arrival.trace_id = parent.trace_id
    if own_id is not None:
        arrival.request_id = clean_request_id(own_id[:200].decode("latin-1"))
        arrival.ignored += arrival.request_id is None
    return arrival


def _read_timeout(arrival: Arrival, what: int, value: bytes) -> None:
    text = value[:64].decode("latin-1")  # longer ones are malformed anyway
    seconds = parse_grpc_timeout(text) if what == _GRPC else parse_timeout_ms(text)
    if seconds is None:
        if what == _OURS:
            arrival.malformed = text
        else:
            arrival.ignored += 1
    elif what == _ENVOY and seconds == 0.0:
        pass  # Envoy's 0 means "no time-out", as in its configuration
    elif arrival.timeout is None or seconds < arrival.timeout:
        arrival.timeout = seconds
