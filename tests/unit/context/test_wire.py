"""The header codecs: every stranger's value is read, refused or bounded, and never raises."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.context import _wire as wire

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"

GARBAGE = [
    "",
    " ",
    "-5",
    "+5",
    "1.5",
    "1e3",
    "NaN",
    "nan",
    "inf",
    "-inf",
    "0x10",
    "1_000",
    "5ms",
    "5, 5",
    "5 5",
    "\N{ARABIC-INDIC DIGIT FIVE}",
    "\N{SUPERSCRIPT TWO}",
    "\N{FULLWIDTH DIGIT ONE}",
    "1\n",
    "1\x00",
    "99999999999",
    "9" * 100_000,
    " " * 100_000 + "5",
]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("1", 0.001),
        ("250", 0.25),
        (" 250\t", 0.25),
        ("007", 0.007),
        ("9999999999", 9_999_999.999),
    ],
)
def test_timeout_ms_reads_whole_milliseconds(text: str, seconds: float) -> None:
    """Plain ASCII digits are milliseconds, with optional blanks around them."""
    assert wire.parse_timeout_ms(text) == seconds


@pytest.mark.parametrize("text", GARBAGE, ids=lambda text: repr(text[:20]))
def test_timeout_ms_refuses_everything_else(text: str) -> None:
    """Signs, fractions, NaN, foreign digits, lists and huge values are all malformed."""
    assert wire.parse_timeout_ms(text) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "250"),
        (0.2509, "250"),
        (0.0009, "0"),
        (-3.0, "0"),
        (float("inf"), "9999999999"),
        (1e300, "9999999999"),
        (0.1 + 0.2, "300"),
        (1.1 - 1.0, "100"),
    ],
)
def test_timeout_ms_is_written_rounded_down(seconds: float, text: str) -> None:
    """Nobody downstream may believe in time that is not there, nor lose one to float noise."""
    assert wire.format_timeout_ms(seconds) == text


def test_timeout_ms_refuses_to_write_nan() -> None:
    """NaN is a bug of the caller and must not leave the process."""
    with pytest.raises(ValueError, match="NaN"):
        wire.format_timeout_ms(float("nan"))


@given(st.floats(min_value=0, max_value=1e6))
def test_timeout_survives_the_wire_within_a_millisecond(seconds: float) -> None:
    """What is written is read back, less than a millisecond short and never longer."""
    back = wire.parse_timeout_ms(wire.format_timeout_ms(seconds))
    assert back is not None
    assert seconds - 0.0011 < back <= seconds + 1e-6


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1H", 3600.0),
        ("2M", 120.0),
        ("3S", 3.0),
        ("250m", 0.25),
        ("5u", 5e-6),
        ("7n", 7e-9),
        ("0m", 0.0),
        ("99999999S", 99_999_999.0),
    ],
)
def test_grpc_timeout_reads_each_unit(text: str, seconds: float) -> None:
    """Each unit of the gRPC specification is understood."""
    assert wire.parse_grpc_timeout(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", [*GARBAGE, "5", "m", "5x", "5mm", "123456789m", "5 m", "²m"])
def test_grpc_timeout_refuses_everything_else(text: str) -> None:
    """A number without unit, nine digits or an unknown unit is malformed."""
    assert wire.parse_grpc_timeout(text) is None


def test_traceparent_reads_the_example_of_the_standard() -> None:
    """The W3C example is understood and written back byte for byte."""
    text = f"00-{TRACE}-{SPAN}-01"
    parent = wire.parse_traceparent(text)
    assert parent == wire.TraceParent(TRACE, SPAN, 1)
    assert wire.format_traceparent(parent) == text


@pytest.mark.parametrize("text", [f"cc-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-ever"])
def test_traceparent_of_a_future_version_is_read_as_far_as_known(text: str) -> None:
    """The standard asks to read the four known fields of a higher version."""
    assert wire.parse_traceparent(text) == wire.TraceParent(TRACE, SPAN, 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-extra",
        f"00-{TRACE}-{SPAN}-01-",
        f"cc-{TRACE}-{SPAN}-01x",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}",
        f"00_{TRACE}_{SPAN}_01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01",
        f"00-{'٤' * 32}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-" + "x" * 100_000,
    ],
    ids=lambda text: repr(text[:70]),
)
def test_traceparent_refuses_what_the_standard_calls_invalid(text: str) -> None:
    """Invalid version, case, length, zero ids, separators and lists all begin a new trace."""
    assert wire.parse_traceparent(text) is None


@pytest.mark.parametrize(
    "text",
    ["7f3a", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "Root=1-67891233-abcdef012345678912345678", "a" * 128],
)
def test_request_id_keeps_what_is_harmless(text: str) -> None:
    """The usual shapes of ids pass unchanged."""
    assert wire.clean_request_id(f" {text} ") == text


@pytest.mark.parametrize(
    "text",
    ["", "a b", "a\nb", "a\x1b[31m", 'a"b', "a" * 129, "é", "x" * 100_000, "<script>", "a,b"],
)
def test_request_id_refuses_what_could_break_a_log_line(text: str) -> None:
    """Control characters, quotes, foreign letters and oversize are refused, not repaired."""
    assert wire.clean_request_id(text) is None


@given(st.text(max_size=300))
def test_no_parser_ever_raises(text: str) -> None:
    """Every parser is total: any text gives a value or None."""
    wire.parse_timeout_ms(text)
    wire.parse_grpc_timeout(text)
    wire.parse_traceparent(text)
    wire.clean_request_id(text)
    wire.parse_baggage(text, ["a"])


def test_new_ids_have_the_right_shape_and_differ() -> None:
    """Made ids pass our own strict parser and do not repeat."""
    text = f"00-{wire.new_trace_id()}-{wire.new_span_id()}-01"
    assert wire.parse_traceparent(text) is not None
    assert wire.clean_request_id(wire.new_request_id()) is not None
    assert len({wire.new_trace_id() for _ in range(1000)}) == 1000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_ids_differ_between_parent_and_forked_child() -> None:
    """A forked worker must not repeat its parent's ids."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - runs in the child, which must never return to pytest
        os.write(write_end, wire.new_trace_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(read_end, 64).decode()
    os.close(read_end)
    os.close(write_end)
    assert len(theirs) == 32
    assert theirs != wire.new_trace_id()


@given(st.dictionaries(st.sampled_from(["a", "tenant", "x-y.z"]), st.text(max_size=40)))
def test_baggage_survives_the_wire(values: dict[str, str]) -> None:
    """Printable values come back as they were, whatever characters they have."""
    printable = {k: v for k, v in values.items() if v.isprintable() and _encodable(v)}
    header = wire.format_baggage(printable)
    assert header.isascii()
    assert wire.parse_baggage(header, printable) == printable


def _encodable(text: str) -> bool:
    return not any(0xD800 <= ord(char) <= 0xDFFF for char in text)


def test_baggage_returns_only_what_was_asked_for() -> None:
    """A stranger cannot plant values under names this process does not know."""
    header = "tenant=acme;meta=1, evil=1 ,broken, tenant=second,b = x%20y"
    assert wire.parse_baggage(header, ["tenant", "b", "missing"]) == {"tenant": "acme", "b": "x y"}


def test_baggage_refuses_values_that_are_not_printable() -> None:
    """A percent-encoded line break must not reach a log."""
    assert wire.parse_baggage("a=x%0Ay,b=ok", ["a", "b"]) == {"b": "ok"}


def test_baggage_is_bounded_in_both_directions() -> None:
    """Too many, too long or badly named members are left out; an oversized header is refused."""
    many = {f"k{i}": "v" for i in range(100)}
    assert wire.format_baggage(many).count(",") == 63
    assert wire.format_baggage({"bad name": "x", "huge": "x" * 9000, "ok": "1"}) == "ok=1"
    assert wire.parse_baggage("a=" + "x" * 10_000, ["a"]) == {}
    assert wire.parse_baggage(",".join(f"k{i}=v" for i in range(100)), ["k99", "k1"]) == {"k1": "v"}


def test_hostile_length_is_refused_in_no_time() -> None:
    """Megabytes of header cost a length check and not a scan."""
    huge = "1" * 10_000_000
    began = time.perf_counter()
    for _ in range(1000):
        wire.parse_timeout_ms(huge)
        wire.parse_traceparent(huge)
        wire.clean_request_id(huge)
        wire.parse_baggage(huge, ["a"])
    assert time.perf_counter() - began < 1.0
