"""Expressions that a probe may read: names, attributes and constant subscripts, without running code.

``order.items[0].price`` is one; a call, an operator or a variable subscript is not. Attributes are looked up
the way `inspect.getattr_static` does: the class first, past every `__getattr__` and `__getattribute__`; what a
property or another descriptor would compute is not computed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Any, Final

from backstay._base import HIDDEN, names_a_secret
from backstay.errors import UsageError
from backstay.observe.probe._values import kind_of, mro_of, name_of, show

__all__ = ["Expression", "parse_expression"]

_LONGEST: Final = 200
_MISSING: Final = object()
_EXPECTED: Final = "give names, attributes and constant subscripts, such as order.items[0].price"
_class_dict: Any = type.__dict__["__dict__"]
_get: Any = dict.__dict__["get"]
_READERS: Final[tuple[tuple[Any, Any], ...]] = tuple(
    (kind, kind.__dict__["__getitem__"]) for kind in (list, tuple, str, bytes)
)


class _CannotRead(Exception):
    """Why a step leads nowhere, in words for the record."""


@dataclass(frozen=True, slots=True)
class Expression:
    """One expression, taken apart.

    Attributes:
        text: as it was written.
        root: the variable that it begins with.
        steps: what follows: (True, name) for an attribute, (False, key) for a subscript.
        secret: whether a name in it stands for something that is not shown.
    """

    text: str
    root: str
    steps: tuple[tuple[bool, Any], ...]
    secret: bool

    def read(self, variable: Callable[[str], object]) -> str:
        """Return the value as text, or in angle brackets why there is none.

        Args:
            variable: returns the value of a variable, or raises KeyError.
        """
        if self.secret:
            return HIDDEN
        try:
            value = variable(self.root)
        except KeyError:
            return "<no such variable here>"
        try:
            for is_attribute, key in self.steps:
                value = _attribute(value, key) if is_attribute else _item(value, key)
        except _CannotRead as reason:
            return f"<{reason}>"
        return show(value)


def parse_expression(text: str) -> Expression:
    """Take an expression apart.

    Raises:
        UsageError: it is none, or one that would run code.
    """
    if len(text) > _LONGEST:
        raise UsageError(
            f"the expression {text[:40]!r}… has {len(text)} characters: at most {_LONGEST}"
        )
    try:
        node: ast.expr = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"{text!r} is not an expression: {_EXPECTED}") from error
    steps: list[tuple[bool, Any]] = []
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.Attribute):
            steps.append((True, node.attr))
        elif isinstance(node, ast.Subscript):
            steps.append((False, _constant(node.slice, text)))
        else:
            raise UsageError(f"{text!r} would run code of the program: {_EXPECTED}")
        node = node.value
    steps.append((True, node.id))
    steps.reverse()
    secret = any(names_a_secret(key) for _, key in steps if isinstance(key, str))
    return Expression(text.strip(), node.id, tuple(steps[1:]), secret)


def _constant(node: ast.expr, text: str) -> object:
    negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    inner = node.operand if isinstance(node, ast.UnaryOp) and negative else node
    if (
        isinstance(inner, ast.Constant)
        and isinstance(inner.value, str | int | bytes)
        and not isinstance(inner.value, bool)
    ):
        if not negative:
            return inner.value
        if isinstance(inner.value, int):
            return -inner.value
    raise UsageError(f"{text!r} has a subscript that is no constant: {_EXPECTED}")


def _attribute(thing: Any, name: str) -> object:
    kind = kind_of(thing)
    if type in mro_of(kind):
        return _of_classes(mro_of(thing), name, thing)
    found = _look_up(mro_of(kind), name)
    if found is _MISSING:
        return _plain(thing, name, kind)
    descriptor = kind_of(found)
    if descriptor is MemberDescriptorType:
        return _slot(found, thing, name)
    if descriptor is FunctionType or _look_up(mro_of(descriptor), "__get__") is _MISSING:
        return _plain(thing, name, kind)
    if (
        _look_up(mro_of(descriptor), "__set__") is _MISSING
    ):  # a value of its own hides what would compute one
        own = _own(thing, kind)
        if name in own:
            return own[name]
    what = "property" if descriptor is property else name_of(descriptor)
    raise _CannotRead(f"{name} is a {what}: not run")


def _of_classes(classes: tuple[Any, ...], name: str, thing: Any) -> object:
    found = _look_up(classes, name)
    if found is _MISSING:
        raise _CannotRead(f"class {name_of(thing)} has no {name}")
    return found


def _look_up(classes: tuple[Any, ...], name: str) -> Any:
    for one in classes:
        names = _class_dict.__get__(one)
        if name in names:
            return names[name]
    return _MISSING


def _plain(thing: Any, name: str, kind: Any) -> object:
    """Read what no descriptor stands in front of; the generic look-up of `object` runs no code then."""
    try:
        return object.__getattribute__(thing, name)
    except AttributeError as error:
        raise _CannotRead(f"{name_of(kind)} has no {name}") from error


def _slot(descriptor: Any, thing: Any, name: str) -> object:
    try:
        return descriptor.__get__(thing)
    except AttributeError as error:
        raise _CannotRead(f"{name} is not set") from error


def _own(thing: Any, kind: Any) -> dict[str, Any]:
    """Return the attributes that an instance has itself, without materialising more than it has to."""
    descriptor = _look_up(mro_of(kind), "__dict__")
    if kind_of(descriptor) is not GetSetDescriptorType:
        return {}
    found: Any = descriptor.__get__(thing)
    return found if kind_of(found) is dict else {}


def _item(thing: Any, key: Any) -> object:
    bases = mro_of(kind_of(thing))
    if dict in bases:
        found = _get(thing, key, _MISSING)  # `[]` would call the __missing__ of a subclass
        if found is _MISSING:
            raise _CannotRead(f"no key {key!r}")
        return found
    for kind, reader in _READERS:
        if kind in bases:
            if not isinstance(key, int):
                raise _CannotRead(f"a {kind.__name__} has no key {key!r}")
            try:
                return reader(thing, key)
            except IndexError as error:
                raise _CannotRead(f"no item {key}, there are {len(thing)}") from error
    raise _CannotRead(f"{name_of(kind_of(thing))} cannot be subscripted without running its code")
