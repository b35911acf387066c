"""What a piece of a kernel writes: asked by the LLVM printer before it opens a loop.

assigned(body)        names of locals set or accumulated, in order of first mention
stored_buffers(body)  buffers stored to
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tracejit.errors import InternalError
from tracejit.ir.types import DTYPES
from tracejit.kernel.nodes import (
    Accumulate,
    Check,
    If,
    Local,
    Loop,
    Scratch,
    Set,
    Stmt,
    Store,
    While,
)


def statements(body: Sequence[Stmt]) -> Iterator[Stmt]:
    """Every statement, those inside loops and branches too."""
    for s in body:
        yield s
        match s:
            case Loop() | While():
                yield from statements(s.body)
            case If():
                yield from statements(s.then)
                yield from statements(s.orelse)


def assigned(body: Sequence[Stmt]) -> list[str]:
    """Names of locals that are set or accumulated, without those declared inside."""
    inner = {s.name for s in statements(body) if isinstance(s, Local)}
    found = dict.fromkeys(s.name for s in statements(body) if isinstance(s, Set | Accumulate))
    return [name for name in found if name not in inner]


def set_anywhere(body: Sequence[Stmt]) -> set[str]:
    """Names of all locals whose value changes after their declaration."""
    return {s.name for s in statements(body) if isinstance(s, Set | Accumulate)}


def stored_buffers(body: Sequence[Stmt]) -> frozenset[str]:
    """Buffers that are stored to; a scratch array declared inside counts, it is another one each time."""
    found = {s.buffer for s in statements(body) if isinstance(s, Store)}
    return frozenset(found | {s.name for s in statements(body) if isinstance(s, Scratch)})


def uses_check(body: Sequence[Stmt]) -> bool:
    return any(isinstance(s, Check) for s in statements(body))


def reductions(body: Sequence[Stmt], names: Sequence[str]) -> dict[str, str]:
    """How each local declared outside a vec loop is folded by it."""
    folds: dict[str, str] = {}
    for s in statements(body):
        if isinstance(s, Set) and s.name in names:
            raise InternalError(f"`{s.name}` is declared outside the vec loop that sets it")
        if isinstance(s, Accumulate) and s.name in names and folds.setdefault(s.name, s.fn) != s.fn:
            raise InternalError(
                f"`{s.name}` is accumulated with both {folds[s.name]} and {s.fn} in one loop"
            )
    return folds


def identity_of(fn: str, dtype: str) -> bool | int | float:
    """What leaves every value as it is under ``fn``; -0.0 for float sums, so that a sum of -0.0 stays -0.0."""
    kind = "f" if dtype == "bf16" else dtype[0]
    if kind == "b":
        return fn in ("and", "mul", "min")
    if kind == "f":
        return {"add": -0.0, "mul": 1.0, "max": float("-inf"), "min": float("inf")}[fn]
    bits = DTYPES[dtype].itemsize * 8
    lowest, highest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if kind == "i" else (0, 2**bits - 1)
    return {
        "add": 0,
        "or": 0,
        "xor": 0,
        "mul": 1,
        "and": -1 if kind == "i" else highest,
        "max": lowest,
        "min": highest,
    }[fn]
