"""A transport of httpx whose requests pass a policy.

Extra: ``pip install backstay[httpx]``. Tested with httpx 0.28.

    transport = PolicyTransport(payments)                      # one policy, or a function of the request
    async with httpx.AsyncClient(transport=transport) as client:
        reply = await client.get("https://payments/balance")

What it adds: retries of what may be repeated, a breaker that counts answers such as 503 and no
answer at all, deadlines, rates and places, in the one right order; and the deadline, the trace
and what else is carried travel in the headers. See `_http_policy` for what counts as what.
"""

from __future__ import annotations

from collections.abc import Callable

import httpx

from backstay.context import outgoing_headers
from backstay.guard import Policy
from backstay.integrations._http_policy import may_repeat, through

__all__ = ["PolicyTransport"]

PolicyOf = Callable[[httpx.Request], "Policy | None"]


class PolicyTransport(httpx.AsyncBaseTransport):
    """Makes requests through a policy.

    Cancelled: the policy gives back what the request had taken.
    """

    def __init__(
        self,
        policy: Policy | PolicyOf,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        read: bool = True,
        margin: float = 0.0,
    ) -> None:
        """Put a policy in front of a transport.

        Args:
            policy: one for all requests, or a function that chooses by the request; None from it
                lets a request pass unguarded.
            transport: what makes the requests; a new `httpx.AsyncHTTPTransport` when omitted.
            read: the body belongs to the attempt: its time counts, a place is held until it has
                come, and a connection that breaks in the middle is a failure that may be tried
                again. False for bodies that are to be streamed: then an attempt ends with the head.
            margin: seconds of the deadline kept back for our own work afterwards.
        """
        self._policy = policy
        self._transport = transport or httpx.AsyncHTTPTransport()
        self._read = read
        self._margin = margin

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Make a request; called by the client."""
        policy = self._policy if isinstance(self._policy, Policy) else self._policy(request)
        if policy is None:
            return await self._send(request)
        return await through(
            policy,
            lambda: self._send(request),
            lambda response: response.aclose(),
            errors=(httpx.TransportError,),
            repeat=may_repeat(
                request.method,
                request.headers,
                replayable=isinstance(request.stream, httpx.ByteStream),
            ),
        )

    async def _send(self, request: httpx.Request) -> httpx.Response:
        for name, value in outgoing_headers(self._margin).items():
            request.headers[name] = value
        response = await self._transport.handle_async_request(request)
        if self._read:
            response.request = request
            try:
                await response.aread()
            except BaseException:
                await response.aclose()
                raise
        return response

    async def aclose(self) -> None:
        """Close the transport."""
        await self._transport.aclose()
