"""Mathematical functions in terms of basic scalar operations: polynomials, fma, comparisons, bits.

Comes in: a kernel whose expressions may say exp, sin, erf ... Goes out: the same kernel without
them, for targets that have no fast vector version. The algorithms are in ``math_exp.py``,
``math_trig.py``, ``math_special.py``, ``math_gamma.py`` and ``math_beta.py``; the coefficients are
made by ``perf/fit_math.py``.

    >>> from tracejit.kernel.text import parse, show
    >>> kernel = parse('''kernel k(in x: f32[4], out y: f32[4])
    ...   vec(4x1) i in 4:
    ...     y[i] = exp(x[i])
    ... ''')
    >>> print(show(expand_math(kernel, native=frozenset({"sqrt"}))))
    kernel k(in x: f32[4], out y: f32[4])
      vec(4x1) i in 4:
        t0: f32 = x[i]
        t1: f32 = select(lt(89.0, t0), 89.0, t0)
        ...
        y[i] = mul(mul(fma(...), t6), t6)

``ULP`` states the largest error met against mpmath on random bit patterns, per function and format.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from tracejit.ir.expr import Const, Expr, Load, Op, Var, children, rebuild, walk
from tracejit.kernel import math_beta, math_exp, math_gamma, math_more, math_special, math_trig
from tracejit.kernel.math_builder import FORMATS, Builder, Recorder
from tracejit.kernel.math_half import widen_half
from tracejit.kernel.nodes import (
    Accumulate,
    Atomic,
    Check,
    If,
    Kernel,
    Local,
    Loop,
    Scratch,
    Set,
    Stmt,
    Store,
    While,
)
from tracejit.kernel.visit import nodes_of, statements

__all__ = ["EXPANSIONS", "INT_EXPANSIONS", "ULP", "expand_math", "widen_half"]

# ---- functions that are one step away from the basic ones ----------------------------------------


def sign(b: Builder, x: Expr) -> Expr:
    """-1, 0 or 1; nan for nan."""
    return b.select(b.gt(x, 0.0), 1.0, b.select(b.lt(x, 0.0), -1.0, b.add(x, 0.0)))


def square(b: Builder, x: Expr) -> Expr:
    return b.mul(x, x)


def reciprocal(b: Builder, x: Expr) -> Expr:
    return b.div(1.0, x)


def clamp(b: Builder, low: Expr, x: Expr, high: Expr) -> Expr:
    return b.op("min", b.op("max", x, low), high)


def is_nan(b: Builder, x: Expr) -> Expr:
    return b.ne(x, x)


def is_finite(b: Builder, x: Expr) -> Expr:
    return b.lt(b.abs(x), math.inf)


def nextafter(b: Builder, x: Expr, y: Expr) -> Expr:
    """One step on the bits, up or down in magnitude; from zero the least subnormal number."""
    bits = b.bits(x)
    outward = b.compare("eq", b.lt(x, y), b.gt(x, 0.0))
    step = b.recorder.record(
        Op("select", (outward, b.int_const(1), b.int_const(-1)), b.format.integer)
    )
    moved = b.float(b.int_add(bits, step))
    least = b.copysign(b.float(b.int_const(1)), y)
    moved = b.select(b.eq(x, 0.0), least, moved)
    result = b.select(b.eq(x, y), y, moved)
    return b.select(b.either(b.ne(x, x), b.ne(y, y)), math.nan, result)


#: float functions: builder and operands in, an expression of basic operations out
EXPANSIONS: dict[str, Callable[..., Expr]] = {
    "exp": math_exp.exp,
    "exp2": math_exp.exp2,
    "expm1": math_exp.expm1,
    "logistic": math_exp.logistic,
    "log": math_exp.log,
    "log2": math_exp.log2,
    "log10": math_exp.log10,
    "log1p": math_exp.log1p,
    "sinh": math_exp.sinh,
    "cosh": math_exp.cosh,
    "tanh": math_exp.tanh,
    "asinh": math_exp.asinh,
    "acosh": math_exp.acosh,
    "atanh": math_exp.atanh,
    "pow": math_exp.power,
    "rsqrt": math_exp.rsqrt,
    "cbrt": math_exp.cbrt,
    "sin": math_trig.sin,
    "cos": math_trig.cos,
    "tan": math_trig.tan,
    "asin": math_trig.asin,
    "acos": math_trig.acos,
    "atan": math_trig.atan,
    "atan2": math_trig.atan2,
    "erf": math_special.erf,
    "erfc": math_special.erfc,
    "erf_inv": math_special.erf_inv,
    "lgamma": math_special.lgamma,
    "digamma": math_special.digamma,
    "erfcx": math_special.erfcx,
    "gamma": math_more.gamma,
    "ndtri": math_more.ndtri,
    "bessel_i0e": math_more.bessel_i0e,
    "bessel_i1e": math_more.bessel_i1e,
    "igamma": math_gamma.igamma,
    "igammac": math_gamma.igammac,
    "igamma_grad_a": math_gamma.igamma_grad_a,
    "betainc": math_beta.betainc,
    "betaincc": math_beta.betaincc,
    "betainc_grad_a": math_beta.betainc_grad_a,
    "betainc_grad_b": math_beta.betainc_grad_b,
    "student_cdf": math_beta.student_cdf,
    "sign": sign,
    "square": square,
    "reciprocal": reciprocal,
    "clamp": clamp,
    "is_nan": is_nan,
    "is_finite": is_finite,
    "nextafter": nextafter,
}


#: largest error in units in the last place, by function and format. For lgamma and digamma units of
#: max(1, |result|) and positive arguments; for negative ones it is 3 units of the largest term of
#: the reflection formula. What is not named is exact.
ULP: dict[str, dict[str, float]] = {
    "exp": {"f32": 1.5, "f64": 1.7},
    "exp2": {"f32": 1.0, "f64": 1.0},
    "expm1": {"f32": 1.4, "f64": 1.6},
    "logistic": {"f32": 1.5, "f64": 1.5},
    "log": {"f32": 0.9, "f64": 0.9},
    "log2": {"f32": 1.0, "f64": 1.0},
    "log10": {"f32": 1.0, "f64": 1.0},
    "log1p": {"f32": 1.6, "f64": 1.6},
    "sin": {"f32": 1.6, "f64": 1.6},
    "cos": {"f32": 1.6, "f64": 1.6},
    "tan": {"f32": 1.9, "f64": 1.8},
    "asin": {"f32": 1.7, "f64": 1.8},
    "acos": {"f32": 1.2, "f64": 1.3},
    "atan": {"f32": 1.5, "f64": 1.8},
    "atan2": {"f32": 1.9, "f64": 1.7},
    "sinh": {"f32": 1.6, "f64": 1.9},
    "cosh": {"f32": 1.5, "f64": 1.5},
    "tanh": {"f32": 1.6, "f64": 1.7},
    "asinh": {"f32": 1.6, "f64": 1.6},
    "acosh": {"f32": 1.5, "f64": 1.6},
    "atanh": {"f32": 1.6, "f64": 1.6},
    "erf": {"f32": 1.0, "f64": 1.0},
    "erfc": {"f32": 1.8, "f64": 1.8},
    "erf_inv": {"f32": 1.8, "f64": 1.8},
    "lgamma": {"f32": 1.9, "f64": 1.9},
    "digamma": {"f32": 2.0, "f64": 1.9},
    "cbrt": {"f32": 0.8, "f64": 0.8},
    "rsqrt": {"f32": 1.5, "f64": 1.5},
    "pow": {"f32": 1.5, "f64": 1.5},
}


# ---- integers -----------------------------------------------------------------------------------


def int_op(recorder: Recorder, fn: str, *args: Expr) -> Expr:
    return recorder.record(Op(fn, args, args[-1].dtype))


def int_sign(recorder: Recorder, x: Expr) -> Expr:
    zero, one = Const(0, x.dtype), Const(1, x.dtype)
    positive = recorder.record(Op("gt", (x, zero), "bool"))
    at_most_zero: Expr = zero
    if x.dtype.startswith("i"):
        negative = recorder.record(Op("lt", (x, zero), "bool"))
        at_most_zero = int_op(recorder, "select", negative, Const(-1, x.dtype), zero)
    return int_op(recorder, "select", positive, one, at_most_zero)


def int_square(recorder: Recorder, x: Expr) -> Expr:
    return int_op(recorder, "mul", x, x)


def int_reciprocal(recorder: Recorder, x: Expr) -> Expr:
    return int_op(recorder, "div", Const(1, x.dtype), x)


def int_clamp(recorder: Recorder, low: Expr, x: Expr, high: Expr) -> Expr:
    return int_op(recorder, "min", int_op(recorder, "max", x, low), high)


def int_pow(recorder: Recorder, x: Expr, y: Expr) -> Expr:
    """Squarings, multiplied in for each bit of the exponent; wraps. A negative exponent gives 1 /
    x^-y, truncated."""
    width = int(x.dtype[1:])
    zero, one = Const(0, x.dtype), Const(1, x.dtype)
    constant = y.value if isinstance(y, Const) and isinstance(y.value, int) else None
    total: Expr = one
    factor = x
    top = width if constant is None or constant < 0 else constant.bit_length()
    for bit in range(top):
        if constant is None or constant < 0:
            here = int_op(recorder, "and", y, Const(int_bit(bit, x.dtype), x.dtype))
            wanted = recorder.record(Op("ne", (here, zero), "bool"))
            total = int_op(recorder, "mul", total, int_op(recorder, "select", wanted, factor, one))
        elif constant >> bit & 1:
            total = int_op(recorder, "mul", total, factor)
        if bit + 1 < top:
            factor = int_op(recorder, "mul", factor, factor)
    if x.dtype.startswith("u") or (constant is not None and constant >= 0):
        return total
    # 1 and -1 keep their powers, everything else becomes 0
    odd = recorder.record(Op("ne", (int_op(recorder, "and", y, one), zero), "bool"))
    is_one = recorder.record(Op("eq", (x, one), "bool"))
    is_minus_one = recorder.record(Op("eq", (x, Const(-1, x.dtype)), "bool"))
    alternating = int_op(recorder, "select", odd, Const(-1, x.dtype), one)
    inverse = int_op(recorder, "select", is_minus_one, alternating, zero)
    inverse = int_op(recorder, "select", is_one, one, inverse)
    negative = recorder.record(Op("lt", (y, zero), "bool"))
    return int_op(recorder, "select", negative, inverse, total)


def int_bit(bit: int, dtype: str) -> int:
    """2**bit as a value of the dtype: the top bit of a signed one is negative."""
    return -(1 << bit) if dtype == f"i{bit + 1}" else 1 << bit


INT_EXPANSIONS: dict[str, Callable[..., Expr]] = {
    "sign": int_sign,
    "square": int_square,
    "reciprocal": int_reciprocal,
    "clamp": int_clamp,
    "pow": int_pow,
}


# ---- the rewriting of kernels --------------------------------------------------------------------


def expand_math(kernel: Kernel, native: frozenset[str]) -> Kernel:
    """``kernel`` with every function that is not in ``native`` expanded into basic operations.

    The values that an expansion uses more than once become locals just before the statement.
    """
    expander = Expander(kernel, native)
    if not any(expander.expansion(node) for node in nodes_of(kernel.body)):
        return kernel
    return replace(kernel, body=expander.body(kernel.body))


class Expander:
    """One walk over a kernel; names of new locals are unique in it."""

    def __init__(self, kernel: Kernel, native: frozenset[str]) -> None:
        self.native = native
        self.recorder = Recorder(names_in(kernel))
        self.plain: dict[Expr, bool] = {}

    def body(self, statements: Sequence[Stmt]) -> tuple[Stmt, ...]:
        return tuple(new for statement in statements for new in self.statement(statement))

    def statement(self, statement: Stmt) -> list[Stmt]:
        match statement:
            case Loop():
                before, (start, stop) = self.expressions([statement.start, statement.stop])
                body = self.body(statement.body)
                unroll = statement.unroll
                if statement.how == "vec" and loops(body) > loops(statement.body):
                    # a loop ends with the last of its lanes: more of them make more trips
                    unroll = min(unroll, 1)
                return [
                    *before,
                    replace(statement, start=start, stop=stop, body=body, unroll=unroll),
                ]
            case If():
                before, (cond,) = self.expressions([statement.cond])
                return [*before, If(cond, self.body(statement.then), self.body(statement.orelse))]
            case While():
                return self.loop(statement)
            case Local() | Set() | Accumulate():
                before, (value,) = self.expressions([statement.value])
                return [*before, replace(statement, value=value)]
            case Store() | Atomic():
                guard = () if statement.guard is None else (statement.guard,)
                before, found = self.expressions([statement.value, *statement.index, *guard])
                index, last = tuple(found[1 : 1 + len(statement.index)]), found[-1]
                new = replace(statement, index=index, value=found[0], guard=last if guard else None)
                return [*before, new]
            case Check():
                before, (ok,) = self.expressions([statement.ok])
                return [*before, Check(ok, statement.code)]
        return [statement]

    def loop(self, statement: While) -> list[Stmt]:
        """A condition that needs locals is kept in a flag, computed anew at the end of each
        trip."""
        before, (cond,) = self.expressions([statement.cond])
        body = self.body(statement.body)
        if not before:
            return [While(cond, body)]
        again, (next_cond,) = self.expressions([statement.cond])
        flag = self.recorder.fresh()
        body = (*body, *again, Set(flag, next_cond))
        return [*before, Local(flag, "bool", cond), While(Var(flag, "bool"), body)]

    def expressions(self, roots: Sequence[Expr]) -> tuple[list[Stmt], list[Expr]]:
        """Statements to run first and the expanded roots; roots without mathematics stay as they
        are."""
        plain = [self.is_plain(root) for root in roots]
        if all(plain):
            return [], list(roots)
        statements, final = self.recorder.finish(
            [self.expand(root) for root, basic in zip(roots, plain, strict=True) if not basic]
        )
        replaced = iter(final)
        return statements, [
            root if basic else next(replaced) for root, basic in zip(roots, plain, strict=True)
        ]

    def is_plain(self, expr: Expr) -> bool:
        if expr not in self.plain:
            self.plain[expr] = not any(self.expansion(node) for node in walk(expr))
        return self.plain[expr]

    def expansion(self, node: Expr) -> Callable[[tuple[Expr, ...]], Expr] | None:
        """What writes ``node`` for given operands, or None where it is basic."""
        if not isinstance(node, Op) or node.fn in self.native:
            return None
        dtype = node.args[0].dtype
        if dtype in FORMATS and node.fn in EXPANSIONS:
            return lambda kids: self.write(node.fn, dtype, kids)
        if dtype[0] in "iu" and node.fn in INT_EXPANSIONS:
            return lambda kids: INT_EXPANSIONS[node.fn](self.recorder, *kids)
        return None

    def write(self, fn: str, dtype: str, kids: tuple[Expr, ...]) -> Expr:
        """The expansion of a float function; an integer exponent of pow becomes a float."""
        same = [
            kid if kid.dtype == dtype else self.recorder.record(Op("convert", (kid,), dtype))
            for kid in kids
        ]
        return EXPANSIONS[fn](Builder(self.recorder, dtype), *same)

    def expand(self, expr: Expr) -> Expr:
        done: dict[Expr, Expr] = {}

        def expanded(node: Expr) -> Expr:
            if node not in done:
                done[node] = self.recorder.record(node) if is_leaf(node) else rewritten(node)
            return done[node]

        def is_leaf(node: Expr) -> bool:
            # indices stay as the schedule wrote them: printers read strides off them
            return not children(node) or (isinstance(node, Load) and self.is_plain(node))

        def rewritten(node: Expr) -> Expr:
            kids = tuple(expanded(kid) for kid in children(node))
            write = self.expansion(node)
            return write(kids) if write else self.recorder.record(rebuild(node, kids))

        return expanded(expr)


def loops(body: Sequence[Stmt]) -> int:
    """How many loops of a body end by a condition."""
    return sum(isinstance(s, While) for s in statements(body))


def names_in(kernel: Kernel) -> set[str]:
    """Every name a kernel uses: sizes, buffers, loop variables, locals."""
    names = {*kernel.sizes, *(param.name for param in kernel.params), kernel.name}
    stack: list[Stmt] = list(kernel.body)
    while stack:
        match stack.pop():
            case Loop(var=var, body=body):
                names.add(var)
                stack += body
            case If(then=then, orelse=orelse):
                stack += (*then, *orelse)
            case While(body=body):
                stack += body
            case Local(name=name) | Scratch(name=name):
                names.add(name)
            case Atomic(old=str(old)):
                names.add(old)
    return names
