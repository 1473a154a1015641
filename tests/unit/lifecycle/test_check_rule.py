"""The rule of one check: hysteresis, counts, and an error in which no secret is left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.lifecycle._check_rule import CheckRule, without_secrets


@given(
    results=st.lists(st.booleans(), max_size=60),
    fail_after=st.integers(1, 4),
    recover_after=st.integers(1, 4),
)
def test_states_follow_from_the_last_results(
    results: list[bool], fail_after: int, recover_after: int
) -> None:
    """Down after n failures in a row, up after m passes in a row, at first after one; never otherwise."""
    rule = CheckRule("db", 0.0, critical=True, fail_after=fail_after, recover_after=recover_after)
    state, since = "starting", 0.0
    for number, passed in enumerate(results):
        at = number + 1.0
        moved = rule.passed(at, 0.1, "fine") if passed else rule.failed(at, 0.1, "OSError: no")
        seen = results[: number + 1]
        before = state
        if passed and (
            state == "starting"
            or (state == "down" and all(seen[-recover_after:]) and len(seen) >= recover_after)
        ):
            state = "up"
        if not passed and len(seen) >= fail_after and not any(seen[-fail_after:]):
            state = "down"
        if state != before:
            since = at
        record = rule.record
        assert (record.state, record.since, moved) == (state, since, state != before)
        assert (record.passed, record.failed) == (sum(seen), len(seen) - sum(seen))
        assert (record.error == "") or record.state != "up" or not passed


def test_one_is_enough_when_it_is_sure() -> None:
    """A check that hangs brings no second answer."""
    rule = CheckRule("db", 0.0, critical=True)
    rule.passed(1.0, 0.1)
    assert rule.failed(2.0, 1.0, "it hangs", surely=True)
    assert rule.record.state == "down"
    rule.restart(3.0)
    assert (rule.record.state, rule.record.failed) == ("starting", 0)
    with pytest.raises(ValueError, match="at least 1"):
        CheckRule("db", 0.0, critical=True, fail_after=0)


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ("cannot reach redis://bob:hunter2@db:6379/0", "cannot reach redis://***@db:6379/0"),
        ("postgresql://u:p@ss@db/shop refused", "postgresql://***@db/shop refused"),
        (
            "password authentication failed for user bob",
            "password authentication failed for user bob",
        ),
        ("dsn host=db password=hunter2 dbname=shop", "dsn host=db password=*** dbname=shop"),
        ('{"password": "hun ter2", "user": "bob"}', '{"password": ***, "user": "bob"}'),
        ("api_key=abc&x=1", "api_key=***&x=1"),
        ("AWS_SECRET: 'abc def'", "AWS_SECRET: ***"),
        ("Authorization: Bearer eyJh.bGci-Oi=", "Authorization: Bearer ***"),
        ("two\n  lines", "two lines"),
        ("x" * 300, "x" * 199 + "…"),
    ],
)
def test_no_secret_is_left_in_an_error(error: str, shown: str) -> None:
    """Addresses with passwords, words that are named like secrets, headers; one short line."""
    assert without_secrets(error) == shown
