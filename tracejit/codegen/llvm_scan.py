"""What a piece of a kernel writes: asked by the LLVM printer before it opens a loop.

assigned(body)        names of locals set or accumulated, in order of first mention
uniform_locals(body)  those that are the same in all lanes of a vec loop
stored_buffers(body)  buffers stored to
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tracejit.errors import InternalError
from tracejit.ir.expr import Const, Expr, Load, Op, Var, children, walk
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
    Transpose,
    While,
)
from tracejit.kernel.visit import expressions, statements


def assigned(body: Sequence[Stmt]) -> list[str]:
    """Names of locals that are set or accumulated, without those declared inside."""
    every = statements(body)
    inner = {s.name for s in every if isinstance(s, Local)}
    found = dict.fromkeys(s.name for s in every if isinstance(s, Set | Accumulate))
    return [name for name in found if name not in inner]


def set_anywhere(body: Sequence[Stmt]) -> set[str]:
    """Names of all locals whose value changes after their declaration."""
    return {s.name for s in statements(body) if isinstance(s, Set | Accumulate)}


def uniform_locals(body: Sequence[Stmt]) -> frozenset[str]:
    """Locals that change inside a vec loop and are the same in all its lanes whenever they are
    read: counters, times. Scalars are enough for them.
    """
    changing = set_anywhere(body)
    varying: set[str] = set()

    def varies(expr: Expr, lanes: frozenset[str]) -> bool:
        stack = [expr]
        seen: set[Expr] = set()
        while stack:
            node = stack.pop()
            if node in seen or (isinstance(node, Op) and node.fn == "any_lane"):
                continue
            seen.add(node)
            if isinstance(node, Var) and (node.name in lanes or node.name in varying):
                return True
            if isinstance(node, Load) and node.buffer in scratch:
                return True
            stack.extend(children(node))
        return False

    def visit(body: Sequence[Stmt], lanes: frozenset[str], diverged: bool) -> None:
        for s in body:
            match s:
                case Local() | Set() | Accumulate():
                    if lanes and (diverged and not isinstance(s, Local) or varies(s.value, lanes)):
                        varying.add(s.name)
                case Loop():
                    inside = lanes | {s.var} if s.how == "vec" else lanes
                    ragged = any(varies(e, lanes) for e in (s.start, s.stop)) if lanes else False
                    if ragged:
                        varying.add(s.var)
                    visit(s.body, inside, diverged or ragged)
                case If():
                    apart = diverged or varies(s.cond, lanes)
                    visit(s.then, lanes, apart)
                    visit(s.orelse, lanes, apart)
                case While():
                    visit(s.body, lanes, diverged or varies(s.cond, lanes))

    scratch = {s.name for s in statements(body) if isinstance(s, Scratch)}
    before = -1
    while len(varying) > before:
        before = len(varying)
        visit(body, frozenset(), False)
    return frozenset(changing - varying)


def stored_buffers(body: Sequence[Stmt]) -> frozenset[str]:
    """Buffers that are stored to; scratch declared inside counts, it is another one each time."""
    every = statements(body)
    found = {s.buffer for s in every if isinstance(s, Store)}
    found |= {s.target for s in every if isinstance(s, Transpose)}
    return frozenset(found | {s.name for s in every if isinstance(s, Scratch)})


def uses_check(body: Sequence[Stmt]) -> bool:
    return any(isinstance(s, Check) for s in statements(body))


def work(body: Sequence[Stmt]) -> int:
    """About how many operations a body is; loops count for many."""
    total = 0
    for s in statements(body):
        total += 100 if isinstance(s, Loop | While) else 1
        total += sum(isinstance(n, Op | Load) for e in expressions(s) for n in walk(e))
    return total


def unrolls(s: Stmt) -> bool:
    """Whether a loop is written out, one copy of the body for each trip."""
    return (
        isinstance(s, Loop)
        and s.how == "seq"
        and isinstance(s.start, Const)
        and isinstance(s.stop, Const)
        and s.unroll >= s.stop.value - s.start.value  # type: ignore[operator]
    )


def register_arrays(body: Sequence[Stmt], most: int = 64) -> dict[str, int]:
    """Scratch arrays that can be locals, and their lengths.

    Every index is known once loops are unrolled, and no other vec loop looks at the array.
    """
    if not any(isinstance(s, Scratch) for s in statements(body)):
        return {}
    home: dict[str, Loop | None] = {}
    lengths: dict[str, int] = {}
    refused: set[str] = set()

    def known(index: tuple[Expr, ...], variables: frozenset[str]) -> bool:
        nodes = [node for e in index for node in walk(e)]
        return all(
            node.name in variables
            if isinstance(node, Var)
            else isinstance(node, Const)
            or (isinstance(node, Op) and node.fn in ("add", "sub", "mul"))
            for node in nodes
        )

    def visit(body: Sequence[Stmt], variables: frozenset[str], lanes: Loop | None) -> None:
        for s in body:
            if isinstance(s, Scratch):
                home[s.name], lengths[s.name] = lanes, math.prod(s.shape)
            if isinstance(s, Transpose):
                refused.update((s.target, s.source))
            accesses: list[Load | Store] = [s] if isinstance(s, Store) else []
            accesses += [n for e in expressions(s) for n in walk(e) if isinstance(n, Load)]
            for access in accesses:
                if access.buffer in home and not (
                    access.guard is None
                    and home[access.buffer] is lanes
                    and known(access.index, variables)
                ):
                    refused.add(access.buffer)
            match s:
                case Loop():
                    inside = variables | {s.var} if unrolls(s) else variables - {s.var}
                    visit(s.body, inside, s if s.how == "vec" and lanes is None else lanes)
                case While():
                    visit(s.body, variables, lanes)
                case If():
                    visit(s.then, variables, lanes)
                    visit(s.orelse, variables, lanes)

    visit(body, frozenset(), None)
    return {n: count for n, count in lengths.items() if n not in refused and count <= most}


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
    """What leaves every value as it is under ``fn``: for float sums that is -0.0."""
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
