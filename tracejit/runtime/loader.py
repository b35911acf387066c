"""Object code into executable memory, without LLVM: ELF for x86-64 as our kernels need it.

image = load_image(object_bytes, ["main"])           image.addresses["main"]

A process that finds its kernels in the disk cache has no use for a compiler, whose library takes
some 30 ms to load. What this loader does not know is refused with ``Unsupported``: LLVM's linker,
which knows everything, loads it then.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from tracejit.record import dataclass

_MAGIC = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian
_RELOCATABLE, _X86_64 = 1, 62
_SYMBOLS, _RELOCATIONS, _NO_BITS, _UNWIND = 2, 4, 8, 0x70000001
_WRITE, _ALLOCATE = 1, 2

# kinds of relocation
_ABSOLUTE_64, _RELATIVE_32, _CALL_32, _RELATIVE_64 = 1, 2, 4, 24
_TABLE = (9, 41, 42)  # the place of a pointer to the symbol

#: a jump through the eight bytes behind it, which hold the address of a function elsewhere
_JUMP = b"\xff\x25\x00\x00\x00\x00"
_JUMP_BYTES = 16


class Unsupported(Exception):
    """An object, or a platform, that this loader does not know."""


@dataclass(frozen=True)
class Image:
    """Loaded code: ``addresses`` are valid while this object lives."""

    addresses: dict[str, int]
    memory: Any
    code_bytes: int


def available() -> bool:
    """Whether this loader works on this platform at all."""
    return sys.platform == "linux" and os.uname().machine == "x86_64" and sys.maxsize > 2**32


@lru_cache(maxsize=1)
def _process() -> Any:
    return ctypes.CDLL(None)


@lru_cache(maxsize=64)
def _outside(name: str) -> int:
    """The address of a function of the C library."""
    try:
        return ctypes.cast(getattr(_process(), name), ctypes.c_void_p).value or 0
    except AttributeError:
        raise Unsupported(f"no symbol {name}") from None


@dataclass(frozen=True)
class _Section:
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    align: int

    @property
    def loaded(self) -> bool:
        """Code and data; not what only debuggers and exceptions read."""
        return bool(self.flags & _ALLOCATE) and self.kind != _UNWIND and self.size > 0


@dataclass(frozen=True)
class _Symbol:
    name: str
    section: int
    value: int


def load_image(data: bytes, names: Sequence[str]) -> Image:
    """Map an object into memory; ``names`` are the functions wanted.

    Raises Unsupported.
    """
    if not available():
        raise Unsupported("only Linux on x86-64")
    try:
        return _Loader(data).image(names)
    except (struct.error, LookupError, ValueError, ArithmeticError, OSError, MemoryError) as error:
        raise Unsupported(f"not an object this loader reads: {error}") from error


class _Loader:
    def __init__(self, data: bytes) -> None:
        kind, machine = struct.unpack_from("<HH", data, 16)
        if not data.startswith(_MAGIC) or kind != _RELOCATABLE or machine != _X86_64:
            raise Unsupported("not an ELF object for x86-64")
        start, (width, count) = (
            struct.unpack_from("<Q", data, 40)[0],
            struct.unpack_from("<HH", data, 58),
        )
        if width != 64:
            raise Unsupported("sections of another form")
        table = data[start : start + width * count]
        self.data = data
        self.sections = [
            _Section(kind, flags, offset, size, link, info, max(align, 1))
            for _, kind, flags, _, offset, size, link, info, align, _ in struct.iter_unpack(
                "<IIQQQQIIQQ", table
            )
        ]
        self.symbols = self._symbols()
        self.jumps: dict[str, int] = {}

    def _symbols(self) -> list[_Symbol]:
        for section in self.sections:
            if section.kind == _SYMBOLS:
                names = self.sections[section.link].offset
                table = self.data[section.offset : section.offset + section.size]
                return [
                    _Symbol(self._text(names + name), home, value)
                    for name, _, _, home, value, _ in struct.iter_unpack("<IBBHQQ", table)
                ]
        return []

    def _text(self, start: int) -> str:
        return self.data[start : self.data.index(b"\0", start)].decode()

    def image(self, names: Sequence[str]) -> Image:
        self._place()
        memory = mmap.mmap(-1, self.size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for number, place in self.places.items():
            section = self.sections[number]
            if section.kind != _NO_BITS:
                end = section.offset + section.size
                memory[place : place + section.size] = self.data[section.offset : end]
        for section in self.sections:
            if section.kind == _RELOCATIONS and section.info in self.places:
                self._relocate(memory, section)
        for name, place in self.jumps.items():
            memory[place : place + 14] = _JUMP + struct.pack("<Q", _outside(name))
        self._protect()
        wanted, end = set(names), self.code_bytes
        found = {
            s.name: self.base + self.places[s.section] + s.value
            for s in self.symbols
            if s.name in wanted and self.places.get(s.section, end) + s.value < end
        }
        if wanted - set(found):
            raise Unsupported(f"no {', '.join(sorted(wanted - set(found)))} in the object")
        return Image(found, memory, self.code_bytes)

    def _place(self) -> None:
        """Offsets in the image: code and constants, jumps to functions elsewhere, on pages of
        their own what is written.
        """
        self.places: dict[int, int] = {}
        end = 0
        for writable in (False, True):
            for number, section in enumerate(self.sections):
                if section.loaded and bool(section.flags & _WRITE) == writable:
                    end += -end % section.align
                    self.places[number] = end
                    end += section.size
            if not writable:
                end += -end % _JUMP_BYTES
                for symbol in self.symbols:
                    if symbol.section == 0 and symbol.name:
                        self.jumps[symbol.name] = end
                        end += _JUMP_BYTES
                end += -end % mmap.PAGESIZE
                self.code_bytes = end
        self.size = max(end, mmap.PAGESIZE)

    def _relocate(self, memory: Any, section: _Section) -> None:
        home = self.places[section.info]
        table = self.data[section.offset : section.offset + section.size]
        for offset, info, addend in struct.iter_unpack("<QQq", table):
            kind, symbol, place = info & 0xFFFFFFFF, self.symbols[info >> 32], home + offset
            if kind in (_RELATIVE_32, _CALL_32):
                target = self._target(symbol, call=kind == _CALL_32)
                struct.pack_into("<i", memory, place, target + addend - place)
            elif kind in _TABLE and symbol.section == 0:
                target = self.jumps[symbol.name] + len(_JUMP)
                struct.pack_into("<i", memory, place, target + addend - place)
            elif kind == _ABSOLUTE_64:
                target = self.base + self._target(symbol, call=False)
                struct.pack_into("<Q", memory, place, target + addend)
            elif kind == _RELATIVE_64:
                target = self._target(symbol, call=False)
                struct.pack_into("<q", memory, place, target + addend - place)
            else:
                raise Unsupported(f"relocation {kind}")

    def _target(self, symbol: _Symbol, call: bool) -> int:
        """Where a symbol is in the image."""
        if symbol.section in self.places:
            return self.places[symbol.section] + symbol.value
        if symbol.section == 0 and call:
            return self.jumps[symbol.name]
        raise Unsupported(f"symbol {symbol.name!r} of section {symbol.section}")

    def _protect(self) -> None:
        """Code can be run and no longer written."""
        protect = _process().mprotect
        protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        if protect(self.base, self.code_bytes, mmap.PROT_READ | mmap.PROT_EXEC):
            raise Unsupported("memory cannot be made executable")
