"""Whether all index arithmetic of a kernel fits 32 bits, at given sizes.

    narrowed(kernel, {"n0": 64})         the kernel, with ``narrow`` set where it does

A GPU multiplies and divides 32 bits two to ten times as fast as 64. Intervals of loop variables
follow from the bounds of their loops; with them every sum and product made of loop variables, sizes
and constants is looked at, and the row-major offset of every access. What is read from memory, and
what a loop changes, has the type that it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod

from tracejit.ir.expr import Const, Expr, Load, Op, Var, children, walk
from tracejit.kernel.nodes import (
    Accumulate,
    Atomic,
    Kernel,
    Local,
    Loop,
    Scratch,
    Set,
    Stmt,
    Store,
    Transpose,
)
from tracejit.kernel.visit import expressions, statements

#: both ends included
Interval = tuple[int, int]
LOW, HIGH = -(1 << 31), (1 << 31) - 1
TRUTH: Interval = (0, 1)


class _Wide(Exception):
    """An index that takes more than 32 bits, or may."""


def narrowed(kernel: Kernel, sizes: Mapping[str, int]) -> Kernel:
    """``kernel``, with ``narrow`` saying whether 32 bits hold its indices at these sizes."""
    try:
        looked = _Look(kernel, sizes)
        looked.block(kernel.body, {name: (n, n) for name, n in sizes.items()})
    except _Wide:
        return replace(kernel, narrow=False)
    return replace(kernel, narrow=True)


#: values of i64 variables; one that is absent holds data
_Ranges = dict[str, Interval]


class _Look:
    def __init__(self, kernel: Kernel, sizes: Mapping[str, int]) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {p.name: p.extents(sizes) for p in kernel.params}
        self.changing = {s.name for s in statements(kernel.body) if isinstance(s, Set | Accumulate)}
        for shape in self.shapes.values():
            checked((0, prod(shape)))

    def block(self, body: Sequence[Stmt], outside: _Ranges) -> None:
        known = dict(outside)
        for stmt in body:
            values: dict[Expr, Interval | None] = {}
            for expr in expressions(stmt):
                self.value(expr, known, values)
            match stmt:
                case Local():
                    known.pop(stmt.name, None)
                    found = values[stmt.value]
                    if stmt.dtype == "i64" and found and stmt.name not in self.changing:
                        known[stmt.name] = found
                case Scratch():
                    self.shapes[stmt.name] = stmt.shape
                case Store() | Atomic():
                    self.offset(stmt.buffer, stmt.index, values)
                case Transpose():
                    raise _Wide
                case Loop():
                    self.loop(stmt, known, values)
                    continue
            for inner in bodies(stmt):
                self.block(inner, known)

    def loop(self, loop: Loop, known: _Ranges, values: dict[Expr, Interval | None]) -> None:
        start, stop = values[loop.start], values[loop.stop]
        if start is None or stop is None:
            raise _Wide  # bounds from memory: any
        if start[0] < stop[1]:
            # the last trip steps over the end by less than a vector
            checked((start[0], stop[1] + loop.width))
            self.block(loop.body, {**known, loop.var: (start[0], stop[1] - 1)})

    # ---- expressions ----

    def value(self, expr: Expr, known: _Ranges, done: dict[Expr, Interval | None]) -> None:
        """Fills ``done`` with the values of ``expr`` and its parts; None for data."""
        for node in walk(expr):
            if node in done:
                continue
            match node:
                case Const(value=int(value)):
                    done[node] = (int(value), int(value))
                case Var():
                    done[node] = known.get(node.name)
                case Load():
                    done[node] = None
                    self.offset(node.buffer, node.index, done)
                case Op():
                    done[node] = operation(node, [done[kid] for kid in children(node)])
                case _:
                    done[node] = None

    def offset(
        self, buffer: str, index: tuple[Expr, ...], values: Mapping[Expr, Interval | None]
    ) -> None:
        """The row-major offset of an element, and each partial sum of it."""
        low = high = 0
        stride = 1
        for entry, extent in zip(reversed(index), reversed(self.shapes[buffer]), strict=True):
            # an index that comes from memory has been put into its axis
            a, b = values[entry] or (0, max(extent - 1, 0))
            low, high = low + min(a * stride, 0), high + max(b * stride, 0)
            checked((low, high))
            stride *= extent


def bodies(stmt: Stmt) -> Iterator[tuple[Stmt, ...]]:
    """Statements that stand inside this one."""
    for name in ("body", "then", "orelse"):
        yield from [getattr(stmt, name)] if hasattr(stmt, name) else []


def checked(found: Interval) -> Interval:
    if found[0] < LOW or found[1] > HIGH:
        raise _Wide
    return found


def operation(node: Op, args: list[Interval | None]) -> Interval | None:
    """What values an operation on indices may have; None where data is in it."""
    if node.dtype == "bool":
        return TRUTH if all(args) else None
    if node.dtype != "i64":
        return None
    if node.fn == "check_index":
        return args[0] if args[0] is None else (0, HIGH)
    if node.fn == "select":  # what is chosen by data is one of two indices still
        chosen = [a for a in args[1:] if a is not None]
        if len(chosen) < 2:
            return None
        return checked((min(a for a, _ in chosen), max(b for _, b in chosen)))
    known = [a for a in args if a is not None]
    if len(known) < len(args):
        return None
    return checked(arithmetic(node, known))


def arithmetic(node: Op, args: list[Interval]) -> Interval:
    (a, b), (c, d) = args[0], args[-1]
    match node.fn:
        case "add":
            return a + c, b + d
        case "sub":
            return a - d, b - c
        case "mul":
            ends = (a * c, a * d, b * c, b * d)
            return min(ends), max(ends)
        case "min":
            return min(a, c), min(b, d)
        case "max":
            return max(a, c), max(b, d)
        case "neg":
            return -b, -a
        case "clamp":
            (low, _), (x, y), (_, high) = args
            return max(low, min(x, high)), min(high, max(y, low))
        case "convert" if node.args[0].dtype in ("i64", "bool"):
            return a, b
        case "idiv" if a >= 0 and c > 0:
            return a // d, b // c
        case "irem" if a >= 0 and c > 0:
            return 0, min(b, d - 1)
        case "idiv" if c > 0:  # a guard that fails may hide a negative index: as in C
            return -(-a // c), max(b, 0) // c
        case "irem" if c > 0:
            return max(a, 1 - d), max(min(b, d - 1), 0)
    raise _Wide
