"""Notice when something outside the explorer decides.

A replay string is worth something only if the same schedule takes the same
course. So the first schedule of each exploration is run twice with its steps
written down, and so is each failing one; the first step that differs is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from backstay.errors import OutsideChance

__all__ = ["check_same_course"]

_ADVICE = (
    "look for the wall clock, os.urandom or uuid, a walk over a set of objects, a cache or a module "
    "variable that outlives the scenario, and threads"
)


def check_same_course(first: Sequence[str], second: Sequence[str]) -> None:
    """Raise when two traces of one schedule differ.

    Raises:
        OutsideChance: they do; the message names the first step that differs.
    """
    for step, (one, other) in enumerate(zip_longest(first, second)):
        if one != other:
            raise OutsideChance(
                f"the same schedule was run twice and took two courses: at step {step} the first run had "
                f"{_say(one)}, the second {_say(other)}; {_ADVICE}"
            )


def _say(step: str | None) -> str:
    return "already ended" if step is None else f"'{step}'"
