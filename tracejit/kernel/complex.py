"""Complex numbers as pairs of real ones, so that printers without them run what holds them.

Comes in: a kernel with c64 or c128 buffers, locals and operations. Goes out: the same kernel on f32
or f64, in which a buffer has a last axis of two, the real and the imaginary part.

    >>> from tracejit.kernel.text import parse, show
    >>> kernel = parse('''kernel k(in x: c64[4], out y: c64[4])
    ...   vec(4x1) i in 4:
    ...     y[i] = conj(x[i])
    ... ''')
    >>> print(show(split_complex(kernel)))
    kernel k(in x: f32[4,2], out y: f32[4,2])
      vec(4x1) i in 4:
        part0_re: f32 = x[i, 0]
        part0_im: f32 = neg(x[i, 1])
        y[i, 0] = part0_re
        y[i, 1] = part0_im

Results are NumPy's: products by the definition, quotients by Smith's algorithm (R. L. Smith,
Algorithm 116, Communications of the ACM 5, 1962), absolute values without overflow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain, count

import numpy as np

from tracejit.ir.expr import Const, Expr, Load, Op, Var, children, rebuild, walk_new
from tracejit.kernel.nodes import (
    Accumulate,
    If,
    Kernel,
    Local,
    Loop,
    Param,
    Scratch,
    Set,
    Stmt,
    Store,
    Transpose,
    While,
)
from tracejit.kernel.visit import map_expressions, nodes_of, statements, transpose_loops

#: the dtype of the parts
PART = {"c64": "f32", "c128": "f64"}
Pair = tuple[Expr, Expr]


def split_complex(kernel: Kernel) -> Kernel:
    """``kernel`` without complex numbers; itself where it has none."""
    declared = [s for s in statements(kernel.body) if isinstance(s, Local | Scratch)]
    held = [*kernel.params, *declared, *nodes_of(kernel.body)]
    if not any(x.dtype in PART for x in held):
        return kernel
    params = tuple(
        Param(p.name, PART[p.dtype], (*p.shape, 2), p.role) if p.dtype in PART else p
        for p in kernel.params
    )
    return replace(kernel, params=params, body=_Splitter(kernel).body(kernel.body))


class _Splitter:
    def __init__(self, kernel: Kernel) -> None:
        self.done: dict[Expr, Expr | Pair] = {}
        self.dtypes = {p.name: p.dtype for p in kernel.params}
        used = {*self.dtypes, *kernel.sizes}
        for s in statements(kernel.body):
            if isinstance(s, Local | Scratch):
                self.dtypes[s.name] = s.dtype
                used.add(s.name)
            elif isinstance(s, Loop):
                used.add(s.var)

        def taken(end: str) -> bool:
            return any(name.endswith((f"_re{end}", f"_im{end}")) for name in used)

        #: what the names of parts end in
        self.end = next(end for end in chain([""], map(str, count())) if not taken(end))
        self.fresh = (n for n in (f"part{k}" for k in count()) if n not in used)

    def parts(self, name: str) -> tuple[str, str]:
        """The names of the parts of a local."""
        return f"{name}_re{self.end}", f"{name}_im{self.end}"

    # ---- statements ----

    def body(self, body: Sequence[Stmt]) -> tuple[Stmt, ...]:
        return tuple(new for s in body for new in self.statement(s))

    def statement(self, s: Stmt) -> Sequence[Stmt]:
        match s:
            case Loop(body=body):
                ends = self.real(s.start), self.real(s.stop)
                return (replace(s, start=ends[0], stop=ends[1], body=self.body(body)),)
            case While(cond=cond, body=body):
                return (While(self.real(cond), self.body(body)),)
            case If(then=then, orelse=orelse):
                cond = self.real(s.cond)
                return (If(cond, self.body(then), self.body(orelse)),)
            case Scratch(dtype=dtype) if dtype in PART:
                return (Scratch(s.name, PART[dtype], (*s.shape, 2)),)
            case Local(name=name, dtype=dtype) if dtype in PART:
                both = zip(self.parts(name), self.pair(s.value), strict=True)
                return [Local(n, PART[dtype], e) for n, e in both]
            case Set(name=name) if self.dtypes[name] in PART:
                # both are known before the first is changed
                before, held = self.held(self.pair(s.value), PART[self.dtypes[name]])
                return [*before, *(Set(n, e) for n, e in zip(self.parts(name), held, strict=True))]
            case Accumulate(name=name, fn="add") if self.dtypes[name] in PART:
                both = zip(self.parts(name), self.pair(s.value), strict=True)
                return [Accumulate(n, "add", e) for n, e in both]
            case Store(buffer=buffer) if self.dtypes[buffer] in PART:
                return self.store(s)
            case Transpose(source=source) if self.dtypes[source] in PART:
                names = (next(self.fresh), next(self.fresh))
                return self.statement(transpose_loops(s, self.dtypes[source], names))
        return (map_expressions(s, self.real),)

    def store(self, s: Store) -> Sequence[Stmt]:
        index = tuple(map(self.real, s.index))
        guard = None if s.guard is None else self.real(s.guard)
        before, held = self.held(self.pair(s.value), PART[self.dtypes[s.buffer]])
        ends = (Const(0, "i64"), Const(1, "i64"))
        return [
            *before,
            *(Store(s.buffer, (*index, k), e, guard) for k, e in zip(ends, held, strict=True)),
        ]

    def held(self, pair: Pair, dtype: str) -> tuple[list[Stmt], Pair]:
        """Both parts as locals."""
        names = self.parts(next(self.fresh))
        before: list[Stmt] = [Local(n, dtype, e) for n, e in zip(names, pair, strict=True)]
        return before, (Var(names[0], dtype), Var(names[1], dtype))

    # ---- expressions ----

    def real(self, expr: Expr) -> Expr:
        """An expression that is not complex, over the parts of what is."""
        found = self.value(expr)
        assert isinstance(found, Expr)
        return found

    def pair(self, expr: Expr) -> Pair:
        found = self.value(expr)
        assert isinstance(found, tuple)
        return found

    def value(self, expr: Expr) -> Expr | Pair:
        for node in walk_new(expr, self.done):
            self.done[node] = self.split(node)
        return self.done[expr]

    def split(self, node: Expr) -> Expr | Pair:
        """A node whose operands have been split already."""
        kids = [self.done[kid] for kid in children(node)]
        if node.dtype in PART:
            part = PART[node.dtype]
            match node:
                case Const(value=value):
                    number = complex(value)
                    return Const(number.real, part), Const(number.imag, part)
                case Var(name=name):
                    re, im = self.parts(name)
                    return Var(re, part), Var(im, part)
                case Load(buffer=buffer, guard=guard):
                    index = kids if guard is None else kids[:-1]
                    shown = None if guard is None else kids[-1]
                    loads = [
                        Load(buffer, (*index, Const(k, "i64")), part, shown)  # type: ignore[arg-type]
                        for k in (0, 1)
                    ]
                    return loads[0], loads[1]
        if isinstance(node, Op) and any(x.dtype in PART for x in (node, *node.args)):
            return OPERATIONS[node.fn](node.dtype, *kids)
        return rebuild(node, tuple(kids))  # type: ignore[arg-type]


# ---- operations ----------------------------------------------------------------------------------


def _op(fn: str, *args: Expr, dtype: str | None = None) -> Expr:
    return Op(fn, args, dtype or args[-1].dtype)


def _is(fn: str, a: Expr, b: Expr) -> Expr:
    return Op(fn, (a, b), "bool")


def _each(fn: str) -> Callable[..., Pair]:
    """An operation on each part."""
    return lambda dtype, a, *rest: (
        _op(fn, a[0], *(b[0] for b in rest)),
        _op(fn, a[1], *(b[1] for b in rest)),
    )


def _mul(dtype: str, a: Pair, b: Pair) -> Pair:
    re = _op("sub", _op("mul", a[0], b[0]), _op("mul", a[1], b[1]))
    return re, _op("add", _op("mul", a[0], b[1]), _op("mul", a[1], b[0]))


def _div(dtype: str, a: Pair, b: Pair) -> Pair:
    """The larger part of the divisor divides the smaller one; by zero, each part is divided."""
    part = PART[dtype]
    zero, one = Const(0.0, part), Const(1.0, part)
    wide = _is("ge", _op("abs", b[0]), _op("abs", b[1]))

    def choose(cond: Expr, x: Expr, y: Expr) -> Expr:
        return _op("select", cond, x, y)

    large, small = choose(wide, b[0], b[1]), choose(wide, b[1], b[0])
    ratio = _op("div", small, large)
    scale = _op("div", one, _op("add", large, _op("mul", small, ratio)))
    re = choose(
        wide,
        _op("add", a[0], _op("mul", a[1], ratio)),
        _op("add", _op("mul", a[0], ratio), a[1]),
    )
    im = choose(
        wide,
        _op("sub", a[1], _op("mul", a[0], ratio)),
        _op("sub", _op("mul", a[1], ratio), a[0]),
    )
    nothing = _op("and", _is("eq", b[0], zero), _is("eq", b[1], zero))
    by_zero = [_op("div", x, _op("abs", b[0])) for x in a]
    return (
        choose(nothing, by_zero[0], _op("mul", re, scale)),
        choose(nothing, by_zero[1], _op("mul", im, scale)),
    )


def _reciprocal(dtype: str, a: Pair) -> Pair:
    part = PART[dtype]
    return _div(dtype, (Const(1.0, part), Const(0.0, part)), a)


def _abs(dtype: str, a: Pair) -> Expr:
    """The larger part times the root of 1 + ratio^2; infinite where a part is."""
    x, y = _op("abs", a[0]), _op("abs", a[1])
    zero, one, inf = (Const(v, dtype) for v in (0.0, 1.0, np.inf))
    large, small = _op("max", x, y), _op("min", x, y)
    ratio = _op("div", small, large)
    found = _op("mul", large, _op("sqrt", _op("add", one, _op("mul", ratio, ratio))))
    found = _op("select", _is("eq", large, zero), zero, found)
    infinite = _op("or", _is("eq", x, inf), _is("eq", y, inf))
    return _op("select", infinite, inf, found)


def _exp(dtype: str, a: Pair) -> Pair:
    """exp(re) (cos im + i sin im), the factor taken as two halves, which do not overflow."""
    part = PART[dtype]
    zero = Const(0.0, part)
    half = _op("exp", _op("mul", a[0], Const(0.5, part)))
    cos, sin = _op("cos", a[1]), _op("sin", a[1])
    re, im = (_op("mul", _op("mul", half, x), half) for x in (cos, sin))
    # a real number stays one, and exp(-inf) is zero whatever the angle; the angle of an infinite
    # result that has none is nan, its real part infinite
    level = _is("eq", a[1], zero)
    vague = _op("not", _is("lt", _op("abs", a[1]), Const(np.inf, part)), dtype="bool")
    low = _op("and", vague, _is("eq", a[0], Const(-np.inf, part)))
    high = _op("and", vague, _is("eq", a[0], Const(np.inf, part)))
    re = _op("select", level, _op("exp", a[0]), _op("select", high, Const(np.inf, part), re))
    im = _op("select", level, a[1], im)
    return _op("select", low, zero, re), _op("select", low, zero, im)


def _convert(dtype: str, a: Expr | Pair) -> Expr | Pair:
    if isinstance(a, tuple):
        if dtype in PART:
            re, im = (_op("convert", x, dtype=PART[dtype]) for x in a)
            return re, im
        if dtype == "bool":
            return _op("or", *(_is("ne", x, Const(0.0, x.dtype)) for x in a))
        return a[0] if a[0].dtype == dtype else _op("convert", a[0], dtype=dtype)
    part = PART[dtype]
    return a if a.dtype == part else _op("convert", a, dtype=part), Const(0.0, part)


#: scalar operations on complex numbers that have a form in real ones
OPERATIONS: dict[str, Callable[..., Expr | Pair]] = {
    "add": _each("add"),
    "sub": _each("sub"),
    "neg": _each("neg"),
    "mul": _mul,
    "div": _div,
    "square": lambda dtype, a: _mul(dtype, a, a),
    "reciprocal": _reciprocal,
    "conj": lambda dtype, a: (a[0], _op("neg", a[1])),
    "real": lambda dtype, a: a[0],
    "imag": lambda dtype, a: a[1],
    "complex": lambda dtype, re, im: (re, im),
    "abs": _abs,
    "exp": _exp,
    "eq": lambda dtype, a, b: _op("and", _is("eq", a[0], b[0]), _is("eq", a[1], b[1])),
    "ne": lambda dtype, a, b: _op("or", _is("ne", a[0], b[0]), _is("ne", a[1], b[1])),
    "select": lambda dtype, cond, a, b: (
        _op("select", cond, a[0], b[0]),
        _op("select", cond, a[1], b[1]),
    ),
    "convert": _convert,
}
