"""Typed keys for ambient values.

Keys carry identifiers and tunables (a trace id, a tenant, a flag), not
arguments: whatever a function needs to do its job belongs in its signature.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Generic, TypeVar, cast

from backstay.context._context import current, enter, leave
from backstay.context._wire import TraceParent

__all__ = ["REQUEST_ID", "SPAN", "TRACE", "Key", "bind", "carried", "current_span"]

T = TypeVar("T")

_MISSING = object()


class Key(Generic[T]):
    """A typed name for an ambient value; two keys with one name are two keys.

    ::

        TENANT = Key[str]("tenant", carry=True)
        with bind(TENANT, "acme"):
            TENANT.get()      # "acme", here and in everything called or spawned from here
    """

    __slots__ = ("_default", "carry", "name", "secret")

    def __init__(
        self, name: str, *, carry: bool = False, secret: bool = False, default: T | None = None
    ) -> None:
        """Make a key.

        Args:
            name: how it reads in dumps and on the wire.
            carry: whether it crosses to other processes with each call.
            secret: whether it must never leave the process nor reach a log or dump.
            default: what `get` returns while nothing is bound.

        Raises:
            ValueError: both `carry` and `secret` were asked for.
        """
        if carry and secret:
            raise ValueError(
                f"key {name!r} cannot be both carry and secret: "
                f"a secret never leaves the process; drop one of the two"
            )
        self.name = name
        self.carry = carry
        self.secret = secret
        self._default = default

    def get(self) -> T | None:
        """Return the value bound around the caller, or the default."""
        value = current().values.get(self, _MISSING)
        return self._default if value is _MISSING else cast("T", value)

    def __repr__(self) -> str:
        """Show the name and the flags, never a value."""
        flags = " carry" * self.carry + " secret" * self.secret
        return f"<Key {self.name!r}{flags}>"


@contextmanager
def bind(key: Key[T], value: T) -> Generator[None]:
    """Bind `key` to `value` inside the block and in everything called or spawned from it.

    Raises:
        TypeError: `key` is not a `Key`.
    """
    if not isinstance(key, Key):  # a string would do until the next call to another process
        raise TypeError(
            f"bind() takes a Key, not {key!r}: make one at module level, KEY = Key[str]({str(key)!r})"
        )
    token = enter(current().with_value(key, value))
    try:
        yield
    finally:
        leave(token)


def carried() -> dict[str, str]:
    """Return the values that travel to other processes, by key name, as strings."""
    return {
        key.name: str(value)
        for key, value in current().values.items()
        if key.carry and not key.secret
    }


TRACE: Key[str] = Key("trace_id", carry=True)
"""The W3C trace id (32 hex digits) of the request being served."""

REQUEST_ID: Key[str] = Key("request_id", carry=True)
"""The request id that the edge accepted or made."""

#: The span that calls to others name as their parent, with its trace and the flags of that: bound by whoever records spans.
SPAN: Key[TraceParent] = Key("span")


def current_span() -> TraceParent | None:
    """Return the span that is being recorded, or None.

    One of another trace than the current one does not count: a server that was started within a span hands that
    down to all its requests.
    """
    span = SPAN.get()
    return span if span is not None and span.trace_id == TRACE.get() else None
