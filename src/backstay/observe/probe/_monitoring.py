"""The switch on Python 3.12 and later: local LINE events of `sys.monitoring` (PEP 669).

Only the code objects that are watched are instrumented; every other line of the program runs as before, and a
line beside the watched one reports once and is then switched off by the interpreter. Tool numbers 3 and 4 are
the two that no kind of tool is meant to have; debuggers, coverage and profilers keep theirs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Final

from backstay.errors import UsageError

__all__ = ["Monitoring", "Struck", "Watched"]

#: Called at a watched line with its frame; returns whether the line still has to be reported.
Struck = Callable[[FrameType, CodeType, int], bool]

#: Code objects and their lines, by the identity of the code: hashing one costs a microsecond, and two functions
#: with the same text are equal.
Watched = dict[int, tuple[CodeType, frozenset[int]]]

_NAME: Final = "backstay probe"
_NUMBERS: Final = (4, 3)


class Monitoring:
    """Calls `struck` at the lines it was told, while there are any."""

    def __init__(self, struck: Struck) -> None:
        """Prepare; nothing is switched on before `watch`."""
        self._struck = struck
        self._monitoring: Any = getattr(sys, "monitoring")  # noqa: B009 - not there on 3.11
        self._number: int | None = None
        self._watched: Watched = {}

    def watch(self, lines: Watched) -> None:
        """Watch these lines and no others; with none, leave no trace.

        Raises:
            UsageError: other tools have taken all the numbers.
        """
        if lines and self._number is None:
            self._take_number()
        former, self._watched = self._watched, dict(lines)
        for key in former.keys() | lines.keys():
            if former.get(key) == lines.get(key):
                continue
            # Off and on again: a line that was switched off when another one was watched must report now.
            code = (lines.get(key) or former[key])[0]
            self._set(code, 0)
            if key in lines:
                self._set(code, self._monitoring.events.LINE)
        if not lines and self._number is not None:
            self._monitoring.register_callback(self._number, self._monitoring.events.LINE, None)
            self._monitoring.free_tool_id(self._number)
            self._number = None

    def _take_number(self) -> None:
        for number in _NUMBERS:
            if self._monitoring.get_tool(number) is None:
                try:
                    self._monitoring.use_tool_id(number, _NAME)
                except ValueError:  # somebody was quicker
                    continue
                self._number = number
                self._monitoring.register_callback(number, self._monitoring.events.LINE, self._line)
                return
        taken = ", ".join(repr(self._monitoring.get_tool(number)) for number in _NUMBERS)
        raise UsageError(f"no probe can be set: the numbers for tools are taken by {taken}")

    def _set(self, code: CodeType, events: int) -> None:
        self._monitoring.set_local_events(self._number, code, events)

    def _line(self, code: CodeType, line: int) -> Any:
        """Be told of a line; in the program's thread."""
        wanted = self._watched.get(id(code))
        if wanted is not None and line in wanted[1] and self._struck(sys._getframe(1), code, line):
            return None
        return self._monitoring.DISABLE
