"""Replay strings: short, safe to paste, and exact."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.errors import UsageError
from backstay.testing.exploration._plan import Cancel, Overtake
from backstay.testing.exploration._schedule_text import Schedule, decode, encode, fingerprint

steps = st.integers(0, 5000)
overtakes = st.lists(st.builds(Overtake, steps, st.integers(1, 40)), unique_by=lambda o: o.step)
cancels = st.lists(st.builds(Cancel, steps, st.integers(2, 90)), unique=True)
schedules = st.builds(
    lambda picks, hits, chance, order, timers, course: Schedule(
        tuple(sorted(picks)), tuple(sorted(hits)), chance, order, timers, course
    ),
    overtakes,
    cancels,
    st.integers(0, 10**6),
    st.sampled_from(["tasks", "arrival"]),
    st.sampled_from(["due", "early"]),
    st.none() | st.integers(0, 2**32 - 1),
)


@given(schedules)
def test_what_is_written_is_read(schedule: Schedule) -> None:
    """A round trip changes nothing, and the text needs no quoting in a shell or a URL."""
    text = encode(schedule)
    assert decode(text) == schedule
    assert re.fullmatch(r"[A-Za-z0-9-]+", text)


@given(schedules, st.data())
def test_a_damaged_string_is_refused(schedule: Schedule, data: st.DataObject) -> None:
    """A slip in copying is told and not run: a changed character, or an end cut off."""
    text = encode(schedule)
    at = data.draw(st.integers(2, len(text) - 1))
    other = data.draw(st.sampled_from("0123456789abcPC").filter(lambda c: c != text[at]))
    for wrong in (text[:at] + other + text[at + 1 :], text[:at]):
        with pytest.raises(UsageError):
            assert decode(wrong) != schedule
            raise UsageError("one damage in 46,656 has the same checksum")


def test_the_format_is_as_described() -> None:
    """The example in the module's page is what the code writes."""
    text = encode(Schedule((Overtake(3, 1),), (Cancel(3, 2),), 0, course=12345))
    assert re.fullmatch(r"b1tds0-3C2-0P1-F9ix-x[0-9a-z]+", text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("v9abc", "no schedule of this version"),
        ("b1tds0", "is damaged"),
        ("", "no schedule of this version"),
    ],
)
def test_what_is_wrong_is_said(text: str, why: str) -> None:
    """The error names what was given and what was expected."""
    with pytest.raises(UsageError, match=why):
        decode(text)


@pytest.mark.parametrize("body", ["b1qqs0", "b1tds0-3Z1"])
def test_a_text_with_a_right_checksum_and_a_wrong_body(body: str) -> None:
    """Whoever builds strings by hand learns which part means nothing."""
    from backstay.testing.exploration import _schedule_text as module

    with pytest.raises(UsageError, match=r"that nobody wrote|means nothing"):
        decode(f"{body}-x{module._checksum(body)}")


def test_a_fingerprint_tells_paths_apart() -> None:
    """Order and number of steps count."""
    assert len({fingerprint(path) for path in ([1, 2], [2, 1], [1, 2, 0], [])}) == 4
