"""Evaluate element rules with NumPy: all elements of an output at once.

element_values(mul, [type_x, type_y], [x, y], {}) -> [array]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.ir.expr import Const, Expr, Load, Op, Var, children, walk
from tracejit.ir.types import DTYPES, TensorType, short
from tracejit.ops import PRIMS


class Operand:
    """What an element rule sees of an operand: its type, and a Load when called with an index.

    ``guard`` is that of the Load: where it is false the element may lie outside.
    """

    def __init__(self, name: str, type: TensorType) -> None:
        self.name, self.type = name, type

    def __call__(self, index: Any, guard: Expr | None = None) -> Expr:
        assert len(index) == self.type.ndim, (
            f"{self.name} has {self.type.ndim} axes, read with {len(index)}"
        )
        return Load(self.name, tuple(as_expr(i) for i in index), short(self.type.dtype), guard)


def as_expr(i: Any) -> Expr:
    return i if isinstance(i, Expr) else Const(int(i), "i64")


def element_values(
    prim: Any, outs: list[TensorType], arrays: list[Any], params: dict[str, Any]
) -> list[Any]:
    """Every output of ``prim`` computed from its element rule."""
    xs = [Operand(f"x{k}", TensorType(a.dtype, a.shape)) for k, a in enumerate(arrays)]
    index = tuple(Var(f"i{axis}", "i64") for axis in range(outs[0].ndim))
    found = prim.element(xs, index, **params)
    exprs = found if isinstance(found, tuple) else (found,)
    buffers = {f"x{k}": a for k, a in enumerate(arrays)}
    values = []
    for expr, out in zip(exprs, outs, strict=True):
        assert expr.dtype == short(out.dtype), (
            f"element of {prim} is {expr.dtype}, infer says {out}"
        )
        if out.size == 0:
            values.append(np.zeros(out.shape, out.dtype))
            continue
        grids = np.indices(out.shape, dtype=np.int64)
        env = {f"i{axis}": grids[axis] for axis in range(out.ndim)}
        values.append(np.broadcast_to(evaluate(expr, env, buffers), out.shape))
    return values


def scalar_values(prim: Any, arrays: list[Any]) -> Any:
    """``prim.scalar``, the definition by other scalar operations, on arrays of one shape."""
    xs = tuple(Var(f"x{k}", short(a.dtype)) for k, a in enumerate(arrays))
    with np.errstate(all="ignore"):
        value = evaluate(prim.scalar(*xs), {x.name: a for x, a in zip(xs, arrays, strict=True)}, {})
    return np.broadcast_to(value, arrays[0].shape)


def evaluate(expr: Expr, env: dict[str, Any], buffers: dict[str, Any]) -> Any:
    """The value of an expression whose variables are arrays of one shape."""
    done: dict[Expr, Any] = {}
    for node in walk(expr):
        done[node] = value_of(node, [done[kid] for kid in children(node)], env, buffers)
    return done[expr]


def value_of(node: Expr, kids: list[Any], env: dict[str, Any], buffers: dict[str, Any]) -> Any:
    match node:
        case Const():
            return np.asarray(node.value, DTYPES[node.dtype])
        case Var():
            return env[node.name]
        case Load():
            return load(node, kids, buffers[node.buffer])
        case Op():
            value = np.asarray(apply(node, [np.asarray(kid) for kid in np.broadcast_arrays(*kids)]))
            assert value.dtype == DTYPES[node.dtype], f"{node} gives {value.dtype}"
            return value
    raise AssertionError(f"not a scalar expression: {node}")


def load(node: Load, kids: list[Any], array: Any) -> Any:
    index = kids[: len(node.index)]
    if node.guard is None:
        for i, extent in zip(index, array.shape, strict=True):
            assert np.all((i >= 0) & (i < extent)), f"{node} reads outside of {array.shape}"
        return array[tuple(index)]
    guard, *index = np.broadcast_arrays(kids[-1], *index)
    for i, extent in zip(index, array.shape, strict=True):
        assert np.all(~guard | ((i >= 0) & (i < extent))), f"{node} reads outside of {array.shape}"
    if array.size == 0:
        return np.zeros(guard.shape, array.dtype)
    inside = [np.where(guard, i, 0) for i in index]
    return np.where(guard, array[tuple(inside)], np.zeros((), array.dtype))


def apply(node: Op, xs: list[Any]) -> Any:
    """One scalar operation: index arithmetic here, everything else as its record says."""
    if node.fn in ("idiv", "irem"):
        assert np.all(xs[0] >= 0) and np.all(xs[1] > 0), f"{node} has a negative operand"
        return xs[0] // xs[1] if node.fn == "idiv" else xs[0] % xs[1]
    if node.fn == "check_index":
        return np.clip(xs[0], 0, np.maximum(xs[1] - 1, 0))
    prim = PRIMS[node.fn]
    params = {"dtype": DTYPES[node.dtype]} if "dtype" in prim.params else {}
    return prim.numpy(*xs, **params)
