"""What the command line, the ini file and the marks of one test ask for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import pytest

from backstay.leak.per_test import Pattern
from backstay.leak.per_test._extras import EXTRAS

__all__ = ["Settings", "Wanted", "wanted_of"]

Mode = Literal["fail", "report", "marked"]

_KEYWORDS = ("allow", "also", "check", "expect")


@dataclass(frozen=True, slots=True)
class Settings:
    """Of a whole run."""

    mode: Mode  # "marked": tests that bear a mark, and they fail
    ignore: tuple[str, ...]
    also: tuple[str, ...]
    baseline: Path | None
    write: bool

    @classmethod
    def read(cls, config: pytest.Config, mode: Mode) -> Settings:
        """Read and check them.

        Raises:
            pytest.UsageError: something cannot be meant.
        """
        ignore = tuple(config.getini("backstay_leaks_ignore"))
        also = (*config.getini("backstay_leaks_also"), *(config.getoption("--leaks-also") or ()))
        _check_patterns(ignore, "the ini option backstay_leaks_ignore")
        _check_extras(also, "--leaks-also, or the ini option backstay_leaks_also,")
        name = config.getoption("--leaks-baseline")
        write = bool(config.getoption("--leaks-write-baseline"))
        if write and not name:
            raise pytest.UsageError(
                "--leaks-write-baseline wants to know where to: add --leaks-baseline FILE"
            )
        return cls(mode, ignore, also, config.invocation_params.dir / name if name else None, write)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Of one test."""

    allow: tuple[str, ...]
    also: tuple[str, ...]
    expect: int | None  # leaks that there must be; None for none, and they are not counted


def wanted_of(item: pytest.Item, settings: Settings) -> Wanted | None:
    """Return what is wanted of a test; None when it is not to be checked.

    Raises:
        pytest.UsageError: a mark cannot be read.
    """
    marks = [*item.iter_markers("leaks"), *item.iter_markers("no_leaks")]
    if item.get_closest_marker("explore") is not None:
        return None  # the loop of an exploration is not to be turned by anybody else
    if settings.mode == "marked" and not marks:
        return None
    allow, also = [*settings.ignore], [*settings.also]
    expect: int | None = None
    for mark in reversed(marks):  # the closest mark has the last word
        what = f"the mark {mark.name!r} of {item.nodeid}"
        options = _keywords_of(mark, what)
        if options.get("check", True) is False:
            return None
        allow += _words(options.get("allow", ()), what)
        also += _words(options.get("also", ()), what)
        expect = options.get("expect", expect)
        if expect is not None and (type(expect) is not int or expect < 0):
            raise pytest.UsageError(f"{what}: expect= is a number of leaks, not {expect!r}")
    _check_patterns(allow, f"allow= of {item.nodeid}")
    _check_extras(also, f"also= of {item.nodeid}")
    return Wanted(tuple(allow), tuple(also), expect)


def _keywords_of(mark: pytest.Mark, what: str) -> dict[str, Any]:
    unknown = sorted(set(mark.kwargs) - set(_KEYWORDS))
    if mark.args or unknown:
        seen = f"{mark.args!r}" if mark.args else f"{', '.join(unknown)}="
        raise pytest.UsageError(f"{what} knows the keywords {', '.join(_KEYWORDS)}, not {seen}")
    return dict(mark.kwargs)


def _words(value: object, what: str) -> list[str]:
    words: list[object] = [value] if isinstance(value, str) else []
    if isinstance(value, list | tuple):
        words = [*cast("Iterable[object]", value)]
    if (value and not words) or not all(isinstance(one, str) for one in words):
        raise pytest.UsageError(
            f"{what}: allow= and also= are a string or a list of strings, not {value!r}"
        )
    return [str(one) for one in words]


def _check_patterns(patterns: list[str] | tuple[str, ...], where: str) -> None:
    for pattern in patterns:
        try:
            Pattern.parse(pattern)
        except ValueError as error:
            raise pytest.UsageError(f"{where}: {error}") from None


def _check_extras(words: list[str] | tuple[str, ...], where: str) -> None:
    unknown = sorted(set(words) - set(EXTRAS))
    if unknown:
        raise pytest.UsageError(f"{where} knows {', '.join(EXTRAS)}, not {', '.join(unknown)}")
