"""One diagnosis at a time: alerts wait in line, and those about one target share what is found."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from backstay._base import wall
from backstay.errors import UsageError
from backstay.observe.diagnose._alert import Alert, target_of
from backstay.observe.diagnose._diagnosis import Diagnosis
from backstay.observe.diagnose._shelf import Shelf
from backstay.observe.diagnose._survey import Wait

__all__ = ["AlertQueue", "Full"]

#: Alerts in line. An Alertmanager sends again what was refused.
MOST_WAITING: Final = 256
#: Alerts remembered, so that one that is sent again and again makes one report.
_MOST_KNOWN = 4096

Survey = Callable[[str, Wait], Diagnosis | None]
"""Looks at a target; waits with the function given."""

_log = logging.getLogger("backstay.diagnose")


class Full(Exception):
    """No room for more alerts."""


class AlertQueue:
    """Takes alerts, and has one thread make a report of each.

    Invariant: at most one survey runs, however many alerts fire.
    """

    def __init__(self, targets: Mapping[str, str], survey: Survey, shelf: Shelf) -> None:
        """Prepare; `start` begins.

        Args:
            targets: by name, see `target_of`.
            survey: looks at a target.
            shelf: where reports are put.
        """
        self._targets = dict(targets)
        self._survey = survey
        self._shelf = shelf
        self._guard = threading.Condition()
        self._waiting: dict[str, list[Alert]] = {}  # by target, the longest in line first
        self._known: OrderedDict[str, None] = OrderedDict()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="backstay-diagnose", daemon=True)

    def add(self, alerts: list[Alert]) -> int:
        """Put alerts in line; callable from any thread.

        Returns:
            How many are new and about a target of ours; the others need no report.

        Raises:
            Full: too many wait already; none of these was taken.
        """
        with self._guard:
            new = {alert.key: alert for alert in alerts if alert.key not in self._known}
            placed = [(alert, target_of(alert, self._targets)) for alert in new.values()]
            if sum(map(len, self._waiting.values())) + len(placed) > MOST_WAITING:
                raise Full
            taken = 0
            for alert, target in placed:
                self._known[alert.key] = None
                if target is None:
                    _log.warning("no target for the alert %r: give one with --target", alert.name)
                    continue
                self._waiting.setdefault(target, []).append(alert)
                taken += 1
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
            self._guard.notify_all()
        return taken

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Cut short what is under way, and wait until the thread has ended."""
        self._over.set()
        with self._guard:
            self._guard.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._guard:
                self._guard.wait_for(lambda: self._waiting or self._over.is_set())
                if self._over.is_set():
                    return
                target = next(iter(self._waiting))
                # Who joins from here on asks about a later moment and gets a look of its own.
                alerts = self._waiting.pop(target)
            try:
                self._report(target, alerts)
            except Exception:
                # A full disk, a document that makes no sense: the next alert may have more luck.
                _log.exception("no report for %s", ", ".join(alert.name for alert in alerts))

    def _report(self, target: str, alerts: list[Alert]) -> None:
        try:
            diagnosis = self._survey(target, self._over.wait)
        except UsageError as error:
            with self._guard:  # sent again, it is worth another try
                for alert in alerts:
                    self._known.pop(alert.key, None)
            for alert in alerts:
                path = self._shelf.put_failure(alert, wall(), str(error))
                _log.warning("%s: no diagnosis: %s (%s)", alert.name, error, path)
            return
        if diagnosis is None:
            return  # we are asked to end
        for alert in alerts:
            path = self._shelf.put(alert, replace(diagnosis, alert=alert.words))
            _log.warning("%s: %d findings: %s", alert.name, len(diagnosis.causes), path)
