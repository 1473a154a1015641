"""Finds the ASGI application that `MODULE:APP` names, and says what is wrong when there is none."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any, cast

from backstay.errors import UsageError
from backstay.lifecycle import Service

__all__ = ["load_application", "put_working_directory_first"]

App = Callable[..., Awaitable[None]]


def load_application(target: str, *, factory: bool = False) -> App | Service:
    """Import the module and return its application.

    Args:
        target: ``MODULE:APP``, for example ``shop.order:app``; APP may be dotted.
        factory: APP is a function without arguments that returns the application.

    Raises:
        UsageError: the module cannot be imported, has no such attribute, or the
            attribute is not an ASGI application.
    """
    module_name, _, path = target.partition(":")
    dotted = all(map(str.isidentifier, module_name.split(".")))
    if not path or not dotted or (module_name.endswith(".py") and os.path.exists(module_name)):
        cure = ""
        if module_name.endswith(".py") or "/" in module_name:
            guess = module_name.removesuffix(".py").strip("./").replace("/", ".")
            cure = f": write a module and not a file, as in {guess}:{path or 'app'}"
        raise UsageError(f"{target!r} is not MODULE:APP, for example shop.order:app{cure}")
    module = _import(module_name)
    found: Any = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise UsageError(
                f"module {module_name!r} ({module.__file__}) has no {path!r}{_candidates(module)}"
            ) from None
    if factory:
        found = _call_factory(found, target)
    return _check(found, target, factory)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            raise UsageError(
                f"no module named {missing!r} (looked in {os.getcwd()} and the installed packages): "
                f"run from the directory that holds it, or install it"
            ) from None
        raise UsageError(_what_failed(f"importing {name!r}", error)) from error
    except SystemExit as error:
        raise UsageError(
            f"importing {name!r} ended the program (SystemExit {error.code!r}): "
            f"move that under 'if __name__ == \"__main__\":'"
        ) from error
    except Exception as error:
        raise UsageError(_what_failed(f"importing {name!r}", error)) from error


def _what_failed(doing: str, error: Exception) -> str:
    """Say in one line what failed in the user's code, and at which of their lines."""
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}:{error.lineno}"
        return f"{doing} failed at {place}: SyntaxError: {error.msg}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and not frame.filename.startswith(_HOUSE)
    ]
    place = f" at {frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
    return f"{doing} failed{place}: {type(error).__name__}: {error}"


_HOUSE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def _candidates(module: ModuleType) -> str:
    """Name the attributes that look like applications."""
    found = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and not inspect.isclass(value)
        and getattr(value, "__module__", module.__name__) is not None
        and _is_async_callable(value)
        and _takes(value, 3)
    ]
    return (
        f": did you mean {' or '.join(f'{module.__name__}:{n}' for n in found[:3])}?"
        if found
        else ""
    )


def _call_factory(found: Any, target: str) -> Any:
    if not callable(found):
        raise UsageError(
            f"{target} is of type {_kind(found)} and not a factory: leave out --factory"
        )
    try:
        return found()
    except Exception as error:
        raise UsageError(_what_failed(f"calling the factory {target}", error)) from error


def _check(found: Any, target: str, factory: bool) -> App | Service:
    made = f"what the factory {target} returned" if factory else target
    if inspect.isclass(found):
        raise UsageError(f"{made} is the class {found.__name__!r}: make an instance of it")
    if isinstance(found, Service):
        return found
    if not callable(found):
        raise UsageError(
            f"{made} is of type {_kind(found)} and neither an ASGI application, "
            f"which is called with scope, receive and send, nor a Service"
        )
    if _takes(found, 3):
        return cast("App", found)
    if not factory and _takes(found, 0):
        raise UsageError(
            f"{target} takes no arguments: when it makes the application, add --factory"
        )
    if _takes(found, 2):
        raise UsageError(
            f"{made} takes two arguments, as WSGI applications do, and ASGI needs scope, receive "
            f"and send: wrap it, for example in a2wsgi.WSGIMiddleware"
        )
    raise UsageError(
        f"{made} cannot be called with scope, receive and send: it is not an ASGI application"
    )


def _kind(value: object) -> str:
    return type(value).__name__


def _is_async_callable(value: Any) -> bool:
    if inspect.iscoroutinefunction(value):
        return True
    kind = cast("Any", type(value))
    call = getattr(kind, "__call__", None)  # noqa: B004 - it is inspected, not only asked for
    return inspect.iscoroutinefunction(call)


def _takes(value: Any, number: int) -> bool:
    try:
        inspect.signature(value).bind(*[None] * number)
    except TypeError:
        return False
    except ValueError:  # no signature, for example written in C
        return number == 3
    return True


def put_working_directory_first() -> None:
    """Let the modules of the working directory be found, as `python -m` does."""
    here = os.getcwd()
    if not sys.flags.safe_path and here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
