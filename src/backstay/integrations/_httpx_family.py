"""The transport with a policy, for httpx and for httpx2, which differ in their names only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from backstay.context import outgoing_headers
from backstay.guard import Policy
from backstay.integrations._http_policy import may_repeat, through

__all__ = ["PolicyTransportBase"]


class PolicyTransportBase:
    """Makes requests through a policy; the library's own `AsyncBaseTransport` stands beside it.

    Cancelled: the policy gives back what the request had taken.
    """

    _library: ClassVar[Any]  # the module

    def __init__(
        self,
        policy: Policy | Callable[[Any], Policy | None],
        transport: Any,
        read: bool,
        margin: float,
    ) -> None:
        """See the transports themselves."""
        self._policy = policy
        self._transport = transport
        self._read = read
        self._margin = margin

    async def handle_async_request(self, request: Any) -> Any:
        """Make a request; called by the client."""
        policy = self._policy if isinstance(self._policy, Policy) else self._policy(request)
        if policy is None:
            return await self._send(request)
        return await through(
            policy,
            lambda: self._send(request),
            lambda response: response.aclose(),
            errors=(self._library.TransportError,),
            repeat=may_repeat(
                request.method,
                request.headers,
                replayable=isinstance(request.stream, self._library.ByteStream),
            ),
        )

    async def _send(self, request: Any) -> Any:
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
