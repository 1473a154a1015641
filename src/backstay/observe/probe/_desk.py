"""What the admin plane answers about probes: setting one is an action, reading its hits is not.

``POST /v1/probes`` sets one, ``GET /v1/probes/N?after=K`` tells its hits from the K-th on and keeps it alive,
``POST /v1/probes/N`` with ``{"remove": true}`` takes it away, ``GET /v1/probes`` lists them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from backstay.errors import UsageError
from backstay.observe.desk import Errand, Reply, Request, as_json, refusal
from backstay.observe.probe._board import Board
from backstay.observe.probe._probe import Probe

__all__ = ["ProbeDesk"]

_PREFIX: Final = "/v1/probes"
#: Characters of a refusal.
_LONGEST: Final = 500
_FIELDS: Final = frozenset({"at", "expressions", "hits", "seconds", "rate"})
# To look through everything that the garbage collector knows, and for every loop to come round.
_LONGEST_S: Final = 10.0


class ProbeDesk:
    """Sets probes and tells their hits."""

    prefixes = (_PREFIX,)
    paths = (_PREFIX, f"{_PREFIX}/1")
    methods = ("GET", "POST")

    def __init__(self, board: Board | None = None) -> None:
        """Take over a board, or have one of its own."""
        self._board = board or Board()

    def answer(self, asked: Request) -> Reply | Errand:
        """Answer; setting a probe takes time, and is an errand."""
        name = asked.path.removeprefix(_PREFIX).strip("/")
        if asked.method == "GET":
            return self._tell(name, asked.query)
        try:
            order: dict[str, Any] = json.loads(asked.body)
        except (ValueError, RecursionError):
            return refusal(400, "the body is not JSON, or is deeper than an order can be")
        if not isinstance(order, dict):
            return refusal(400, "the body is not a JSON object")
        if name:
            return self._remove(name, order)
        return Errand("probe", _LONGEST_S, lambda _: self._set(order))

    def close(self) -> None:
        """Take all probes away: nobody can read their hits any more."""
        self._board.close()

    def _tell(self, name: str, query: Mapping[str, str]) -> Reply:
        if not name:
            return as_json({"probes": [_described(probe) for probe in self._board.all()]})
        probe = self._find(name)
        if probe is None:
            return _unknown(name)
        after = query.get("after", "0")
        if not (after.isascii() and after.isdecimal() and len(after) < 10):
            return refusal(400, f"after is {after!r}: give the number of hits that you have")
        described = _described(probe)  # first: what ends it comes with all of its hits
        return as_json({**described, "hits": [hit.to_json() for hit in probe.hits[int(after) :]]})

    def _set(self, order: Mapping[str, Any]) -> Reply:
        try:
            return as_json(_described(_set(self._board, order)))
        except UsageError as error:
            told = str(error)  # of what was sent, which may be long
            return refusal(400, told if len(told) <= _LONGEST else f"{told[:_LONGEST]}…")

    def _remove(self, name: str, order: Mapping[str, Any]) -> Reply:
        probe = self._find(name)
        if probe is None:
            return _unknown(name)
        if order != {"remove": True}:
            return refusal(400, 'a probe that is set can only be removed: send {"remove": true}')
        self._board.take_away(probe.number)
        return as_json(_described(probe))

    def _find(self, name: str) -> Probe | None:
        if not (name.isascii() and name.isdecimal() and len(name) < 10):
            return None
        return self._board.find(int(name))


def _set(board: Board, asked: Mapping[str, Any]) -> Probe:
    unknown = sorted(str(name) for name in asked.keys() - _FIELDS)
    if unknown:
        raise UsageError(f"unknown field {unknown[0]!r}: there are {', '.join(sorted(_FIELDS))}")
    at = asked.get("at")
    expressions: list[str] = asked.get("expressions", [])
    if not isinstance(at, str):
        raise UsageError(f"at is {at!r}: give FILE:LINE")
    if not isinstance(expressions, list) or not all(isinstance(one, str) for one in expressions):
        raise UsageError("expressions should be a list of texts")
    limits = {name: asked[name] for name in ("hits", "seconds", "rate") if name in asked}
    return board.set(at, expressions, **limits)


def _unknown(name: str) -> Reply:
    return refusal(
        404, f"no probe {name[:20]!r}: it has ended more than a minute ago, or never was"
    )


def _described(probe: Probe) -> dict[str, Any]:
    return {
        "probe": probe.number,
        "at": f"{probe.place.file}:{probe.place.line}",
        "functions": list(probe.functions),
        "hit": len(probe.hits),
        "skipped": probe.skipped,
        "failed": probe.failed,
        "ended": probe.ended,
    }
