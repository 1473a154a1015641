"""What all HTTP clients have in common when a `Policy` makes their calls.

A response is a value, and a policy learns from exceptions; so an answer that says "not now" is
raised inside of an attempt and returned to the caller in the end. Which answers those are, and
which requests may be made twice, is the same for every library:

==================================  =========================  =====================================
what came back                      the guards learn           tried again
==================================  =========================  =====================================
1xx to 4xx, but for 429             it answered                no
429, 503                            a failure                  if it may be, not before `Retry-After`
500, 502, 504 and other 5xx         a failure                  if it may be
no answer: refused, reset, late     a failure                  if it may be
`Backstay-Deadline: expired`        it answered                no: our own time is over as well
==================================  =========================  =====================================

"If it may be": GET, HEAD, OPTIONS, TRACE, PUT and DELETE (RFC 9110 §9.2.2), or an
`Idempotency-Key`, with a body that can be sent again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar

from backstay._base import wall
from backstay.context import DEADLINE_MARKER, DEADLINE_MARKER_VALUE
from backstay.guard import Policy

__all__ = ["may_repeat", "retry_after_of", "through"]

R = TypeVar("R")

_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


class _NotNow(Exception):
    """An attempt that failed; what the caller gets in the end is in it.

    Attributes:
        response: the answer, if there was one.
        error: what the library raised otherwise.
        retry_after: seconds that the server asked to wait.
    """

    def __init__(self, response: Any, error: Exception | None, retry_after: float | None) -> None:
        super().__init__(str(error) if error is not None else f"status {status_of(response)}")
        self.response = response
        self.error = error
        self.retry_after = retry_after


class _Again(_NotNow, ConnectionError):
    """The same, of a request that may be made again: `Retry` takes it for transient."""


def may_repeat(method: str, headers: Mapping[str, str], *, replayable: bool) -> bool:
    """Tell whether a request may be made twice.

    Args:
        method: in capitals.
        headers: of the request.
        replayable: whether its body can be sent again.
    """
    named = method in _IDEMPOTENT or any(name.lower() == "idempotency-key" for name in headers)
    return named and replayable


async def through(
    policy: Policy,
    send: Callable[[], Awaitable[R]],
    close: Callable[[R], Awaitable[object]],
    *,
    errors: tuple[type[Exception], ...],
    repeat: bool,
) -> R:
    """Make a request through a policy, and return the last answer.

    Args:
        policy: whose guards it passes.
        send: makes one attempt.
        close: lets go of an answer that nobody will read.
        errors: what the library raises when there is no answer.
        repeat: whether the request may be made twice.

    Raises:
        Rejected: a guard said no.
        DeadlineExceeded: time ran out.
        Exception: what the library raised, of the last attempt.

    Cancelled: at once; an answer that an earlier attempt had is closed.
    """
    kind = _Again if repeat else _NotNow
    kept: list[R] = []  # answers that say no; more than one only where attempts overlap (hedging)

    async def attempt() -> R:
        while kept:
            await close(kept.pop())
        try:
            response = await send()
        except errors as error:
            raise kind(None, error, None) from error
        if _says_no(response):
            kept.append(response)
            raise kind(response, None, retry_after_of(headers_of(response)))
        return response

    try:
        return await policy.call(attempt)
    except _NotNow as failed:
        if failed.error is not None:
            for note in getattr(failed, "__notes__", ()):
                failed.error.add_note(note)
            raise failed.error from None
        answer: R = failed.response
        kept = [other for other in kept if other is not answer]
        return answer
    finally:
        while kept:  # a guard has refused the next attempt, or the caller went away
            await close(kept.pop())


def status_of(response: Any) -> int:
    """Return the status: httpx and aiohttp call it differently."""
    found = getattr(response, "status_code", None)
    return int(response.status if found is None else found)


def headers_of(response: Any) -> Mapping[str, str]:
    """Return the headers, in which names have no case."""
    found: Mapping[str, str] = response.headers
    return found


def _says_no(response: Any) -> bool:
    status = status_of(response)
    if status < 500 and status != 429:
        return False
    return headers_of(response).get(DEADLINE_MARKER) != DEADLINE_MARKER_VALUE


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Return the seconds in `Retry-After`, which may be a number or a date; None for neither."""
    text = headers.get("Retry-After") or headers.get("retry-after")
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - wall())
    except (ValueError, TypeError):
        return None
