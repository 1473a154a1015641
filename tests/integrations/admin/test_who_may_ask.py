"""Who gets nothing, of every document that there is: other users, other sites, other names, other tokens."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tested_plane import Plane, plane

from backstay.errors import UsageError
from backstay.observe.admin import AdminServer
from backstay.observe.admin import _access as access_module

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

TOKEN = "correct-horse-battery"
OPEN = ("/livez", "/readyz")
PATHS = tuple(AdminServer(leak_interval=0).paths)

# Asks for each path as another user, and prints the first line of each answer.
ASK = """
import socket, sys
for path in sys.argv[2:]:
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(sys.argv[1])
        sock.sendall(f"GET {path} HTTP/1.1\\r\\n\\r\\n".encode())
    except BrokenPipeError:
        pass
    except OSError as error:
        print(type(error).__name__)
        continue
    print(sock.recv(65536).split(b"\\r\\n")[0].decode())
"""


@pytest.fixture(scope="module")
def local() -> Iterator[Plane]:
    """Open a plane on loopback without a token."""
    with pytest.MonkeyPatch.context() as patch, plane("127.0.0.1:0", patch) as found:
        yield found


@pytest.fixture(scope="module")
def guarded() -> Iterator[Plane]:
    """Open a plane on loopback with a token."""
    with pytest.MonkeyPatch.context() as patch, plane("127.0.0.1:0", patch, token=TOKEN) as found:
        yield found


def status(found: Plane, path: str, *headers: str, host: str = "localhost") -> int:
    """Return the status of an answer."""
    head = "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *headers, "", ""])
    answer = found.talk([head.encode("latin-1")])
    assert answer
    return int(answer.split(b" ")[1])


@pytest.mark.parametrize("path", PATHS)
def test_other_names_and_other_sites_get_no_document(local: Plane, path: str) -> None:
    """A name that was pointed at loopback; a page of another site that asks, by whatever means."""
    for host in (
        "evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "",
        "localhost.evil.example",
    ):
        assert status(local, path, host=host) == 403, host
    for headers in (
        ("Origin: http://evil.example",),
        ("Origin: null",),
        ("Origin: http://localhost:1",),
        ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"),
        ("Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: cors"),
        ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"),
    ):
        assert status(local, path, *headers) == 403, headers
    followed = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate")
    assert (status(local, path, *followed) != 403) == path.startswith("/ui")


@pytest.mark.parametrize("path", PATHS)
def test_without_the_token_there_is_no_document(guarded: Plane, path: str) -> None:
    """In a header or a cookie, and the right one; the files of the pages and two bits are for everybody."""
    for headers in (
        (),
        ("Authorization: Bearer",),
        (f"Authorization: Bearer {TOKEN[:-1]}",),
        (f"Authorization: Bearer {TOKEN}x",),
        (f"Authorization: Basic {TOKEN}",),
        (f"X-Token: {TOKEN}",),
        ("Cookie: backstay_token=guess",),
    ):
        got = status(guarded, path, *headers)
        assert got in (200, 303, 403) if path.startswith("/ui") else got == 401 or path in OPEN
    assert status(guarded, f"{path}?token={TOKEN}") != 500
    assert guarded.log.told == []


def test_a_token_is_compared_in_constant_time(
    guarded: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison is that of `hmac`, whatever was sent."""
    compared: list[bytes] = []

    def compare(told: bytes, right: bytes) -> bool:
        compared.append(told)
        return told == right

    monkeypatch.setattr(access_module.hmac, "compare_digest", compare)
    for told in ("a", TOKEN, TOKEN + "x"):
        status(guarded, "/v1/statistics", f"Authorization: Bearer {told}")
    assert compared == [b"a", TOKEN.encode(), TOKEN.encode() + b"x"]


@pytest.mark.parametrize("where", ["0.0.0.0:0", "192.0.2.1:0", "[::]:0"])
def test_beyond_loopback_there_is_no_plane_without_a_token(where: str) -> None:
    """It is refused before anything listens."""
    with pytest.raises(UsageError, match="without a token"):
        AdminServer(where, leak_interval=0).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_gets_nothing(tmp_path: Path) -> None:
    """Neither past the mode of the socket, nor, were that ever too wide, past the word of the kernel."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None:
        pytest.skip("no Python that another user may run")
    folder = Path("/tmp") / f"backstay-test-{os.getpid()}"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    try:
        with pytest.MonkeyPatch.context() as patch, plane(folder / "a.sock", patch) as found:
            assert (folder / "a.sock").stat().st_mode & 0o777 == 0o600

            def ask() -> set[str]:
                ended = subprocess.run(
                    [python, "-I", "-c", ASK, found.server.address, *PATHS],
                    user=65534,
                    cwd="/",
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=True,
                )
                assert len(ended.stdout.splitlines()) == len(PATHS), ended.stderr
                return set(ended.stdout.splitlines())

            assert ask() == {"PermissionError"}
            (folder / "a.sock").chmod(0o666)
            assert ask() == {"HTTP/1.1 403 Forbidden"}
            with socket.socket(socket.AF_UNIX) as own:
                own.connect(found.server.address)
            found.is_well()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
