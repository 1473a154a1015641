"""Names for requests: few, short, and the same for every order.

A scope's name is a label in dumps and statistics, so ``GET /orders/17`` and
``GET /orders/18`` must both be ``GET /orders/{order_id}``. The framework knows
the template only after routing, when the scope is already open. Therefore the
first request of a kind is named by what its path looks like, and what the
framework then says about it (`path_params` in the ASGI scope, which Starlette,
FastAPI and Litestar all set) names the next ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["RouteNames"]

_MOST_NAMES = 256  # distinct names; further ones become "METHOD *"
_MOST_PATHS = (
    512  # remembered paths; a cache, dropped whole when full. Small: it must not look like a leak
)
_LONGEST_PATH = 256  # characters; longer paths are named anew each time
_MOST_SEGMENTS = 8
_LONGEST_SEGMENT = 32
_METHOD = re.compile(r"[A-Z]{1,10}")
_LOOKS_LIKE_ID = re.compile(
    r"[0-9]+"  # 17
    r"|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"  # a UUID
    r"|(?=[^0-9]*[0-9])[0-9a-fA-F]{8,}"  # a hash
    r"|(?=[^0-9]*[0-9])[A-Za-z0-9_-]{16,}"  # a ULID, a token
)
_STRANGE = re.compile(r"[^A-Za-z0-9._~{}:@+-]")


class RouteNames:
    """Remembers which name belongs to which path.

    Attributes:
        known: (method, path) -> name, of paths met before: the quick way.
        learned: names that come from a framework's own routing.
    """

    __slots__ = ("_names", "_templates", "known", "learned")

    def __init__(self) -> None:
        """Start knowing nothing."""
        self.known: dict[tuple[str, str], str] = {}
        self._names: set[str] = set()
        self.learned: set[str] = set()
        # (method, number of segments) -> templates, None standing for a parameter
        self._templates: dict[tuple[str, int], list[tuple[tuple[str | None, ...], str]]] = {}

    def name(self, method: str, path: str) -> str:
        """Return the name for a path met for the first time."""
        if _METHOD.fullmatch(method) is None:
            method = "?"
        segments = path[:2048].split("/")[1:]
        name = self._by_template(method, segments)
        if name is None:
            name = f"{method} {_by_looks(segments)}"
        return self._remember(method, path, name)

    def learn(self, method: str, path: str, parameters: Mapping[str, object]) -> None:
        """Note what the framework took for parameters in `path`."""
        if not parameters or _METHOD.fullmatch(method) is None or len(path) > _LONGEST_PATH:
            return
        values = {str(value): key for key, value in parameters.items()}
        segments = path.split("/")[1:]
        pattern = tuple(None if segment in values else segment for segment in segments)
        if None not in pattern or len(segments) > _MOST_SEGMENTS:
            return
        known = self._templates.setdefault((method, len(segments)), [])
        if any(pattern == other for other, _ in known) or len(known) >= _MOST_NAMES:
            return
        shown = [f"{{{values[s]}}}" if s in values else _clean(s) for s in segments]
        name = f"{method} /{'/'.join(shown)}"[:120]
        known.append((pattern, name))
        self.learned.add(name)
        self.known.clear()  # what looks have named so far may be named better now

    def _by_template(self, method: str, segments: list[str]) -> str | None:
        for pattern, name in self._templates.get((method, len(segments)), ()):
            if all(p is None or p == s for p, s in zip(pattern, segments, strict=True)):
                return name
        return None

    def _remember(self, method: str, path: str, name: str) -> str:
        if name not in self._names:
            if len(self._names) >= _MOST_NAMES:
                return f"{method} *"
            self._names.add(name)
        if len(path) <= _LONGEST_PATH:
            if len(self.known) >= _MOST_PATHS:
                self.known.clear()
            self.known[method, path] = name
        return name


def _by_looks(segments: list[str]) -> str:
    shown = [
        "{id}" if _LOOKS_LIKE_ID.fullmatch(s) or len(s) > _LONGEST_SEGMENT else _clean(s)
        for s in segments[:_MOST_SEGMENTS]
    ]
    if len(segments) > _MOST_SEGMENTS:
        shown.append("…")
    return f"/{'/'.join(shown)}"[:120]


def _clean(segment: str) -> str:
    return _STRANGE.sub("?", segment[:_LONGEST_SEGMENT])
