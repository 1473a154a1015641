"""Runs a script or a module as `python` itself would, with every task tracked.

`sys.argv`, `sys.path[0]` and `__main__` are what the script would see under
`python SCRIPT`; its errors are shown without our frames, its exit code is kept.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import signal
import sys
import types
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import Any

from backstay.cli._loop_watch import track_every_loop
from backstay.errors import UsageError

__all__ = ["Program", "find_module", "find_script", "run_program"]

_HERE = __file__


class Program:
    """Code to run as `__main__`, and the world it should find."""

    def __init__(self, code: types.CodeType | None, main: types.ModuleType, path0: str) -> None:
        """Take over what `find_script` or `find_module` has found.

        Args:
            code: what to run; None when it is still to be compiled from `main.__file__`.
            main: the module to be `__main__`.
            path0: what stands first in `sys.path`.
        """
        self.code = code
        self.main = main
        self.path0 = path0


def find_script(path: str) -> Program:
    """Prepare to run the file (or a directory or zip file with a `__main__.py`) at `path`.

    Raises:
        UsageError: there is no such file, or it cannot be read.
    """
    if os.path.isdir(path) or path.endswith((".zip", ".pyz")):
        spec = PathFinder.find_spec("__main__", [path])
        if spec is None:
            raise UsageError(f"{path!r} has no __main__.py to run: name a script inside it")
        return _from_spec(spec, os.path.abspath(path))
    if not os.path.isfile(path):
        raise UsageError(
            f"no file {path!r} (looked in {os.getcwd()}): give the path of a script, "
            f"MODULE:APP for an ASGI application, or -m MODULE"
        )
    if not os.access(path, os.R_OK):
        raise UsageError(f"{path!r} cannot be read: check its permissions")
    main = types.ModuleType("__main__")
    file = os.path.join(os.getcwd(), path)  # as python does: absolute, not normalised
    main.__dict__.update(
        __file__=file, __loader__=SourceFileLoader("__main__", file), __package__=None
    )
    main.__dict__.update(__builtins__=__builtins__, __annotations__={}, __cached__=None)
    return Program(None, main, os.path.dirname(os.path.realpath(path)))


def find_module(name: str) -> Program:
    """Prepare to run the module `name`, as `python -m` does.

    Raises:
        UsageError: there is no such module, or it cannot be run.
    """
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        spec = _find(name, here)
        if spec.submodule_search_locations is not None:  # a package: its __main__ is meant
            spec = _find(f"{name}.__main__", here)
        return _from_spec(spec, here)
    finally:
        sys.path.remove(here)


def _find(name: str, where: str) -> ModuleSpec:
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        spec = None
    except Exception as error:  # a parent package that fails while it is imported
        raise UsageError(
            f"importing the package of {name!r} failed: {type(error).__name__}: {error}"
        ) from error
    if spec is None:
        if name.endswith(".__main__"):
            name = name.removesuffix(".__main__")
            raise UsageError(f"{name!r} is a package without __main__: name a module inside it")
        raise UsageError(
            f"no module named {name!r} to run (looked in {where} and the installed packages)"
        )
    return spec


def _from_spec(spec: ModuleSpec, path0: str) -> Program:
    get_code: Any = getattr(spec.loader, "get_code", None)
    code = get_code(spec.name) if get_code is not None else None
    if code is None:
        raise UsageError(f"{spec.name!r} has no Python code to run")
    main = types.ModuleType("__main__")
    main.__dict__.update(
        __file__=spec.origin, __loader__=spec.loader, __package__=spec.parent, __spec__=spec
    )
    main.__dict__.update(__builtins__=__builtins__, __annotations__={}, __cached__=spec.cached)
    return Program(code, main, path0)


def run_program(program: Program, argv0: str, arguments: Sequence[str], cleanup: ExitStack) -> int:
    """Run it to its end and return its exit code.

    Args:
        program: what to run.
        argv0: what the script sees as its name.
        arguments: what it sees as its arguments.
        cleanup: closed after the script's own exit handlers.

    Raises:
        SystemExit: the script asked for it; its code is the script's business.
    """
    _set_first_path(program.path0)
    sys.argv[:] = [argv0, *arguments]
    sys.modules["__main__"] = program.main
    # Registered before the script registers anything, so this runs after all of it.
    interrupted: list[bool] = []
    atexit.register(_last_words, cleanup, interrupted)
    cleanup.enter_context(track_every_loop())
    try:
        code = program.code or _compile(Path(program.main.__file__ or ""))
        exec(code, program.main.__dict__)  # noqa: S102 - running it is the job
    except SystemExit:
        raise
    except KeyboardInterrupt as error:
        _show(error)
        interrupted.append(True)
        return 130
    except BaseException as error:
        _show(error)
        return 1
    return 0


def _set_first_path(path0: str) -> None:
    """Put the script's place where python had put ours."""
    if sys.flags.safe_path:
        return
    ours = {"", os.getcwd(), os.path.dirname(os.path.realpath(sys.argv[0]))}
    if sys.path and sys.path[0] in ours:
        sys.path[0] = path0
    else:
        sys.path.insert(0, path0)


def _compile(path: Path) -> types.CodeType:
    return compile(path.read_bytes(), str(path), "exec", dont_inherit=True)


def _show(error: BaseException) -> None:
    """Show the script's error as python would: without the frames that are ours."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == _HERE:
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and trace is None:
        error = error.with_traceback(None)
    sys.stdout.flush()
    sys.excepthook(type(error), error.with_traceback(trace), trace)


def _last_words(cleanup: ExitStack, interrupted: Sequence[bool]) -> None:
    cleanup.close()
    if interrupted:  # python ends by the signal itself, which tells a calling shell to stop too
        sys.stdout.flush()
        sys.stderr.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
