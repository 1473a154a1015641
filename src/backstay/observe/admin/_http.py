"""The little HTTP that the admin plane speaks, as bytes in and verdicts out.

No sockets here, so that every kind of garbage can be tried in microseconds.
GET without a body, one request a connection: what `curl --unix-socket` sends
and nothing more. A line that we do not understand is refused rather than
guessed at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

__all__ = ["MAX_HEAD_BYTES", "Refusal", "Request", "encode_reply", "parse_request"]

#: Bytes of request line and headers together. curl sends about 100; the limit
#: is h11's and nginx's order of magnitude for one header line, for all of them.
MAX_HEAD_BYTES = 8192

#: A query is a handful of switches; more is not meant for us.
_MAX_QUERY_FIELDS = 20

_PHRASES = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}

_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was understood."""

    path: str
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    host: str = ""

    def switch(self, name: str) -> bool:
        """Tell whether the query has `name` switched on (`1`, `true` or `yes`)."""
        return self.query.get(name, "").lower() in {"1", "true", "yes"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request gets no document: the HTTP status and a sentence."""

    status: int
    reason: str


def parse_request(head: bytes) -> Request | Refusal | None:
    """Read a request from the bytes received so far.

    Returns:
        None while the head is incomplete; otherwise what is asked, or why it
        is refused. Never raises, whatever the bytes are.
    """
    end = head.find(b"\r\n\r\n")
    if end < 0:
        if len(head) > MAX_HEAD_BYTES:
            return Refusal(431, f"the request head is longer than {MAX_HEAD_BYTES} bytes")
        return _hopeless(head)
    if end > MAX_HEAD_BYTES:
        return Refusal(431, f"the request head is longer than {MAX_HEAD_BYTES} bytes")
    line, *fields = head[:end].split(b"\r\n")
    parts = line.split(b" ")
    if len(parts) != 3 or not parts[0] or not _TOKEN.issuperset(parts[0]):
        return Refusal(400, "the first line is not 'GET /path HTTP/1.1'")
    method, target, version = parts
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        status = 505 if version.startswith(b"HTTP/") else 400
        return Refusal(status, "the first line is not 'GET /path HTTP/1.1'")
    if method != b"GET":
        return Refusal(405, "the admin plane is read-only: use GET")
    headers = _parse_fields(fields)
    if isinstance(headers, Refusal):
        return headers
    if headers.get("transfer-encoding") or headers.get("content-length", "0") != "0":
        return Refusal(413, "a request to the admin plane has no body")
    return _parse_target(target, headers.get("host", ""))


def encode_reply(status: int, document: object) -> bytes:
    """Return the whole reply: head and JSON body, closing the connection."""
    body = json.dumps(document, default=str, separators=(",", ":")).encode() + b"\n"
    allow = "Allow: GET\r\n" if status == 405 else ""
    head = (
        f"HTTP/1.1 {status} {_PHRASES.get(status, 'Unknown')}\r\n"
        f"Server: backstay-admin\r\n"
        f"Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\n"
        f"X-Content-Type-Options: nosniff\r\n"
        f"{allow}"
        f"Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


def _hopeless(head: bytes) -> Refusal | None:
    """Refuse at once what can no longer become a request, instead of waiting for its end."""
    method = head[:32].split(b" ", 1)[0]
    if method and (len(method) > 16 or not _TOKEN.issuperset(method.rstrip(b"\r\n"))):
        return Refusal(400, "the first line is not 'GET /path HTTP/1.1'")
    return None


def _parse_fields(fields: list[bytes]) -> dict[str, str] | Refusal:
    headers: dict[str, str] = {}
    for field_line in fields:
        name, colon, value = field_line.partition(b":")
        if not colon or not name or not _TOKEN.issuperset(name):
            return Refusal(400, "a header line is not 'name: value'")
        if any((byte < 32 and byte != 9) or byte == 127 for byte in value):
            return Refusal(400, "a header value holds a control character")
        headers[name.decode("ascii").lower()] = value.strip().decode("latin-1")
    return headers


def _parse_target(target: bytes, host: str) -> Request | Refusal:
    if not target.startswith(b"/") or any(byte <= 32 or byte >= 127 for byte in target):
        return Refusal(400, "the path should start with / and hold printable ASCII only")
    path, _, query = target.decode("ascii").partition("?")
    try:
        pairs = parse_qsl(query, max_num_fields=_MAX_QUERY_FIELDS)
    except ValueError:
        return Refusal(400, f"the query has more than {_MAX_QUERY_FIELDS} fields")
    return Request(path, dict(pairs), host)
