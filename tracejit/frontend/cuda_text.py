"""What a text of CUDA C says of its kernels: their names, parameters and element types.

    found = find_kernel(text, None)
    found.name, found.parameters        "saxpy", (Parameter("x", "float", "const float* x", ...),)
    dtypes_of("float", text)            (dtype('float32'),)

The text is read as far as that takes; a compiler reads the rest. Line numbers stay.
"""

from __future__ import annotations

import linecache
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tracejit import kernels, source
from tracejit.errors import ArgumentError
from tracejit.ir.types import DTYPES, short
from tracejit.record import dataclass

_LONG = "i64" if sys.platform != "win32" else "i32"
#: how C writes an element, by short names of dtypes
_SPELLINGS: dict[str, tuple[str, ...]] = {
    "bool": ("bool",),
    "i8": ("char", "signed char", "int8_t"),
    "u8": ("unsigned char", "uint8_t", "uchar"),
    "i16": ("short", "short int", "int16_t"),
    "u16": ("unsigned short", "unsigned short int", "uint16_t", "ushort"),
    "i32": ("int", "signed", "signed int", "int32_t"),
    "u32": ("unsigned int", "unsigned", "uint32_t", "uint"),
    "i64": ("long long", "long long int", "int64_t", "ptrdiff_t"),
    "u64": ("unsigned long long", "unsigned long long int", "uint64_t", "size_t"),
    "f16": ("__half", "half"),
    "bf16": ("__nv_bfloat16", "nv_bfloat16"),
    "f32": ("float",),
    "f64": ("double",),
    "c64": ("float2", "cuFloatComplex", "cuComplex"),
    "c128": ("double2", "cuDoubleComplex"),
}
#: vectors, as ``float4``, by what they are made of
_VECTORS = {
    **{"char": "i8", "uchar": "u8", "short": "i16", "ushort": "u16", "int": "i32", "uint": "u32"},
    **{"longlong": "i64", "ulonglong": "u64", "float": "f32", "double": "f64"},
    **{"__half": "f16", "half": "f16", "__nv_bfloat16": "bf16", "nv_bfloat16": "bf16"},
}
_VECTOR = re.compile(rf"({'|'.join(_VECTORS)})([1234])")
_QUALIFIERS = {
    *("const", "volatile", "__restrict__", "__restrict", "restrict", "__grid_constant__"),
    *("struct", "register"),
}
_NOT_CODE = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL)
_ALIASES = (
    re.compile(r"\btypedef\s+(?P<type>[\w\s:]+?)\s+(?P<name>\w+)\s*;"),
    re.compile(r"\busing\s+(?P<name>\w+)\s*=\s*(?P<type>[\w\s:]+?)\s*;"),
    re.compile(r"^[ \t]*#[ \t]*define[ \t]+(?P<name>\w+)[ \t]+(?P<type>[\w \t]+?)[ \t]*$", re.M),
)


@dataclass(frozen=True)
class Parameter:
    """A kernel's parameter. ``type``: of its elements, as the text has it. ``const``: whether what
    a pointer leads to is only read.
    """

    name: str
    type: str
    text: str
    pointer: bool
    const: bool


@dataclass(frozen=True)
class KernelText:
    """A kernel in a text. ``line``: where it begins, counted from 1."""

    name: str
    parameters: tuple[Parameter, ...]
    line: int


@dataclass(frozen=True)
class _Declaration:
    """``start``: where it begins in the text; ``inside``: what stands between its parentheses."""

    name: str
    start: int
    inside: str
    template: bool
    extern_c: bool
    body: bool


def code_only(text: str) -> str:
    """The text with blanks for comments and what strings say (but ``"C"``), of the same length."""

    def blank(match: re.Match[str]) -> str:
        return match[0] if match[0] == '"C"' else re.sub(r"[^\n]", " ", match[0])

    return _NOT_CODE.sub(blank, text)


def find_kernel(text: str, name: str | None) -> KernelText:
    """The kernel of that name, or the only one.

    Raises ArgumentError where there is none, where there are several and none is named, and for a
    template.
    """
    code = code_only(text)
    found = {d.name: d for d in sorted(_declarations(code), key=lambda d: d.body)}
    if not found:
        raise ArgumentError(
            "cuda_kernel: the text has no kernel: no function of it is __global__", at=source.here()
        )
    if name is None and len(found) > 1:
        raise ArgumentError(
            f"cuda_kernel: the text has {len(found)} kernels",
            at=source.here(),
            hint=f"say which: name={' or '.join(map(repr, found))}",
        )
    chosen = found.get(next(iter(found)) if name is None else name)
    if chosen is None:
        raise ArgumentError(
            f"cuda_kernel: the text has no kernel {name!r}",
            at=source.here(),
            hint=f"there are: {', '.join(found)}",
        )
    if chosen.template:
        raise ArgumentError(
            f"cuda_kernel: `{chosen.name}` is a template, which has no name to launch it by",
            at=source.here(),
            hint='write the type as a word that defines= replaces: defines={"T": "float"}',
        )
    parameters = tuple(_parameters(chosen))
    return KernelText(chosen.name, parameters, code.count("\n", 0, chosen.start) + 1)


def with_c_linkage(text: str, name: str) -> str:
    """The text with ``extern "C"`` in front of a kernel that lacks it."""
    starts = [d.start for d in _declarations(code_only(text)) if d.name == name and not d.extern_c]
    for start in reversed(starts):
        text = f'{text[:start]}extern "C" {text[start:]}'
    return text


def replaced(text: str, words: Mapping[str, str]) -> str:
    """The text with words replaced, on the lines where they are."""
    if not words:
        return text
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, words))})\b")
    return pattern.sub(lambda match: words[match[1]], text)


def c_text(value: Any) -> str:
    """A number, a dtype or a text as C has it."""
    if isinstance(value, str):
        return value
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return _SPELLINGS[short(np.dtype(value))][0]
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    return repr(value.item() if isinstance(value, np.generic) else value)


def dtypes_of(type: str, text: str) -> tuple[np.dtype, ...]:
    """The dtypes whose elements a C type can be; none where it is unknown. ``text`` is searched for
    its other name. ``void`` can be any.
    """
    aliases = {m["name"]: m["type"] for pattern in _ALIASES for m in pattern.finditer(text)}
    for _ in range(8):
        if type not in aliases:
            break
        type = " ".join(aliases[type].split())
    if type == "void":
        return tuple(DTYPES.values())
    if type in ("long", "long int", "unsigned long", "unsigned long int"):
        return (DTYPES[("u" if type.startswith("u") else "i") + _LONG[1:]],)
    found = [name for name, spellings in _SPELLINGS.items() if type in spellings]
    if match := _VECTOR.fullmatch(type):
        found.append(_VECTORS[match[1]])
    return tuple(DTYPES[name] for name in found)


# ---- declarations --------------------------------------------------------------------------------

_WORD = re.compile(r"\s*(\w+)\s*(\()?")


def _declarations(code: str) -> Iterator[_Declaration]:
    for match in re.finditer(r"\b(?:void\s+)?__global__\b", code):
        place = match.end()
        while word := _WORD.match(code, place):
            place = word.end()
            if word[2] is None:
                continue
            end = _closing(code, place)
            if word[1].startswith("__"):  # __launch_bounds__(256)
                place = end + 1
                continue
            before = code[: match.start()]
            modifiers = r"(?:static\s+|inline\s+)*"
            template = re.search(rf"\btemplate\s*<[^;{{}}]*>\s*{modifiers}$", before)
            linkage = re.search(rf'\bextern\s*"C"\s*{modifiers}$', before)
            body = code[end + 1 :].lstrip().startswith("{")
            yield _Declaration(
                word[1],
                match.start(),
                code[place:end],
                template is not None,
                linkage is not None,
                body,
            )
            break


def _closing(code: str, place: int) -> int:
    """Where the parenthesis ends that was opened before ``place``."""
    depth = 1
    for k in range(place, len(code)):
        depth += {"(": 1, ")": -1}.get(code[k], 0)
        if not depth:
            return k
    return len(code)


def _parameters(declaration: _Declaration) -> Iterator[Parameter]:
    for number, text in enumerate(_split(declaration.inside), 1):
        text = " ".join(text.partition("=")[0].split())
        if text in ("", "void"):
            continue
        tokens = re.findall(r"\w+|\S", text.partition("[")[0])
        unnamed = tokens[-1] in ("*", "&") or sum(t not in _QUALIFIERS for t in tokens) == 1
        name = f"parameter {number}" if unnamed else tokens.pop()
        stars = tokens.count("*") + ("[" in text)
        before = tokens[: tokens.index("*")] if "*" in tokens else tokens
        type = " ".join(t for t in tokens if t not in _QUALIFIERS and t != "*")
        if stars > 1 or "&" in tokens or not type:
            raise ArgumentError(
                f"cuda_kernel: parameter `{text}` of `{declaration.name}` is neither a pointer to "
                "elements nor a number",
                at=source.here(),
            )
        yield Parameter(name, type, text, bool(stars), "const" in before)


def _split(inside: str) -> list[str]:
    """Parts between commas that are in no brackets."""
    parts, depth, start = [], 0, 0
    for k, letter in enumerate(inside):
        depth += {"(": 1, "<": 1, ")": -1, ">": -1}.get(letter, 0)
        if letter == "," and not depth:
            parts.append(inside[start:k])
            start = k + 1
    return [*parts, inside[start:]]


# ---- where texts are -----------------------------------------------------------------------------


def read_text(given: str | os.PathLike[str]) -> tuple[str, tuple[str, int] | None]:
    """A text of CUDA C or that of the file it names, and the file and line where it begins, for
    messages. Raises ArgumentError where there is no such file.
    """
    at = source.here()
    if isinstance(given, str) and ("\n" in given or not given.endswith((".cu", ".cuh"))):
        return given, None if at is None else _place(given, at)
    path = Path(given)
    if path.as_posix() in kernels.names():
        return kernels.read(path.as_posix()), (path.name, 1)
    beside = Path(os.path.dirname(at.file)) if at is not None else Path()
    for place in (path, beside / path):
        if place.is_file():
            return place.read_text(encoding="utf-8"), (place.name, 1)
    raise ArgumentError(
        f"cuda_kernel: there is no file {str(given)!r}",
        at=at,
        hint="it is looked for in tracejit's folder kernels/, in the working directory and beside "
        "the file of the call",
    )


def _place(text: str, at: source.Position) -> tuple[str, int] | None:
    """Where in the file of a call the text stands, found by itself or by the line of a kernel."""
    linecache.checkcache(at.file)
    whole = "".join(linecache.getlines(at.file))
    file = at.short().rpartition(":")[0]
    starts = [match.start() for match in re.finditer(re.escape(text), whole)] if text else []
    if starts:
        lines = [whole.count("\n", 0, start) + 1 for start in starts]
        return file, min(lines, key=lambda line: abs(line - at.line))
    own = [line.strip() for line in text.splitlines()]
    number = next((k for k, line in enumerate(own) if "__global__" in line), None)
    if number is None:
        return None
    found = [k for k, line in enumerate(whole.splitlines(), 1) if own[number] in line]
    return (file, found[0] - number) if len(found) == 1 else None
