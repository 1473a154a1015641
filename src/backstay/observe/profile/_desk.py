"""Where profiles are ordered: one at a time of a kind, each in a thread of its own while it is made.

The admin plane has one thread for everybody, so nothing that takes time may
happen in it. An order is carried out by a helper thread, which ends with the
profile; whoever wants the same kind meanwhile is told to come again.
"""

from __future__ import annotations

import html
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from backstay.observe.desk import Errand, Reply, Request
from backstay.observe.profile._asked import Asked, Refused, Wait, read_query
from backstay.observe.profile._pprof import to_pprof
from backstay.observe.profile._profile import Profile
from backstay.observe.profile._text import counted_text

__all__ = ["PREFIX", "Desk", "Kind"]

PREFIX = "/debug/pprof"

_TEXT = "text/plain; charset=utf-8"
_PPROF = "application/octet-stream"

Collect = Callable[[Asked, Wait], Profile | str]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of profile that can be ordered.

    Attributes:
        name: as in the URL.
        says: one line for the index.
        collect: makes one, in the helper thread; a text is sent as it is.
        longest_s: the most seconds that it may be asked to take.
        aliases: other names of it.
    """

    name: str
    says: str
    collect: Collect
    longest_s: float = 300.0
    aliases: tuple[str, ...] = ()


@dataclass(slots=True)
class Desk:
    """Takes requests below ``/debug/pprof``.

    Attributes:
        kinds: what can be ordered.
        prefixes: where.
        methods: how.
    """

    kinds: tuple[Kind, ...]
    prefixes: tuple[str, ...] = (PREFIX,)
    methods: tuple[str, ...] = ("GET",)
    _busy: set[str] = field(default_factory=set[str])
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def paths(self) -> tuple[str, ...]:
        """The index, and one path for each kind."""
        return (f"{PREFIX}/", *(f"{PREFIX}/{one.name}" for one in self.kinds))

    def close(self) -> None:
        """Hold nothing: a profile ends with the errand that makes it."""

    def answer(self, asked: Request) -> Reply | Errand:
        """Return the index, a refusal, or an errand that makes the profile."""
        name = asked.path.removeprefix(PREFIX).strip("/")
        if not name:
            return self._index()
        kind = next((one for one in self.kinds if name == one.name or name in one.aliases), None)
        if kind is None:
            known = ", ".join(one.name for one in self.kinds)
            return refusal(404, f"Unknown profile: there are {known}")
        try:
            order = read_query(name, asked.query, kind.longest_s)
        except Refused as error:
            return refusal(error.status, error.reason)
        with self._guard:
            if kind.name in self._busy:
                return refusal(409, f"another {kind.name} profile is being made: try again soon")
            self._busy.add(kind.name)
        return Errand(
            f"profile-{kind.name}",
            kind.longest_s,
            lambda wait: _make(kind, order, wait),
            done=lambda: self._free(kind.name),
            refuse=refusal,
        )

    def _free(self, name: str) -> None:
        with self._guard:
            self._busy.discard(name)

    def _index(self) -> Reply:
        rows = "".join(
            f'<tr><td><a href="{one.name}?debug=1">{one.name}</a></td><td>{html.escape(one.says)}</td></tr>'
            for one in self.kinds
        )
        page = (
            f"<!doctype html><html><head><title>{PREFIX}/</title></head><body><p>{PREFIX}/</p>"
            f"<table>{rows}</table><p>debug=1 and debug=2 show text, without it there is a file for "
            f"<code>go tool pprof</code>; seconds=N looks for so long.</p></body></html>\n"
        )
        policy = ("Content-Security-Policy", "default-src 'none'")
        return Reply(200, "text/html; charset=utf-8", page.encode(), (policy,))


def _make(kind: Kind, asked: Asked, wait: Wait) -> Reply:
    try:
        made = kind.collect(asked, wait)
    except Refused as error:
        return refusal(error.status, error.reason)
    if isinstance(made, Profile):
        if not asked.debug:
            return _file(asked, to_pprof(made))
        made = counted_text(kind.name, made)
    return Reply(200, _TEXT, made.encode("utf-8", "backslashreplace"))


def refusal(status: int, reason: str) -> Reply:
    """Return an error as Go's pprof sends it, so that `go tool pprof` shows the sentence."""
    return Reply(status, _TEXT, f"{reason}\n".encode(), (("X-Go-Pprof", "1"),))


def _file(asked: Asked, body: bytes) -> Reply:
    delta = "-delta" if asked.seconds is not None and asked.name != "profile" else ""
    named = f'attachment; filename="{asked.name}{delta}.pb.gz"'
    return Reply(200, _PPROF, body, (("Content-Disposition", named),))
