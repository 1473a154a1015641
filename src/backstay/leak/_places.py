"""How the findings name files, spawn sites and owners, and which files are our own."""

from __future__ import annotations

import os

from backstay.tasks import Scope, TaskInfo

__all__ = ["TRACED", "in_words", "is_ours", "relative", "site_of"]

TRACED = 1 << 14
"""Py_TPFLAGS_HAVE_GC: instances of a type with this flag can refer to others."""

_HOUSE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def relative(place: str) -> str:
    """Return a path, or "path:line", relative to the working directory when inside it."""
    try:
        here = os.getcwd() + os.sep
    except OSError:
        return place  # the working directory was removed
    return place.removeprefix(here)


def is_ours(file: str) -> bool:
    """Tell whether a file belongs to Backstay; its tasks are counted and never accused."""
    return file.startswith(_HOUSE)


def site_of(card: TaskInfo) -> str:
    """Return the line that started a task as "path:line", absolute; else where its coroutine is defined."""
    return card.definition if card.site is None else str(card.site)


def in_words(owner: Scope | None) -> str:
    """Name an owner as "kind name"; "" where nobody owns."""
    return "" if owner is None else f"{owner.kind} {owner.name}"
