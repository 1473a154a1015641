"""What an HTTP answer says to a policy, and what may be made twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from backstay.integrations._http_policy import may_repeat, retry_after_of


@pytest.mark.parametrize(
    ("method", "headers", "replayable", "expected"),
    [
        ("GET", {}, True, True),
        ("PUT", {}, True, True),
        ("PUT", {}, False, False),
        ("POST", {}, True, False),
        ("PATCH", {"idempotency-key": "1"}, True, True),
        ("POST", {"Idempotency-Key": "1"}, False, False),
    ],
)
def test_what_may_be_made_twice(
    method: str, headers: dict[str, str], replayable: bool, expected: bool
) -> None:
    """By method or by key, and only with a body that can be sent again."""
    assert may_repeat(method, headers, replayable=replayable) is expected


def test_retry_after_is_a_number_or_a_date() -> None:
    """A date is read by the wall clock; anything else is as good as nothing."""
    soon = datetime.now(UTC) + timedelta(seconds=30)
    assert retry_after_of({"Retry-After": "7"}) == 7
    assert retry_after_of({"retry-after": " 0 "}) == 0
    assert 25 < (retry_after_of({"Retry-After": format_datetime(soon, usegmt=True)}) or 0) <= 30
    assert retry_after_of({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert retry_after_of({"Retry-After": "soon"}) is None
    assert retry_after_of({}) is None
