"""The shop's message bus: topics, consumer groups, leases, redelivery, dead letters.

`BusClient` is what services use. `Broker` (state on a Store) and `BusService` (its gRPC door) run
in the infra process, `python -m shop.infra`, a process of its own so that it can be killed alone.
"""

from __future__ import annotations

from shop.bus._broker import Broker
from shop.bus._client import BusClient
from shop.bus._delivery import Delivery
from shop.bus._errors import BusError, BusFull, BusUnavailable
from shop.bus._rows import SCHEMA
from shop.bus._serve import serve
from shop.bus._service import BusService
from shop.bus._statistics import BrokerStatistics, Counters, DeadLetter, GroupStatistics

__all__ = [
    "SCHEMA",
    "Broker",
    "BrokerStatistics",
    "BusClient",
    "BusError",
    "BusFull",
    "BusService",
    "BusUnavailable",
    "Counters",
    "DeadLetter",
    "Delivery",
    "GroupStatistics",
    "serve",
]
