"""What sets a recording off, as words and as a rule; and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from backstay._base import (
    BlockRecord,
    DeadlineHit,
    GuardMoved,
    LeakFound,
    ScopeEnded,
    ShutdownOverrun,
)
from backstay.errors import UsageError
from backstay.observe.recorder import Trigger, parse_triggers

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def ended(lived_s: float, kind: str = "request") -> ScopeEnded:
    return ScopeEnded(("app", "GET /pay"), kind, lived_s, 3, 0, None, TRACE)


def block(duration_s: float, *, over: bool = True) -> BlockRecord:
    return BlockRecord("pay.py:7", "charge", duration_s, 1.0, over, trace_id=TRACE)


def leak(verdict: str) -> LeakFound:
    return LeakFound(verdict, "pay.py:9", "poll", "request GET /", 7, None, "", (TRACE,), "own it")


def test_words_are_read() -> None:
    """Each word, with its duration where it has one, and shown as it is written."""
    found = parse_triggers("slow=500ms, blocked=2s,breaker,growth,leak,deadline,shutdown,")
    assert found[0] == Trigger("slow", 0.5)
    assert [str(one) for one in found[:3]] == ["slow=0.5s", "blocked=2s", "breaker"]
    assert parse_triggers("slow=1m")[0].at_least_s == 60
    assert parse_triggers("blocked")[0] == Trigger("blocked")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("", "no trigger is named"),
        ("lag", "'lag' is no trigger: there are slow=DURATION, blocked, breaker, deadline"),
        ("slow", "write slow=500ms"),
        ("slow=0s", "no duration above 0"),
        ("slow=-1", "no duration above 0"),
        ("slow=1h", "no duration above 0"),
        ("deadline=1s", "write deadline alone"),
        ("blocked,blocked=1s", "given twice"),
    ],
)
def test_wrong_words_are_refused(words: str, reason: str) -> None:
    """With what was seen and what there is."""
    with pytest.raises(UsageError, match=reason):
        parse_triggers(words)


@pytest.mark.parametrize(
    ("words", "event", "text"),
    [
        ("slow=1s", ended(1.5), "request GET /pay took 1.5 s, longer than 1 s"),
        ("blocked", block(0.3), "the loop was blocked for 0.3 s by charge at pay.py:7"),
        ("blocked", block(1.0, over=False), "blocked for 1 s so far by charge"),
        ("growth", leak("GROWING"), "GROWING: 7 tasks of poll at pay.py:9"),
        ("leak", leak("STUCK"), "STUCK: 7 tasks of poll at pay.py:9"),
        (
            "deadline",
            DeadlineHit(("app", "GET /pay"), "GET /pay", 2.0, TRACE),
            "the deadline of 2 s set by GET /pay passed while app/GET /pay was at work",
        ),
    ],
)
def test_an_event_is_a_cause(words: str, event: Any, text: str) -> None:
    """Said in one sentence, with the trace id of the request."""
    cause = parse_triggers(words)[0].cause(event)
    assert cause is not None
    assert text in cause.text
    assert cause.trace_id == TRACE


@pytest.mark.parametrize(
    ("words", "event"),
    [
        ("slow=1s", ended(0.9)),
        ("slow=1s", ended(900.0, "consumer")),
        ("blocked=1s", block(0.9)),
        ("blocked", block(0.3, over=False)),
        ("growth", leak("STUCK")),
        ("breaker", GuardMoved("bank", "breaker", "open", "half_open", "")),
        ("breaker", GuardMoved("bank", "rate", "5/s", "open", "")),
        ("breaker", GuardMoved("bank", "breaker", "open", "forced_open", "")),
    ],
)
def test_other_events_are_none(words: str, event: Any) -> None:
    """Too short, of another kind, not over yet, or no change for the worse."""
    assert parse_triggers(words)[0].cause(event) is None


def test_a_breaker_and_a_shutdown_have_no_request() -> None:
    """They concern all of them."""
    opened = parse_triggers("breaker")[0].cause(
        GuardMoved("bank", "breaker", "closed", "open", "9 of 10 failed")
    )
    assert opened is not None
    assert (opened.text, opened.trace_id) == ("breaker bank opened: 9 of 10 failed", "")
    late = parse_triggers("shutdown")[0].cause(ShutdownOverrun("2 requests cut", last=True))
    assert late is not None
    assert late.last
