"""Reads numbers from flags, and says what was expected when they are not."""

from __future__ import annotations

import argparse
import math

__all__ = ["count", "interval", "port", "seconds"]


def seconds(text: str) -> float:
    """Read a duration: seconds, 0 or more."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds such as 2.5")
    return value


def interval(text: str) -> float:
    """Read a time between two turns: seconds, a tenth or more."""
    value = seconds(text)
    if value < 0.1:
        raise argparse.ArgumentTypeError(f"{text!r} is too short: give 0.1 seconds or more")
    return value


def count(text: str) -> int:
    """Read a count: a whole number, 1 or more."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def port(text: str) -> int:
    """Read a TCP port; 0 lets the system choose."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give 0 (any free one) to 65535")
    return int(text)
