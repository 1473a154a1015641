"""Shows a value without running any code of its own, bounded in length and depth, secrets hidden by name.

Only what the interpreter itself would show is shown: numbers, texts and plain containers, of exactly these
types. Anything else is named by its type. No `__repr__`, `__str__`, property or descriptor of the program's
is called: a probe that ran the program's code would not be one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from backstay._base import HIDDEN, cover_secrets, names_a_secret

__all__ = ["kind_of", "mro_of", "name_of", "show"]

_LONGEST_TEXT: Final = 200
_LONGEST: Final = 1000
_MOST_ITEMS: Final = 10
_DEEPEST: Final = 3
_MOST_BITS: Final = 512

# The exact type of a thing: `isinstance` and `__class__` may be anybody's code.
kind_of: Callable[[Any], Any] = type

_mro: Any = type.__dict__["__mro__"]
_name: Any = type.__dict__["__qualname__"]
_BRACKETS: Final[dict[Any, tuple[str, str]]] = {
    list: ("[", "]"), tuple: ("(", ")"), set: ("{", "}"), frozenset: ("frozenset({", "})"),
}  # fmt: skip


def mro_of(kind: Any) -> tuple[Any, ...]:
    """Return the classes of a type, past whatever its metaclass says."""
    found: tuple[Any, ...] = _mro.__get__(kind)
    return found


def name_of(kind: Any) -> str:
    """Return the qualified name of a type, past whatever its metaclass says."""
    return str(_name.__get__(kind))[:_LONGEST_TEXT]


def show(value: object) -> str:
    """Return a value as text of at most 1,000 characters.

    Cost: some microseconds; a container is looked at no further than its first ten items, three levels deep.
    """
    text = _show(value, _DEEPEST)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _show(value: Any, deeper: int) -> str:
    kind = kind_of(value)
    if value is None or kind is bool or kind is float or kind is complex:
        return repr(value)
    if kind is int:
        bits = value.bit_length()
        return repr(value) if bits <= _MOST_BITS else f"<int of {bits} bits>"
    if kind is str:
        return _text(value)
    if kind is bytes or kind is bytearray:
        return _bytes(value)
    if kind in _BRACKETS:
        return _items(value, kind, deeper)
    if kind is dict:
        return _dict(value, deeper)
    bases = mro_of(kind)
    if str in bases:
        return f"<{name_of(kind)} {_text(str.__str__(value))}>"
    if int in bases:
        return (
            f"<{name_of(kind)} {int.__repr__(value)}>"
            if int.bit_length(value) <= _MOST_BITS
            else f"<{name_of(kind)}>"
        )
    return f"<{name_of(kind)} object>"


def _text(value: str) -> str:
    cut = value[:_LONGEST_TEXT]
    more = f"… {len(value)} characters" if len(value) > _LONGEST_TEXT else ""
    return repr(cover_secrets(cut)) + more


def _bytes(value: bytes) -> str:
    if len(value) <= _LONGEST_TEXT // 2:
        return repr(value)
    return repr(value[: _LONGEST_TEXT // 2]) + f"… {len(value)} bytes"


def _items(value: Any, kind: Any, deeper: int) -> str:
    begin, end = _BRACKETS[kind]
    if not value:
        return repr(kind())
    if not deeper:
        return f"{begin}… {len(value)} items{end}"
    shown: list[str] = []
    for item in value:
        if len(shown) == _MOST_ITEMS:
            shown.append(f"… {len(value)} items")
            break
        shown.append(_show(item, deeper - 1))
    lone = "," if kind is tuple and len(value) == 1 else ""
    return f"{begin}{', '.join(shown)}{lone}{end}"


def _dict(value: dict[Any, Any], deeper: int) -> str:
    if not value:
        return "{}"
    if not deeper:
        return f"{{… {len(value)} items}}"
    shown: list[str] = []
    for key, item in value.items():
        if len(shown) == _MOST_ITEMS:
            shown.append(f"… {len(value)} items")
            break
        hidden = kind_of(key) is str and names_a_secret(key)
        shown.append(f"{_show(key, 0)}: {HIDDEN if hidden else _show(item, deeper - 1)}")
    return f"{{{', '.join(shown)}}}"
