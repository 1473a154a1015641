"""Finding the application that MODULE:APP names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from backstay.cli._application import load_application, put_working_directory_first
from backstay.errors import UsageError

SOURCE = """
import functools
number = 5
async def app(scope, receive, send): pass
class Instance:
    async def __call__(self, scope, receive, send): pass
instance = Instance()
class inner: web = instance
def passing_on(scope, receive, send): return app(scope, receive, send)
def wsgi(environ, start_response): pass
def create(): return app
def broken(): raise KeyError("setting")
def naming(): return 5
def odd(a, b, c, d): pass
native = print
partly = functools.partial(app)
"""


@pytest.fixture(autouse=True)
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "web_module.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [one for one in sys.modules if one.startswith(("web_module", "bad_"))]:
        monkeypatch.delitem(sys.modules, name)


def slip(target: str, *, factory: bool = False) -> str:
    with pytest.raises(UsageError) as caught:
        load_application(target, factory=factory)
    return str(caught.value)


@pytest.mark.parametrize("name", ["app", "instance", "inner.web", "passing_on", "partly", "native"])
def test_every_kind_of_application_is_found(name: str) -> None:
    """Functions, instances, dotted names, wrappers, and what has no signature."""
    assert callable(load_application(f"web_module:{name}"))


def test_a_factory_is_called() -> None:
    """With --factory the application is what it returns."""
    app = load_application("web_module:create", factory=True)
    assert getattr(app, "__name__", "") == "app"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("web_module:nope", "has no 'nope': did you mean web_module:app"),
        ("web_module:inner.nope", "has no 'inner.nope'"),
        ("web_module:number", "is of type int and neither an ASGI application"),
        ("web_module:Instance", "is the class 'Instance': make an instance"),
        ("web_module:wsgi", "takes two arguments, as WSGI applications do"),
        ("web_module:create", "add --factory"),
        ("web_module:odd", "cannot be called with scope, receive and send"),
        ("web_module.py:app", "write a module and not a file, as in web_module:app"),
        ("dir/web.py:", "as in dir.web:app"),
        (":app", "is not MODULE:APP"),
        ("web_module:", "is not MODULE:APP"),
        ("not-a-name:app", "is not MODULE:APP"),
        ("absent_module:app", "no module named 'absent_module' (looked in"),
        ("absent_module.inner:app", "no module named 'absent_module'"),
        ("web_module.inner:app", "no module named 'web_module.inner'"),
    ],
)
def test_slips_are_named_with_their_cure(target: str, words: str) -> None:
    """Each wrong target says what was seen and what to do."""
    assert words in slip(target)


def test_wrong_factories() -> None:
    """A thing that is no factory, one that fails, and one that returns no application."""
    assert "is of type int and not a factory" in slip("web_module:number", factory=True)
    message = slip("web_module:broken", factory=True)
    assert "calling the factory web_module:broken failed at" in message
    assert "in broken: KeyError: 'setting'" in message
    assert "what the factory web_module:naming returned is of type int" in slip(
        "web_module:naming", factory=True
    )


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import nothing_like_this", "bad_module.py:1 in <module>: ModuleNotFoundError"),
        ("\ndef f():\n  1 / 0\nf()", "bad_module.py:3 in f: ZeroDivisionError"),
        ("def f(:", "bad_module.py:1: SyntaxError"),
        ("raise SystemExit(3)", "ended the program (SystemExit 3)"),
    ],
)
def test_errors_of_the_module_are_told_at_their_line(
    source: str, words: str, tmp_path: Path
) -> None:
    """The user's last frame and not ours."""
    (tmp_path / "bad_module.py").write_text(source)
    message = slip("bad_module:app")
    assert "importing 'bad_module'" in message
    assert words in message


def test_the_working_directory_comes_first_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with `python -m`, and not twice."""
    monkeypatch.setattr(sys, "path", ["/elsewhere"])
    put_working_directory_first()
    put_working_directory_first()
    assert sys.path == [str(tmp_path), "/elsewhere"]
