"""How the documents name places: relative to the working directory of the process, where they are inside it.

It is the rule of the findings and of the metrics, so that a line has one name wherever one meets
it. The process that is looked at applies it, since who prints may stand elsewhere; its
directory is in the document, for those who want the absolute path.
"""

from __future__ import annotations

import os
from typing import Any

from backstay.leak._places import relative
from backstay.tasks import ChainFrame

__all__ = ["directory", "frame_to_json", "relative_at_end", "relative_or_none"]


def directory() -> str | None:
    """Return the working directory; None when it was removed."""
    try:
        return os.getcwd()
    except OSError:
        return None


def relative_or_none(place: str | None) -> str | None:
    """Return a place by the rule, and nothing for none."""
    return None if place is None else relative(place)


def relative_at_end(said: str | None) -> str | None:
    """Return a sentence that ends in "at path:line", with the path by the rule."""
    if said is None:
        return None
    head, at, place = said.rpartition(" at ")
    return f"{head}{at}{relative(place)}"


def frame_to_json(step: ChainFrame) -> dict[str, Any]:
    """Return one step of a stack as JSON values."""
    return {"function": step.function, "file": relative(step.file), "line": step.line}
