"""`Fallback` and `LastGood`: an answer when all else has failed."""

from __future__ import annotations

import asyncio

import pytest

from backstay import now
from backstay.errors import GuardMisuse, OpenError
from backstay.guard import Fallback, LastGood


async def fail(*args: object, **kwargs: object) -> str:
    raise ConnectionError("refused")


async def test_a_value_or_another_function_answers() -> None:
    """The function gets the arguments of the call."""

    async def yesterday(product: str, *, currency: str) -> str:
        return f"{product} in {currency}, yesterday"

    assert await Fallback(value="none").call(fail) == "none"
    assert await Fallback(value=None).call(fail) is None
    prices: Fallback[str] = Fallback(call=yesterday, name="prices")
    assert await prices.call(fail, "tea", currency="EUR") == "tea in EUR, yesterday"
    seen = prices.statistics()
    assert (seen.name, seen.answered, seen.failed) == ("prices", 1, 0)
    assert repr(prices) == "<Fallback 'prices' answered=1>"


async def test_a_call_that_succeeds_is_left_alone() -> None:
    """As a decorator, too."""
    fallback: Fallback[str] = Fallback(value="none")

    @fallback
    async def fine() -> str:
        return "fine"

    assert await fine() == "fine"
    assert fallback.statistics().answered == 0


async def test_only_what_is_to_be_answered_is_answered() -> None:
    """A bug is not hidden behind a friendly value when `on` says so; a cancel never is."""
    fallback: Fallback[str] = Fallback(value="none", on=(OSError, OpenError))

    async def bug() -> str:
        raise KeyError

    with pytest.raises(KeyError):
        await fallback.call(bug)
    assert await fallback.call(fail) == "none"

    async def hang() -> str:
        await asyncio.sleep(100)
        return ""

    task = asyncio.ensure_future(fallback.call(hang))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_fallback_that_fails_shows_both_errors() -> None:
    """Its own, with the call's as the context."""

    async def worse() -> str:
        raise ValueError("no backup either")

    fallback: Fallback[str] = Fallback(call=worse)
    with pytest.raises(ValueError, match="no backup") as caught:
        await fallback.call(fail)
    assert isinstance(caught.value.__context__, ConnectionError)

    async def missing() -> str:
        raise KeyError("backup")

    with pytest.raises(RuntimeError, match=r"the fallback .* failed"):
        await Fallback(call=missing).call(fail)
    assert fallback.statistics().failed == 1


async def test_the_last_good_answer_up_to_an_age() -> None:
    """Per arguments; what is too old is no answer, and the error is the call's."""
    rates: LastGood[str] = LastGood(max_age=10.0)
    broken = False

    @rates
    async def rate(currency: str, *, day: int = 0) -> str:
        if broken:
            raise ConnectionError("refused")
        return f"{currency}@{now():g}"

    assert await rate("EUR") == "EUR@0"
    assert await rate("EUR", day=1) == "EUR@0"
    broken = True
    await asyncio.sleep(4)
    assert await rate("EUR") == "EUR@0"
    assert rates.age("EUR") == 4.0
    assert rates.age("GBP") is None
    with pytest.raises(ConnectionError):
        await rate("GBP")
    await asyncio.sleep(7)
    with pytest.raises(ConnectionError, match="refused") as caught:
        await rate("EUR")
    assert caught.value.__cause__ is None
    seen = rates.statistics()
    assert (seen.answered, seen.failed, seen.kept) == (1, 2, 2)


async def test_the_cache_is_bounded_and_may_have_a_key_of_its_own() -> None:
    """What was used longest ago goes first."""
    last: LastGood[int] = LastGood(max_age=10.0, size=2, key=lambda item: item["id"])

    async def fetch(item: dict[str, int]) -> int:
        if item.get("broken"):
            raise ConnectionError
        return item["id"]

    for number in (1, 2):
        await last.call(fetch, {"id": number})
    assert await last.call(fetch, {"id": 1, "broken": 1}) == 1
    await last.call(fetch, {"id": 3})
    assert await last.call(fetch, {"id": 1, "broken": 1}) == 1
    with pytest.raises(ConnectionError):
        await last.call(fetch, {"id": 2, "broken": 1})


async def test_arguments_that_cannot_tell_calls_apart_are_refused_with_the_cure() -> None:
    """At the first call, and not when it fails one night."""
    last: LastGood[str] = LastGood(max_age=10.0)

    async def fetch(item: dict[str, int]) -> str:
        return "fine"

    with pytest.raises(GuardMisuse, match="give it key="):
        await last.call(fetch, {"id": 1})


def test_nonsense_is_refused() -> None:
    """Neither answer, both answers, no room."""
    with pytest.raises(TypeError, match="either value= or call="):
        Fallback()
    with pytest.raises(TypeError, match="either value= or call="):
        Fallback(value=1, call=fail)  # type: ignore[arg-type]
    for bad in ({"max_age": 0}, {"max_age": 1, "size": 0}):
        with pytest.raises(ValueError, match="are needed"):
            LastGood(**bad)  # type: ignore[arg-type]
