"""An application for several workers: `/work` calls through a policy, `/metrics` shows all workers."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

import backstay
from backstay.guard import Policy
from backstay.integrations.metrics_app import metrics
from backstay.observe.admin import AdminServer

POLICY = Policy("work")


async def answer() -> str:
    return str(os.getpid())


async def work(request: Request) -> PlainTextResponse:
    """Say which worker has answered."""
    return PlainTextResponse(await POLICY.call(answer))


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """Track tasks, and have an admin plane at the standard place, as a worker should."""
    backstay.install()
    with AdminServer(leak_interval=0):
        yield


app = Starlette(
    lifespan=lifespan,
    routes=[Route("/work", work), Mount("/metrics", metrics(workers=True))],
)
