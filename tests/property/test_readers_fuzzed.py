"""Readers of what comes from elsewhere: bytes that were spoilt, or never meant, end in one sentence."""

from __future__ import annotations

import gzip
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.errors import TargetGone, UsageError
from backstay.observe.desk import encode_json
from backstay.observe.diagnose._alert import Alert, read_alerts
from backstay.observe.profile import Frame, Profile, Sample, from_pprof, to_pprof
from backstay.observe.profile import _pprof_read as reader_module
from backstay.observe.target import AdminClient
from backstay.observe.ui._flame import flame

FRAMES = tuple(Frame(f"function_{n}", "app/orders.py", n) for n in range(5))
GOOD = gzip.decompress(
    to_pprof(
        Profile(
            (("samples", "count"), ("cpu", "nanoseconds")),
            (
                Sample(FRAMES, (3, 30), (("task", "worker"), ("line", 7))),
                Sample(FRAMES[1:3], (1, 10), ()),
            ),
            comments=("made by a test",),
        )
    )
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A good profile with some bytes changed, taken out, put in, or cut off."""
    data = bytearray(GOOD)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        what = draw(st.sampled_from(("set", "cut", "put", "end")))
        if what == "set" and data:
            data[at] = draw(st.integers(0, 255))
        elif what == "cut":
            del data[at : at + draw(st.integers(1, 4))]
        elif what == "put":
            data[at:at] = draw(st.binary(min_size=1, max_size=11))
        else:
            del data[at:]
    return bytes(data)


@given(spoilt() | st.binary(max_size=80))
def test_a_spoilt_profile_is_read_or_refused(data: bytes) -> None:
    """What can be read can be drawn and written again; everything else is one error for the user."""
    for packed in (data, gzip.compress(data, 1), gzip.compress(data, 1)[:-3], b"\x1f\x8b" + data):
        said = ""
        try:
            found = from_pprof(packed)
        except UsageError as error:
            said = str(error)
        else:
            flame(found)
            to_pprof(found)
        assert not said or "not a pprof profile" in said


def varint(number: int) -> bytes:
    """Encode a number as protobuf does."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number: int, body: bytes) -> bytes:
    """Encode a message inside of a message."""
    return varint(number << 3 | 2) + varint(len(body)) + body


def test_a_small_profile_cannot_become_a_huge_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A location of a thousand inlined frames, named a thousand times by a sample, is a bomb of some kB."""
    monkeypatch.setattr(reader_module, "_MOST_FRAMES", 100_000)
    kind = field(1, b"\x08\x01\x10\x01")
    location = field(4, b"\x08\x01" + field(4, b"\x08\x01") * 1000)
    function = field(5, b"\x08\x01\x10\x01")
    sample = field(2, field(1, b"\x01" * 1000) + field(2, b"\x01"))
    strings = field(6, b"") + field(6, b"x")
    with pytest.raises(UsageError, match="more than 100,000 frames"):
        from_pprof(kind + sample + location + function + strings)


@given(
    st.binary(max_size=60)
    | json_values.map(lambda one: json.dumps(one).encode())
    | st.sampled_from([b"[" * 100_000, b"9" * 5000, b"NaN", b"\xff\xfe", b""]),
    st.sampled_from([b"200", b"202", b"404", b"2000", b"-20", b"\xb2\xb2\xb2", b"", b"2 0"]),
    st.sampled_from(
        [
            b"Content-Length: 3",
            b"Content-Length: -3",
            b"Content-Length: 9" + b"9" * 5000,
            b"Content-Length: x",
            b"content-length",
            b"\xff: \xfe",
            b"",
        ]
    ),
    st.booleans(),
)
def test_a_strange_answer_is_one_error_of_the_client(
    body: bytes, status: bytes, header: bytes, ours: bool
) -> None:
    """What pretends to be an admin plane and is none is said to be so, or to have broken off."""
    server = b"Server: backstay-admin" if ours else b"Server: nginx"
    reply = b"HTTP/1.1 " + status + b" OK\r\n" + server + b"\r\n" + header + b"\r\n\r\n" + body

    class Deaf(AdminClient):
        def _ask(
            self, path: str, body: bytes | None = None, most_bytes: int | None = None
        ) -> bytes:
            return reply

    client = Deaf("1", token="")
    for ask in (client.get, client.fetch, client.ask):
        said = ""
        try:
            ask("/v1/ps")
        except UsageError as error:
            said = str(error)
        assert said or ours
        assert said.isprintable()  # it goes to a terminal


@given(st.text(max_size=20))
def test_a_path_cannot_smuggle_a_header(text: str) -> None:
    """What stands in a path stays in it: no line ends, no spaces."""
    path = f"/v1/{text}"
    fit = path.isascii() and path.isprintable() and " " not in path
    with pytest.raises(UsageError) as caught:
        AdminClient("/nowhere/a.sock", token="").get(path)
    assert isinstance(caught.value, TargetGone) == fit  # it went as far as to look for the socket


@given(json_values | st.fixed_dictionaries({"alerts": st.lists(json_values, max_size=3)}))
def test_a_message_is_read_as_alerts_or_refused(message: Any) -> None:
    """Whatever JSON is sent as alerts: a list of them, or a sentence."""
    found: list[Alert] = []
    said = "expected"
    try:
        found = read_alerts(message)
    except ValueError as error:
        said = str(error)
    assert said.startswith("expected")
    assert all(one.name and len(one.key) == 12 for one in found)


@given(json_values)
def test_what_is_sent_is_json_for_everybody(document: Any) -> None:
    """Numbers that are none become null, as browsers want it; everything else stays."""

    def wrong(text: str) -> None:
        raise AssertionError(text)

    told = json.loads(encode_json(document), parse_constant=wrong)
    assert shape(told) == shape(document)


def shape(value: Any) -> Any:
    """Return a value with null for each number that is none."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def test_a_document_that_holds_itself_is_refused() -> None:
    """Somebody's statistics may be anything; ours end."""
    document: dict[str, Any] = {}
    document["self"] = document
    with pytest.raises(ValueError, match="deeper than"):
        encode_json(document)
