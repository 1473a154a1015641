"""What nobody should send: requests drawn by hypothesis, near to what is right and far from it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

__all__ = ["ENDINGS", "LONG", "PARAMETERS", "VALUES", "bodies", "pieces", "requests"]

PARAMETERS = (
    *("seconds", "debug", "gc", "frames", "rate", "last", "top", "trace_id", "id", "key", "offset"),
    *("limit", "q", "sort", "reverse", "fresh", "before", "value", "label", "is", "kind", "stacks"),
    *("tree", "text", "close", "sample", "json", "after", "token"),
)
VALUES = (
    *("", "0", "1", "2", "-1", "0.01", "1.5", "nan", "-inf", "1e400", "1e-400", "0x10", "%D9%A1"),
    *("9" * 30, "9" * 5000, "f" * 5000, "%00", "%0d%0aX: y", "%zz", "%", "%ff%fe", "%F0%9F%92%A3"),
    *("task", "heap", "block", "taskleak", "count", "..%2f..%2fetc%2fpasswd", "<script>", "true"),
    *("+1", "%201", "1%20", "[]", "{}", "null", "a&b", "a;b", "x" * 300),
)
#: These would be taken at their word, and take long.
LONG = frozenset({"1e400", "1.5", "1", "2", "+1", "%201", "1%20"})

names = st.sampled_from(PARAMETERS) | st.text("abc[]%&=;+", max_size=8)
values = st.sampled_from(VALUES) | st.text(
    st.characters(min_codepoint=33, max_codepoint=126), max_size=20
)


@st.composite
def queries(draw: st.DrawFn) -> str:
    """Parameters, some of them twice, or too many."""
    pairs = draw(st.lists(st.tuples(names, values), max_size=6) | st.just([("q", "x")] * 40))
    kept = [(name, one) for name, one in pairs if not (name == "seconds" and one in LONG)]
    return "&".join(["seconds=0.01", *(f"{name}={value}" for name, value in kept)])


@st.composite
def targets(draw: st.DrawFn, paths: tuple[str, ...]) -> bytes:
    """A known path, one beside it, or none at all."""
    path = draw(st.sampled_from(paths))
    beside = (
        "/",
        "/..",
        "/" + "9" * 5000 + "/x",
        "/../../etc/passwd",
        "%00",
        "//",
        "%2e%2e/",
        "/" + "x/" * 60,
        ".",
        ";a=b",
    )
    path += draw(st.just("") | st.just("") | st.sampled_from(beside))
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=40))
    prefix = draw(st.sampled_from(("", "", "", "", "/", "http://evil.example", "*")))
    return f"{prefix}{path}?{draw(queries())}".encode("latin-1", "replace")


HEADERS = (
    b"Host: evil.example",
    b"Host: localhost",
    b"Content-Type: application/json",
    b"Content-Type: text/plain",
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Content-Length: -5",
    b"Content-Length: +5",
    b"Content-Length: 5, 5",
    b"Content-Length: " + b"9" * 400,
    b"Content-Length: 99999999",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: identity",
    b"Expect: 100-continue",
    b"Connection: keep-alive, upgrade",
    b"Upgrade: h2c",
    b"Accept: " + b"application/openmetrics-text;q=nan," * 20,
    b"Accept-Encoding: gzip;q=-1",
    b'Cookie: backstay_token=\xff; =; ;;; a="',
    b"Authorization: Bearer \xff\xfe",
    b"Sec-Fetch-Site: cross-site",
    b"Origin: null",
    b"Range: bytes=0-0",
    b" folded: yes",
    b"no colon",
    b": no name",
    b"X: \x00",
    b"X: a\nY: b",
    b"",
)
headers = st.lists(st.sampled_from(HEADERS) | st.binary(max_size=30), max_size=5)

numbers: st.SearchStrategy[Any] = (
    st.integers() | st.floats() | st.booleans() | st.none() | st.just(10**400)
)
anything = st.recursive(
    numbers | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
orders = st.fixed_dictionaries(
    {},
    optional={
        "at": st.sampled_from(
            ["x", ":", "x:0", "x:-1", "/:1", "\0.py:3", "\ud800:3", "a.py:" + "9" * 50, "../../a:1"]
        )
        | anything,
        "expressions": st.lists(st.text(max_size=20) | anything, max_size=30) | anything,
        "hits": anything,
        "seconds": anything,
        "rate": anything,
        "remove": anything,
        "else": anything,
    },
)
bodies = (
    st.just(b"")
    | orders.map(lambda one: json.dumps(one).encode())
    | anything.map(lambda one: json.dumps(one).encode())
    | st.binary(max_size=60)
    | st.sampled_from(
        [
            b"[" * 60_000,
            b'{"a":' * 10_000,
            b'{"hits":' + b"9" * 5000 + b"}",
            b"\xff\xfe[\x00",
            b"x" * 70_000,
        ]
    )
)


@st.composite
def requests(draw: st.DrawFn, paths: tuple[str, ...]) -> bytes:
    """One request, or what somebody takes for one."""
    method = draw(
        st.sampled_from((b"GET",) * 6 + (b"POST",) * 4)
        | st.sampled_from([b"HEAD", b"PUT", b"OPTIONS", b"TRACE", b"CONNECT", b"get", b"", b"G\0T"])
    )
    version = draw(
        st.sampled_from((b"HTTP/1.1",) * 6)
        | st.sampled_from([b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"", b"HTTP/1.1 x", b"http/1.1"])
    )
    body = draw(bodies) if method != b"GET" or draw(st.integers(0, 9)) == 0 else b""
    fields = draw(headers)
    if body and draw(st.integers(0, 4)):
        fields = [b"Content-Type: application/json", b"Content-Length: %d" % len(body), *fields]
    if draw(st.integers(0, 30)) == 0:
        fields = [b"A: " + b"b" * 500] * 40
    end = draw(st.sampled_from((b"\r\n",) * 8 + (b"\n", b"\r")))
    return end.join([b" ".join([method, draw(targets(paths)), version]), *fields, b"", b""]) + body


@st.composite
def pieces(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    """The same bytes in one piece or in several, or not all of them, or with another request behind."""
    whole += draw(st.sampled_from((b"", b"", b"GET /livez HTTP/1.1\r\n\r\n" * 3, b"\0" * 200_000)))
    cuts = sorted(draw(st.lists(st.integers(0, min(len(whole), 2000)), max_size=4)))
    parts = [whole[one:two] for one, two in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    return parts[:-1] if draw(st.integers(0, 7)) == 0 else parts


#: How a client may end: see `Plane.talk`.
ENDINGS = ("wait",) * 5 + ("half", "leave", "reset")
