"""What a request asks of a profile, and what it gets, in the words of Go's net/http/pprof.

The contract is Go's, so that `go tool pprof URL` and every script written for a
Go service work: `debug=0` is a file, `debug=1` grouped text, `debug=2` everything
as text; `seconds` makes a profile of so long; the two do not go together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from backstay.observe.desk import Wait

__all__ = ["Asked", "Refused", "Wait", "read_query"]


class Refused(Exception):
    """A profile that cannot be had: an HTTP status, and a sentence for whoever asked."""

    def __init__(self, status: int, reason: str) -> None:
        """Say why."""
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Asked:
    """The parameters of one request.

    Attributes:
        name: of the profile.
        debug: 0 for a pprof file, 1 for grouped text, 2 for everything as text.
        seconds: how long to look; None for this moment, or for the profile's own default.
        gc: whether to collect garbage first.
        frames: frames kept of each allocation.
        rate: samples a second.
    """

    name: str
    debug: int = 0
    seconds: float | None = None
    gc: bool = False
    frames: int = 1
    rate: int = 100


def read_query(name: str, query: Mapping[str, str], longest_s: float) -> Asked:
    """Read the parameters of a profile; those that are not known are ignored, as Go does.

    Args:
        name: of the profile.
        query: as sent.
        longest_s: the longest that it may take, seconds.

    Raises:
        Refused: a number is none, out of range, or `seconds` stands beside `debug`.
    """
    debug = _whole(query, "debug", 0, 0, 2)
    seconds: float | None = None
    if "seconds" in query:
        try:
            seconds = float(query["seconds"])
        except ValueError:
            seconds = math.nan
        if not 0 < seconds <= longest_s:
            raise Refused(
                400, f"invalid value for seconds: {name} takes more than 0 and up to {longest_s:g}"
            )
        if debug:
            raise Refused(400, "seconds and debug params are incompatible")
    return Asked(
        name,
        debug,
        seconds,
        gc=query.get("gc", "0").lower() not in {"", "0", "false", "no"},
        frames=_whole(query, "frames", 1, 1, 32),
        rate=_whole(query, "rate", 100, 1, 1000),
    )


def _whole(query: Mapping[str, str], name: str, standard: int, least: int, most: int) -> int:
    text = query.get(name, "") or str(standard)
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most):
        raise Refused(400, f"invalid value for {name}: a whole number from {least} to {most}")
    return int(text)
