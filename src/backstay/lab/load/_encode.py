"""A request as bytes on the wire, with its trace id."""

from __future__ import annotations

from backstay._base import Chance
from backstay.errors import UsageError
from backstay.lab.load._workload import Request

__all__ = ["Encoder"]

_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})


class Encoder:
    """Turns requests of one run into bytes; each gets a `traceparent` of its own, from the seed."""

    def __init__(self, host: str, port: int, seed: int) -> None:
        """Prepare for one target."""
        shown = f"[{host}]" if ":" in host else host
        self._host_line = f"Host: {shown}:{port}\r\n"
        self._bits = Chance(f"{seed}/trace").getrandbits

    def encode(self, request: Request) -> bytes:
        """Return the bytes to send.

        The trace id changes with each call and repeats from run to run: a trace
        found in one variant has its twin in the other.

        Raises:
            UsageError: method, path or a header holds a line break or is not latin-1.
        """
        bits = self._bits(192)
        lines = [
            f"{request.method} {request.path} HTTP/1.1\r\n{self._host_line}"
            f"traceparent: 00-{bits >> 64 or 1:032x}-{bits & 0xFFFFFFFFFFFFFFFF or 1:016x}-01\r\n"
        ]
        lines += [f"{name}: {value}\r\n" for name, value in request.headers]
        body = request.body
        if body is not None or request.method in _BODY_METHODS:
            lines.append(f"Content-Length: {0 if body is None else len(body)}\r\n")
        head = "".join(lines)
        if (
            head.count("\n") != len(lines) + 2
            or head.count("\r") != len(lines) + 2
            or " " in request.path
        ):
            raise UsageError(
                f"cannot send {request.method!r} {request.path!r} "
                f"with headers {request.headers!r}; "
                f"expected no line break anywhere, and no blank in the path"
            )
        try:
            return head.encode("latin-1") + b"\r\n" + (body or b"")
        except UnicodeEncodeError as error:
            raise UsageError(
                f"cannot send {request.method!r} {request.path!r}: "
                f"{error.object[error.start]!r} is not latin-1; "
                f"expected a percent-encoded path and plain headers"
            ) from error
