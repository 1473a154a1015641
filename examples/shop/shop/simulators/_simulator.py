"""An outsider: its trade, its script and its misbehaviour, as plain callbacks on the loop.

A business request goes through these gates, in this order:

    hang?  ->  rate limit?  ->  a free place (max_concurrency)?  ->  latency  ->  error?
           ->  the effect, entered in the ledger  ->  the reply, perhaps lost

The effect comes after the latency and happens even when the client has given up meanwhile: that
is what makes a time-out an *unknown* result. A request that hangs or queues has no effect yet; when
its client leaves, it never will.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import OrderedDict
from dataclasses import asdict, dataclass

from shop.simulators._http import Exchange, HttpServer
from shop.simulators._script import Script, ScriptError
from shop.simulators._trade import BadRequest, Reply, Trade

# Hung requests let go per turn of the loop: others are served in between.
RELEASED_AT_ONCE = 200


@dataclass(slots=True)
class Traffic:
    """What came and what was done to it, since the start."""

    requests: int = 0  # business requests
    errors: int = 0  # answered with error_status by the script
    limited: int = 0  # answered 429
    lost_replies: int = 0
    gone: int = 0  # clients that left before their reply


class Simulator:
    """Serves a trade over HTTP, following a script.

    Args:
        trade: the business.
        script: how to behave at first, and after {"reset": true}.
        seed: of the dice; the same requests in the same order meet the same fate.
    """

    def __init__(self, trade: Trade, script: Script, seed: int) -> None:
        self.trade = trade
        self.script = script
        self.traffic = Traffic()
        self.server = HttpServer(self._on_request, self._on_gone)
        self._initial = script
        self._dice = random.Random(seed)
        # Ordered sets: clients leave from the middle, and the oldest is served first.
        self._hung: OrderedDict[Exchange, None] = OrderedDict()
        self._queue: OrderedDict[Exchange, None] = OrderedDict()
        self._lost: set[Exchange] = set()  # their effect happened, their reply never will
        self._working = 0
        self._tokens = 0.0  # of the rate limit: at most one second's worth
        self._tokens_at = 0.0

    def _on_request(self, exchange: Exchange) -> None:
        match exchange.method, exchange.path:
            case "GET", "/readyz":
                exchange.reply(200, {"ready": True})
            case "GET", "/control":
                exchange.reply(200, asdict(self.script))
            case "POST", "/control":
                self._control(exchange)
            case "GET", "/ledger":
                exchange.reply(
                    200, self._ledger(summary_only="summary=1" in exchange.query.split("&"))
                )
            case _:
                self.traffic.requests += 1
                if self.script.hang:
                    self._hung[exchange] = None
                else:
                    self._admit(exchange)

    def _on_gone(self, exchange: Exchange) -> None:
        self.traffic.gone += 1
        self._hung.pop(exchange, None)
        self._queue.pop(exchange, None)
        self._lost.discard(exchange)

    def _control(self, exchange: Exchange) -> None:
        try:
            document = json.loads(exchange.body)
            base = self.script
            if isinstance(document, dict) and "reset" in document:
                if document.pop("reset") is not True:
                    raise ScriptError('reset can only be true, as in {"reset": true}')
                base = self._initial
            self.script = base.changed(document)
        except ScriptError as error:
            exchange.reply(400, {"error": str(error)})
            return
        except (ValueError, RecursionError) as error:
            exchange.reply(
                400,
                {
                    "error": f'the body is not JSON, expected an object like {{"hang": true}}: {error}'
                },
            )
            return
        exchange.reply(200, asdict(self.script))
        self._release_hung()
        self._fill()  # max_concurrency may have grown

    def _ledger(self, *, summary_only: bool) -> dict[str, object]:
        counts: dict[str, object] = {
            "kind": self.trade.name,
            "summary": self.trade.summary(),
            "traffic": {
                **asdict(self.traffic),
                "connections": len(self.server.connections),
                "hung": len(self._hung),
                "queued": len(self._queue),
                "working": self._working,
            },
        }
        return counts if summary_only else counts | self.trade.ledger()

    def _release_hung(self) -> None:
        """Let hung requests go on, a slice per turn of the loop, oldest first."""
        if self.script.hang or not self._hung:
            return
        for _ in range(min(RELEASED_AT_ONCE, len(self._hung))):
            self._admit(self._hung.popitem(last=False)[0])
        asyncio.get_running_loop().call_soon(self._release_hung)

    def _admit(self, exchange: Exchange) -> None:
        if self._over_limit():
            self.traffic.limited += 1
            exchange.reply(429, {"error": "rate limit"}, (("retry-after", "1"),))
            return
        self._queue[exchange] = None
        self._fill()

    def _fill(self) -> None:
        """Begin with whatever is queued while there are places."""
        places = self.script.max_concurrency
        while self._queue and (places is None or self._working < places):
            exchange, _ = self._queue.popitem(last=False)
            self._working += 1
            delay = self.script.latency_s(self._dice)
            loop = asyncio.get_running_loop()
            if delay > 0:
                loop.call_later(delay, self._finish, exchange)
            else:
                loop.call_soon(self._finish, exchange)

    def _finish(self, exchange: Exchange) -> None:
        self._working -= 1
        script = self.script
        if script.error_rate > 0 and self._dice.random() < script.error_rate:
            self.traffic.errors += 1
            exchange.reply(script.error_status, {"error": "scripted failure"})
        else:
            try:
                reply = self.trade.handle(
                    exchange.method, exchange.path, exchange.body, script, self._dice
                )
            except BadRequest as error:
                reply = Reply(400, {"error": str(error)})
            if (
                reply.changed
                and script.lose_reply_rate > 0
                and self._dice.random() < script.lose_reply_rate
            ):
                self._lose(exchange)
            else:
                exchange.reply(reply.status, reply.document)
        self._fill()

    def _lose(self, exchange: Exchange) -> None:
        self.traffic.lost_replies += 1
        if self.script.lose_reply == "drop":
            exchange.cut()
        elif exchange.open:
            self._lost.add(exchange)  # until its client gives up

    def _over_limit(self) -> bool:
        """Take a token of the rate limit; True when there is none."""
        rate = self.script.rate_limit
        if rate is None:
            return False
        now = asyncio.get_running_loop().time()
        room = max(1.0, rate)
        self._tokens = min(room, self._tokens + (now - self._tokens_at) * rate)
        self._tokens_at = now
        if self._tokens < 1.0:
            return True
        self._tokens -= 1.0
        return False
