"""A transport of httpx2 whose requests pass a policy.

Extra: ``pip install backstay[httpx2]``. Tested with httpx2 2.16.

    transport = PolicyTransport(payments)                      # one policy, or a function of the request
    async with httpx2.AsyncClient(transport=transport) as client:
        reply = await client.get("https://payments/balance")

What it adds: retries of what may be repeated, a breaker that counts answers such as 503 and no
answer at all, deadlines, rates and places, in the one right order; and the deadline, the trace
and what else is carried travel in the headers. See `_http_policy` for what counts as what.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import httpx2

from backstay.guard import Policy
from backstay.integrations._httpx_family import PolicyTransportBase

__all__ = ["PolicyTransport"]


class PolicyTransport(PolicyTransportBase, httpx2.AsyncBaseTransport):
    """Makes the requests of an `httpx2.AsyncClient` through a policy."""

    _library: ClassVar = httpx2

    def __init__(
        self,
        policy: Policy | Callable[[httpx2.Request], Policy | None],
        transport: httpx2.AsyncBaseTransport | None = None,
        *,
        read: bool = True,
        margin: float = 0.0,
    ) -> None:
        """Put a policy in front of a transport.

        Args:
            policy: one for all requests, or a function that chooses by the request; None from it
                lets a request pass unguarded.
            transport: what makes the requests; a new `httpx2.AsyncHTTPTransport` when omitted.
            read: the body belongs to the attempt: its time counts, a place is held until it has
                come, and a connection that breaks in the middle is a failure that may be tried
                again. False for bodies that are to be streamed: then an attempt ends with the head.
            margin: seconds of the deadline kept back for our own work afterwards.
        """
        super().__init__(policy, transport or httpx2.AsyncHTTPTransport(), read, margin)
