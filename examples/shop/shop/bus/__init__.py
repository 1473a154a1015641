"""The shop's message bus: topics, consumer groups, leases, redelivery, dead letters.

`BusClient` is what services use. `Broker` (state on a Store) and `BusService` (its gRPC door) run
in the infra process, `python -m shop.infra`, a process of its own so that it can be killed alone.
"""

from __future__ import annotations

from shop.bus._client import BusClient
from shop.bus._delivery import Delivery
from shop.bus._errors import BusError, BusUnavailable

__all__ = ["BusClient", "BusError", "BusUnavailable", "Delivery"]
