"""The script of an outsider: how it behaves from now on. Pure values, dice are an argument."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import cast


class ScriptError(ValueError):
    """A script that cannot be followed; the message names the field, what was seen and expected."""


@dataclass(frozen=True, slots=True)
class Script:
    """How to treat requests. Every field can be changed while requests wait."""

    latency_ms: float = 0.0  # median time for one request
    jitter: float = 0.0  # sigma of a log-normal law around it; 0 = always exactly latency_ms
    error_rate: float = 0.0  # share answered with error_status, without effect
    error_status: int = 503
    rate_limit: float | None = None  # requests per second, answered 429 beyond; None = no limit
    hang: bool = False  # take requests and neither work on nor answer them until False again
    lose_reply_rate: float = 0.0  # share of changes that happen, but whose reply is lost
    lose_reply: str = "hang"  # how it is lost: "hang" = never answered, "drop" = connection cut
    max_concurrency: int | None = (
        None  # requests worked on at once, the rest queues; None = no limit
    )
    decline_rate: float = 0.0  # share of new debits that the bank declines

    def latency_s(self, dice: random.Random) -> float:
        """The time that one request takes, seconds."""
        if self.jitter == 0:
            return self.latency_ms / 1000
        return self.latency_ms / 1000 * math.exp(dice.gauss(0.0, self.jitter))

    def changed(self, document: object) -> Script:
        """This script with the fields of a /control document replaced.

        Raises:
            ScriptError: not an object, an unknown field, or a value out of range.
        """
        if not isinstance(document, dict):
            raise ScriptError(
                f'the script is {_name_type(document)}, expected a JSON object like {{"hang": true}}'
            )
        known = asdict(self)
        for name in document:
            if name not in known:
                raise ScriptError(
                    f"unknown field {name!r}, expected some of {', '.join(sorted(known))}, reset"
                )
        changes = {
            name: _checked(name, value)
            for name, value in cast("Mapping[str, object]", document).items()
        }
        return replace(self, **changes)  # type: ignore[arg-type]  # each value was checked by its field's rule


def _checked(name: str, value: object) -> object:
    """`value`, if it fits the field.

    Raises:
        ScriptError: it does not.
    """
    if name == "hang":
        if isinstance(value, bool):
            return value
        raise ScriptError(f"hang is {value!r}, expected true or false")
    if name == "lose_reply":
        if value in ("hang", "drop"):
            return value
        raise ScriptError(f'lose_reply is {value!r}, expected "hang" or "drop"')
    if name in ("max_concurrency", "rate_limit") and value is None:
        return None
    least, most, whole = RANGES[name]
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not least <= number <= most or (whole and number != int(number)):
        kind = "a whole number" if whole else "a number"
        raise ScriptError(f"{name} is {value!r}, expected {kind} from {least:g} to {most:g}")
    return int(number) if whole else float(number)


# Field -> least, most, whole numbers only.
RANGES: Mapping[str, tuple[float, float, bool]] = {
    "latency_ms": (0, 600_000, False),
    "jitter": (0, 3, False),
    "error_rate": (0, 1, False),
    "error_status": (400, 599, True),
    "rate_limit": (0.1, 1_000_000, False),
    "lose_reply_rate": (0, 1, False),
    "max_concurrency": (1, 1_000_000, True),
    "decline_rate": (0, 1, False),
}


def _name_type(value: object) -> str:
    return {list: "an array", str: "a string", type(None): "null"}.get(type(value), f"{value!r}")
