"""What the expansions of ``kernel/math.py`` are written with: formats, a recorder of operations,
a builder.

A ``Builder`` makes scalar operations of one floating format; its ``Recorder`` keeps them in
order, once each. ``Recorder.finish`` drops what is unused, inlines what is used once and binds
the rest to
``Local`` statements.

    >>> recorder = Recorder(set())
    >>> b = Builder(recorder, "f32")
    >>> x = Var("x", "f32")
    >>> statements, (root,) = recorder.finish([b.fma(x, x, 1.0)])
    >>> print(root)
    fma(x, x, 1.0)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext

import numpy as np

from tracejit.ir.expr import Const, Expr, Op, Var, children, rebuild
from tracejit.kernel.math_coeffs import COEFFICIENTS
from tracejit.kernel.nodes import If, Local, Set, Stmt, While
from tracejit.record import dataclass

Number = float | int
Value = Expr | float | int


@dataclass(frozen=True)
class Format:
    """The numbers of an IEEE binary format that the algorithms refer to."""

    dtype: str
    integer: str  # the signed integer of the same width
    width: int
    mantissa: int  # stored fraction bits
    bias: int

    @property
    def precision(self) -> int:
        return self.mantissa + 1

    @property
    def tiny(self) -> float:
        """The least normal number."""
        return 2.0 ** (1 - self.bias)

    @property
    def round_magic(self) -> float:
        """x + this rounds x to an integer (|x| < 2**(mantissa - 1)), which the low bits of the
        sum then hold."""
        return 1.5 * 2.0**self.mantissa

    @property
    def fraction_mask(self) -> int:
        return (1 << self.mantissa) - 1

    @property
    def sign_bit(self) -> int:
        return -(1 << (self.width - 1))

    def round(self, value: float) -> float:
        """``value`` rounded to the format."""
        return float(np.float32(value)) if self.dtype == "f32" else float(value)

    def bits(self, value: float) -> int:
        """The bit pattern of a number, as a signed integer."""
        if self.dtype == "f32":
            return int(np.float32(value).view(np.int32))
        return int(np.float64(value).view(np.int64))


FORMATS = {
    "f32": Format("f32", "i32", 32, 23, 127),
    "f64": Format("f64", "i64", 64, 52, 1023),
}


@dataclass
class Branch:
    """Recorded operations that run only where ``cond`` holds (in a vector: when any lane needs
    them)."""

    cond: Expr
    items: list[Expr | Stmt | Branch | Repeat]


@dataclass
class Repeat:
    """Recorded operations that run while the local ``flag`` holds (in a vector: in any lane)."""

    flag: Var
    items: list[Expr | Stmt | Branch | Repeat]


Item = Expr | Stmt | Branch | Repeat


class Recorder:
    """Operations in the order they are needed, equal ones only once."""

    def __init__(self, taken: set[str]) -> None:
        self.taken = taken
        self.items: list[Item] = []
        self.known: list[dict[Expr, Expr]] = [{}]
        self.memo: dict[tuple[object, ...], tuple[Expr, ...]] = {}
        self.count = 0

    def record(self, node: Expr) -> Expr:
        """The one node equal to ``node``, recorded now if it is new."""
        if isinstance(node, Const | Var):
            return node
        for scope in self.known:
            if node in scope:
                return scope[node]
        self.known[-1][node] = node
        self.items.append(node)
        return node

    def fresh(self) -> str:
        """A name no other local of the kernel has."""
        while True:
            name = f"t{self.count}"
            self.count += 1
            if name not in self.taken:
                self.taken.add(name)
                return name

    def guarded(
        self, cond: Expr, usual: Sequence[Expr], rare: Callable[[], Sequence[Expr]]
    ) -> tuple[Var, ...]:
        """``usual`` where ``cond`` is false; the values of ``rare()``, computed only when needed,
        elsewhere."""
        names = [Var(self.fresh(), value.dtype) for value in usual]
        self.items += [
            Local(var.name, var.dtype, value) for var, value in zip(names, usual, strict=True)
        ]
        outer, self.items = self.items, []
        self.known.append({})
        values = rare()
        self.items += [Set(var.name, value) for var, value in zip(names, values, strict=True)]
        self.known.pop()
        outer.append(Branch(cond, self.items))
        self.items = outer
        return tuple(names)

    def repeated(
        self,
        first: Expr,
        start: Sequence[Expr],
        step: Callable[..., tuple[Expr, Sequence[Expr]]],
    ) -> tuple[Var, ...]:
        """The state that is left of ``start`` when ``first``, and then what ``step(*state)`` says
        of going on, no longer holds; ``step`` gives the next state too.
        """
        flag = Var(self.fresh(), "bool")
        state = tuple(Var(self.fresh(), value.dtype) for value in start)
        given = zip((flag, *state), (first, *start), strict=True)
        self.items += [Local(var.name, var.dtype, value) for var, value in given]
        outer, self.items = self.items, []
        self.known.append({})
        more, values = step(*state)
        # bound before anything is set: each is a function of the old state
        bound = [(var, self.fresh()) for var in (*state, flag)]
        every = zip(bound, (*values, more), strict=True)
        self.items += [Local(name, var.dtype, value) for (var, name), value in every]
        self.items += [Set(var.name, Var(name, var.dtype)) for var, name in bound]
        self.known.pop()
        outer.append(Repeat(flag, self.items))
        self.items = outer
        return state

    def finish(self, roots: Sequence[Expr]) -> tuple[list[Stmt], list[Expr]]:
        """The statements to run first, and ``roots`` in terms of their locals. The recorder is
        empty again."""
        uses: Counter[Expr] = Counter(roots)
        count_uses(self.items, uses)
        final: dict[Expr, Expr] = {}
        statements: list[Stmt] = []
        self.emit(self.items, uses, final, statements)
        roots = [final.get(root, root) for root in roots]
        self.items, self.known, self.memo = [], [{}], {}
        return statements, roots

    def emit(
        self, items: list[Item], uses: Counter[Expr], final: dict[Expr, Expr], out: list[Stmt]
    ) -> None:
        for item in items:
            match item:
                case Local():
                    out.append(Local(item.name, item.dtype, final.get(item.value, item.value)))
                case Set():
                    out.append(Set(item.name, final.get(item.value, item.value)))
                case Branch():
                    body: list[Stmt] = []
                    self.emit(item.items, uses, final, body)
                    out.append(If(final.get(item.cond, item.cond), tuple(body)))
                case Repeat():
                    trip: list[Stmt] = []
                    self.emit(item.items, uses, final, trip)
                    out.append(While(item.flag, tuple(trip)))
                case Expr() if uses[item]:
                    value = rebuild(item, tuple(final.get(kid, kid) for kid in children(item)))
                    if uses[item] > 1:
                        name = self.fresh()
                        out.append(Local(name, item.dtype, value))
                        value = Var(name, item.dtype)
                    final[item] = value


def count_uses(items: list[Item], uses: Counter[Expr]) -> None:
    """Add to ``uses`` how often each recorded node is used by live ones; users come after what
    they use."""
    for item in reversed(items):
        match item:
            case Local() | Set():
                uses[item.value] += 1
            case Branch():
                count_uses(item.items, uses)
                uses[item.cond] += 1
            case Repeat():
                inside: Counter[Expr] = Counter()
                count_uses(item.items, inside)
                own = {node for node in item.items if isinstance(node, Expr)}
                # what comes from outside is a local: it is not to be computed in each trip
                uses.update({node: n if node in own else 2 * n for node, n in inside.items()})
            case Expr() if uses[item]:
                uses.update(children(item))


class Builder:
    """Scalar operations of one floating format. Numbers among the operands become constants of
    that format."""

    def __init__(self, recorder: Recorder, dtype: str) -> None:
        self.recorder = recorder
        self.dtype = dtype
        self.format = FORMATS[dtype]

    def const(self, value: Value) -> Expr:
        return value if isinstance(value, Expr) else Const(self.format.round(value), self.dtype)

    def int_const(self, value: Value) -> Expr:
        return value if isinstance(value, Expr) else Const(int(value), self.format.integer)

    def coefficients(self, name: str) -> tuple[float, ...]:
        return COEFFICIENTS[name][self.dtype]

    def op(self, fn: str, *args: Value) -> Expr:
        return self.recorder.record(Op(fn, tuple(map(self.const, args)), self.dtype))

    def compare(self, fn: str, *args: Value) -> Expr:
        return self.recorder.record(Op(fn, tuple(map(self.const, args)), "bool"))

    def int_op(self, fn: str, *args: Value) -> Expr:
        return self.recorder.record(Op(fn, tuple(map(self.int_const, args)), self.format.integer))

    # ---- arithmetic -----------------------------------------------------------------------------

    def add(self, x: Value, y: Value) -> Expr:
        return self.op("add", x, y)

    def sub(self, x: Value, y: Value) -> Expr:
        return self.op("sub", x, y)

    def mul(self, x: Value, y: Value) -> Expr:
        return self.op("mul", x, y)

    def div(self, x: Value, y: Value) -> Expr:
        return self.op("div", x, y)

    def fma(self, x: Value, y: Value, z: Value) -> Expr:
        """x y + z with one rounding."""
        return self.op("fma", x, y, z)

    def neg(self, x: Value) -> Expr:
        return self.op("neg", x)

    def abs(self, x: Value) -> Expr:
        return self.op("abs", x)

    def sqrt(self, x: Value) -> Expr:
        return self.op("sqrt", x)

    def round(self, x: Value) -> Expr:
        return self.op("round", x)

    def trunc(self, x: Value) -> Expr:
        return self.op("trunc", x)

    def copysign(self, x: Value, sign: Value) -> Expr:
        return self.op("copysign", x, sign)

    # ---- comparison and choice ------------------------------------------------------------------

    def lt(self, x: Value, y: Value) -> Expr:
        return self.compare("lt", x, y)

    def le(self, x: Value, y: Value) -> Expr:
        return self.compare("le", x, y)

    def gt(self, x: Value, y: Value) -> Expr:
        return self.compare("gt", x, y)

    def ge(self, x: Value, y: Value) -> Expr:
        return self.compare("ge", x, y)

    def eq(self, x: Value, y: Value) -> Expr:
        return self.compare("eq", x, y)

    def ne(self, x: Value, y: Value) -> Expr:
        return self.compare("ne", x, y)

    def both(self, x: Expr, y: Expr) -> Expr:
        return self.recorder.record(Op("and", (x, y), "bool"))

    def either(self, x: Expr, y: Expr) -> Expr:
        return self.recorder.record(Op("or", (x, y), "bool"))

    def negated(self, x: Expr) -> Expr:
        return self.recorder.record(Op("not", (x,), "bool"))

    def differ(self, x: Expr, y: Expr) -> Expr:
        return self.recorder.record(Op("xor", (x, y), "bool"))

    def select(self, cond: Expr, on_true: Value, on_false: Value) -> Expr:
        return self.recorder.record(
            Op("select", (cond, self.const(on_true), self.const(on_false)), self.dtype)
        )

    def at_most(self, x: Value, limit: float) -> Expr:
        """min(x, limit), nan for nan: the very comparison that a hardware minimum makes, one
        instruction."""
        return self.select(self.lt(limit, x), limit, x)

    def at_least(self, x: Value, limit: float) -> Expr:
        """max(x, limit), nan for nan."""
        return self.select(self.gt(limit, x), limit, x)

    # ---- bits -----------------------------------------------------------------------------------

    def bits(self, x: Expr) -> Expr:
        return self.recorder.record(Op("bitcast", (x,), self.format.integer))

    def float(self, bits: Expr) -> Expr:
        return self.recorder.record(Op("bitcast", (bits,), self.dtype))

    def int_add(self, x: Value, y: Value) -> Expr:
        return self.int_op("add", x, y)

    def int_sub(self, x: Value, y: Value) -> Expr:
        return self.int_op("sub", x, y)

    def int_and(self, x: Value, y: Value) -> Expr:
        return self.int_op("and", x, y)

    def int_or(self, x: Value, y: Value) -> Expr:
        return self.int_op("or", x, y)

    def int_xor(self, x: Value, y: Value) -> Expr:
        return self.int_op("xor", x, y)

    def shift_left(self, x: Value, count: int) -> Expr:
        return self.int_op("shift_left", x, count)

    def shift_right(self, x: Value, count: int) -> Expr:
        """Zeros come in from the left."""
        return self.int_op("shift_right_logical", x, count)

    def bit_test(self, x: Expr, mask: int) -> Expr:
        return self.recorder.record(Op("ne", (self.int_and(x, mask), self.int_const(0)), "bool"))

    def small_int(self, x: Expr, offset: Value) -> Expr:
        """The integer 0 <= x < 2**mantissa as a float, plus ``offset``."""
        form = self.format
        if self.dtype == "f32":
            return self.add(self.recorder.record(Op("convert", (x,), "f32")), offset)
        # vectors of i64 convert slowly before AVX-512: put x into the fraction of 2**52 instead
        base = 2.0**form.mantissa
        lifted = self.float(self.int_or(x, form.bits(base)))
        return self.add(self.sub(lifted, base), offset)

    def flip_sign(self, x: Expr, sign_bits: Expr) -> Expr:
        """x with its sign changed where the sign bit of ``sign_bits`` is set."""
        sign = self.int_and(sign_bits, self.format.sign_bit)
        return self.float(self.int_xor(self.bits(x), sign))

    # ---- polynomials and double words -----------------------------------------------------------

    def horner(self, x: Value, coefficients: Sequence[Value]) -> Expr:
        """c[0] + c[1] x + ...; the tail of a long one as two interleaved chains, which halves the
        wait for results."""
        if len(coefficients) <= 10:
            return self.chain(x, coefficients)
        square = self.mul(x, x)
        even, odd = self.chain(square, coefficients[2::2]), self.chain(square, coefficients[3::2])
        return self.chain(x, (*coefficients[:2], self.fma(x, odd, even)))

    def chain(self, x: Value, coefficients: Sequence[Value]) -> Expr:
        total = self.const(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            total = self.fma(total, x, coefficient)
        return total

    def two_sum(self, x: Value, y: Value) -> tuple[Expr, Expr]:
        """x + y as a rounded sum and its exact error (Knuth)."""
        total = self.add(x, y)
        part = self.sub(total, x)
        return total, self.add(self.sub(x, self.sub(total, part)), self.sub(y, part))

    def fast_two_sum(self, x: Value, y: Value) -> tuple[Expr, Expr]:
        """The same where |x| >= |y| (Dekker)."""
        total = self.add(x, y)
        return total, self.add(self.sub(x, total), y)

    def two_product(self, x: Value, y: Value) -> tuple[Expr, Expr]:
        """x y as a rounded product and its exact error."""
        product = self.mul(x, y)
        return product, self.fma(x, y, self.neg(product))


def parts(value: str, dtype: str, count: int = 2) -> tuple[float, ...]:
    """A constant, given in decimal with enough digits, as an unevaluated sum of ``count`` numbers
    of the format."""
    from_text = Decimal(value)
    found = []
    with localcontext(prec=120):
        for _ in range(count):
            part = FORMATS[dtype].round(float(from_text))
            found.append(part)
            from_text -= Decimal(part)
    return tuple(found)
