"""Short last axes of a nest written out: one copy of each item per index.

    unroll_short(nest)      s[i, c] = sum over j of f(i, j, c), c < 3   ->   three sums over (i, j)

The copies share what does not depend on the axis, and the vector runs along a longer one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tracejit.ir.expr import (
    Expr,
    Load,
    Op,
    Var,
    children,
    const,
    iadd,
    idiv,
    imod,
    imul,
    isub,
    rebuild,
    walk,
)
from tracejit.kernel.nest import Axis, Item, Nest

#: kept axes up to this extent are written out, and reduced ones: a row of more elements is faster
#: read as one masked vector than gathered (10,000 rows of 8: sum 20 us against 32, of 3: 24 to 17)
FEW_KEPT = 8
FEW_REDUCED = 4
#: where another axis is at least this long
LONG_ENOUGH = 16
HALF = ("f16", "bf16")


def unroll_short(nest: Nest) -> Nest:
    """``nest`` without its last axis, where that is short and part of a reduction or beside one."""
    while nest.axes and _wanted(nest):
        nest = _without_last(nest)
    return nest


def _wanted(nest: Nest) -> bool:
    *others, last = nest.axes
    longest = max((axis.extent for axis in others), default=0)
    kept = any(not axis.reduced for axis in others)
    few = FEW_REDUCED if last.reduced else FEW_KEPT
    short = 0 < last.extent <= few
    return short and longest >= LONG_ENOUGH and kept and bool(nest.inner)


def _without_last(nest: Nest) -> Nest:
    axis = nest.axes[-1]
    if axis.reduced and not any(a.reduced for a in nest.axes[:-1]):
        return _as_maps(nest, axis)
    items: list[Item] = []
    for item in nest.items:
        if item.level == "fold" and axis.reduced:
            terms = [at_index(item.expr, axis, k) for k in range(axis.extent)]
            items.append(replace(item, expr=combined(item, terms)))
        else:
            items += copies(item, axis)
    return replace(nest, axes=nest.axes[:-1], items=tuple(items))


def copies(item: Item, axis: Axis) -> list[Item]:
    """The item at each index of ``axis``; itself when it does not depend on it."""
    var = Var(axis.var, "i64")
    if not any(var in walk(i) for i in item.index):
        return [item]
    return [
        replace(
            item,
            expr=at_index(item.expr, axis, k),
            index=tuple(at_index(i, axis, k) for i in item.index),
        )
        for k in range(axis.extent)
    ]


def _as_maps(nest: Nest, axis: Axis) -> Nest:
    """The only reduced axis written out: what was folded over it is an expression."""
    folded: dict[Expr, Expr] = {}
    items: list[Item] = []
    for item in nest.items:
        expr = _replaced(item.expr, folded)
        if item.level == "fold":
            terms = [at_index(expr, axis, k) for k in range(axis.extent)]
            expr = combined(item, terms)
            if expr.dtype != item.dtype:
                expr = Op("convert", (expr,), item.dtype)
            folded[Load(item.fold, item.index, item.dtype)] = expr
            if item.out is not None:
                items.append(replace(item, level="full", stage=0, expr=expr, fold="", fn=""))
        else:
            items += copies(replace(item, level="full", stage=0, expr=expr), axis)
    return replace(nest, axes=nest.axes[:-1], items=tuple(items))


def combined(item: Item, terms: Sequence[Expr]) -> Expr:
    """The fold of ``item`` over ``terms``, in order; 16-bit floats in f32."""
    if terms[0].dtype in HALF:
        terms = [Op("convert", (term,), "f32") for term in terms]
    total = terms[0]
    for term in terms[1:]:
        total = Op(item.fn, (total, term), total.dtype)
    return total


def at_index(expr: Expr, axis: Axis, k: int) -> Expr:
    """``expr`` where the index of ``axis`` is ``k``."""
    return _replaced(expr, {Var(axis.var, "i64"): const(k)})


def _replaced(expr: Expr, by: dict[Expr, Expr]) -> Expr:
    done: dict[Expr, Expr] = {}
    for node in walk(expr):
        found = by.get(node)
        if found is None:
            kids = tuple(done[kid] for kid in children(node))
            found = rebuild(node, kids)
            if isinstance(found, Op) and found.dtype == "i64" and found.fn in INDEX_MATH:
                found = INDEX_MATH[found.fn](*kids)
            found = by.get(found, found)
        done[node] = found
    return done[expr]


INDEX_MATH = {"add": iadd, "sub": isub, "mul": imul, "idiv": idiv, "irem": imod}
