"""What an Alertmanager or a Prometheus sends, read with suspicion: it decides nothing but which target is looked at.

The target comes from our own list and never from the message, so that nobody who can send one can
have an address of his choice asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

from backstay._base import wall

__all__ = ["Alert", "read_alerts", "target_of"]

#: Alerts of one message; a group of more is one outage, and its first say enough.
MOST_ALERTS: Final = 64
_MOST_WORDS = 32  # labels and annotations of one alert
_LONGEST = 500  # characters of each
#: Labels that may name a target, the most exact first.
TARGET_LABELS: Final = ("instance", "pod", "job", "service")


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert that fires.

    Attributes:
        name: the label ``alertname``; "alert" without one.
        key: equal for the same alert when it is sent again, and another once it fires anew.
        words: labels, and annotations with "annotation " before their names.
    """

    name: str
    key: str
    words: tuple[tuple[str, str], ...]


def read_alerts(message: object) -> list[Alert]:
    """Return the alerts of a message that fire; those that are resolved need no report.

    Args:
        message: the JSON of a webhook (version 4), or the list that a Prometheus posts to an
            Alertmanager's API, version 2.

    Raises:
        ValueError: it is something else.
    """
    listed: object = message
    if _is_map(message):
        listed = cast("Mapping[str, Any]", message).get("alerts")
    if not isinstance(listed, list):
        raise ValueError(
            "expected the JSON of an Alertmanager webhook, with a list of 'alerts', or such a list itself"
        )
    found: list[Alert] = []
    for one in cast("list[object]", listed)[:MOST_ALERTS]:
        if not _is_map(one):
            raise ValueError("expected each of the 'alerts' to be an object with labels")
        alert = cast("Mapping[str, Any]", one)
        if alert.get("status", "firing") == "firing" and not _is_over(alert.get("endsAt")):
            found.append(_alert(alert))
    return found


def target_of(alert: Alert, targets: Mapping[str, str]) -> str | None:
    """Return the target that an alert is about, or None when we have none for it.

    Args:
        alert: that fires.
        targets: by name; the one named "" stands for all alerts that name no other.
    """
    words = dict(alert.words)
    for label in TARGET_LABELS:
        named = words.get(label)
        if named and named in targets:
            return targets[named]
    return targets.get("")


def _is_over(ends_at: object) -> bool:
    """Tell whether an alert is resolved by its time: a Prometheus sends no status."""
    if not isinstance(ends_at, str) or ends_at.startswith("0001-"):  # Go's zero: not known
        return False
    try:
        return datetime.fromisoformat(ends_at).timestamp() <= wall()
    except (ValueError, OverflowError, OSError):
        return False


def _is_map(value: object) -> bool:
    return isinstance(value, Mapping)


def _alert(alert: Mapping[str, Any]) -> Alert:
    labels = _texts(alert.get("labels"))
    notes = [(f"annotation {name}", text) for name, text in _texts(alert.get("annotations"))]
    known = str(alert.get("fingerprint") or sorted(labels))
    key = hashlib.sha256(f"{known} {alert.get('startsAt')}".encode(errors="replace")).hexdigest()
    return Alert(dict(labels).get("alertname") or "alert", key[:12], (*labels, *notes))


def _texts(found: object) -> list[tuple[str, str]]:
    if not _is_map(found):
        return []
    pairs = list(cast("Mapping[object, object]", found).items())[:_MOST_WORDS]
    return [(str(name)[:_LONGEST], str(text)[:_LONGEST]) for name, text in pairs]
