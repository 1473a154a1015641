"""The files of the pages: shipped with the package, read once, sent with strict headers."""

from __future__ import annotations

import hmac
from functools import lru_cache
from importlib import resources
from typing import Final

from backstay.observe.desk import Reply, Request, refusal

__all__ = ["COOKIE", "HEADERS", "PREFIX", "Assets", "page"]

PREFIX: Final = "/ui"

#: The cookie that stands for the token of a plane, where a browser cannot send a header.
COOKIE: Final = "backstay_token"

#: Nothing but our own files runs or is loaded, nobody may frame the page, and no address leaks.
HEADERS: Final = (
    (
        "Content-Security-Policy",
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)

_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


class Assets:
    """Answers below ``/ui``: the page, its styles and its scripts.

    Attributes:
        prefixes: "/ui".
        paths: some of what is below it.
        methods: GET.
    """

    prefixes = (PREFIX,)
    paths = (PREFIX, f"{PREFIX}/", f"{PREFIX}/app.css", f"{PREFIX}/enter")
    methods = ("GET",)

    def __init__(self, token: str = "") -> None:
        """Know the token.

        Args:
            token: that the plane wants; "" for none.
        """
        self._token = token

    def answer(self, asked: Request) -> Reply:
        """Return a file; only those that are shipped can be asked for. They are the same for everybody."""
        if asked.path == f"{PREFIX}/enter":
            return self._enter(asked.query.get("token", ""))
        if asked.path == PREFIX:
            return Reply(303, "text/plain", b"", (("Location", f"{PREFIX}/"), *HEADERS))
        name = asked.path.removeprefix(f"{PREFIX}/") or "index.html"
        body = _files().get(name)
        if body is None:
            return refusal(404, f"no page at {asked.path}: the pages are at {PREFIX}/")
        return Reply(200, _TYPES[name.rpartition(".")[2]], body, HEADERS)

    def close(self) -> None:
        """Hold nothing: the files are the package's."""

    def _enter(self, told: str) -> Reply:
        """Give a browser that knows the token a cookie that stands for it."""
        if not hmac.compare_digest(told.encode("utf-8", "replace"), self._token.encode()):
            return page(
                403,
                "This is not the token",
                "The plane was opened with a token (<code>--admin-token-file</code>): enter that one.",
                f'<a href="{PREFIX}/">Try again</a>',
            )
        found = page(200, "Backstay", f'<a href="{PREFIX}/">Open the pages</a>')
        cookie = f"{COOKIE}={told}; HttpOnly; SameSite=Strict; Path=/"
        more = (("Set-Cookie", cookie), ("Refresh", f"0; url={PREFIX}/"))
        return Reply(200, found.content_type, found.body, (*found.headers, *more))


def page(status: int, title: str, *sentences: str) -> Reply:
    """Return a page of a few sentences, for people who cannot be shown the real one.

    Args:
        status: of HTTP.
        title: what happened.
        sentences: HTML, each a paragraph.
    """
    told = "".join(f"<p>{one}</p>" for one in sentences)
    body = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        f"<h1>{title}</h1>{told}</html>\n"
    )
    policy = ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    return Reply(status, _TYPES["html"], body.encode(), (policy, *HEADERS[1:]))


@lru_cache(maxsize=1)
def _files() -> dict[str, bytes]:
    """Read all files, so that a name in a request never becomes a path."""
    found: dict[str, bytes] = {}
    folders = [("", resources.files("backstay.observe.ui") / "static")]
    while folders:
        above, folder = folders.pop()
        for entry in folder.iterdir():
            if entry.is_dir():
                folders.append((f"{above}{entry.name}/", entry))
            elif entry.name.rpartition(".")[2] in _TYPES:
                found[f"{above}{entry.name}"] = entry.read_bytes()
    return found
