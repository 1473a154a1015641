"""Good throughput from Prometheus: what an adaptive rate asks when many processes share a dependency.

    async with aiohttp.ClientSession() as http:
        source = PrometheusQuery(
            http,
            "http://prometheus:9090",
            good='sum(rate(partner_calls_total{outcome="ok"}[$window])) / 4',
            asked='sum(rate(partner_calls_total{outcome=~"ok|fail"}[$window])) / 4',
        )
        rate = AdaptiveRate(ThroughputLimit(100), source, name="partner")

Needs an HTTP client that you have: an `aiohttp.ClientSession`, or the `AsyncClient` of httpx or
httpx2. It is yours, with its connections, certificates and credentials, and you close it.
Tested with aiohttp 3.14, httpx 0.28, httpx2 2.16 and Prometheus 2.42.

Why theirs and no client of our own: they end a request at once when it is cancelled or out of time,
and close its connection. `urllib` in a thread cannot be cancelled, and its time-out
is that of one read, so a server that sends a byte now and then holds the thread for ever.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from math import isfinite
from typing import Any, Final, Protocol, cast
from urllib.parse import urlsplit

from backstay import context as ambient
from backstay.errors import BackstayError
from backstay.guard import Throughput

__all__ = ["AiohttpSession", "HttpxClient", "PrometheusAnswerError", "PrometheusQuery"]

# An answer of one sample is a tenth of that, even with long labels.
_LARGEST_BYTES: Final = 64 * 1024


class AiohttpSession(Protocol):
    """What is used of an `aiohttp.ClientSession`."""

    def get(self, url: str, /, *, params: Any) -> AbstractAsyncContextManager[Any]:
        """Ask for `url`."""
        ...


class HttpxClient(Protocol):
    """What is used of the `AsyncClient` of httpx and httpx2."""

    def stream(self, method: str, url: str, /, *, params: Any) -> AbstractAsyncContextManager[Any]:
        """Ask for `url`, and read the answer piece by piece."""
        ...


class PrometheusAnswerError(BackstayError):
    """Prometheus answered, and not with one number; the message says what and what to do."""


class PrometheusQuery:
    """Two queries for one number each: what ended well, and what was asked for.

    Both should count what this process may do: a limit is this process's own. So ask for its
    own series, or divide those of all by the number of processes, as in the example above.
    """

    __slots__ = ("_asked", "_client", "_good", "_place", "_url", "_window")

    def __init__(
        self,
        client: AiohttpSession | HttpxClient,
        url: str,
        *,
        good: str,
        asked: str,
        window: float = 300.0,
    ) -> None:
        """Ask nothing yet.

        Args:
            client: sends the requests; it stays yours.
            url: of the server, without ``/api/v1/query``.
            good: PromQL for the units a second that ended well. ``$window`` in it becomes the
                window, as in ``[$window]``.
            asked: PromQL for the units a second that ended well or badly.
            window: seconds over which both are measured, >= 1.

        Raises:
            ValueError: the address or the window makes no sense.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"a Prometheus server is at an address such as 'http://prometheus:9090', not at {url!r}"
            )
        if not (window >= 1 and isfinite(window)):
            raise ValueError(f"a window spans at least 1 second, not {window!r}")
        self._client = client
        self._url = url.rstrip("/") + "/api/v1/query"
        self._place = parts.hostname + (f":{parts.port}" if parts.port else "")
        self._window = window
        self._good, self._asked = (
            query.replace("$window", f"{round(window * 1000)}ms") for query in (good, asked)
        )

    async def measure(self, since: float) -> Throughput:
        """Ask both queries, for one and the same time.

        Prometheus is told how much time is left, so that it gives up as well.

        Raises:
            PrometheusAnswerError: an answer is not one number, or no answer of Prometheus at all.
            Exception: what the client raises when there is no answer.

        Cancelled: the request is ended, and its connection closed.
        """
        asked, when = await self._ask("asked", self._asked, None)
        good, _ = await self._ask("good", self._good, when)
        return Throughput(good, asked, self._window)

    async def _ask(self, name: str, query: str, when: float | None) -> tuple[float, float]:
        """Return the number that a query yields, and the time for which it was asked."""
        words = {"query": query}
        if when is not None:
            words["time"] = f"{when:.3f}"
        left = ambient.remaining()
        if left is not None:
            words["timeout"] = f"{max(1, int(left * 1000))}ms"
        status, body = await self._get(words)
        try:
            return _number(status, body)
        except _Unfit as unfit:
            raise PrometheusAnswerError(
                f"the query {name}={query!r} at {self._place} {unfit}"
            ) from None

    async def _get(self, words: Mapping[str, str]) -> tuple[int, bytes]:
        client: Any = self._client
        if hasattr(client, "stream"):
            async with client.stream("GET", self._url, params=words) as answer:
                return int(answer.status_code), await _whole(answer.aiter_bytes())
        async with client.get(self._url, params=words) as answer:
            return int(answer.status), await _whole(answer.content.iter_chunked(8192))


class _Unfit(Exception):
    """Why an answer is none."""


async def _whole(pieces: Any) -> bytes:
    """Return a body, or as much of it as shows that it is too long."""
    body = bytearray()
    async for piece in pieces:
        body += piece
        if len(body) > _LARGEST_BYTES:
            break
    return bytes(body)


def _number(status: int, body: bytes) -> tuple[float, float]:
    """Read an answer of ``/api/v1/query``: one number, and when it was.

    Raises:
        _Unfit: it is something else.
    """
    if len(body) > _LARGEST_BYTES:
        raise _Unfit(f"yields more than {_LARGEST_BYTES} bytes: aggregate it to one number")
    try:
        answer = json.loads(body)
    except ValueError:  # also what is no UTF-8
        raise _Unfit(
            f"was answered with status {status} and no JSON, but {body[:60]!r}: is it a Prometheus?"
        ) from None
    if not isinstance(answer, dict):
        raise _Unfit(f"was answered with status {status} and {body[:60]!r}: is it a Prometheus?")
    said = cast("dict[str, Any]", answer)
    if said.get("status") != "success" or status != 200:
        why = f"{said.get('errorType', '')}: {said.get('error', '')}".strip(": ")[:200]
        raise _Unfit(f"failed with status {status}: {why or repr(body[:60])}")
    try:
        data = said["data"]
        kind, result = data["resultType"], data["result"]
        if kind == "vector":
            if len(result) != 1:
                raise _Unfit(
                    "found no series: add 'or vector(0)' if there may be none"
                    if not result
                    else f"yields {len(result)} numbers: aggregate them to one, as with sum()"
                )
            when, text = result[0]["value"]
        elif kind == "scalar":
            when, text = result
        else:
            raise _Unfit(f"yields a {kind}: it should be a number at one time")
        number, when = float(text), float(when)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise _Unfit(f"was answered with {body[:60]!r}, which is no answer to a query") from None
    if not (number >= 0 and isfinite(number)):
        raise _Unfit(f"yields {text}: it should be a number of units a second, 0 or more")
    return number, when
