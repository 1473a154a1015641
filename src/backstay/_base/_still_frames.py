"""Walking the frames of another thread without a crash of the interpreter.

Up to Python 3.11 making a frame object, which `f_back` does, may begin a garbage collection; a finalizer
that lets go of the interpreter's lock lets the other thread go on amid the walk, and the frame that was
about to be shown is gone: a segmentation fault. `sys._current_frames` guards itself for that reason
(https://github.com/python/cpython/issues/106883); who walks on from there has to do it himself. From 3.12
on a collection begins between two bytecodes only, where the walk holds nothing that can go away.
"""

from __future__ import annotations

import gc
import sys

__all__ = ["StillFrames"]

_NEEDED = sys.version_info < (3, 12)


class StillFrames:
    """A block in which no collection begins, where that could be fatal; made for each block anew."""

    __slots__ = ("_collects",)

    def __enter__(self) -> None:
        """Put collections off."""
        self._collects = _NEEDED and gc.isenabled()
        if self._collects:
            gc.disable()

    def __exit__(self, *_: object) -> None:
        """Allow them again, if they were."""
        if self._collects:
            gc.enable()
