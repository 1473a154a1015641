"""One message in the hands of one consumer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Delivery:
    """A leased message. Ack it before the lease ends, or it goes to somebody else as well."""

    id: int  # the broker's number; the same for every attempt
    dedup_id: str  # the publisher's identity of the message: key your inbox by it
    payload: bytes
    attempt: int  # 1 = the first delivery
