"""Who may ask an admin plane for what: tokens, actions, and web pages that are kept out."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from backstay.errors import UsageError
from backstay.observe.admin import AdminClient, AdminServer, read_token
from backstay.observe.admin._access import Access, check_token
from backstay.observe.admin._desks import find_desk
from backstay.observe.desk import Errand, Reply, Request, as_json

TOKEN = "correct-horse-battery"


def asks(
    method: str = "GET", path: str = "/v1/ps", host: str = "127.0.0.1:9400", **headers: str
) -> Request:
    named: Mapping[str, str] = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(path, {}, host, "", method, named)


def status(access: Access, asked: Request) -> int:
    refusal = access.refuse(asked)
    return 0 if refusal is None else refusal.status


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (asks(), 401),
        (asks(authorization=f"Bearer {TOKEN}"), 0),
        (asks(authorization=f"bearer  {TOKEN} "), 0),
        (asks(authorization=f"Basic {TOKEN}"), 401),
        (asks(authorization="Bearer"), 401),
        (asks(authorization="Bearer " + TOKEN[:-1]), 401),
        (asks(authorization="Bearer " + TOKEN + "x"), 401),
        (asks(authorization="Bearer \xe4\udcff"), 401),
        (asks(cookie=f"a=b; backstay_token={TOKEN}"), 0),
        (asks(cookie="backstay_token=guess"), 401),
        (asks(cookie="\x00;=;;"), 401),
        (asks(path="/livez"), 0),
        (asks(path="/readyz"), 0),
        (asks(path="/healthz"), 401),
    ],
)
def test_a_token_is_wanted(asked: Request, expected: int) -> None:
    """In a header or in the cookie; all but the two probes want it."""
    assert status(Access(TOKEN), asked) == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (asks(host="attacker.example:9400"), 403),
        (asks(host=""), 403),
        (asks(host="[::1"), 403),
        (asks(host="localhost:1"), 0),
        (asks(host="[::1]:9400"), 0),
        (asks(host="127.0.0.1.attacker.example"), 403),
        (asks(sec_fetch_site="cross-site", sec_fetch_mode="no-cors"), 403),
        (asks(sec_fetch_site="same-site", sec_fetch_mode="cors"), 403),
        (asks(sec_fetch_site="same-origin", sec_fetch_mode="cors"), 0),
        (asks(sec_fetch_site="none", sec_fetch_mode="navigate"), 0),
        (asks(path="/ui/", sec_fetch_site="cross-site", sec_fetch_mode="navigate"), 0),
        (asks(path="/ui/", sec_fetch_site="cross-site", sec_fetch_mode="no-cors"), 403),
        (
            asks(
                path="/ui/",
                sec_fetch_site="cross-site",
                sec_fetch_mode="navigate",
                sec_fetch_dest="iframe",
            ),
            403,
        ),
        (asks(sec_fetch_site="cross-site", sec_fetch_mode="navigate"), 403),
        (asks(path="/uix", sec_fetch_site="cross-site", sec_fetch_mode="navigate"), 403),
        (asks(origin="http://127.0.0.1:9400"), 0),
        (asks(origin="http://127.0.0.1:8000"), 403),
        (asks(origin="null"), 403),
    ],
)
def test_web_pages_of_others_are_kept_out(asked: Request, expected: int) -> None:
    """By the name they ask for (DNS rebinding), and by what the browser says of them; a link may lead here."""
    assert status(Access(over_network=True), asked) == expected


def test_a_link_may_look_but_not_act() -> None:
    """A form of another page navigates as well."""
    access = Access(allow_actions=True, over_network=True)
    form = asks(
        "POST", sec_fetch_site="cross-site", sec_fetch_mode="navigate", content_type="text/plain"
    )
    assert status(access, form) == 403


@pytest.mark.parametrize(
    ("allowed", "kind", "expected"),
    [
        (False, "application/json", 403),
        (True, "application/json", 0),
        (True, "application/json; charset=utf-8", 0),
        (True, "text/plain", 415),
        (True, "", 415),
    ],
)
def test_acting_is_off_unless_allowed(allowed: bool, kind: str, expected: int) -> None:
    """And wants a type that no form of a page can send."""
    assert status(Access(allow_actions=allowed), asks("POST", content_type=kind)) == expected


@pytest.mark.parametrize(
    "token", ["", "short", "x" * 513, "with a space in it......", 'quote"quote"quote', "käse" * 8]
)
def test_tokens_that_are_not_fit(token: str, tmp_path: Path) -> None:
    """Guessable ones, and what no header or cookie can carry; from a file as well."""
    with pytest.raises(UsageError, match="the token of the admin plane"):
        check_token(token)
    (tmp_path / "token").write_text(token + "\n", encoding="utf-8")
    with pytest.raises(UsageError, match="the token of the admin plane"):
        read_token(tmp_path / "token")


def test_a_token_is_read_from_a_file(tmp_path: Path) -> None:
    """Without the end of the line; what cannot be read is said in one line."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(tmp_path / "token") == TOKEN
    with pytest.raises(UsageError, match="No such file"):
        read_token(tmp_path / "nothing")
    (tmp_path / "bytes").write_bytes(b"\xff" * 20)
    with pytest.raises(UsageError, match="it is no text"):
        read_token(tmp_path / "bytes")


class Echo:
    """A desk that tells what it was sent."""

    prefixes = ("/v1/echo",)
    methods = ("GET", "POST")

    def answer(self, asked: Request) -> Reply | Errand:
        """Answer at once, later, or by an error."""
        if asked.path.endswith("/error"):
            raise ValueError("odd")
        told = {"method": asked.method, "body": asked.body.decode()}
        if asked.path.endswith("/later"):
            return Errand("echo", 5.0, lambda wait: as_json(told))
        return as_json(told)


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[AdminServer]:
    """Open a plane with a token that may act, at a loopback address."""
    with AdminServer("127.0.0.1:0", leak_interval=0, token=TOKEN, allow_actions=True) as server:
        server._desks += (Echo(),)
        yield server


def test_a_desk_is_asked_and_may_act(plane: AdminServer) -> None:
    """GET and POST, at once and by an errand."""
    client = AdminClient(plane.address, token=TOKEN)
    assert client.get("/v1/echo") == {"method": "GET", "body": ""}
    assert client.post("/v1/echo", {"a": [1]}) == {"method": "POST", "body": '{"a": [1]}'}
    assert client.post("/v1/echo/later", None) == {"method": "POST", "body": "null"}
    big = {"a": "x" * 60_000}
    assert json.loads(client.post("/v1/echo", big)["body"]) == big
    with pytest.raises(UsageError, match="ValueError: odd"):
        client.get("/v1/echo/error")
    with pytest.raises(UsageError, match="no document at /v1/echoes"):
        client.get("/v1/echoes")


def test_a_document_cannot_be_posted_to(plane: AdminServer) -> None:
    """405, and what it is for; a profile likewise."""
    client = AdminClient(plane.address, token=TOKEN)
    for path in ("/v1/ps", "/debug/pprof/task"):
        with pytest.raises(UsageError, match="is for GET, not for POST"):
            client.post(path, None)


def test_the_token_comes_from_the_environment(
    plane: AdminServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that every verb has it; without it the plane says what it wants."""
    monkeypatch.delenv("BACKSTAY_ADMIN_TOKEN", raising=False)
    with pytest.raises(UsageError, match="wants its token"):
        AdminClient(plane.address).get("/v1/ps")
    assert AdminClient(plane.address).get("/livez")["alive"]
    monkeypatch.setenv("BACKSTAY_ADMIN_TOKEN", TOKEN)
    assert AdminClient(plane.address).get("/v1/echo")
    with pytest.raises(UsageError, match="no header can carry"):
        AdminClient(plane.address, token="a\r\nb")


def test_beyond_loopback_only_with_a_token() -> None:
    """Without one it is refused; with one the Host may be anything, and the token is what counts."""
    with pytest.raises(UsageError, match="without a token"):
        AdminServer("0.0.0.0:0", leak_interval=0).start()
    with AdminServer("0.0.0.0:0", leak_interval=0, token=TOKEN) as server:
        port = urlsplit(server.address).port
        with socket.create_connection(("127.0.0.1", port or 0), timeout=5) as sock:
            sock.sendall(
                f"GET /v1/ps HTTP/1.1\r\nHost: pod.example\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
            )
            assert sock.recv(100).startswith(b"HTTP/1.1 200")


def test_the_nearest_desk_owns_a_path() -> None:
    """A prefix is a whole path or the beginning of one at a slash."""
    wide, narrow = Echo(), Echo()
    narrow.prefixes = ("/v1/echo/deep",)  # type: ignore[assignment]
    assert find_desk((wide, narrow), "/v1/echo/deep/er") is narrow
    assert find_desk((narrow, wide), "/v1/echo/deeper") is wide
    assert find_desk((narrow, wide), "/v1/ech") is None
