"""Reads the exported symbols of an ELF file: as much of the format as finding one function needs.

Facts from the System V ABI (gABI, chapters "Object files" and "Dynamic linking") and its AMD64
supplement. Only 64-bit little-endian files of x86-64 are understood; anything else is refused by name.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["ElfFile", "NotUnderstood", "read_elf"]

_MACHINES = {0x03: "x86", 0x28: "arm", 0x3E: "x86-64", 0xB7: "aarch64", 0xF3: "riscv"}
_SHT_SYMTAB, _SHT_DYNSYM = 2, 11
_PT_LOAD, _PF_X = 1, 1
_SYMBOL = struct.Struct("<IBBHQQ")
# A name of the C API has at most about 60 bytes.
_LONGEST_NAME = 256


class NotUnderstood(Exception):
    """The bytes are no ELF file that this reader understands; the message says which kind it is."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the file that is mapped: where it is in the file, and where it wants to be."""

    offset: int
    address: int
    size: int
    executable: bool


@dataclass(frozen=True, slots=True)
class ElfFile:
    """What was asked of a file.

    Attributes:
        segments: what the loader maps.
        symbols: addresses by name, as written in the file; without the load bias.
    """

    segments: tuple[Segment, ...]
    symbols: dict[str, int]

    def bias(self, mapped_at: int, mapped_offset: int) -> int | None:
        """Return what to add to the addresses in the file, given one of its mappings.

        Args:
            mapped_at: where the mapping begins in the process.
            mapped_offset: which offset of the file stands there.
        """
        for segment in self.segments:
            first = segment.offset & ~0xFFF
            if first <= mapped_offset < segment.offset + segment.size:
                return mapped_at - (segment.address & ~0xFFF) - (mapped_offset - first)
        return None


def read_elf(data: bytes, wanted: Iterable[str]) -> ElfFile:
    """Look up the `wanted` symbols in the file `data`.

    Raises:
        NotUnderstood: not ELF, or of another word size or machine.
    """
    if data[:4] != b"\x7fELF":
        raise NotUnderstood("no ELF file")
    if len(data) < 64 or data[4] != 2 or data[5] != 1:
        raise NotUnderstood("a 32-bit or big-endian program")
    try:
        machine = struct.unpack_from("<H", data, 18)[0]
        if machine != 0x3E:
            raise NotUnderstood(f"a program for {_MACHINES.get(machine, f'machine {machine}')}")
        return ElfFile(_segments(data), _symbols(data, frozenset(wanted)))
    except (struct.error, OverflowError) as error:
        raise NotUnderstood("a truncated ELF file") from error


def _segments(data: bytes) -> tuple[Segment, ...]:
    start, size, count = _table(data, 32, 54, 56)
    found: list[Segment] = []
    for index in range(count):
        kind, flags, offset, address, _, in_file = struct.unpack_from(
            "<IIQQQQ", data, start + index * size
        )
        if kind == _PT_LOAD:
            found.append(Segment(offset, address, in_file, bool(flags & _PF_X)))
    return tuple(found)


def _symbols(data: bytes, wanted: frozenset[str]) -> dict[str, int]:
    start, size, count = _table(data, 40, 58, 60)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, start + i * size) for i in range(count)]
    found: dict[str, int] = {}
    for _, kind, _, _, offset, length, link, _, _, each in sections:
        if kind not in (_SHT_DYNSYM, _SHT_SYMTAB) or each != _SYMBOL.size or link >= count:
            continue
        names_at, names_size = sections[link][4], sections[link][5]
        names = data[names_at : names_at + names_size]
        for name_at, _, _, defined_in, value, _ in _SYMBOL.iter_unpack(
            data[offset : offset + length - length % _SYMBOL.size]
        ):
            if not defined_in or not value or name_at >= len(names):
                continue  # wanted from elsewhere, or nameless
            name = names[name_at : name_at + _LONGEST_NAME].partition(b"\0")[0].decode("latin-1")
            if name in wanted:
                found.setdefault(name, value)
        if wanted <= found.keys():
            break
    return found


def _table(data: bytes, offset_at: int, size_at: int, count_at: int) -> tuple[int, int, int]:
    """Read where a table of the file header is, how long its entries are, and how many."""
    start = struct.unpack_from("<Q", data, offset_at)[0]
    size, count = (struct.unpack_from("<H", data, at)[0] for at in (size_at, count_at))
    return start, size, count
