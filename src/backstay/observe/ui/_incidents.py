"""Diagnoses made for the page: the whole root-cause flow, of this process, kept for a while."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

from backstay._base import wall
from backstay.observe.desk import Reply, Wait, as_json, refusal
from backstay.observe.diagnose import survey
from backstay.observe.target import AdminClient
from backstay.observe.ui._task_pages import BadQuery

__all__ = ["Incidents"]

#: Diagnoses kept.
_MOST: Final = 10
#: Seconds that one may look.
_LONGEST_S: Final = 300.0


class Incidents:
    """Makes diagnoses, one at a time, by asking the own admin plane as anybody would."""

    def __init__(self, address: Callable[[], str], token: str = "") -> None:
        """Keep nothing yet.

        Args:
            address: where the plane listens, once it does.
            token: that it wants.
        """
        self._address = address
        self._token = token
        self._making = threading.Lock()
        self._kept: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._number = 0

    def list(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return what is kept, the latest first, and one of them whole when `id` names it."""
        kept = list(self._kept.items())[::-1]
        told: dict[str, Any] = {"incidents": [one["row"] for _, one in kept]}
        found = self._kept.get(query.get("id", ""))
        if found is not None:
            told["document"] = found["document"]
        return told

    def close(self) -> None:
        """Forget them all."""
        self._kept.clear()

    def make(self, query: Mapping[str, str], wait: Wait) -> Reply:
        """Look for some seconds, and keep what was found.

        Raises:
            BadQuery: the seconds are none, or too many.
        """
        try:
            seconds = float(query.get("seconds", "30"))
        except ValueError:
            seconds = 0.0
        if not 1 <= seconds <= _LONGEST_S:
            raise BadQuery(f"seconds is out of range: give 1 to {_LONGEST_S:g}")
        if not self._making.acquire(blocking=False):
            return refusal(409, "another diagnosis is being made: try again soon")
        try:
            client = AdminClient(self._address(), timeout=30.0, token=self._token)
            found = survey(client, seconds, wait, target=self._address())
        finally:
            self._making.release()
        if found is None:
            return refusal(503, "nobody waits for it any more")
        self._number += 1
        name = str(self._number)
        document = found.to_json()
        row = {
            "id": name,
            "made_at": round(wall(), 3),
            "seconds": seconds,
            "findings": len(found.causes),
            "verdict": found.causes[0].headline if found.causes else "nothing to accuse",
        }
        self._kept[name] = {"row": row, "document": document}
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)
        return as_json(row)
