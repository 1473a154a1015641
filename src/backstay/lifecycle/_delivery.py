"""What a consumer works on, and the little that it asks of a broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Delivery", "Subscription"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message in the hands of one consumer, for as long as its ack wait runs.

    Attributes:
        id: the broker's name of the message; the same each time it is delivered.
        message_id: the publisher's name of it, by which an inbox knows it; `id` where there is none.
        payload: what was published.
        attempt: how often it has been delivered, this time included: 1, 2, …
        headers: names in lower case; empty where the broker has none.
        token: what the subscription needs to settle this delivery; nobody else's business.
    """

    id: str
    message_id: str
    payload: bytes
    attempt: int = 1
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    token: Any = field(default=None, repr=False, compare=False)


class Subscription(Protocol):
    """A place where messages come from: leased one by one, and settled one by one.

    What has been pulled is ours for `ack_wait` seconds; then the broker gives it to somebody
    again. That is what makes a consumer that is killed lose nothing, and it is why every
    method may fail, or be cancelled, without harm: what was not settled comes again.

    Attributes:
        ack_wait: seconds for which a delivery is ours, > 0; `in_progress` starts them anew.
    """

    @property
    def ack_wait(self) -> float:
        """Seconds for which a delivery is ours."""
        ...

    async def pull(self, most: int, wait: float) -> Sequence[Delivery]:
        """Take up to `most` messages, >= 1; wait up to `wait` seconds for the first.

        Raises:
            Exception: the broker did not answer; what it had sent comes again.

        Cancelled: what was on its way comes again when its ack wait has passed.
        """
        ...

    async def ack(self, delivery: Delivery) -> None:
        """Have the broker forget the message: its work is done.

        Harmless when it is settled already, and when its ack wait has passed.
        """
        ...

    async def nak(self, delivery: Delivery, delay: float, *, blame: bool = True) -> None:
        """Give the message back, to be delivered again after `delay` seconds.

        Args:
            delivery: as pulled.
            delay: seconds, >= 0.
            blame: False asks that this attempt is not counted, where the broker can do that.
        """
        ...

    async def in_progress(self, deliveries: Sequence[Delivery]) -> None:
        """Start the ack wait of these anew: they are still being worked on."""
        ...

    async def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """Put the message where a person finds it, and never deliver it again.

        It must be kept before it is settled: whoever dies between the two has done no harm.
        """
        ...
