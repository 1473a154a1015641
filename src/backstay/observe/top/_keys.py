"""The keys in the bytes that a terminal sends."""

from __future__ import annotations

import codecs
from typing import Final

__all__ = ["Keys"]

_NAMED: Final = {
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\b": "backspace",
    "\t": "tab",
}
#: The ends of sequences that begin with ESC [ or ESC O, as xterm and its heirs send them.
_SEQUENCES: Final = {
    "A": "up",
    "B": "down",
    "C": "right",
    "D": "left",
    "H": "home",
    "F": "end",
    "1~": "home",
    "4~": "end",
    "5~": "page up",
    "6~": "page down",
    "7~": "home",
    "8~": "end",
}
_LONGEST: Final = 16


class Keys:
    """Turns bytes into names of keys; what has come in part waits for its rest."""

    def __init__(self) -> None:
        """Wait for the first byte."""
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._rest = ""

    @property
    def waits(self) -> bool:
        """Whether a key has begun: Esc alone, or the begin of a sequence; only time can tell."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[str]:
        """Return the keys that are complete now."""
        text = self._rest + self._decode(data)
        self._rest = ""
        keys: list[str] = []
        while text:
            if text[0] != "\x1b":
                keys.append(_NAMED.get(text[0], text[0]))
                text = text[1:]
                continue
            length = _sequence(text)
            if length is None:
                self._rest = text
                break
            keys += _named(text[:length])
            text = text[length:]
        return keys

    def flush(self) -> list[str]:
        """Return what has begun as it is: nothing followed an Esc, so it was that key."""
        begun, self._rest = self._rest, ""
        return ["escape"] if begun else []


def _sequence(text: str) -> int | None:
    """Return how long the sequence at the begin is; None when it is not complete."""
    if len(text) < 2:
        return None
    if text[1] not in "[O":
        return 1  # Esc, and then another key
    for place, one in enumerate(text[2:_LONGEST], 2):
        if "@" <= one <= "~":
            return place + 1
    return None if len(text) < _LONGEST else _LONGEST


def _named(sequence: str) -> list[str]:
    if sequence == "\x1b":
        return ["escape"]
    name = _SEQUENCES.get(sequence[2:])
    return [] if name is None else [name]
