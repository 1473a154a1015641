"""Lines of code, worked out once for all tasks that have them in common.

Ten thousand tasks were started at a handful of lines. To find a line is linear in the code that
it stands in, and so it is done once for each instruction. Equal lines are one object, so
a look may tell them apart by identity. Code objects are held: it is made for one look and dropped.
"""

from __future__ import annotations

from types import CodeType, CoroutineType, GeneratorType
from typing import Any

from backstay.tasks import SpawnSite, resolve_site
from backstay.tasks._await_chain import kind_of

__all__ = ["Lines"]


class Lines:
    """Finds spawn sites and definitions, and remembers them."""

    __slots__ = ("_definitions", "_sites", "_spelled", "_stamps")

    def __init__(self) -> None:
        """Know none yet."""
        self._stamps: dict[tuple[int, int], tuple[SpawnSite, CodeType]] = {}
        self._definitions: dict[int, tuple[str, CodeType]] = {}
        self._sites: dict[tuple[str, int, str], SpawnSite] = {}
        self._spelled: dict[str, str] = {}

    def site(self, code: CodeType, lasti: int) -> SpawnSite:
        """Return the line of an instruction."""
        known = self._stamps.get((id(code), lasti))
        if known is None:
            found = resolve_site(code, lasti)
            assert found is not None
            site = self._sites.setdefault((found.file, found.line, found.function), found)
            known = self._stamps[id(code), lasti] = site, code
        return known[0]

    def definition(self, coroutine: Any) -> str:
        """Return "file:line" of what a task runs; "" when its code is not Python's."""
        kind = kind_of(coroutine)
        if kind is CoroutineType:
            code = coroutine.cr_code
        elif kind is GeneratorType:
            code = coroutine.gi_code
        else:  # compiled: its code object may be made anew for each who asks
            code = getattr(coroutine, "cr_code", None) or getattr(coroutine, "gi_code", None)
            return self._spell(code) if code is not None else ""
        known = self._definitions.get(id(code))
        if known is None:
            known = self._definitions[id(code)] = self._spell(code), code
        return known[0]

    def _spell(self, code: Any) -> str:
        text = f"{code.co_filename}:{code.co_firstlineno}"
        return self._spelled.setdefault(text, text)
