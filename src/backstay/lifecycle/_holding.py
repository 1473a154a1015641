"""One message in hand, and what its headers say of the request that it belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from backstay.context import (
    BAGGAGE_HEADER,
    REQUEST_ID_HEADER,
    TRACE_HEADER,
    Key,
    clean_request_id,
    new_trace_id,
    parse_baggage,
    parse_traceparent,
)
from backstay.lifecycle._delivery import Delivery

__all__ = ["Holding", "Identity", "identity_of"]


class Holding:
    """A message between its pull and its end.

    Attributes:
        delivery: as pulled, the last time if it came twice.
        key: whose line it stands in, or None.
        taken_at: when it came, seconds on the clock of `now()`.
        touched_at: since when, at the latest, its ack wait runs.
        attempt: the number of the handling that runs, or that comes next.
        blamed: whether the last failure was the message's own.
        handled: whether its handler has returned; then it must be acked, whatever else happens.
        late: whether it came when we had been told to leave.
        misread: what its key function has raised, or None.
        settled: whether the end of the consumer has settled it.
        over: whether it has left our hand; nothing may be settled after that.
        task: who sees to it.
        trace_id: in which its last handling ran.
    """

    __slots__ = (
        "attempt", "blamed", "delivery", "handled", "key", "late", "misread", "over", "settled", "taken_at", "task",
        "touched_at", "trace_id",
    )  # fmt: skip

    def __init__(self, delivery: Delivery, at: float, asked_at: float, late: bool) -> None:
        """Take it in hand.

        Args:
            delivery: as pulled.
            at: now.
            asked_at: when the pull began: the ack wait may have begun to run as early as that.
            late: whether it came when we had been told to leave.
        """
        self.delivery = delivery
        self.key: str | None = None
        self.taken_at = at
        self.touched_at = asked_at
        self.attempt = delivery.attempt
        self.blamed = False
        self.handled = False
        self.late = late
        self.misread: Exception | None = None
        self.settled = False
        self.over = False
        self.task: asyncio.Task[None] | None = None
        self.trace_id: str | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """What travels with a message, as `backstay.context.identity_headers` writes it."""

    trace_id: str  # the publisher's, or a new one
    request_id: str | None
    carried: tuple[tuple[Key[str], str], ...]


def identity_of(delivery: Delivery, keys: Mapping[str, Key[str]]) -> Identity:
    """Read the headers of a message; nonsense in them is as good as nothing."""
    headers = delivery.headers
    parent = parse_traceparent(headers.get(TRACE_HEADER, ""))
    baggage = parse_baggage(headers.get(BAGGAGE_HEADER, ""), keys) if keys else {}
    return Identity(
        parent.trace_id if parent is not None else new_trace_id(),
        clean_request_id(headers.get(REQUEST_ID_HEADER, "")),
        tuple((keys[name], value) for name, value in baggage.items()),
    )
