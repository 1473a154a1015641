"""Orders as the customer sends them: strict parsing and the fingerprint of a request."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import cast

MAX_LINES = 16
MAX_QUANTITY = 100
MAX_BODY = 16_384  # bytes; an order of 16 lines is about 1 KiB
MAX_NAME = 64  # characters of a customer's name or an idempotency key


class OrderRefused(ValueError):
    """The request is not an order; the message is for the customer."""


@dataclass(frozen=True, slots=True)
class Line:
    """One article of an order."""

    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Wish:
    """What a customer asked for, checked but not yet accepted."""

    customer: str
    lines: tuple[Line, ...]


def parse(body: bytes) -> Wish:
    """Read an order out of the body of a request.

    Args:
        body: `{"customer": "...", "lines": [{"sku": "...", "quantity": 1}]}` in UTF-8.

    Returns:
        The wish, every field checked.

    Raises:
        OrderRefused: anything is missing, of the wrong type or out of range.
    """
    if len(body) > MAX_BODY:
        raise OrderRefused(f"body of {len(body)} bytes: expected at most {MAX_BODY}")
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise OrderRefused("body is not JSON: send an object with customer and lines") from error
    fields = _object(document, "body")
    raw_lines = fields.get("lines")
    if not isinstance(raw_lines, list):
        raise OrderRefused("lines is missing: expected a list of {sku, quantity}")
    entries = cast("list[object]", raw_lines)
    if not 1 <= len(entries) <= MAX_LINES:
        raise OrderRefused(f"{len(entries)} lines: expected 1 to {MAX_LINES}")
    lines = tuple(_line(entry) for entry in entries)
    if len({line.sku for line in lines}) != len(lines):
        raise OrderRefused("an article appears twice: add up its quantity in one line")
    return Wish(_name(fields.get("customer"), "customer"), lines)


def check_key(key: str | None) -> str:
    """Check the Idempotency-Key header.

    Args:
        key: the header's value, None when it was not sent.

    Returns:
        The key.

    Raises:
        OrderRefused: it is missing, empty or too long.
    """
    if key is None:
        raise OrderRefused(
            "the Idempotency-Key header is missing: send a fresh unique value with each order"
        )
    return _name(key, "Idempotency-Key")


def fingerprint(body: bytes) -> str:
    """Hash a request, so that the same key with another body can be told apart.

    Args:
        body: the body as received; a different spelling of the same order counts as different.

    Returns:
        32 hexadecimal digits.
    """
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def encode_lines(lines: tuple[Line, ...]) -> str:
    """Write lines for the database and for messages.

    Args:
        lines: the articles.

    Returns:
        JSON: a list of [sku, quantity] pairs.
    """
    return json.dumps([[line.sku, line.quantity] for line in lines], separators=(",", ":"))


def decode_lines(text: str | bytes) -> tuple[Line, ...]:
    """Read what `encode_lines` wrote.

    Args:
        text: the JSON.

    Returns:
        The lines.
    """
    return tuple(Line(str(sku), int(quantity)) for sku, quantity in json.loads(text))


def _object(document: object, what: str) -> dict[str, object]:
    if not isinstance(document, dict):
        raise OrderRefused(f"{what} is {type(document).__name__}: expected an object")
    return cast("dict[str, object]", document)


def _name(value: object, what: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_NAME or not value.isprintable():
        raise OrderRefused(f"{what} is not usable: expected 1 to {MAX_NAME} printable characters")
    return value


def _line(entry: object) -> Line:
    fields = _object(entry, "a line")
    quantity = fields.get("quantity")
    # bool is an int for Python, but `true` is not a quantity.
    if (
        not isinstance(quantity, int)
        or isinstance(quantity, bool)
        or not 1 <= quantity <= MAX_QUANTITY
    ):
        raise OrderRefused(
            f"quantity {quantity!r}: expected a whole number from 1 to {MAX_QUANTITY}"
        )
    return Line(_name(fields.get("sku"), "sku"), quantity)
