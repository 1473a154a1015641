"""How one variable of a frame is read without changing the frame.

`frame.f_locals` would do, and leave a mark: before Python 3.13 it makes a dict that stays with the frame and
keeps alive what the function has long dropped, and that is the very dict which `locals()` has returned to the
program. From 3.12 on `PyFrame_GetVar` reads one variable and leaves nothing. On 3.11 the trace function that a
probe needs has made that dict already.
"""

from __future__ import annotations

import ctypes
import inspect
import sys
from functools import lru_cache
from types import FrameType
from typing import Any

from backstay.observe.probe._values import kind_of

__all__ = ["read_variable"]


def read_variable(frame: FrameType, name: str) -> object:
    """Return the variable of that name: of the function, else of its module, else a builtin.

    Raises:
        KeyError: there is none, or it is not bound yet.
    """
    code = frame.f_code
    if (
        not code.co_flags & inspect.CO_OPTIMIZED
    ):  # a module or a class body: the dict is the namespace itself
        names: Any = frame.f_locals
        if kind_of(names) is dict and name in names:
            return names[name]
    elif name in code.co_varnames or name in code.co_cellvars or name in code.co_freevars:
        return _fast(frame, name)
    for scope in (frame.f_globals, frame.f_builtins):
        if name in scope:
            return scope[name]
    raise KeyError(name)


if sys.version_info >= (3, 12):

    def _fast(frame: FrameType, name: str) -> object:
        try:
            return _get_var()(frame, name)
        except NameError:
            raise KeyError(name) from None

    @lru_cache(maxsize=1)
    def _get_var() -> Any:
        function = ctypes.pythonapi.PyFrame_GetVar
        function.restype = ctypes.py_object
        function.argtypes = [ctypes.py_object, ctypes.py_object]
        return function

else:

    def _fast(frame: FrameType, name: str) -> object:
        return frame.f_locals[name]
