"""`Fallback`: what is answered when all else has failed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, ParamSpec, TypeVar, cast

from backstay.errors import GuardMisuse
from backstay.guard._call_around import call_around
from backstay.guard._guard import Guard
from backstay.guard._judgement import On, counts
from backstay.sync._home import read_clock

__all__ = ["Fallback", "FallbackStatistics", "LastGood"]

P = ParamSpec("P")
T = TypeVar("T")

_NONE_GIVEN: Final[Any] = object()


@dataclass(frozen=True, slots=True)
class FallbackStatistics:
    """How a fallback is doing.

    Attributes:
        name: its name.
        answered: calls that it has answered.
        failed: calls for which it had no answer either.
        kept: answers that are kept for later.
    """

    name: str
    answered: int
    failed: int
    kept: int = 0


class Fallback(Guard, Generic[T]):
    """Answers a call that has failed: with a value, or by another function.

    ::

        prices = Fallback(call=prices_of_yesterday)     # with the arguments of the call
        stars = Fallback(value=None)                    # the page does without

        @stars
        async def rating(product: str) -> float | None: ...

    Cancelled: a cancelled call is not answered; only errors are.
    """

    __slots__ = ("_answered", "_call", "_counted", "_failed", "_value")

    kind = "fallback"
    _kind = "fallback"

    def __init__(
        self,
        *,
        value: T = _NONE_GIVEN,
        call: Callable[..., Awaitable[T]] | None = None,
        on: On = Exception,
        name: str = "",
    ) -> None:
        """Describe the answer.

        Args:
            value: is the answer.
            call: gives the answer; called with the arguments of the call that failed.
            on: which errors are answered: a class, several, or a function of the exception.
            name: for people; the line that makes it when omitted.

        Raises:
            TypeError: neither `value` nor `call` is given, or both are; or `on` makes no sense.
        """
        super().__init__(name)
        if (value is _NONE_GIVEN) == (call is None):
            raise TypeError("a fallback has either value= or call=")
        self._value = value
        self._call = call
        self._counted = counts(on)
        self._answered = self._failed = 0

    def __call__(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Answer the failures of an async function; signature and types stay."""
        return call_around(self.call, fn)

    async def call(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `fn(*args, **kwargs)`, and answer in its place when it fails.

        Raises:
            Exception: what `fn` raised, when that is not to be answered, or no answer is there.
        """
        try:
            result = await fn(*args, **kwargs)
        except Exception as error:
            return await self.answer(error, args, kwargs)
        self.remember(result, args, kwargs)
        return result

    async def answer(self, error: Exception, args: Any, kwargs: Any) -> T:
        """Answer a call that failed with `error`.

        Raises:
            Exception: `error`, when it is not to be answered or no answer is there; what
                `call` raised, with `error` as its context.
        """
        if not self._counted(error):
            raise error
        try:
            result = await self._find(args, kwargs)
        except LookupError:
            self._failed += 1
            raise error from None
        except BaseException:
            self._failed += 1
            raise
        self._answered += 1
        return result

    async def _find(self, args: Any, kwargs: Any) -> T:
        """Return the answer.

        Raises:
            LookupError: there is none.
        """
        if self._call is None:
            return self._value
        try:
            return await self._call(*args, **kwargs)
        except LookupError as error:  # the function's own, which says something else
            raise RuntimeError(f"the fallback {self.name!r} failed") from error

    def remember(self, result: T, args: Any, kwargs: Any) -> None:
        """Learn from a call that succeeded."""

    def statistics(self) -> FallbackStatistics:
        """Return how it is doing."""
        return FallbackStatistics(self.name, self._answered, self._failed)

    def __repr__(self) -> str:
        """Show the name and how often it answered."""
        return f"<{type(self).__name__} {self.name!r} answered={self._answered}>"


class LastGood(Fallback[T]):
    """Answers with what the same call returned the last time that it succeeded.

    ::

        rates = LastGood(max_age=300, size=100)

        @rates
        async def exchange_rate(currency: str) -> Decimal: ...

        rates.age("EUR")            # how old the answer would be; 0.0 s is fresh

    Results are kept as they are: do not change one that was returned.
    """

    __slots__ = ("_kept", "_key", "_max_age", "_size")

    def __init__(
        self,
        *,
        max_age: float,
        size: int = 1024,
        key: Callable[..., Hashable] | None = None,
        on: On = Exception,
        name: str = "",
    ) -> None:
        """Start with nothing kept.

        Args:
            max_age: seconds up to which an old result is an answer, > 0.
            size: results kept at most; the one used longest ago goes first.
            key: what tells two calls apart, from their arguments; the arguments themselves
                when omitted, which must be hashable then.
            on: which errors are answered.
            name: for people; the line that makes it when omitted.

        Raises:
            ValueError: a number is out of range.
        """
        super().__init__(value=cast("T", None), on=on, name=name)
        if not max_age > 0 or size < 1:
            raise ValueError(f"max_age > 0 and size >= 1 are needed, not {max_age!r} and {size!r}")
        self._max_age = max_age
        self._size = size
        self._key = key
        self._kept: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()

    def remember(self, result: T, args: Any, kwargs: Any) -> None:
        """Keep a result."""
        key = self._key_of(args, kwargs)
        self._kept[key] = (read_clock.read(), result)
        self._kept.move_to_end(key)
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def age(self, *args: Any, **kwargs: Any) -> float | None:
        """Return how many seconds ago the call with these arguments succeeded; None if never."""
        kept = self._kept.get(self._key_of(args, kwargs))
        return None if kept is None else read_clock.read() - kept[0]

    async def _find(self, args: Any, kwargs: Any) -> T:
        key = self._key_of(args, kwargs)
        at, result = self._kept[key]
        if read_clock.read() - at > self._max_age:
            raise LookupError(key)
        self._kept.move_to_end(key)
        return result

    def _key_of(self, args: Any, kwargs: Mapping[str, Any]) -> Hashable:
        if self._key is not None:
            return self._key(*args, **kwargs)
        key = (args, tuple(sorted(kwargs.items()))) if kwargs else args
        try:
            hash(key)
        except TypeError as error:
            raise GuardMisuse(
                f"{self._title()} tells calls apart by their arguments, and these cannot be "
                f"({error}): give it key=, a function of the arguments"
            ) from error
        return key

    def statistics(self) -> FallbackStatistics:
        """Return how it is doing."""
        return FallbackStatistics(self.name, self._answered, self._failed, len(self._kept))
