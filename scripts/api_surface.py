"""The public API as text: every name that a face exports, with its signature.

`--write` regenerates api-surface.txt, `--check` fails when it is out of date.
A change of the surface thus shows in the diff of the commit that makes it.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

FILE = Path(__file__).parent.parent / "api-surface.txt"
# What a signature shows of an address in memory or of a path differs from run to run.
_NOISE = re.compile(r" at 0x[0-9a-f]+|<factory>")


def public_modules() -> Iterator[ModuleType]:
    """Import and yield every module of the package whose path has no underscore in it."""
    package = importlib.import_module("backstay")
    yield package
    for found in pkgutil.walk_packages(package.__path__, "backstay."):
        if not any(part.startswith("_") for part in found.name.split(".")):
            yield importlib.import_module(found.name)


def describe(module: ModuleType) -> Iterator[str]:
    """Yield one line per exported name, and one per public member of a class."""
    for name in sorted(getattr(module, "__all__", ())):
        thing = getattr(module, name)
        where = f"{module.__name__}.{name}"
        if inspect.isclass(thing):
            bases = ", ".join(base.__name__ for base in thing.__bases__ if base is not object)
            yield f"class {where}({bases})"
            yield from members(where, thing)
        elif callable(thing):
            yield f"def {where}{signature(thing)}"
        elif isinstance(thing, ModuleType):
            yield f"module {where}"
        else:
            yield f"value {where}: {type(thing).__name__}"


def members(where: str, thing: type) -> Iterator[str]:
    """Yield what a class shows: fields, methods, properties; its own, not what it inherits.

    A method that overrides one of a foreign base (a `set_name` that some versions of Python need)
    adds nothing to the surface, and would make it differ from one interpreter to the next.
    """
    foreign = [base for base in thing.__mro__[1:] if not base.__module__.startswith("backstay")]
    if dataclasses.is_dataclass(thing):
        for field in dataclasses.fields(thing):
            yield f"    field {where}.{field.name}: {field.type}"
    elif "__init__" in vars(thing):
        yield f"    def {where}{signature(thing)}"
    for name, member in sorted(vars(thing).items()):
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            yield f"    property {where}.{name}"
        elif any(hasattr(base, name) for base in foreign):
            continue
        elif callable(member) or isinstance(member, classmethod | staticmethod):
            yield f"    def {where}.{name}{signature(getattr(thing, name))}"


def signature(thing: object) -> str:
    """Return the call signature, or (...) for what has none."""
    try:
        # The slot `__wrapped__` of a class is no function that the class wraps.
        found = inspect.signature(thing, follow_wrapped=not inspect.isclass(thing))  # type: ignore[arg-type]
        return _NOISE.sub("", str(found))
    except (TypeError, ValueError):
        return "(...)"


def surface() -> str:
    """Return the whole surface, sorted by module."""
    lines: list[str] = []
    for module in sorted(public_modules(), key=lambda m: m.__name__):
        part = list(describe(module))
        if part:
            lines += [f"# {module.__name__}", *part, ""]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Write the file, or compare with it."""
    now = surface()
    if arguments == ["--write"]:
        FILE.write_text(now, encoding="utf-8")
        return 0
    if arguments != ["--check"]:
        sys.stderr.write("usage: api_surface.py --write | --check\n")
        return 2
    before = FILE.read_text(encoding="utf-8") if FILE.exists() else ""
    if before == now:
        return 0
    diff = difflib.unified_diff(
        before.splitlines(), now.splitlines(), "api-surface.txt", "the code", lineterm=""
    )
    sys.stderr.write(
        "\n".join(diff)
        + "\nthe public API changed: if it was meant, run 'make surface' and commit it\n"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
