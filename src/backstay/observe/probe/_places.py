"""From ``FILE:LINE`` to the code objects that a probe has to watch.

Only code that the process has loaded counts, as it was loaded: what stands in the file by now may be another
text. A file may be named by the end of its path; one line may belong to several code objects (a lambda in a
call, a comprehension before 3.12), and then all of them are watched.
"""

from __future__ import annotations

import dis
import gc
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import (
    AsyncGeneratorType,
    CodeType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    ModuleType,
)
from typing import Any, Final

from backstay._base import StillFrames
from backstay.errors import UsageError
from backstay.observe.probe._values import kind_of, mro_of

__all__ = ["Place", "find_place", "lines_of", "suspended"]

_NEAREST: Final = 2
_SHOWN: Final = 5
_MOST_THINGS: Final = 20_000
# What comes before the first statement of a function has the line of its `def`.
_PROLOGUE: Final = frozenset(
    {
        "RESUME",
        "COPY_FREE_VARS",
        "MAKE_CELL",
        "RETURN_GENERATOR",
        "POP_TOP",
        "GEN_START",
        "CACHE",
        "NOP",
    }
)
_MAKES_FUNCTION: Final = "MAKE_FUNCTION"


@dataclass(frozen=True, slots=True)
class Place:
    """A line, and the code that has it.

    Attributes:
        file: as the code names it.
        line: 1-based.
        codes: the functions, generators and comprehensions that run this line.
    """

    file: str
    line: int
    codes: tuple[CodeType, ...]


def find_place(text: str) -> Place:
    """Find the code at ``FILE:LINE``.

    Raises:
        UsageError: not of that form, no such file is loaded, several are, or the line has no code.

    Cost: some milliseconds, more where a function is held by nothing but another one.
    """
    file, colon, number = text.rpartition(":")
    if (
        not colon
        or not file
        or not (number.isascii() and number.isdecimal() and 0 < int(number[:9]) < 10**7)
    ):
        raise UsageError(f"{text!r} is not FILE:LINE: write app/orders.py:120")
    line = int(number)
    path = _the_file(file)
    codes = list(_loaded_codes(path))
    found = [code for code in codes if _may_have(code, line) and line in lines_of(code)]
    if not found:
        codes = list(_all_codes(path))
        found = [code for code in codes if _may_have(code, line) and line in lines_of(code)]
    if not found:
        raise UsageError(_nothing_there(path, line, codes))
    inner = {id(one) for code in found for one in code.co_consts if isinstance(one, CodeType)}
    # A comprehension runs the line once an item; what is meant is the line, as it is from 3.12 on.
    kept = [code for code in found if not (id(code) in inner and code.co_name.endswith("comp>"))]
    return Place(path, line, tuple(kept))


def _may_have(code: CodeType, line: int) -> bool:
    """Tell, a hundred times faster than `lines_of`, what is not worth a closer look."""
    return any(number == line for _, _, number in code.co_lines())


def lines_of(code: CodeType) -> frozenset[int]:
    """Return the lines at which a code object does something of its own."""
    found: set[int] = set()
    line = 0
    begun = False
    for step in dis.get_instructions(code):
        starts: Any = step.starts_line
        if starts is True:  # 3.13 tells the line apart
            line = getattr(step, "line_number", None) or 0
        elif starts:
            line = int(starts)
        begun = begun or step.opname not in _PROLOGUE
        if begun and line and step.opname not in _PROLOGUE:
            found.add(line)
    return frozenset(found)


def suspended(codes: Iterable[CodeType]) -> Iterator[Any]:
    """Return the frames of generators and coroutines that wait inside of one of these codes.

    Cost: looks at every object that the garbage collector knows, some tens of milliseconds in a big process.
    """
    wanted = {id(code) for code in codes}
    for thing in gc.get_objects():
        kind = kind_of(thing)
        if kind is CoroutineType:
            code, frame = thing.cr_code, thing.cr_frame
        elif kind is GeneratorType:
            code, frame = thing.gi_code, thing.gi_frame
        elif kind is AsyncGeneratorType:
            code, frame = thing.ag_code, thing.ag_frame
        else:
            continue
        if frame is not None and id(code) in wanted:
            yield frame


def _the_file(file: str) -> str:
    """Return the one loaded source file that is meant."""
    names = {name for name in _loaded_files() if _ends_with(name, file)}
    if len(names) == 1:
        return names.pop()
    if file in names:
        return file
    if not names:
        raise UsageError(
            f"no loaded module comes from a file {file!r}: name it by the end of its path, such as app/orders.py"
        )
    shown = ", ".join(sorted(names)[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    raise UsageError(f"{file!r} may be any of {len(names)} files: {shown}: give more of the path")


def _ends_with(name: str, file: str) -> bool:
    wanted = os.path.normpath(file)
    full = os.path.normpath(name)
    return full == wanted or (
        full.endswith(os.sep + wanted.lstrip(os.sep)) and not os.path.isabs(wanted)
    )


def _loaded_files() -> Iterator[str]:
    for module in list(sys.modules.values()):
        if kind_of(module) is ModuleType or ModuleType in mro_of(kind_of(module)):
            names: dict[str, Any] = object.__getattribute__(module, "__dict__")  # past lazy modules
            file = names.get("__file__")
            if kind_of(file) is str:
                yield str(file)
    with StillFrames():
        for frame in list(sys._current_frames().values()):  # a script that runs by no module
            here: Any = frame
            while here is not None:
                yield here.f_code.co_filename
                here = here.f_back


def _loaded_codes(path: str) -> Iterator[CodeType]:
    """Return the code of a file that its module leads to, and that runs right now."""
    seen: set[int] = set()
    for module in list(sys.modules.values()):
        if ModuleType not in mro_of(kind_of(module)):
            continue
        names: dict[str, Any] = object.__getattribute__(module, "__dict__")
        if names.get("__file__") == path:
            for value in list(names.values()):
                yield from _codes_in(value, path, seen)
    with StillFrames():
        running: list[Any] = list(sys._current_frames().values())
    for frame in running:
        while frame is not None:
            yield from _unfold(frame.f_code, path, seen)
            frame = frame.f_back


def _codes_in(value: Any, path: str, seen: set[int]) -> Iterator[CodeType]:
    """Return the code that a value of a module leads to: functions, methods, and what decorators hide."""
    todo = [value]
    while todo and len(seen) < _MOST_THINGS:
        thing = todo.pop()
        kind = kind_of(thing)
        if id(thing) in seen:
            continue
        if kind is FunctionType:
            seen.add(id(thing))
            yield from _unfold(thing.__code__, path, seen)
            todo += [held for cell in thing.__closure__ or () for held in gc.get_referents(cell)]
            todo += thing.__dict__.values()
        elif kind in (staticmethod, classmethod, property) or type in mro_of(kind):
            seen.add(id(thing))
            todo += _parts(thing, kind)
    return


def _parts(thing: Any, kind: Any) -> list[Any]:
    if kind is property:
        return [thing.fget, thing.fset, thing.fdel]
    if kind in (staticmethod, classmethod):
        return [thing.__func__]
    names: Any = type.__dict__["__dict__"].__get__(thing)
    return list(names.values())


def _all_codes(path: str) -> Iterator[CodeType]:
    """Return the code of a file in whatever function there is: those made inside others, too."""
    seen: set[int] = set()
    for thing in gc.get_objects():
        if kind_of(thing) is FunctionType:
            yield from _unfold(thing.__code__, path, seen)
    yield from _loaded_codes(path)


def _unfold(code: CodeType, path: str, seen: set[int]) -> Iterator[CodeType]:
    """Return a code object and those that it contains."""
    todo = [code]
    while todo:
        one = todo.pop()
        if id(one) in seen or one.co_filename != path:
            continue
        seen.add(id(one))
        yield one
        todo += [inner for inner in one.co_consts if isinstance(inner, CodeType)]


def _nothing_there(path: str, line: int, codes: list[CodeType]) -> str:
    places = sorted({(number, code.co_qualname) for code in codes for number in lines_of(code)})
    if not places:
        return f"{path} has no function that could still run line {line}"
    before = [place for place in places if place[0] < line][-_NEAREST:]
    after = [place for place in places if place[0] > line][:_NEAREST]
    near = ", ".join(f"{number} ({name})" for number, name in [*before[-1:], *after[:1]])
    return f"no code that can run stands at {path}:{line}; the nearest lines are {near}"
