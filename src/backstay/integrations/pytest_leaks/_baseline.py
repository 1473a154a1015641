"""Leaks that are known: a file of lines, sorted, without line numbers.

::

    app/mail.py:Mailer.start <- tests/test_mail.py::test_sends

The place that starts the task, and a shell pattern of the tests that may leave it. Parameters of a
test are left out of its name, and the file survives whatever moves lines without renaming functions.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import pytest

__all__ = ["Baseline", "Entry", "plain", "stable"]

_ARROW = " <- "
_HEAD = (
    "# Leaks that tests are known to leave: place that starts it <- test. Delete a line once it is mended.\n"
    "# Written by: pytest --leaks-baseline FILE --leaks-write-baseline\n"
)


class Entry(NamedTuple):
    """One line."""

    place: str  # "path:function"
    test: str  # shell pattern of a node id without parameters

    def __str__(self) -> str:
        """Write it as in the file."""
        return f"{self.place}{_ARROW}{self.test}"


class Baseline:
    """What the file says.

    Attributes:
        entries: its lines.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Know these."""
        self.entries = frozenset(entries)

    @classmethod
    def read(cls, path: Path, *, must_exist: bool) -> Baseline:
        """Read the file.

        Raises:
            pytest.UsageError: it is not there and has to be, or a line cannot be read.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            if not must_exist:
                return cls()
            raise pytest.UsageError(
                f"--leaks-baseline: there is no file {path}: write it with --leaks-write-baseline"
            ) from None
        except (OSError, UnicodeError) as error:
            raise pytest.UsageError(f"--leaks-baseline: cannot read {path}: {error}") from None
        found: list[Entry] = []
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            place, arrow, test = line.partition(_ARROW)
            if not arrow or not place.strip() or not test.strip():
                raise pytest.UsageError(
                    f"--leaks-baseline: {path}:{number} reads {line!r}, expected 'path:function{_ARROW}test'"
                )
            found.append(Entry(place.strip(), test.strip()))
        return cls(found)

    def write(self, path: Path, seen: Iterable[Entry], tests: Iterable[str]) -> int:
        """Write what was seen, and keep what is known of tests that did not run.

        Returns:
            How many lines there are.
        """
        ran = set(tests)
        kept = {one for one in self.entries if not any(fnmatchcase(test, one.test) for test in ran)}
        entries = sorted({*seen, *kept})
        path.write_text(_HEAD + "".join(f"{one}\n" for one in entries), encoding="utf-8")
        return len(entries)

    def knows(self, place: str, test: str) -> bool:
        """Tell whether a leak is known."""
        return any(one.place == place and fnmatchcase(test, one.test) for one in self.entries)

    def gone(self, seen: Iterable[Entry], passed: Iterable[str]) -> list[Entry]:
        """Return the lines that did not happen, though a test that they are about has passed."""
        happened, tests = list(seen), set(passed)
        return sorted(
            one
            for one in self.entries
            if any(fnmatchcase(test, one.test) for test in tests)
            and not any(
                other.place == one.place and fnmatchcase(other.test, one.test) for other in happened
            )
        )


def plain(nodeid: str) -> str:
    """Return a node id without the parameters of the test."""
    return nodeid.partition("[")[0]


def stable(place: str, root: Path) -> str:
    """Return "path:function" as it reads on every machine and from every folder."""
    file, colon, function = place.rpartition(":")
    absolute = os.path.abspath(file)
    packages = f"site-packages{os.sep}"
    if packages in absolute:
        file = absolute.rpartition(packages)[2]
    elif absolute.startswith(f"{root}{os.sep}"):
        file = os.path.relpath(absolute, root)
    return f"{file.replace(os.sep, '/')}{colon}{function}"
