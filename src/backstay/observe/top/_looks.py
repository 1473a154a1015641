"""Asks a process how it is, and compares with the time before: what only grows becomes a rate."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast
from urllib.parse import quote

from backstay._base import now
from backstay.errors import UsageError
from backstay.observe.top._figures import Figures, compare

__all__ = ["Asker", "Look", "Looker"]

#: Seconds between two questions for leaks, at least, and times what the last one took: a report
#: looks at all tasks by itself.
_LEAKS_EVERY_S: Final = 10.0
_LEAKS_TIMES: Final = 20.0
#: Seconds that rates are taken over, at least: births are stamped to a second, so between two stamps whoever
#: takes the place of one that has ended is not told from it. A little less, as looks come a little early.
_SHORTEST_S: Final = 0.95
_NEVER_ASKED: Final = float("-inf")

Document = Mapping[str, Any]


class Asker(Protocol):
    """Whoever fetches the documents of a process, such as an `AdminClient`."""

    def get(self, path: str) -> dict[str, Any]:
        """Return the document at `path`."""
        ...


@dataclass(frozen=True, slots=True)
class Look:
    """What one question has brought.

    Attributes:
        figures: of the process.
        site: of which the details were asked for; "" for none.
        detail: its tasks; None when there is none any more, or nobody asked.
        took_s: seconds until all was there.
    """

    figures: Figures
    site: str = ""
    detail: Document | None = None
    took_s: float = 0.0


class Looker:
    """Looks again and again; remembers the last look, and how the leaks were."""

    def __init__(self, asker: Asker) -> None:
        """Have seen nothing yet.

        Args:
            asker: fetches the documents.
        """
        self._asker = asker
        self._past: deque[Figures] = deque()
        self._leaks: tuple[Document, ...] = ()
        self._leaks_due = _NEVER_ASKED
        self._asking = threading.Lock()

    def look(self, site: str = "") -> Look:
        """Ask the process.

        Args:
            site: a spawn site whose tasks are wanted as well.

        Raises:
            TargetGone: the process does not answer.
            UsageError: it refuses; one with an older Backstay knows no ``/v1/top``.
        """
        began = now()
        told = self._asker.get("/v1/top")
        guards = self._asker.get("/v1/guards")
        self._ask_for_leaks()
        try:
            figures = compare(self._before(told["at_s"]), told, guards, self._leaks)
        except (KeyError, TypeError, ValueError) as error:
            self._past.clear()
            raise UsageError(
                f"the process answers /v1/top in a way that this version does not understand "
                f"({error!r}): use the backstay that it runs with"
            ) from error
        if figures.restarted:
            self._past.clear()
        self._past.append(figures)
        detail = self._detail(site) if site else None
        return Look(figures, site, detail, now() - began)

    def _before(self, at: float) -> Figures | None:
        """Return the look to compare with: the last one that is a second old, or the oldest there is."""
        past = self._past
        while len(past) > 1 and past[1].told["at_s"] <= at - _SHORTEST_S:
            past.popleft()
        return past[0] if past else None

    def _ask_for_leaks(self) -> None:
        """Ask when it is time: at first at once, and later beside the looks, for it may take seconds."""
        if now() < self._leaks_due or self._asking.locked():
            return
        if self._leaks_due == _NEVER_ASKED:
            self._learn_leaks()
        else:
            threading.Thread(
                target=self._learn_leaks, name="backstay-top-leaks", daemon=True
            ).start()

    def _learn_leaks(self) -> None:
        with self._asking:
            asked_at = now()
            try:
                found = self._asker.get("/v1/leaks")
                self._leaks = tuple(cast("list[Document]", found["findings"]))
            except (UsageError, KeyError):
                pass  # the look itself tells when the process is gone
            self._leaks_due = now() + max(_LEAKS_EVERY_S, _LEAKS_TIMES * (now() - asked_at))

    def _detail(self, site: str) -> Document | None:
        try:
            return self._asker.get(f"/v1/top?site={quote(site, safe='')}")
        except UsageError:  # its last task has ended
            return None
