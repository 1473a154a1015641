"""A guard around any ASGI application: an owner, a deadline and an exit for each request.

Needs nothing but the application: no extra to install. Tested with uvicorn 0.54,
Starlette 1.10, FastAPI 0.165 and Litestar 2.25.
"""

from backstay.integrations.asgi._admitting import CRITICALITY_HEADER, TenantRate
from backstay.integrations.asgi._guard import Guard, TornResponse
from backstay.integrations.asgi._guard_app import guard
from backstay.integrations.asgi._options import INHERIT, Route
from backstay.integrations.asgi._statistics import GuardStatistics
from backstay.tasks import shield

__all__ = [
    "CRITICALITY_HEADER",
    "INHERIT",
    "Guard",
    "GuardStatistics",
    "Route",
    "TenantRate",
    "TornResponse",
    "guard",
    "shield",
]
