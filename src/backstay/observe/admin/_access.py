"""Who may ask the admin plane for what, decided from a request alone.

The first guards stand elsewhere: a socket of mode 0600, and the kernel's word for who is at its
other end. What is decided here keeps out those who reach a loopback address: other users, who
do not know the token, and web pages, which a browser on this machine could be led to load.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import urlsplit

from backstay.errors import UsageError
from backstay.observe.admin._http import Refusal
from backstay.observe.desk import Request
from backstay.observe.ui import COOKIE, PREFIX

__all__ = ["COOKIE", "Access", "check_token", "read_token"]

#: Characters of a token. 128 bits in base64 have 22; below 16 it could be guessed.
_SHORTEST, _LONGEST = 16, 512

#: Answered without a token: they say one bit, and the kubelet has no token.
_OPEN = frozenset({"/livez", "/readyz"})


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of one plane.

    Attributes:
        token: what a client has to know; "" for none.
        allow_actions: whether POST is answered.
        over_network: whether it listens at an address, and not at a unix socket.
        beyond_loopback: whether that address can be reached from other machines.
    """

    token: str = ""
    allow_actions: bool = False
    over_network: bool = False
    beyond_loopback: bool = False

    def refuse(self, asked: Request) -> Refusal | None:
        """Return why a request is refused, or None when it may be answered."""
        return self._stranger(asked) or self._unknown(asked) or self._inactive(asked)

    def _stranger(self, asked: Request) -> Refusal | None:
        """Keep web pages out: a browser says for which page it asks."""
        if self.over_network and not self.beyond_loopback and not _is_loopback(asked.host):
            return Refusal(403, f"the Host header {asked.host!r} is not a loopback address")
        site = asked.headers.get("sec-fetch-site", "none")
        # A link to the pages may be followed from anywhere; to a document it could not be read, but
        # would be made: a page of another site could have profiles taken, in a frame that nobody sees.
        led_here = (
            asked.method == "GET"
            and asked.headers.get("sec-fetch-mode") == "navigate"
            and asked.headers.get("sec-fetch-dest", "document") == "document"
            and f"{asked.path}/".startswith(f"{PREFIX}/")
        )
        if site not in ("none", "same-origin") and not led_here:
            return Refusal(403, "a page of another site asks: open the address itself")
        origin = asked.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != asked.host:
            return Refusal(403, f"the page {origin[:100]!r} asks, which is not one of ours")
        return None

    def _unknown(self, asked: Request) -> Refusal | None:
        if not self.token or asked.path in _OPEN or self._knows_token(asked.headers):
            return None
        if f"{asked.path}/".startswith(f"{PREFIX}/"):
            return (
                None  # the files of the pages, the same everywhere, and where the token is entered
            )
        return Refusal(401, "this plane wants its token: send 'Authorization: Bearer TOKEN'")

    def _knows_token(self, headers: Mapping[str, str]) -> bool:
        scheme, _, told = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            told = _cookie(headers.get("cookie", ""))
        # In a time that does not tell how much of it is right.
        return hmac.compare_digest(told.strip().encode("utf-8", "replace"), self.token.encode())

    def _inactive(self, asked: Request) -> Refusal | None:
        if asked.method == "GET":
            return None
        if not self.allow_actions:
            return Refusal(403, "this plane only looks: open it with --allow-actions to act")
        kind = asked.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":  # what no form of another page can send
            return Refusal(415, f"the Content-Type is {kind[:60]!r} and has to be application/json")
        return None


def check_token(token: str) -> str:
    """Return a token that is fit for use.

    Raises:
        UsageError: it is too short or too long, or holds what a header cannot.
    """
    if not _SHORTEST <= len(token) <= _LONGEST:
        raise UsageError(
            f"the token of the admin plane has {len(token)} characters: give it {_SHORTEST} to "
            f"{_LONGEST}, such as python -c 'import secrets; print(secrets.token_urlsafe())' makes"
        )
    if not all("!" <= one <= "~" and one not in '",;\\' for one in token):
        raise UsageError(
            'the token of the admin plane may hold printable ASCII without ", ; \\ and spaces'
        )
    return token


def read_token(path: str | os.PathLike[str]) -> str:
    """Return the token that stands in a file, without the line's end.

    Raises:
        UsageError: the file cannot be read, or holds no fit token.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"the token cannot be read from {os.fspath(path)!r}: {why}") from error
    return check_token(text.strip())


def _is_loopback(host: str) -> bool:
    """Tell whether a Host header means this machine; 127.0.0.1.example.org does not."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value
