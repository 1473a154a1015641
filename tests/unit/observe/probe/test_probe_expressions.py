"""Expressions are read without running any code of the program, and shown within bounds."""

from __future__ import annotations

import collections
import enum
import functools
import types
from typing import Any, NoReturn

import pytest

from backstay.errors import UsageError
from backstay.observe.probe._expression import parse_expression
from backstay.observe.probe._values import show


class Trap:
    """Ends the test from every place at which code of its own could run."""

    plain = 7

    def __init__(self) -> None:
        object.__setattr__(self, "own", [1, {"api_key": "k", "x": (1,)}])

    def _sprung(self, *_: Any) -> NoReturn:
        raise SystemExit("code of the program was run")

    __getattr__ = __getattribute__ = __repr__ = __str__ = __getitem__ = __len__ = __iter__ = _sprung
    __eq__ = __bool__ = __format__ = __class_getitem__ = _sprung  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]
    computed = property(_sprung)
    kept = functools.cached_property(_sprung)


class Slotted:
    """Has no dict."""

    __slots__ = ("empty", "value")

    def __init__(self) -> None:
        self.value = 3


class Meta(type):
    """A class whose attributes run code."""

    def __getattribute__(cls, name: str) -> NoReturn:
        raise SystemExit("code of the program was run")


def odd() -> object:
    """Return an instance of a class whose every attribute runs code."""

    class Odd(metaclass=Meta):
        pass

    return Odd()


class Default(dict):  # type: ignore[type-arg]
    """A dict that makes what is missing."""

    def __missing__(self, key: object) -> NoReturn:
        raise SystemExit("code of the program was run")

    __getitem__ = get = __missing__  # type: ignore[assignment]


class Colour(enum.IntEnum):
    """An int with a name."""

    RED = 1


def read(text: str, **variables: object) -> str:
    """Read an expression among some variables."""
    return parse_expression(text).read(variables.__getitem__)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("trap", "<Trap object>"),
        ("trap.own", "[1, {'api_key': <hidden>, 'x': (1,)}]"),
        ("trap.own[1]['x'][0]", "1"),
        ("trap.own[-1]['x']", "(1,)"),
        ("trap.own[7]", "<no item 7, there are 2>"),
        ("trap.own['x']", "<a list has no key 'x'>"),
        ("trap.plain", "7"),
        ("trap.computed", "<computed is a property: not run>"),
        ("trap.kept", "<kept is a cached_property: not run>"),
        ("trap.nothing", "<Trap has no nothing>"),
        ("trap[0]", "<Trap cannot be subscripted without running its code>"),
        ("slotted.value", "3"),
        ("slotted.empty", "<empty is not set>"),
        ("odd", "<odd.<locals>.Odd object>"),
        ("default['a']", "1"),
        ("default['b']", "<no key 'b'>"),
        ("kind.plain", "7"),
        ("kind.computed", "<property object>"),
        ("module.plain", "8"),
        ("trap.own[1]['api_key']", "<hidden>"),
        ("nothing", "<no such variable here>"),
        ("colour", "<Colour 1>"),
    ],
)
def test_no_code_of_the_program_runs(text: str, shown: str) -> None:
    """Traps at every door stay shut, and the text says what was found or why not."""
    module = types.ModuleType("module")
    module.plain = 8  # type: ignore[attr-defined]
    assert (
        read(
            text,
            trap=Trap(),
            slotted=Slotted(),
            odd=odd(),
            default=Default(a=1),
            kind=Trap,
            module=module,
            colour=Colour.RED,
        )
        == shown
    )


def test_a_cached_property_that_was_computed_is_a_plain_value() -> None:
    """What stands in the instance is shown, though its class has a descriptor of that name."""

    class Holder:
        @functools.cached_property
        def value(self) -> int:
            return 5

    holder = Holder()
    assert read("holder.value", holder=holder) == "<value is a cached_property: not run>"
    assert holder.value == 5
    assert read("holder.value", holder=holder) == "5"


@pytest.mark.parametrize(
    "text",
    [
        "f()",
        "a + b",
        "a[b]",
        "1",
        "a[1:2]",
        "a[f()]",
        "lambda: 1",
        "",
        "a b",
        "a[True]",
        "(" * 150,
        "x" * 300,
    ],
)
def test_what_would_run_code_is_refused(text: str) -> None:
    """One line says what may be written instead."""
    with pytest.raises(UsageError):
        parse_expression(text)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (10**400, "<int of 1329 bits>"),
        ("x" * 300, f"'{'x' * 200}'… 300 characters"),
        ("password=hunter2 user=ann", "'password=*** user=ann'"),
        ("postgres://ann:pw@db/x", "'postgres://***@db/x'"),
        (b"z" * 300, f"b'{'z' * 100}'… 300 bytes"),
        (list(range(100)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, … 100 items]"),
        ([[[[[]]]]], "[[[[… 1 items]]]]"),
        (set(), "set()"),
        (frozenset({1}), "frozenset({1})"),
        ((1,), "(1,)"),
        (None, "None"),
        (1.5, "1.5"),
        (collections.OrderedDict(a=1), "<OrderedDict object>"),
        ({"Authorization": "x", "sessionId": "y", "pin": 1, "spin": 2}, "{'Authorization': <hidden>, 'sessionId': <hidden>, 'pin': <hidden>, 'spin': 2}"),
    ],
)  # fmt: skip
def test_values_are_shown_within_bounds(value: object, shown: str) -> None:
    """Long things are cut, and the cut is told."""
    assert show(value) == shown


def test_nothing_is_longer_than_a_thousand_characters() -> None:
    """Not even many texts in many containers."""
    assert len(show([["y" * 200] * 10] * 10)) == 1000
