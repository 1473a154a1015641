"""Tracks every loop that a script makes, by whatever door it makes it.

`asyncio.run`, `Runner`, `new_event_loop`, `uvloop.run`, `anyio.run`: they have
one thing in common, an instance of a class that derives from
`AbstractEventLoop`. So that is where we look: each such class gets an `__init__`
that installs tracking as its last step, also classes that are only imported
later. This is the one place where Backstay patches anything, and it happens
only because somebody typed `backstay run SCRIPT`.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, cast

from backstay.tasks import install, installed_loops, uninstall

__all__ = ["track_every_loop"]

_Base: Any = asyncio.AbstractEventLoop

_busy = threading.local()  # .now is True while install() itself sets the factory


@contextmanager
def track_every_loop() -> Generator[None]:
    """Inside the block every new event loop of the process is tracked from birth to close."""
    patched: list[tuple[Any, str, Any]] = []  # class, attribute, what was there (or _ABSENT)

    def replace(cls: Any, name: str, value: Any) -> None:
        own = cast("dict[str, Any]", vars(cls))
        patched.append((cls, name, own.get(name, _ABSENT)))
        setattr(cls, name, value)

    def watch(cls: Any) -> None:
        replace(cls, "__init__", _tracking_from_birth(cls.__init__))
        replace(cls, "close", _tracking_until_close(cls.close))
        replace(cls, "set_task_factory", _tracking_upon(cls.set_task_factory))

    def on_new_class(cls: Any, /, **options: Any) -> None:
        parent = cast("Any", super(_Base, cls))
        parent.__init_subclass__(**options)
        if _Base in cls.__bases__:
            watch(cls)

    for known in _Base.__subclasses__():
        watch(known)
    replace(_Base, "__init_subclass__", classmethod(on_new_class))
    try:
        yield
    finally:
        for cls, name, before in reversed(patched):
            if before is _ABSENT:
                delattr(cls, name)
            else:
                setattr(cls, name, before)


_ABSENT: Any = object()


def _tracking_from_birth(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def init(self: Any, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        _install(self)

    return init


def _tracking_until_close(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def close(self: Any) -> None:
        original(self)
        uninstall(self)  # or the registry's timer would keep each closed loop in memory

    return close


def _tracking_upon(original: Callable[..., None]) -> Callable[..., None]:
    """A script may set a factory of its own: it is chained and not lost, and neither are we."""

    @functools.wraps(original)
    def set_task_factory(self: Any, factory: Any) -> None:
        original(self, factory)
        if not getattr(_busy, "now", False) and self in installed_loops():
            uninstall(self)
            _install(self)

    return set_task_factory


def _install(loop: Any) -> None:
    _busy.now = True
    try:
        install(loop)
    finally:
        _busy.now = False
