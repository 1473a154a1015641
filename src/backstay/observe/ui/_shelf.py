"""Profiles made for the page, kept for a while so that two of them can be compared."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from backstay._base import wall
from backstay.observe.desk import Desk, Errand, Reply, Request, Wait, as_json, refusal
from backstay.observe.profile import Profile, from_pprof
from backstay.observe.ui._flame import flame
from backstay.observe.ui._task_pages import BadQuery, whole

__all__ = ["Shelf"]

#: Profiles kept, and bytes of all of them together, as they are packed.
_MOST: Final = 20
_MOST_BYTES: Final = 32 * 1024 * 1024
#: Seconds between two looks at whether the client is still there.
_STEP_S: Final = 0.1


class Shelf:
    """Makes profiles by way of the profile desk, and keeps the last twenty, packed."""

    def __init__(self, desk: Desk) -> None:
        """Keep nothing yet.

        Args:
            desk: takes requests below ``/debug/pprof``.
        """
        self._desk = desk
        self._guard = threading.Lock()
        self._kept: OrderedDict[str, tuple[dict[str, Any], bytes]] = OrderedDict()
        self._number = 0
        self._closed = False

    def list(self) -> dict[str, Any]:
        """Return what is kept, the latest first."""
        with self._guard:
            return {"profiles": [told for told, _ in reversed(self._kept.values())]}

    def close(self) -> None:
        """Forget them all, and keep nothing more."""
        with self._guard:
            self._kept.clear()
            self._closed = True

    def packed(self, name: str) -> Reply:
        """Return a kept profile as a pprof file."""
        with self._guard:
            found = self._kept.get(name)
        if found is None:
            return _unknown(name)
        named = f'attachment; filename="{found[0]["kind"]}-{name}.pb.gz"'
        return Reply(200, "application/octet-stream", found[1], (("Content-Disposition", named),))

    def make(self, kind: str, query: Mapping[str, str], wait: Wait) -> Reply:
        """Make a profile, keep it, and tell its name.

        Args:
            kind: as the profile desk names it.
            query: the parameters of the profile.
            wait: ends early when the client has left.
        """
        wanted = {
            name: query[name] for name in ("seconds", "gc", "frames", "rate") if name in query
        }
        made = self._order(Request(f"/debug/pprof/{kind}", wanted), wait)
        if made.status != 200:
            reason = made.body.decode("utf-8", "replace").strip()
            return refusal(made.status, reason)
        with self._guard:
            self._number += 1
            name = str(self._number)
            told = {
                "id": name,
                "kind": kind,
                "asked": urlencode(wanted),
                "made_at": round(wall(), 3),
                "bytes": len(made.body),
            }
            if self._closed:
                return refusal(503, "the admin plane has ended")
            self._kept[name] = told, made.body
            while len(self._kept) > 1 and (
                len(self._kept) > _MOST
                or sum(len(body) for _, body in self._kept.values()) > _MOST_BYTES
            ):
                self._kept.popitem(last=False)
        return as_json(told)

    def _order(self, asked: Request, wait: Wait) -> Reply:
        found = self._desk.answer(asked)
        if not isinstance(found, Errand):
            return found
        done = threading.Event()
        made: list[Reply] = []

        def take(reply: Reply) -> None:
            made.append(reply)
            done.set()

        found.start(take)
        while not done.is_set():
            if wait(0) or done.wait(_STEP_S):
                break
        if not made:
            found.abandon()
            return refusal(503, "nobody waits for it any more")
        return made[0]

    def flame(self, query: Mapping[str, str]) -> Reply:
        """Return a kept profile as a flame graph, or the comparison of two.

        Raises:
            BadQuery: a parameter cannot be meant.
        """
        after = self._read(query.get("id", ""))
        if after is None:
            return _unknown(query.get("id", ""))
        before = None
        if query.get("before"):
            before = self._read(query["before"])
            if before is None:
                return _unknown(query["before"])
            if before.kinds != after.kinds:
                raise BadQuery(
                    "the two profiles are of different kinds, so they cannot be compared"
                )
        standard = next(
            (at for at, one in enumerate(after.kinds) if one[0] == after.default),
            len(after.kinds) - 1,
        )
        kind = whole(query, "value", standard, len(after.kinds) - 1)
        label = (query["label"], query.get("is", "")) if query.get("label") else None
        return as_json(flame(after, kind=kind, before=before, label=label))

    def _read(self, name: str) -> Profile | None:
        with self._guard:
            found = self._kept.get(name)
        return None if found is None else from_pprof(found[1])


def _unknown(name: str) -> Reply:
    return refusal(404, f"no profile {name[:20]!r} is kept: the last {_MOST} are")
