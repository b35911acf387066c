"""Names, expressions and addresses of a kernel in CUDA C, and what is known of its indices.

``Memory`` writes expressions; ``cuda_vector.py`` adds vec loops, ``cuda.py`` the statements. An
index is looked at in three ways, where ``j`` is the variable of a vec loop of 4 lanes, at lane 0:

    coefficient   how much it grows from lane to lane: add(mul(i, 100), j) -> 1, idiv(j, 8) -> 0
    divisor       a number that divides it: mul(t, 4) -> 4, j -> 4 where the loop starts at one such
    nonnegative   whether it is known not to be below zero, so that it is divided as unsigned
"""

from __future__ import annotations

import math
import re
from dataclasses import field

from tracejit.codegen.cuda_scalar import (
    ADD,
    ATOM,
    CALL,
    CTYPE,
    FUNCTIONS,
    MUL,
    SIZE,
    Text,
    choose,
    constant,
    defined,
    index_op,
    infix,
    spell,
    typed,
    zero,
)
from tracejit.errors import InternalError
from tracejit.ir.expr import (
    Const,
    Expr,
    Load,
    Op,
    Var,
    children,
    iadd,
    idiv,
    imod,
    imul,
    known,
    walk,
)
from tracejit.kernel.nodes import Loop
from tracejit.record import dataclass

#: a longer expression is split into several statements
_LONG = 80
#: an expression of more nodes than this that occurs twice is computed once
_SHARED = 4
#: what names of helpers and macros begin with
_PREFIXES = ("tj_", "TJ_", "__")
_SIGNED = {"add": ("+", ADD), "sub": ("-", ADD), "mul": ("*", MUL)}

#: words that no name in a kernel may be: C++, CUDA, and what generated code itself says
TAKEN = frozenset(
    """alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const
    constexpr continue decltype default delete do double else enum explicit export extern false
    float for friend goto if inline int long mutable namespace new noexcept not not_eq nullptr
    operator or or_eq private protected public register return short signed sizeof static struct
    switch template this throw true try typedef typeid typename union unsigned using virtual void
    volatile wchar_t while xor xor_eq concept requires
    threadIdx blockIdx blockDim gridDim warpSize float4 lane flag old
    NULL NAN INFINITY EOF assert errno stdin stdout stderr linux unix""".split()
) | {name + end for name in FUNCTIONS.values() for end in ("", "f")}
#: what else the C library declares: no names for functions
_LIBRARY = frozenset(
    """abs min max main clock printf malloc free memcpy memset gamma tgamma div ldexp frexp modf
    round signbit isnan isinf isfinite half y0 y1 yn j0 j1 jn""".split()
)


@dataclass
class Variable:
    """A size, loop variable or local. ``text``: what stands for it. ``index``: it is one, kept in
    the type of indices. ``value``: what it is for good, for a local; ``start``: least value of a
    loop variable. ``lane``: each lane of a vec loop has its own; ``step``: lanes of that loop, for
    its variable.
    """

    text: Text
    dtype: str
    index: bool = False
    value: Expr | None = None
    start: Expr | None = None
    lane: bool = False
    step: int = 1


@dataclass(frozen=True)
class Buffer:
    """A parameter or scratch. ``private``: of one thread, in registers."""

    text: str
    dtype: str
    shape: tuple[int | str, ...]
    private: bool = False


class Names:
    """Names of a kernel -> names in C, and new ones."""

    def __init__(self, expected: set[str]) -> None:
        self.expected = expected
        self.used: set[str] = set()

    def own(self, name: str, function: bool = False) -> str:
        """The C name for a name of the kernel: the same, unless C has it already."""
        found = re.sub(r"\W", "_", name)
        if found in (TAKEN | _LIBRARY if function else TAKEN) or found.startswith(_PREFIXES):
            found = found.lstrip("_") + "_"
            while found in self.expected:
                found += "_"
        self.used.add(found)
        return found

    def fresh(self, stem: str) -> str:
        """A name that nothing has: the stem, with a number unless it is free."""
        stem = re.sub(r"\W", "_", stem)
        found, number = f"{stem}0", 0
        while found in self.expected or found in self.used or found in TAKEN:
            number += 1
            found = f"{stem}{number}"
        self.used.add(found)
        return found


@dataclass
class _Facts:
    """One look at an index; equal parts are looked at once."""

    variables: dict[str, Variable]
    lane: str = ""
    coefficients: dict[Expr, int | None] = field(default_factory=dict)
    divisors: dict[Expr, int] = field(default_factory=dict)
    signs: dict[Expr, bool] = field(default_factory=dict)

    def coefficient(self, expr: Expr) -> int | None:
        """How much more each lane has than the one before; None where that varies."""
        if expr not in self.coefficients:
            self.coefficients[expr] = self._coefficient(expr)
        return self.coefficients[expr]

    def _coefficient(self, expr: Expr) -> int | None:
        if isinstance(expr, Const):
            return 0
        if isinstance(expr, Var):
            if expr.name == self.lane:
                return 1
            variable = self.variables[expr.name]
            if variable.value is not None and variable.lane:
                return self.coefficient(variable.value)
            return None if variable.lane else 0
        found = [self.coefficient(kid) for kid in children(expr)]
        if not any(c != 0 for c in found):
            return 0
        if not isinstance(expr, Op) or expr.dtype != "i64" or None in found:
            return None
        first, *rest = (c for c in found if c is not None)
        match expr.fn:
            case "add":
                return first + rest[0]
            case "sub":
                return first - rest[0]
            case "mul":
                for factor, other in (expr.args, expr.args[::-1]):
                    if isinstance(factor, Const):
                        return int(factor.value) * (self.coefficient(other) or 0)  # type: ignore[arg-type]
            case "idiv" | "irem" if first == 1 and isinstance(expr.args[1], Const):
                # all lanes lie between two multiples of the divisor
                lanes = self.variables[self.lane].step
                if int(expr.args[1].value) % lanes == 0 and self.divisor(expr.args[0]) % lanes == 0:  # type: ignore[arg-type]
                    return 0 if expr.fn == "idiv" else 1
        return None

    def divisor(self, expr: Expr) -> int:
        """A number that divides the index, in lane 0; 0 where the index is 0."""
        if expr not in self.divisors:
            self.divisors[expr] = self._divisor(expr)
        return self.divisors[expr]

    def _divisor(self, expr: Expr) -> int:
        match expr:
            case Const(value=int(value)):
                return abs(value)
            case Var():
                variable = self.variables[expr.name]
                if variable.value is not None:
                    return self.divisor(variable.value)
                if variable.start is not None and variable.step > 1:
                    return math.gcd(self.divisor(variable.start), variable.step)
                return 1
            case Op(fn="mul", args=(a, b)):
                return self.divisor(a) * self.divisor(b)
            case Op(fn="add" | "sub" | "max" | "min" | "irem", args=(a, b)):
                return math.gcd(self.divisor(a), self.divisor(b))
            case Op(fn="select", args=(_, a, b)):
                return math.gcd(self.divisor(a), self.divisor(b))
            case Op(fn="idiv", args=(a, Const(value=int(by)))) if by > 0:
                whole = self.divisor(a)
                return whole // by if whole % by == 0 else 1
        return 1

    def nonnegative(self, expr: Expr) -> bool:
        if expr not in self.signs:
            self.signs[expr] = self._nonnegative(expr)
        return self.signs[expr]

    def _nonnegative(self, expr: Expr) -> bool:
        match expr:
            case Const(value=int(value)):
                return value >= 0
            case Var():
                variable = self.variables[expr.name]
                least = variable.value if variable.value is not None else variable.start
                return least is not None and self.nonnegative(least)
            case Op(fn="add" | "mul" | "idiv" | "irem" | "min", args=args):
                return all(map(self.nonnegative, args))
            case Op(fn="max" | "and", args=args):
                return any(map(self.nonnegative, args))
            case Op(fn="select", args=(_, a, b)):
                return self.nonnegative(a) and self.nonnegative(b)
        return False


class Memory:
    """Writes expressions. ``lane`` is the variable of the vec loop around whose single lane is
    being written, ``vector`` that of a loop around whose lanes are written together.
    """

    def __init__(self, narrow: bool, expected: set[str]) -> None:
        self.narrow = narrow
        self.names = Names(expected)
        self.variables: dict[str, Variable] = {}
        self.buffers: dict[str, Buffer] = {}
        self.lines: list[str] = []
        self.depth = 1
        #: the vec loop around, if any
        self.vector: Loop | None = None
        #: whether single lanes of it are being written
        self.in_lane = False
        #: loads that a vec loop has done already, for all lanes
        self.ready: dict[Expr, Text] = {}

    @property
    def index_type(self) -> str:
        return "int" if self.narrow else "long long"

    def line(self, text: str) -> None:
        self.lines.append("  " * self.depth + text)

    def facts(self) -> _Facts:
        return _Facts(self.variables, self.vector.var if self.vector else "")

    # ---- expressions ----

    def value(self, expr: Expr) -> Text:
        """The text of an expression, in the type of indices if it is one. Parts that are long or
        used twice become statements in front of it.
        """
        expr = defined(expr)
        nodes, uses, weight = list(self.walk(expr)), dict[Expr, int](), dict[Expr, int]()
        for node in nodes:
            kids = () if node in self.ready else children(node)
            weight[node] = 1 + sum(weight[kid] for kid in kids)
            for kid in kids:
                uses[kid] = uses.get(kid, 0) + 1
        texts: dict[Expr, Text] = {}
        facts = self.facts()
        for node in nodes:
            text = self.ready.get(node) or self.node(node, texts, facts)
            shared = uses.get(node, 0) > 1 and weight[node] > _SHARED and text.binds < ATOM
            long = len(text.text) > _LONG and isinstance(node, Op)
            if node is not expr and (shared or long):
                text = self.bound(text, node.dtype)
            texts[node] = text
        return texts[expr]

    def walk(self, expr: Expr) -> list[Expr]:
        """The nodes to write, arguments first: nothing below a load that is done already."""
        if not self.ready or not any(node in self.ready for node in walk(expr)):
            return list(walk(expr))
        found: dict[Expr, None] = {}

        def visit(node: Expr) -> None:
            if node not in found:
                for kid in () if node in self.ready else children(node):
                    visit(kid)
                found[node] = None

        visit(expr)
        return list(found)

    def typed(self, expr: Expr) -> Text:
        """The text of an expression in the type of its dtype."""
        return typed(self.value(expr), self.narrow)

    def bound(self, text: Text, dtype: str, stem: str = "t") -> Text:
        """A constant with this value, declared in front."""
        name = self.names.fresh(stem)
        ctype = self.index_type if text.index else CTYPE[dtype]
        self.line(f"const {ctype} {name} = {text};")
        return Text(name, ATOM, text.index)

    def node(self, node: Expr, texts: dict[Expr, Text], facts: _Facts) -> Text:
        match node:
            case Const():
                return constant(node)
            case Var():
                return self.variable(node)
            case Load():
                return self.load(node, texts)
            case Op():
                args = [texts[arg] for arg in node.args]
                if node.dtype == "i64" and all(arg.index for arg in args):
                    nonneg = all(map(facts.nonnegative, node.args))
                    found = index_op(node, args, nonneg, self.narrow)
                    if found is not None:
                        return found
                return spell(node, args, self.narrow)
        raise InternalError(f"not an expression: {node!r}")

    def variable(self, node: Var) -> Text:
        """A variable as it stands here: outside of its lanes, a lane's own is lane 0's value."""
        variable = self.variables[node.name]
        if self.vector and not self.in_lane and variable.lane and variable.value is not None:
            return self.value(variable.value)
        if self.in_lane and self.vector and node.name == self.vector.var:
            return Text(f"{variable.text} + lane", ADD, True)
        return variable.text

    def load(self, node: Load, texts: dict[Expr, Text]) -> Text:
        buffer = self.buffers[node.buffer]
        address = self.address(self.flat(node.buffer, node.index), texts)
        text = Text(f"{buffer.text}[{address}]", CALL)
        if node.guard is None:
            return text
        return choose(texts[node.guard], text, constant(zero(node.dtype)))

    # ---- addresses ----

    def flat(self, buffer: str, index: tuple[Expr, ...]) -> Expr:
        """The row-major offset of an element."""
        total: Expr = Const(0, "i64")
        stride: Expr = Const(1, "i64")
        for entry, extent in zip(
            reversed(index), reversed(self.buffers[buffer].shape), strict=True
        ):
            total = iadd(imul(entry, stride), total)
            stride = imul(stride, extent if isinstance(extent, int) else Var(extent, "i64"))
        return whole_again(total)

    def address(self, offset: Expr, texts: dict[Expr, Text]) -> Text:
        """An offset; its sums and products do not overflow, whatever they are made of."""
        whole = texts.get(offset)
        if whole is not None and (whole.index or whole.binds == ATOM):
            return whole
        match offset:
            case Op(fn="add", args=(a, Const(value=int(value)))) if value < 0:
                first = self.address(a, texts)
                return infix("-", ADD, first, Text(str(-value), ATOM), index=first.index)
            case Op(fn="add" | "sub" | "mul", args=(a, b)):
                x, y = self.address(a, texts), self.address(b, texts)
                return infix(*_SIGNED[offset.fn], x, y, index=x.index and y.index)
            case Const():
                return constant(offset)
            case Var():
                return self.variable(offset)
        return whole or self.value(offset)

    def offset(self, buffer: str, index: tuple[Expr, ...]) -> Text:
        """The offset of an element that is stored or loaded by itself."""
        texts = {entry: self.value(entry) for entry in index}
        return self.address(self.flat(buffer, index), texts)

    def element_bytes(self, buffer: str) -> int:
        return SIZE[self.buffers[buffer].dtype]


# ---- sums ----------------------------------------------------------------------------------------


def whole_again(offset: Expr) -> Expr:
    """An offset with quotient and remainder of one number put together: a flat index that was
    taken apart along the axes of a buffer is itself again.

    >>> j = Var("j", "i64")
    >>> whole_again(iadd(imul(idiv(j, 64), 64), imod(j, 64)))
    Var(name='j', dtype='i64')
    """
    terms: dict[Expr, int] = {}
    total = add_terms(offset, 1, terms)
    merged = False
    while (pair := _remainder_and_rest(terms)) is not None:
        (remainder, rest, by), merged = pair, True
        factor = terms.pop(remainder)
        del terms[rest]
        assert isinstance(remainder, Op) and isinstance(rest, Op)
        whole = remainder.args[0]
        if rest.fn == "irem":  # (x / a) % b * a + x % a
            whole = imod(whole, by * (known(rest.args[1]) or 0))
        terms[whole] = terms.get(whole, 0) + factor
    if not merged:
        return offset
    found: Expr = Const(0, "i64")
    for term, factor in terms.items():
        found = iadd(found, imul(term, factor)) if factor else found
    return iadd(found, total)


def _remainder_and_rest(terms: dict[Expr, int]) -> tuple[Expr, Expr, int] | None:
    """Two terms k * (x % a) and k * a * (x / a), or k * a * (x / a % b); and a."""
    for term, factor in terms.items():
        if isinstance(term, Op) and term.fn == "irem" and (by := known(term.args[1])):
            for other, by_much in terms.items():
                if by_much == factor * by and isinstance(other, Op):
                    quotient = other.args[0] if other.fn == "irem" else other
                    constant = other.fn == "idiv" or known(other.args[1]) is not None
                    if constant and quotient == idiv(term.args[0], by):
                        return term, other, by
    return None


def difference(a: Expr, b: Expr) -> int | None:
    """a - b, where that is a number."""
    terms: dict[Expr, int] = {}
    total = add_terms(a, 1, terms) + add_terms(b, -1, terms)
    return total if not any(terms.values()) else None


def add_terms(expr: Expr, factor: int, terms: dict[Expr, int]) -> int:
    """Put the terms of a sum into ``terms``; returns its constant part."""
    match expr:
        case Const(value=int(value)):
            return factor * value
        case Op(fn="add", args=(a, b)):
            return add_terms(a, factor, terms) + add_terms(b, factor, terms)
        case Op(fn="sub", args=(a, b)):
            return add_terms(a, factor, terms) + add_terms(b, -factor, terms)
        case Op(fn="mul", args=(a, Const(value=int(by)))):
            return add_terms(a, factor * by, terms)
    terms[expr] = terms.get(expr, 0) + factor
    return 0
