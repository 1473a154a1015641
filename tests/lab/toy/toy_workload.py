"""The toy's customers: everybody asks for work."""

from __future__ import annotations

from collections.abc import Mapping

from backstay.lab.load import Request


class Work:
    """The same request again and again."""

    def __init__(self, seed: int, options: Mapping[str, object]) -> None:
        """Need nothing."""

    def next(self) -> Request:
        """Ask for work."""
        return Request(path="/work", kind="work", unaffected=True)

    def observe(self, request: Request, status: int | None, body: bytes) -> bool:
        """Be pleased by 200."""
        return status == 200
