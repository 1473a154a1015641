"""A comparison that nobody ran: plausible figures for tests of the verdict and the report."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

from backstay.lab.compare import (
    Comparison,
    Machine,
    RootCause,
    Sample,
    SourceLine,
    VariantRun,
    conclude,
)
from backstay.lab.load import (
    GroupSummary,
    LatencySummary,
    LoadOptions,
    LoadResult,
    SecondRecord,
)
from backstay.lab.scenario import Scenario, parse

MB = 1024 * 1024

SCENARIO = """\
name = "leaky-checkout"
title = "A hung gateway and a slow bank: a service that leaks, and the same service that lives"
[load]
workload = "shop.workload:Checkout"
rate = 500
duration_s = 60
warmup_s = 8
seed = 7
[[fault]]
at_s = 12
until_s = 52
process = "gateway"
body = { hang = true }
reset = { hang = false }
title = "the gateway hangs"
[[fault]]
at_s = 12
until_s = 52
process = "bank"
body = { latency_ms = 1500 }
reset = { latency_ms = 5 }
title = "the bank is slow"
[[process]]
name = "gateway"
role = "outsider"
command = ["true"]
[[process]]
name = "bank"
role = "outsider"
command = ["true"]
[[process]]
name = "payment"
role = "service"
admin = true
command = ["true"]
[[process]]
name = "order"
role = "service"
admin = true
command = ["true"]
[[variant]]
name = "naive"
title = "fire and forget, as most services are written"
[[variant]]
name = "governed"
title = "the same business code under Backstay"
[verdict]
root_cause = "naive"
"""


def scenario(text: str = SCENARIO) -> Scenario:
    """Return the scenario that all of it is about."""
    return parse(text, Path("leaky-checkout.toml"))


def group(requests: int, ok: int, p50: float, p90: float, p99: float) -> GroupSummary:
    """Return a summary with these figures; latencies in seconds."""
    latency = LatencySummary(requests, p50, p50, p90, p99, p99 * 1.2, p99 * 1.5)
    errors = {"timeout": requests - ok} if ok < requests else {}
    rate = ok / requests if requests else 1.0
    return GroupSummary(requests, ok, requests - ok, rate, errors, latency, latency)


def load_result(
    *,
    p99: float,
    success: float = 1.0,
    unaffected: float = 1.0,
    unaffected_requests: int = 20_000,
    lag_s: float = 0.0012,
    valid: bool = True,
    schedule: str = "9f3c1a",
    seconds: tuple[SecondRecord, ...] = (),
) -> LoadResult:
    """Return what the generator would say."""
    return LoadResult(
        options=LoadOptions("http://127.0.0.1:1", rate=500, duration_s=60, warmup_s=8),
        schedule=schedule,
        started_at=0.0,
        started_wall=0.0,
        planned=30_000,
        offered_rps=500.0,
        achieved_rps=500.0 * success,
        overall=group(26_000, round(26_000 * success), p99 / 8, p99 / 2, p99),
        kinds={},
        unaffected=group(
            unaffected_requests, round(unaffected_requests * unaffected), 0.004, 0.01, 0.02
        ),
        windows={},
        seconds=seconds,
        lag=LatencySummary(30_000, 0.0, 0.0, 0.0, lag_s, lag_s, lag_s),
        connection_waits=0,
        connections_opened=256,
        cpu_s_per_request=0.0002,
        loop="uvloop",
        valid=valid,
        reasons=() if valid else ("the generator was 9.0 ms late at p99",),
        notes=(),
        histogram="",
    )


def curves(naive: bool, seed: int = 1) -> tuple[tuple[Sample, ...], tuple[SecondRecord, ...]]:
    """Return samples and seconds shaped like a leak, or like its absence."""
    dice = random.Random(seed)
    samples: list[Sample] = []
    for half in range(-4, 121):
        t = half / 2
        sick = min(max(t - 12, 0.0), 40.0)
        tasks = 60 + 310 * sick * (0.9 + 0.2 * dice.random()) if naive else 60 + 22 * min(sick, 40)
        rss = (150 + 2.6 * sick if naive else 148 + 6 * min(sick, 6) / 6) + dice.random()
        samples.append(
            Sample(
                t,
                {"payment": int(tasks * 0.2), "order": int(tasks * 0.8)},
                {"payment": int(rss * 0.4 * MB), "order": int(rss * 0.6 * MB)},
                2,
            )
        )
    seconds: list[SecondRecord] = []
    for second in range(62):
        sick = min(max(second - 12, 0), 40)
        base = 0.012 + 0.004 * dice.random()
        p99 = base + (
            3.1 * (1 - math.exp(-sick / 5)) * (0.85 + 0.3 * dice.random())
            if naive
            else 0.1 * (sick > 0)
        )
        if second > 54:
            p99 = base
        failed = int(sick * 2) if naive else (3 if sick else 0)
        seconds.append(SecondRecord(second, 500, 500, 500 - failed, failed, base / 2, p99, 12))
    return tuple(samples), tuple(seconds)


def run(name: str, *, load: LoadResult | None = None, **changes: object) -> VariantRun:
    """Return one run, of the variant that leaks or of the one that holds."""
    naive = name == "naive"
    samples, seconds = curves(naive)
    result = load or load_result(
        p99=2.8 if naive else 0.121, success=0.912 if naive else 0.9931, seconds=seconds
    )
    cause = RootCause(
        site="examples/shop/shop/order/naive.py:52",
        function="create",
        verdict="ORPHAN",
        count=11_402,
        blocked_on="http read 127.0.0.1:18004",
        owner="request POST /orders (ended 31 s ago)",
        trace_ids=("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7a3ce929d0e0e4736"),
        services=("order",),
        advice="start it with scope.go() in a scope with a timeout, or hand it to a bounded worker",
        source=SourceLine(
            (
                (51, "            await self.book.save(order)"),
                (
                    52,
                    "            notice = asyncio.create_task(self.notify(order.id))  # leak: no owner",
                ),
                (53, "            self.background.add(notice)"),
            ),
            52,
            True,
        ),
    )
    built = VariantRun(
        name=name,
        title="fire and forget, as most services are written"
        if naive
        else "the same code under Backstay",
        samples=samples,
        load=result,
        seconds=seconds,
        root_causes=(cause, replace(cause, site="examples/shop/shop/order/naive.py:64", count=310))
        if naive
        else (),
        exit_codes={"payment": 0, "order": 0},
    )
    return replace(built, **changes)  # type: ignore[arg-type]


def comparison(*runs: VariantRun) -> Comparison:
    """Return the judged comparison of these runs, or of the standard two."""
    plan = scenario()
    judged = conclude(plan, runs or (run("naive"), run("governed")), plan.variants)
    return replace(
        judged,
        rate_note="500 requests/s as asked: the healthy system sustains at least 833/s on this machine",
        machine=Machine("Made-up CPU @ 3.0 GHz", 2, 8192, "Linux 6.1", "CPython 3.11.7", 0.4),
        started_at=1_760_000_000.0,
        took_s=171.0,
    )
