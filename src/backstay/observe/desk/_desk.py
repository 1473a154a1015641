"""What the admin plane expects of a room that answers below some paths."""

from __future__ import annotations

from typing import Protocol

from backstay.observe.desk._errand import Errand
from backstay.observe.desk._reply import Reply
from backstay.observe.desk._request import Request

__all__ = ["Desk"]


class Desk(Protocol):
    """Answers what is asked below its paths.

    The plane has looked at the caller before: who it is, whether it may act, and whether the
    method is one of `methods`.
    """

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Paths that are its own, each with all that is below it: "/v1/probes"."""
        ...

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods it knows: ("GET",), or ("GET", "POST") when it can act."""
        ...

    @property
    def paths(self) -> tuple[str, ...]:
        """Every document that can be asked for, for whoever lists or tests them all.

        Where a path has a part that varies (the number of a probe), one that need not exist.
        """
        ...

    def answer(self, asked: Request) -> Reply | Errand:
        """Return the reply, or an errand that the plane starts. Called in the plane's thread."""
        ...

    def close(self) -> None:
        """Let go of what it holds: threads, windows, files, documents kept.

        The plane calls it once, when it ends, and gives all desks together a second or two; so it
        asks threads to end, and does not wait for them.
        """
        ...
