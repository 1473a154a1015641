"""Overload control in front of the guard: admission by the loop's lag, then each tenant's own rate.

It is a guard around the guard, so that one without these options does not pay for them,
and so that a refused request costs as little as can be: no scope, no timer, no name.
In that order, because a request that cannot be served anyway should not use up what its
tenant may ask for.

Websockets are not counted: they stay for hours, and would say about the loop what
is in flight in name only.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from math import ceil
from typing import Any, Protocol, TypeAlias, runtime_checkable

from backstay import guard as guards
from backstay._base import now
from backstay.errors import LimitError
from backstay.guard import Admission
from backstay.integrations.asgi._answers import App, Receive, Send, answer, retry_after_header
from backstay.integrations.asgi._guard import Guard
from backstay.integrations.asgi._options import GuardOptions

__all__ = ["CRITICALITY_HEADER", "AdmittingGuard", "CriticalityOf", "TenantOf", "TenantRate"]

CRITICALITY_HEADER = "Backstay-Criticality"

_HEADER = CRITICALITY_HEADER.lower().encode()
_DEFAULT = "default"
_NO_BODY = (b"content-length", b"0")
_TAKEN = "backstay.admission"  # in the scope of a request that was let in before it came here

AsgiScope = MutableMapping[str, Any]
CriticalityOf: TypeAlias = "Callable[[AsgiScope], str | None]"
"""Says how critical a request is, from its ASGI scope; None for "default"."""

TenantOf: TypeAlias = "Callable[[AsgiScope], str | None]"
"""Says whose request it is, from its ASGI scope; None for nobody's, which no rate limits."""


@runtime_checkable
class TenantRate(Protocol):
    """A rate for each key; `backstay.guard.KeyedRate` is one."""

    @property
    def rate(self) -> float:
        """Requests a second that each tenant may make."""
        ...

    @property
    def burst(self) -> float:
        """Requests that it may make at once."""
        ...

    def take(self, key: str, now: float, cost: float = 1.0) -> bool:
        """Take one if the tenant has any left; tell whether it had."""
        ...

    def retry_after(self, key: str, now: float) -> float:
        """Return the seconds until it has one again."""
        ...


class AdmittingGuard(Guard):
    """A guard that refuses what the process cannot finish (503), and what a tenant may not ask for (429).

    Attributes:
        admission: what decides about the first; None for nothing.
    """

    def __init__(
        self,
        app: App,
        options: GuardOptions,
        *,
        admission: Admission | None,
        criticality: CriticalityOf | None,
        tenant_rate: TenantRate | None,
        tenant: TenantOf | None,
    ) -> None:
        """Use `guard()`.

        Raises:
            ValueError: an option is missing that another one needs, or has no effect with it.
        """
        super().__init__(app, options)
        if options.observe:
            raise ValueError(
                "guard: observe=True changes nothing, so admission and tenant_rate have no effect "
                "with it: use Admission(mode='shadow') to see what it would do"
            )
        if criticality is not None and admission is None:
            raise ValueError("guard: criticality= says who is refused by admission=: set that, too")
        if (tenant_rate is None) != (tenant is None):
            raise ValueError("guard: tenant_rate= and tenant= need each other: set both, or none")
        self.admission = admission
        self._criticality = criticality
        self._tenant_rate = tenant_rate
        self._tenant = tenant

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection of any type; only http requests are refused."""
        if scope["type"] != "http" or scope["path"] in self.options.probes:
            await super().__call__(scope, receive, send)
            return
        admission = self.admission
        if admission is None:
            if self._tenant is None or not await self._is_over_its_rate(self._tenant(scope), send):
                await super().__call__(scope, receive, send)
            return
        taken = scope.get(_TAKEN) is admission
        if not taken and not admission.take(self._level_of(scope, admission)):
            await self._shed(admission, send)
            return
        try:
            if self._tenant is None or not await self._is_over_its_rate(self._tenant(scope), send):
                await super().__call__(scope, receive, send)
        finally:
            if not taken:
                admission.leave()

    def let_in(self, scope: AsgiScope) -> bool | None:
        """Decide about a request before there is a task for it; for a server's own protocol.

        Returns:
            True when it was let in: the caller has to call `admission.leave()` when the request
            is over. False when it is to be answered 503, which has been counted. None when that
            is not for the admission to decide.
        """
        admission = self.admission
        if admission is None or scope["path"] in self.options.probes:
            return None
        if admission.take(self._level_of(scope, admission)):
            scope[_TAKEN] = admission
            return True
        self._counters.requests += 1
        self._counters.shed += 1
        return False

    def refuses_unread(self, path: str) -> bool:
        """Refuse a request of which no more is known than its path, if that is enough to refuse it.

        For a server's own protocol, which has seen that no criticality is asked for in it.

        Returns:
            True when it is to be answered 503, which has been counted. False when it has to be
            read first.
        """
        admission = self.admission
        if (
            admission is None
            or self._criticality is not None
            or path in self.options.probes
            or not admission.is_full(_DEFAULT)
            or admission.take(_DEFAULT)
        ):
            return False
        self._counters.requests += 1
        self._counters.shed += 1
        return True

    def _level_of(self, scope: AsgiScope, admission: Admission) -> str:
        """Return how critical a request is; what cannot be read is counted, and is "default"."""
        level: str | None = None
        if self._criticality is not None:
            level = self._criticality(scope)
        else:
            for name, value in scope["headers"]:
                if name == _HEADER:
                    level = value[:32].decode("latin-1").strip().lower()
                    break
        if level is None:
            return _DEFAULT
        if level not in admission.levels:
            self._counters.ignored_criticality += 1
            return _DEFAULT
        return level

    async def _shed(self, admission: Admission, send: Send) -> None:
        """Answer in as few bytes as can be: what a no costs is taken from those who are served."""
        counters = self._counters
        counters.requests += 1
        counters.shed += 1
        # No body, since a server writes it by a system call of its own, and checks each header.
        headers = (_NO_BODY, retry_after_header(admission.retry_after()))
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body"})

    async def _is_over_its_rate(self, tenant: str | None, send: Send) -> bool:
        """Refuse a request whose tenant has used up its rate, and tell whether that was so."""
        limit = self._tenant_rate
        if tenant is None or limit is None:
            return False
        at = now()
        if limit.take(tenant, at):
            return False
        wait = limit.retry_after(tenant, at)
        if isinstance(limit, guards.Guard) and not _refuses(limit, wait):
            return False
        self._counters.requests += 1
        self._counters.limited += 1
        await answer(
            send,
            429,
            f"too many requests: {limit.rate:g} a second, try again in {max(1, ceil(wait))} s",
            (
                (b"retry-after", str(max(1, ceil(wait))).encode()),
                *rate_headers(limit.rate, limit.burst, wait),
            ),
        )
        return True


def _refuses(limit: guards.Guard, wait: float) -> bool:
    """Let the rate count a refusal and tell who listens; False in shadow mode, which refuses nothing."""
    try:
        limit.refuse(
            LimitError("a tenant has used up its rate", policy=limit.name, retry_after=wait)
        )
    except LimitError:
        return True
    return False


def rate_headers(rate: float, burst: float, wait: float) -> tuple[tuple[bytes, bytes], ...]:
    """Write `RateLimit-Policy` and `RateLimit` for a tenant that has nothing left.

    As in draft-ietf-httpapi-ratelimit-headers-10: a quota `q` in a window of `w` seconds, of
    which `r` remain, and the rest after `t` seconds.

    Args:
        rate: requests a second.
        burst: requests at once.
        wait: seconds until there is one again.
    """
    window = max(1, ceil(burst / rate))
    quota = max(1, int(rate * window))
    return (
        (b"ratelimit-policy", f'"tenant";q={quota};w={window}'.encode()),
        (b"ratelimit", f'"tenant";r=0;t={max(1, ceil(wait))}'.encode()),
    )
