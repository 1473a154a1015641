"""Where a piece of code comes from: which module, and whether it is the user's own.

Why from file names: a suspended coroutine tells the name of its file without
its frame being touched, and a file name (unlike a module object) keeps nothing
alive and costs a cached look-up.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import NamedTuple

__all__ = ["Origin", "origin_of"]

_STDLIB = os.path.dirname(os.__file__) + os.sep
_BACKSTAY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_HOUSE = os.path.dirname(_BACKSTAY) + os.sep
# Where installers put third-party code, on every layout of Debian, pyenv and venv.
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


class Origin(NamedTuple):
    """What a file name says about the code in it."""

    module: str  # dotted name as far as the file name tells it; "" for the user's own code
    library: bool  # True for the standard library, installed packages and Backstay itself


@lru_cache(maxsize=4096)
def origin_of(filename: str) -> Origin:
    """Tell the module and the side (user or library) of a file name.

    Args:
        filename: `co_filename` of a code object, absolute or not.

    Returns:
        The origin. Code typed at a prompt, built by `exec` or living anywhere
        outside the library folders counts as the user's.
    """
    if filename.startswith("<frozen "):
        return Origin(filename[8:-1], True)
    for marker in _INSTALLED:
        _, found, tail = filename.rpartition(marker)
        if found:
            return Origin(_dotted(tail), True)
    if filename.startswith(_BACKSTAY + os.sep):
        return Origin(_dotted(filename.removeprefix(_HOUSE)), True)
    if filename.startswith(_STDLIB):
        return Origin(_dotted(filename.removeprefix(_STDLIB)), True)
    return Origin("", False)


def _dotted(path: str) -> str:
    stem, _ = os.path.splitext(path)
    return stem.replace(os.sep, ".").removesuffix(".__init__")
