"""Overload control of the ASGI guard: what is refused, how, and what it says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgi_harness import Exchange, hello

from backstay.guard import Admission, KeyedRate
from backstay.integrations.asgi import CRITICALITY_HEADER, TenantRate, guard


async def slow(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(1)
    await hello(scope, receive, send)


def tenant_of(scope: Any) -> str | None:
    return dict(scope["headers"]).get(b"x-tenant", b"").decode() or None


async def test_what_is_too_much_is_answered_503_before_any_code_of_the_app_runs() -> None:
    """Its own counter, a pause to wait, and a place that is free again afterwards."""
    door = Admission(start=2, retry_after=3.0)
    served = guard(slow, admission=door, criticality=lambda scope: "critical")
    running = [Exchange(served).start() for _ in range(2)]
    await asyncio.sleep(0)
    refused = await Exchange(served).run()
    assert refused.status == 503
    assert refused.body == b""
    assert refused.headers["retry-after"] in {"2", "3", "4", "5"}
    assert refused.taken == 0
    assert [exchange.status for exchange in await asyncio.gather(*running)] == [200, 200]
    assert door.in_flight == 0
    assert (await Exchange(served).run()).status == 200
    statistics = served.statistics()
    assert (statistics.requests, statistics.shed, statistics.rejected) == (4, 1, 0)
    assert statistics.in_flight == 0


async def test_the_header_says_how_critical_a_request_is() -> None:
    """Bounded values; nonsense is counted and is nothing special."""
    door = Admission(start=4)  # critical 4, default 3, background 2
    served = guard(slow, admission=door)

    def ask(level: str | None) -> Exchange:
        headers = [] if level is None else [(CRITICALITY_HEADER, level)]
        return Exchange(served, headers=[("accept", "*/*"), *headers])

    running = [ask("background").start(), ask(" Background ").start()]
    await asyncio.sleep(0)
    assert (await ask("background").run()).status == 503
    running.append(ask(None).start())
    await asyncio.sleep(0)
    for nonsense in ("very", "x" * 5000, ""):
        assert (await ask(nonsense).run()).status == 503
    running.append(ask("critical").start())
    await asyncio.sleep(0)
    assert (await ask("critical").run()).status == 503
    assert [exchange.status for exchange in await asyncio.gather(*running)] == [200] * 4
    assert served.statistics().ignored_criticality == 3
    assert door.statistics().shed == {"critical": 1, "default": 3, "sheddable": 0, "background": 1}


async def test_a_function_says_how_critical_a_request_is() -> None:
    """Then the header, which anybody can send, says nothing."""
    levels = iter(["background", None, "nonsense"])
    door = Admission(start=2)
    served = guard(hello, admission=door, criticality=lambda scope: next(levels))
    for _ in range(3):
        exchange = Exchange(served, headers=[(CRITICALITY_HEADER, "nonsense")])
        assert (await exchange.run()).status == 200
    assert served.statistics().ignored_criticality == 1


async def test_probes_and_websockets_are_let_in() -> None:
    """An overloaded service is not dead, and a socket that is open is no work."""
    door = Admission(start=1)
    served = guard(hello, admission=door)
    door.admit("critical")
    assert (await Exchange(served, path="/livez").run()).status == 200

    async def socket(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})

    exchange = await Exchange(guard(socket, admission=door), kind="websocket").run()
    assert [message["type"] for message in exchange.sent] == ["websocket.accept", "websocket.close"]
    assert (await Exchange(served).run()).status == 503
    door.leave()


async def test_the_cap_on_requests_in_flight_holds_beside_it() -> None:
    """Whichever is reached first."""
    door = Admission(start=100)
    served = guard(slow, admission=door, max_in_flight=1)
    running = Exchange(served).start()
    await asyncio.sleep(0)
    assert (await Exchange(served).run()).status == 503
    assert (served.statistics().rejected, served.statistics().shed) == (1, 0)
    await running
    assert door.in_flight == 0


async def test_a_request_that_is_cancelled_or_fails_leaves() -> None:
    """Its place is free again however it ended."""
    door = Admission()
    served = guard(slow, admission=door)
    running = Exchange(served).start()
    await asyncio.sleep(0.1)
    assert door.in_flight == 1
    running.cancel()
    await asyncio.wait([running])

    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise OSError

    assert (await Exchange(guard(fails, admission=door)).run()).status == 500
    assert door.in_flight == 0


async def test_in_the_shadow_nothing_is_refused() -> None:
    """The admission's own mode counts."""
    door = Admission(start=1, mode="shadow")
    served = guard(slow, admission=door)
    exchanges = [Exchange(served).start() for _ in range(3)]
    assert [exchange.status for exchange in await asyncio.gather(*exchanges)] == [200] * 3
    assert door.rejected == 2


@pytest.mark.parametrize("admission", [None, Admission()], ids=["alone", "behind an admission"])
async def test_a_tenant_beyond_its_rate_is_answered_429(admission: Admission | None) -> None:
    """With when to come back and what its rate is; others do not notice."""
    quota = KeyedRate(0.4, 2)
    assert isinstance(quota, TenantRate)
    served = guard(hello, admission=admission, tenant_rate=quota, tenant=tenant_of)

    async def ask(tenant: str) -> Exchange:
        return await Exchange(served, headers=[("x-tenant", tenant)] if tenant else []).run()

    assert [(await ask("a")).status for _ in range(3)] == [200, 200, 429]
    refused = await ask("a")
    assert refused.headers["retry-after"] == "3"
    assert refused.headers["ratelimit"] == '"tenant";r=0;t=3'
    assert refused.headers["ratelimit-policy"] == '"tenant";q=2;w=5'
    assert refused.body == b"too many requests: 0.4 a second, try again in 3 s\n"
    assert (await ask("b")).status == 200
    assert [(await ask("")).status for _ in range(5)] == [200] * 5
    statistics = served.statistics()
    assert (statistics.limited, statistics.shed, statistics.requests) == (2, 0, 10)
    if admission is not None:
        assert admission.in_flight == 0


async def test_a_keyed_rate_counts_what_the_door_refuses() -> None:
    """It is the one that people look at; and its shadow mode holds here, too."""
    tenants = KeyedRate(2.0, burst=2, name="tenants")
    served = guard(hello, tenant_rate=tenants, tenant=lambda scope: "a")
    assert [(await Exchange(served).run()).status for _ in range(3)] == [200, 200, 429]
    assert (tenants.rejected, served.statistics().limited) == (1, 1)
    await asyncio.sleep(0.5)
    refused = [await Exchange(served).run() for _ in range(2)][1]
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["ratelimit-policy"] == '"tenant";q=2;w=1'
    tenants.update(mode="shadow")
    assert (await Exchange(served).run()).status == 200
    assert (tenants.rejected, served.statistics().limited) == (3, 2)


async def test_what_is_shed_does_not_use_up_the_rate_of_its_tenant() -> None:
    """The process is asked first."""
    door, quota = Admission(start=1), KeyedRate(0.4, 2)
    served = guard(hello, admission=door, tenant_rate=quota, tenant=lambda scope: "a")
    door.admit("critical")
    assert (await Exchange(served).run()).status == 503
    assert quota.statistics().keys == 0
    door.leave()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"observe": True, "admission": Admission()}, "mode='shadow'"),
        ({"criticality": lambda scope: None}, "admission="),
        ({"tenant": lambda scope: None}, "need each other"),
        ({"tenant_rate": KeyedRate(0.4, 2)}, "need each other"),
    ],
)
def test_options_that_have_no_effect_are_refused(options: dict[str, Any], said: str) -> None:
    """Silence would look like protection."""
    with pytest.raises(ValueError, match=said):
        guard(hello, **options)


def test_a_guard_without_these_options_is_the_plain_one() -> None:
    """Who does not use them does not pay for them."""
    assert type(guard(hello)).__name__ == "Guard"
