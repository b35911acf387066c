"""Half-precision arithmetic as f32 arithmetic with conversions around, so that no printer needs it.

Comes in: a kernel with operations on f16 or bf16. Goes out: the same kernel where these are on
f32; each result is rounded back to half, as NumPy does after each operation. Loads, stores,
select and bit
operations stay in half.

    >>> from tracejit.kernel.text import parse, show
    >>> kernel = parse('''kernel k(in x: f16[4], out y: f16[4])
    ...   seq i in 4:
    ...     y[i] = add(x[i], 1.0:f16)
    ... ''')
    >>> print(show(widen_half(kernel)))
    kernel k(in x: f16[4], out y: f16[4])
      seq i in 4:
        y[i] = convert[f16](add(convert[f32](x[i]), 1.0))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tracejit.ir.expr import Const, Expr, Op, Var, children, rebuild, walk_new
from tracejit.ir.types import DTYPES
from tracejit.kernel.nodes import (
    Accumulate,
    Kernel,
    Local,
    Set,
    Stmt,
)
from tracejit.kernel.visit import map_expressions, map_statements, nodes_of, statements

HALF = frozenset({"f16", "bf16"})
#: what works on bits or only moves them
UNCHANGED = frozenset({"select", "convert", "bitcast"})


def widen_half(kernel: Kernel) -> Kernel:
    """``kernel`` without arithmetic on f16 and bf16. Accumulators are kept in f32 and rounded
    where they are read."""
    if not any(node.dtype in HALF for node in nodes_of(kernel.body)):
        return kernel
    sums = accumulators(kernel.body)
    dtypes = {
        s.name: s.dtype for s in statements(kernel.body) if isinstance(s, Local) and s.name in sums
    }
    wide = {name for name, dtype in dtypes.items() if dtype in HALF}
    done: dict[Expr, Expr] = {}

    def widened(expr: Expr) -> Expr:
        for node in walk_new(expr, done):
            done[node] = widen_node(node, tuple(done[kid] for kid in children(node)), wide)
        return done[expr]

    def rewrite(statement: Stmt) -> Stmt:
        match statement:
            case Local(name=name, value=value) if name in wide:
                return Local(name, "f32", to_f32(widened(value)))
            case Set(name=name, value=value) if name in wide:
                return Set(name, to_f32(widened(value)))
            case Accumulate(name=name, value=value) if name in wide:
                return replace(statement, value=to_f32(widened(value)))
        return map_expressions(statement, widened)

    return replace(kernel, body=map_statements(kernel.body, rewrite))


def widen_node(node: Expr, kids: tuple[Expr, ...], wide: set[str]) -> Expr:
    """``node`` over operands that have been widened already; of the dtype of ``node``."""
    if isinstance(node, Var) and node.name in wide:
        return Op("convert", (Var(node.name, "f32"),), node.dtype)
    node_kids = rebuild(node, kids)
    if not isinstance(node_kids, Op) or node_kids.fn in UNCHANGED:
        return node_kids
    if not any(kid.dtype in HALF for kid in kids):
        return node_kids
    if node_kids.fn == "nextafter":
        return next_half(*kids)
    result = Op(node_kids.fn, tuple(map(to_f32, kids)), "f32" if node.dtype in HALF else node.dtype)
    return Op("convert", (result,), node.dtype) if node.dtype in HALF else result


def to_f32(expr: Expr) -> Expr:
    if expr.dtype not in HALF:
        return expr
    if isinstance(expr, Const):
        return Const(float(np.asarray(expr.value).astype(DTYPES[expr.dtype])), "f32")
    return Op("convert", (expr,), "f32")


def next_half(x: Expr, y: Expr) -> Expr:
    """The neighbour of x towards y in its own format: a step on the bits, comparisons in f32."""

    def choose(fn: str, a: Expr, c: Expr, on_true: Expr, on_false: Expr) -> Expr:
        return Op("select", (Op(fn, (a, c), "bool"), on_true, on_false), on_true.dtype)

    wide_x, wide_y, zero = to_f32(x), to_f32(y), Const(0.0, "f32")
    bits = Op("bitcast", (x,), "i16")
    up, down = Const(1, "i16"), Const(-1, "i16")
    above = Op("gt", (wide_x, zero), "bool")
    step = choose(
        "lt",
        wide_x,
        wide_y,
        Op("select", (above, up, down), "i16"),
        Op("select", (above, down, up), "i16"),
    )
    least = choose("gt", wide_y, zero, up, Const(-0x7FFF, "i16"))
    moved = choose("eq", wide_x, zero, least, Op("add", (bits, step), "i16"))
    result = choose("eq", wide_x, wide_y, y, Op("bitcast", (moved,), x.dtype))
    result = choose("ne", wide_x, wide_x, x, result)
    return choose("ne", wide_y, wide_y, y, result)


def accumulators(body: Sequence[Stmt]) -> set[str]:
    """The locals that are folded into."""
    return {stmt.name for stmt in statements(body) if isinstance(stmt, Accumulate)}
