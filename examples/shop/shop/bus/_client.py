"""The client half of the bus (skeleton: signatures are final)."""

from __future__ import annotations

from collections.abc import Sequence

from shop.bus._delivery import Delivery


class BusClient:
    """Publishes to and pulls from the broker at `target` ("127.0.0.1:4222")."""

    def __init__(self, target: str, *, timeout_s: float = 5.0) -> None:
        self.target = target
        self.timeout_s = timeout_s

    async def publish(self, topic: str, messages: Sequence[tuple[str, bytes]]) -> None:
        """Store `messages` ((dedup id, payload) each) durably; repeated dedup ids are dropped."""
        raise NotImplementedError

    async def pull(
        self, topic: str, group: str, *, max_messages: int, wait_s: float, lease_s: float
    ) -> list[Delivery]:
        """Lease up to `max_messages`; waits up to `wait_s` for the first one."""
        raise NotImplementedError

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """The work is done; concurrent acks share one call."""
        raise NotImplementedError

    async def nak(self, deliveries: Sequence[Delivery], *, delay_s: float, refund_attempt: bool = False) -> None:
        """The work failed; redeliver after `delay_s`. `refund_attempt`: do not count this attempt."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close the connection. Harmless when called again."""
        raise NotImplementedError
