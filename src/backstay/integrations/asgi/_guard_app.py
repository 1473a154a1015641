"""`guard()`: the one door to this room, with everything that can be asked of it."""

from __future__ import annotations

from collections.abc import Sequence

from backstay.guard import Admission
from backstay.integrations.asgi._admitting import (
    AdmittingGuard,
    CriticalityOf,
    TenantOf,
    TenantRate,
)
from backstay.integrations.asgi._answers import App
from backstay.integrations.asgi._guard import Guard
from backstay.integrations.asgi._options import GuardOptions, OnOrphan, Route

__all__ = ["guard"]


def guard(
    app: App,
    *,
    observe: bool = False,
    timeout: float | None = 10.0,
    max_timeout: float | None = None,
    max_in_flight: int | None = 1000,
    max_websockets: int | None = None,
    retry_after: float = 1.0,
    on_orphan: OnOrphan = "report",
    cancel_on_disconnect: bool = True,
    disconnect_delay: float = 0.05,
    routes: Sequence[Route] = (),
    probes: Sequence[str] = ("/livez", "/readyz", "/healthz"),
    drain_timeout: float = 10.0,
    admission: Admission | None = None,
    criticality: CriticalityOf | None = None,
    tenant_rate: TenantRate | None = None,
    tenant: TenantOf | None = None,
) -> Guard:
    """Give each request of an ASGI application an owner, a deadline and an exit.

    ::

        app = guard(app)          # outermost: after all other middleware

    Args:
        app: any ASGI 3 application: Starlette, FastAPI, Litestar, or a plain function.
        observe: attribute tasks to requests and change nothing else.
        timeout: seconds that a request may take when its caller names no deadline;
            None for no limit.
        max_timeout: seconds that a caller may ask for at most; None: as `timeout`.
        max_in_flight: requests served at once; the next one is answered 503. None for no limit.
        max_websockets: websockets open at once; None for no limit.
        retry_after: seconds that a refused client is told to wait.
        on_orphan: what happens to tasks that outlive their request: "report" them,
            "cancel" them, or "adopt" them into the application's scope until shutdown.
        cancel_on_disconnect: whether a handler is cancelled when its client leaves.
        disconnect_delay: seconds after which a request begins to be watched for that.
        routes: paths for which something differs; the first that fits counts.
        probes: paths that the cap does not count nor refuse.
        drain_timeout: seconds that adopted tasks have to finish at shutdown.
        admission: refuses with 503 what this process cannot finish in time; see `Admission`.
            Probes and websockets are let in in any case.
        criticality: who is refused first, as a function of the ASGI scope. When omitted it is
            what the header `Backstay-Criticality` says: "critical", "default", "sheddable" or
            "background".
        tenant_rate: how often each tenant may ask, see `KeyedRate`; beyond that it is answered 429.
        tenant: whose request it is, as a function of the ASGI scope; None lets it pass.

    Returns:
        An ASGI application; `statistics()` on it says how it is doing.

    Raises:
        ValueError: an option is out of range; the message says which.

    Cost: see ``benchmarks/asgi_guard.py``.
    """
    options = GuardOptions(
        observe=observe,
        timeout=timeout,
        max_timeout=max_timeout,
        max_in_flight=max_in_flight,
        max_websockets=max_websockets,
        retry_after=retry_after,
        on_orphan=on_orphan,
        cancel_on_disconnect=cancel_on_disconnect,
        disconnect_delay=disconnect_delay,
        routes=tuple(routes),
        probes=frozenset(probes),
        drain_timeout=drain_timeout,
    )
    if admission is None and tenant_rate is None and criticality is None and tenant is None:
        return Guard(app, options)
    return AdmittingGuard(
        app,
        options,
        admission=admission,
        criticality=criticality,
        tenant_rate=tenant_rate,
        tenant=tenant,
    )
