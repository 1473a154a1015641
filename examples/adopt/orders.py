# orders.py
import asyncio
import logging
import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import redis.asyncio
from fastapi import FastAPI, Request
from nats.aio.client import Client
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

import backstay
from backstay import Scope
from backstay.context import identity_headers
from backstay.errors import FullError
from backstay.guard import Breaker, Budget, Bulkhead, Fallback, Policy, Retry
from backstay.integrations.asgi import guard, shield
from backstay.integrations.logs import ContextFilter, JsonFormatter
from backstay.integrations.nats import JetStreamSubscription
from backstay.integrations.sqlalchemy import limit_statements
from backstay.integrations.uvicorn_server import http_server
from backstay.lifecycle import Consumer, Delivery, Service, once, run_service

handler = logging.StreamHandler()
handler.addFilter(ContextFilter())
handler.setFormatter(JsonFormatter())
logging.basicConfig(level=logging.INFO, handlers=[handler])
log = logging.getLogger("orders")

DATABASE = os.environ.get("DATABASE_URL", "postgresql+asyncpg://orders@db/orders")
engine = create_async_engine(DATABASE, pool_size=10, max_overflow=0, pool_timeout=2)
Session = async_sessionmaker(engine)
limit_statements(engine)
cache = redis.asyncio.Redis.from_url(os.environ.get("REDIS_URL", "redis://cache:6379"))
NATS = os.environ.get("NATS_URL", "nats://bus:4222")
bus = Client()


through_cache = Policy(
    "cache",
    deadline=0.25,  # for all attempts, and for the wait when the breaker is open
    attempt=0.1,
    retry=Retry(2, budget=Budget(0.1, name="cache"), on=(TimeoutError, RedisConnectionError)),
    breaker=Breaker("cache"),
    bulkhead=Bulkhead(64, name="cache"),
    fallback=Fallback(value=None),  # the database knows, too
)


@through_cache
async def cached(sku: str) -> bytes | None:
    return await cache.get(f"price:{sku}")


@through_cache
async def remember(sku: str, cents: int) -> None:
    await cache.set(f"price:{sku}", cents)


@through_cache
async def tell_dashboard(order: str) -> None:
    await cache.publish("placed", order)


async def refresh_prices(leave: asyncio.Event) -> None:
    while not leave.is_set():
        async with backstay.timeout(10), Session() as session:
            for sku, cents in await session.execute(text("SELECT sku, cents FROM price")):
                await remember(sku, cents)
        with suppress(TimeoutError):
            async with asyncio.timeout(30):
                await leave.wait()


async def ship(session: AsyncSession, order: str) -> None:
    await session.execute(text("INSERT INTO shipment (id) VALUES (:id)"), {"id": order})
    log.info("shipped", extra={"order": order})


class Inbox:
    def transaction(self) -> AbstractAsyncContextManager[AsyncSession]:
        return Session.begin()

    async def begin(self, session: AsyncSession, message_id: str) -> bool:
        note = text("INSERT INTO inbox (id) VALUES (:id) ON CONFLICT DO NOTHING")
        return (await session.execute(note, {"id": message_id})).rowcount == 0


async def ship_once(delivery: Delivery) -> None:
    order = delivery.payload.decode()
    await once(Inbox(), delivery.message_id, lambda session: ship(session, order))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with Scope("news", max_tasks=100) as app.state.news:
        yield


@asynccontextmanager
async def stores() -> AsyncIterator[None]:
    async with cache:
        yield
    await engine.dispose()


@asynccontextmanager
async def shipping() -> AsyncIterator[Consumer]:
    await bus.connect(NATS, max_reconnect_attempts=-1, reconnect_time_wait=0.2)
    try:
        async with JetStreamSubscription(bus, "orders.placed", "shipping") as placed:
            yield Consumer("shipping", placed, ship_once, deadline=5.0, drain=10.0)
    finally:
        await bus.close()


async def price_of(sku: str) -> int:
    price = await cached(sku)
    if price is None:
        query = text("SELECT cents FROM price WHERE sku = :sku")
        async with Session() as session:
            price = (await session.execute(query, {"sku": sku})).scalar_one()
    return int(price)


async def book(order: str, sku: str, cents: int) -> None:
    row = {"id": order, "sku": sku, "cents": cents}
    async with Session.begin() as session:
        await session.execute(text("INSERT INTO orders VALUES (:id, :sku, :cents)"), row)
    name = {"Nats-Msg-Id": order}
    await bus.jetstream().publish(
        "orders.placed", order.encode(), headers={**identity_headers(), **name}
    )
    log.info("placed", extra={"order": order})


app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=201)
async def place(request: Request, sku: str, count: int = 1) -> dict[str, str | int]:
    order = str(uuid.uuid4())
    cents = count * await price_of(sku)
    async with shield():  # a client that leaves does not come between commit and publish
        await book(order, sku, cents)
    try:
        request.app.state.news.go(tell_dashboard, order)
    except FullError:
        pass  # a hundred wait already: the dashboard reads this order from the table
    return {"order": order, "cents": cents}


app = guard(app, timeout=2.0, max_in_flight=256)

PORT = int(os.environ.get("PORT", "8000"))
service = Service("orders", grace=25.0, lame_duck=float(os.environ.get("LAME_DUCK", "2")))
service.add("stores", stores)
service.add("bus", shipping)
service.task(
    "shipping", lambda leave: service["bus"].run(leave), needs=("stores", "bus"), budget=12.0
)
service.task("prices", refresh_prices, needs=("stores",))
service.add(
    "http",
    lambda: http_server(app, port=PORT, readiness=service.readiness),
    needs=("stores", "bus"),
    budget=10.0,
)

if __name__ == "__main__":
    sys.exit(run_service(service))
