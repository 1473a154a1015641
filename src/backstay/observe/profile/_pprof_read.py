"""Reads pprof files back, ours and those of others, to merge and to compare them.

A file may come from anywhere, so nothing in it is believed: sizes are bounded,
and whatever does not fit together is one `UsageError` with one line.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from backstay.errors import UsageError
from backstay.observe.profile._profile import Frame, Profile, Table, add, gathered

__all__ = ["from_pprof"]

#: Bytes of an unpacked profile; a million samples have about 100 MB.
_MOST_BYTES = 256 * 1024 * 1024
#: Frames of all its stacks together. One location can stand for many frames, and can be named many
#: times, so that some kB could become more than fits into memory; a million samples have 50 million.
_MOST_FRAMES = 100_000_000
_HALF, _MINUS = 1 << 63, 1 << 64

_Field = tuple[int, int | bytes]


class _Broken(Exception):
    """The bytes are no profile; the message says where."""


def from_pprof(data: bytes) -> Profile:
    """Read a profile.proto message, gzipped or not.

    Inlined frames become frames of their own. Mappings, addresses and units of
    labels are left out: Python's stacks have names.

    Raises:
        UsageError: the bytes are not a pprof profile, or are too many.
    """
    try:
        return _Reader(_unpacked(data)).profile()
    except (_Broken, zlib.error, IndexError, KeyError) as error:
        why = f" ({error})" if isinstance(error, _Broken) else ""
        raise UsageError(
            f"this is not a pprof profile{why}: expected profile.proto, as 'backstay profile -o' "
            f"and Go's /debug/pprof write it"
        ) from error


def _unpacked(data: bytes) -> bytes:
    if data[:2] != b"\x1f\x8b":
        return data
    gzip = zlib.decompressobj(wbits=31)
    plain = gzip.decompress(data, _MOST_BYTES)
    if gzip.unconsumed_tail:
        raise _Broken(f"it unpacks to more than {_MOST_BYTES >> 20} MiB")
    if not gzip.eof:
        raise _Broken("it breaks off")
    return plain


@dataclass(slots=True)
class _Reader:
    """One message, its tables first: samples stand before what they refer to."""

    data: bytes
    strings: list[str] = field(default_factory=list[str])
    functions: dict[int, tuple[str, str]] = field(default_factory=dict[int, tuple[str, str]])
    locations: dict[int, tuple[Frame, ...]] = field(default_factory=dict[int, tuple[Frame, ...]])
    frames: int = 0

    def profile(self) -> Profile:
        fields = list(_fields(self.data))
        self.strings = [_bytes(value).decode("utf-8", "replace") for n, value in fields if n == 6]
        if not self.strings or self.strings[0]:
            raise _Broken("its first string is not empty")
        for number, value in fields:
            if number == 5:
                found = dict(_fields(_bytes(value)))
                names = self._string(found.get(2, 0)), self._string(found.get(4, 0))
                self.functions[_int(found.get(1, 0))] = names
        for number, value in fields:
            if number == 4:
                self._location(_bytes(value))
        kinds = tuple(self._kind(_bytes(value)) for number, value in fields if number == 1)
        if not kinds:
            raise _Broken("it does not say what its values are")
        table: Table = {}
        for number, value in fields:
            if number == 2:
                self._sample(_bytes(value), len(kinds), table)
        single = dict(fields)
        period_kind = single.get(11)
        return Profile(
            kinds,
            gathered(table),
            None if period_kind is None else self._kind(_bytes(period_kind)),
            _signed(_int(single.get(12, 0))),
            _signed(_int(single.get(9, 0))) / 1e9,
            _signed(_int(single.get(10, 0))) / 1e9,
            tuple(self._string(one) for n, value in fields if n == 13 for one in _numbers(value)),
            self._string(single.get(14, 0)),
        )

    def _string(self, place: int | bytes) -> str:
        return self.strings[_int(place)]

    def _kind(self, body: bytes) -> tuple[str, str]:
        found = dict(_fields(body))
        return self._string(found.get(1, 0)), self._string(found.get(2, 0))

    def _location(self, body: bytes) -> None:
        number = address = 0
        frames: list[Frame] = []
        for name, value in _fields(body):
            if name == 1:
                number = _int(value)
            elif name == 3:
                address = _int(value)
            elif name == 4:
                line = dict(_fields(_bytes(value)))
                function, file = self.functions[_int(line.get(1, 0))]
                frames.append(Frame(function, file, _signed(_int(line.get(2, 0)))))
        self.locations[number] = tuple(frames) or (Frame(f"0x{address:x}", "", 0),)

    def _sample(self, body: bytes, width: int, table: Table) -> None:
        stack: list[Frame] = []
        values: list[int] = []
        labels: dict[str, str | int] = {}
        for number, value in _fields(body):
            if number == 1:
                for place in _numbers(value):
                    frames = self.locations[place]
                    self.frames += len(frames)
                    if self.frames > _MOST_FRAMES:
                        raise _Broken(f"its stacks have more than {_MOST_FRAMES:,} frames")
                    stack += frames
            elif number == 2:
                values += [_signed(one) for one in _numbers(value)]
            elif number == 3:
                found = dict(_fields(_bytes(value)))
                text = found.get(2, 0)
                labels[self._string(found.get(1, 0))] = (
                    self._string(text) if text else _signed(_int(found.get(3, 0)))
                )
        if len(values) != width:
            raise _Broken(f"a sample has {len(values)} values where {width} were announced")
        add(table, (tuple(stack), tuple(labels.items())), values)


def _fields(data: bytes) -> Iterator[_Field]:
    """Yield the number and the content of each field of a message."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):  # no field of ours: skipped
            size = 8 if kind == 1 else 4
        else:
            raise _Broken("it holds a field of a kind that does not exist")
        if at + size > end:
            raise _Broken("it breaks off")
        if kind == 2:
            yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number % _MINUS, at
        shift += 7
    raise _Broken("a number does not end")


def _numbers(value: int | bytes) -> list[int]:
    """Return a repeated number, which may be packed or not."""
    if isinstance(value, int):
        return [value]
    found: list[int] = []
    at = 0
    while at < len(value):
        number, at = _varint(value, at)
        found.append(number)
    return found


def _int(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise _Broken("text stands where a number should")
    return value


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise _Broken("a number stands where a message should")
    return value


def _signed(number: int) -> int:
    return number - _MINUS if number >= _HALF else number
