"""Every slip is one line on stderr, exit code 2, no traceback, and nothing left behind."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest
from real_processes import Command

pytestmark = pytest.mark.slow

FILES = {
    "fails.py": "import nothing_like_this",
    "things.py": "number = 5\ndef wsgi(environ, start_response): pass\n",
    "broken.py": "def f(:",
}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("run", "name what to run"),
        ("run -m", "-m needs the name of a module"),
        ("run absent:app", "no module named 'absent'"),
        ("run web:nope", "has no 'nope': did you mean web:app?"),
        ("run web", "neither MODULE:APP nor a file: did you mean web:app, or -m web?"),
        ("run web.py:app", "write a module and not a file, as in web:app"),
        ("run things:number", "is of type int and neither an ASGI application"),
        ("run things:wsgi", "takes two arguments, as WSGI applications do"),
        ("run fails:app", "fails.py:1 in <module>: ModuleNotFoundError"),
        ("run broken:app", "broken.py:1: SyntaxError"),
        ("run absent.py", "no file 'absent.py'"),
        ("run -m absent", "no module named 'absent' to run"),
        ("run -m json", "'json' is a package without __main__"),
        ("run --port 1 fails.py", "--port is for an application"),
        ("run --admission fails.py", "--admission is for an application"),
        ("run web:app --admission --observe", "admission and tenant_rate have no effect"),
        ("run web:app extra", "'extra' is not a flag"),
        ("run web:app --port 99999", "'99999' is not a port"),
        ("run web:app --timeout x", "'x' is not a number of seconds"),
        ("run web:app --max-in-flight 0", "'0' is not a whole number"),
        ("run web:app --grace 2 --lame-duck 3", "leaves nothing of the 2 s of grace"),
        ("run web:app --readyz ready", "'ready' is not a path"),
        ("run web:app --host 192.0.2.1 --port 0", "is it an address of this machine"),
        ("run web:app --loop trio", "invalid choice: 'trio'"),
        ("run web:app --admin 0.0.0.0:1 --port 0", "reachable from outside"),
        ("run web:app --admin no/dir/a.sock --port 0", "cannot be used"),
        ("run web:app --admin web.py --port 0", "exists and is not a socket"),
        ("ps 999999999", "no process with pid 999999999"),
        ("ps absent.sock", "no socket at 'absent.sock'"),
        ("leaks stale.sock", "nobody listens at the stale socket"),
        ("ps web.py", "is not a socket"),
        ("leaks http://127.0.0.1:1", "nothing answers at http://127.0.0.1:1"),
        ("ps 1 --wait x", "'x' is not a number of seconds"),
        ("nonverb", "invalid choice: 'nonverb'"),
    ],
)
def test_one_line_and_two(backstay: Command, room: Path, arguments: str, words: str) -> None:
    """The value seen and the cure, for each way to get it wrong."""
    for name, source in FILES.items():
        (room / name).write_text(source)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(room / "stale.sock"))
    ended = backstay(*arguments.split())
    assert ended.returncode == 2, ended.stderr
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    left = subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout
    assert str(room) not in left
    assert list((room / "runtime").rglob("*.sock")) == []


def test_a_port_in_use_names_who_holds_it(backstay: Command) -> None:
    """Before the application is even imported."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = backstay("run", "web:app", "--port", str(port))
    assert ended.returncode == 2
    assert f"port {port} on 127.0.0.1 is in use by process " in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_foreign_endpoint_is_no_target(backstay: Command) -> None:
    """The port of some other server."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = backstay("ps", f"http://127.0.0.1:{port}", "--wait", "0.3")
    assert ended.returncode == 2
    assert "no answer within 0.3 s" in ended.stderr
