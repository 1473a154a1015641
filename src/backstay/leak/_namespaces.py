"""The namespaces of the modules that are loaded, read without waking any module up.

A module may be lazy: whoever asks it for an attribute, or for its truth, makes it load what it
stands for. To look for leaks must not import anything, so modules are read by what
`types.ModuleType` knows of them, past what their own classes say.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, cast

from backstay.tasks._await_chain import kind_of

__all__ = ["namespaces"]

_namespace_of = cast("Callable[[Any], dict[str, Any]]", vars(ModuleType)["__dict__"].__get__)


def namespaces() -> list[tuple[str, dict[str, Any]]]:
    """Return name and globals of each module; what poses as a module is left out.

    Cost: 0.1 microseconds a module.
    """
    return [
        (name, _namespace_of(module))
        for name, module in [*sys.modules.items()]
        if issubclass(kind_of(module), ModuleType)
    ]
