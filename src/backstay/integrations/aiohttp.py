"""A client middleware of aiohttp whose requests pass a policy.

Extra: ``pip install backstay[aiohttp]``. Needs aiohttp 3.12 or newer, tested with 3.14.

    async with aiohttp.ClientSession(middlewares=[policy_middleware(payments)]) as client:
        async with client.get("https://payments/balance") as reply: ...

What it adds: what `backstay.integrations.httpx` adds, see there and `_http_policy`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import aiohttp
from aiohttp.client_reqrep import ClientRequest, ClientResponse

from backstay.context import outgoing_headers
from backstay.guard import Policy
from backstay.integrations._http_policy import may_repeat, through

__all__ = ["policy_middleware"]

PolicyOf = Callable[[ClientRequest], "Policy | None"]
Handler = Callable[[ClientRequest], Awaitable[ClientResponse]]


def policy_middleware(
    policy: Policy | PolicyOf, *, read: bool = True, margin: float = 0.0
) -> Callable[[ClientRequest, Handler], Awaitable[ClientResponse]]:
    """Return a middleware for ``aiohttp.ClientSession(middlewares=[...])``.

    Args:
        policy: one for all requests, or a function that chooses by the request; None from it
            lets a request pass unguarded.
        read: the body belongs to the attempt, see `backstay.integrations.httpx.PolicyTransport`.
        margin: seconds of the deadline kept back for our own work afterwards.
    """

    async def send(request: ClientRequest, handler: Handler) -> ClientResponse:
        for name, value in outgoing_headers(margin).items():
            request.headers[name] = value
        response = await handler(request)
        if read:
            try:
                await response.read()
            except BaseException:
                response.close()
                raise
        return response

    async def close(response: ClientResponse) -> None:
        response.release()

    async def middleware(request: ClientRequest, handler: Handler) -> ClientResponse:
        chosen = policy if isinstance(policy, Policy) else policy(request)
        if chosen is None:
            return await send(request, handler)
        return await through(
            chosen,
            lambda: send(request, handler),
            close,
            errors=(aiohttp.ClientError, TimeoutError),
            repeat=may_repeat(
                request.method,
                request.headers,
                replayable=isinstance(request.body, aiohttp.payload.BytesPayload)
                or not request.body,
            ),
        )

    return middleware
