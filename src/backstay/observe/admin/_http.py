"""The little HTTP that the admin plane speaks, as bytes in and verdicts out.

No sockets here, so that every kind of garbage can be tried in microseconds.
GET without a body and POST with a small one, one request a connection: what
`curl --unix-socket` sends and nothing more. A line that we do not understand is
refused rather than guessed at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

from backstay.observe.desk import Request, cover_text, encode_json

__all__ = [
    "MAX_BODY_BYTES",
    "MAX_HEAD_BYTES",
    "Body",
    "Refusal",
    "Request",
    "encode_body",
    "encode_reply",
    "parse_request",
]

#: Bytes of request line and headers together. curl sends about 100; the limit
#: is h11's and nginx's order of magnitude for one header line, for all of them.
MAX_HEAD_BYTES = 8192

#: Bytes of a body: what a probe asks for has a few hundred.
MAX_BODY_BYTES = 65_536

#: A query is a handful of switches; more is not meant for us.
_MAX_QUERY_FIELDS = 20

_PHRASES = {
    200: "OK",
    202: "Accepted",
    204: "No Content",
    302: "Found",
    303: "See Other",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}

#: Headers that decide something: given twice, two readers could each believe another one.
_ONCE = frozenset(
    {
        "authorization",
        "content-length",
        "content-type",
        "host",
        "origin",
        "sec-fetch-mode",
        "sec-fetch-site",
        "transfer-encoding",
    }
)

#: What may hold names and errors of the program; the files of the pages are ours.
_TEXTS = ("application/json", "text/plain", "application/openmetrics-text")

_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


@dataclass(frozen=True, slots=True)
class Body:
    """A document that is no JSON, as it is sent."""

    content_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request gets no document: the HTTP status and a sentence."""

    status: int
    reason: str


def parse_request(sent: bytes) -> Request | Refusal | None:
    """Read a request from the bytes received so far.

    Returns:
        None while head or body are incomplete; otherwise what is asked, or why
        it is refused. Never raises, whatever the bytes are.
    """
    end = sent.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES + 4)
    if end < 0:
        if len(sent) > MAX_HEAD_BYTES:
            return Refusal(431, f"the request head is longer than {MAX_HEAD_BYTES} bytes")
        return _hopeless(sent)
    line, *fields = sent[:end].split(b"\r\n")
    parts = line.split(b" ")
    if len(parts) != 3 or not parts[0] or not _TOKEN.issuperset(parts[0]):
        return Refusal(400, "the first line is not 'GET /path HTTP/1.1'")
    method, target, version = parts
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        status = 505 if version.startswith(b"HTTP/") else 400
        return Refusal(status, "the first line is not 'GET /path HTTP/1.1'")
    if method not in (b"GET", b"POST"):
        return Refusal(405, "the admin plane knows GET, and POST for what acts")
    headers = _parse_fields(fields)
    if isinstance(headers, Refusal):
        return headers
    asked = _parse_target(target, headers)
    size = _body_size(method, headers)
    if isinstance(asked, Refusal):
        return asked
    if isinstance(size, Refusal):
        return size
    body = sent[end + 4 : end + 4 + size]
    if len(body) < size:
        return None
    return replace(asked, method=method.decode("ascii"), headers=headers, body=body)


def _body_size(method: bytes, headers: Mapping[str, str]) -> int | Refusal:
    """Return how many bytes follow the head."""
    told = headers.get("content-length", "0")
    if headers.get("transfer-encoding"):
        return Refusal(413, "a request to the admin plane has a Content-Length and no chunks")
    if not (told.isascii() and told.isdecimal()):
        return Refusal(400, f"the Content-Length {told[:40]!r} is not a number")
    if method == b"GET":
        return 0 if told == "0" else Refusal(413, "a GET to the admin plane has no body")
    if len(told) > 9 or int(told) > MAX_BODY_BYTES:
        return Refusal(413, f"the body is longer than {MAX_BODY_BYTES} bytes")
    return int(told)


def encode_reply(status: int, document: object) -> bytes:
    """Return the whole reply: head and body, JSON unless it is a `Body`, closing the connection."""
    if isinstance(document, Body):
        return encode_body(status, document.content_type, document.data)
    body = encode_json(document)
    allow = {405: [("Allow", "GET")], 401: [("WWW-Authenticate", "Bearer")]}.get(status, [])
    return encode_body(status, "application/json", body, allow)


def encode_body(
    status: int, content_type: str, body: bytes, headers: Iterable[tuple[str, str]] = ()
) -> bytes:
    """Return the whole reply around a body of any kind, closing the connection."""
    if content_type.startswith(_TEXTS):
        body = cover_text(body)
    more = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = (
        f"HTTP/1.1 {status} {_PHRASES.get(status, 'Unknown')}\r\n"
        f"Server: backstay-admin\r\n"
        f"Content-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\n"
        f"X-Content-Type-Options: nosniff\r\n"
        f"{more}"
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
        known = name.decode("ascii").lower()
        if known in headers and known in _ONCE:
            return Refusal(400, f"the header {known!r} stands twice: which one is meant?")
        headers[known] = value.strip().decode("latin-1")
    return headers


def _parse_target(target: bytes, headers: Mapping[str, str]) -> Request | Refusal:
    if not target.startswith(b"/") or any(byte <= 32 or byte >= 127 for byte in target):
        return Refusal(400, "the path should start with / and hold printable ASCII only")
    path, _, query = target.decode("ascii").partition("?")
    try:
        pairs = parse_qsl(query, max_num_fields=_MAX_QUERY_FIELDS)
    except ValueError:
        return Refusal(400, f"the query has more than {_MAX_QUERY_FIELDS} fields")
    return Request(path, dict(pairs), headers.get("host", ""), headers.get("accept", ""))
