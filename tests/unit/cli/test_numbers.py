"""Numbers in flags."""

from __future__ import annotations

import argparse

import pytest

from backstay.cli._numbers import count, port, seconds


def test_good_numbers_are_read() -> None:
    """What people type."""
    assert (seconds("2.5"), seconds("0"), count("10"), port("0"), port("65535")) == (
        2.5, 0.0, 10, 0, 65535,
    )  # fmt: skip


@pytest.mark.parametrize("text", ["", "x", "-1", "nan", "inf", "1e999"])
def test_bad_seconds_are_named(text: str) -> None:
    """The value seen and an example of a good one."""
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number of seconds such as"):
        seconds(text)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "x", "٣", "9" * 20])
def test_bad_counts_are_named(text: str) -> None:
    """Zero of something is a mistake here."""
    with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number"):
        count(text)


@pytest.mark.parametrize("text", ["", "-1", "65536", "http", "٣", "9" * 20])
def test_bad_ports_are_named(text: str) -> None:
    """The range is said."""
    with pytest.raises(argparse.ArgumentTypeError, match="is not a port"):
        port(text)
