"""The few blanks that commands and environments of a scenario may leave for the lab to fill.

`{python}` `{variant}` `{run_dir}` `{seed}` `{port:NAME}` `{admin:NAME}`; every
other brace is left alone, so JSON may stand in a command.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Blanks", "blanks_in", "fill"]

_BLANK = re.compile(r"\{([a-z_]+)(?::([A-Za-z0-9_-]+))?\}")

PLAIN = frozenset({"python", "variant", "run_dir", "seed"})
NAMED = frozenset({"port", "admin"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Blanks:
    """What the lab fills in for one run of one variant."""

    python: str
    variant: str
    run_dir: Path
    seed: int
    ports: Mapping[str, int]
    admins: Mapping[str, Path]


def blanks_in(text: str) -> list[tuple[str, str | None]]:
    """Return the blanks of a text as (word, name); name is None for the plain ones."""
    return [(match[1], match[2]) for match in _BLANK.finditer(text)]


def fill(text: str, blanks: Blanks) -> str:
    """Return the text with every blank filled; the parser has checked that all are known."""

    def one(match: re.Match[str]) -> str:
        word, name = match[1], match[2]
        if word == "port" and name is not None:
            return str(blanks.ports[name])
        if word == "admin" and name is not None:
            return str(blanks.admins[name])
        plain = {
            "python": blanks.python,
            "variant": blanks.variant,
            "run_dir": str(blanks.run_dir),
            "seed": str(blanks.seed),
        }
        return plain.get(word, match[0]) if name is None else match[0]

    return _BLANK.sub(one, text)
