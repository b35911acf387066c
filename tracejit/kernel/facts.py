"""What is known of index arithmetic at a place of a kernel: ranges of loop variables, and what
follows for comparisons, selects and guards.

    facts = Facts().with_range(i, 1, 511)
    facts.fold(select(lt(add(i, -1), 510), x, y))       # x

Index arithmetic is exact: an expression is looked at only where the ranges of what it is made of
keep it far from the limits of i64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

from tracejit.ir.expr import Const, Expr, Load, Op, Var, children, rebuild, walk
from tracejit.record import dataclass

#: an interval, both ends included
Range = tuple[float, float]
ANYTHING: Range = (float("-inf"), float("inf"))
LIMIT = float(1 << 62)
TRUE, FALSE = Const(True, "bool"), Const(False, "bool")
COMPARISONS = frozenset("lt le gt ge eq ne".split())


@dataclass(frozen=True)
class Form:
    """``sum(factor * atom) + const``, atoms in an order that their text gives."""

    terms: tuple[tuple[Expr, int], ...] = ()
    const: int = 0

    def factor(self, atom: Expr) -> int:
        return dict(self.terms).get(atom, 0)

    def without(self, atom: Expr) -> Form:
        return Form(tuple(t for t in self.terms if t[0] != atom), self.const)

    def plus(self, other: Form, times: int = 1) -> Form:
        terms = dict(self.terms)
        for atom, factor in other.terms:
            terms[atom] = terms.get(atom, 0) + times * factor
        kept = [(a, f) for a, f in terms.items() if f]
        if len(kept) > 1:
            kept.sort(key=lambda t: t[0].name if isinstance(t[0], Var) else repr(t[0]))
        return Form(tuple(kept), self.const + times * other.const)

    def expr(self) -> Expr:
        """The form as an expression."""
        total: Expr | None = None
        for atom, factor in self.terms:
            part = atom if factor == 1 else Op("mul", (atom, Const(factor, "i64")), "i64")
            total = part if total is None else Op("add", (total, part), "i64")
        if total is None:
            return Const(self.const, "i64")
        if self.const:
            return Op("add", (total, Const(self.const, "i64")), "i64")
        return total


@dataclass(frozen=True)
class Facts:
    """``ranges`` of variables; ``values``: what locals stand for; ``known``: expressions that have
    a constant value here; ``between``: ranges of sums of several variables.
    """

    ranges: Mapping[Expr, Range] = field(default_factory=dict)
    values: Mapping[str, Expr] = field(default_factory=dict)
    known: Mapping[Expr, Const] = field(default_factory=dict)
    between: Mapping[tuple[tuple[Expr, int], ...], Range] = field(default_factory=dict)

    def with_range(self, var: Expr, low: float, high: float) -> Facts:
        """``low <= var < high`` too; what was known of a variable of that name is forgotten."""
        values = {k: v for k, v in self.values.items() if Var(k, "i64") != var}
        return replace(self, ranges={**self.ranges, var: (low, high - 1)}, values=values)

    def with_value(self, name: str, value: Expr) -> Facts:
        return replace(self, values={**self.values, name: value})

    def with_known(self, found: Mapping[Expr, Const]) -> Facts:
        return replace(self, known={**self.known, **found})

    def with_between(self, form: Form, low: float, high: float) -> Facts:
        """``low <= form <= high`` too."""
        old = self.between.get(form.terms, ANYTHING)
        both = (max(old[0], low - form.const), min(old[1], high - form.const))
        return replace(self, between={**self.between, form.terms: both})

    # ---- integers ----

    def form(self, e: Expr) -> Form:
        """An integer expression as a sum; what is no sum is an atom."""
        match e:
            case Const(value=int(value)):
                return Form((), int(value))
            case Var(name=name, dtype="i64") if name in self.values:
                return self.form(self.values[name])
            case Op(fn="add", args=(a, b), dtype="i64"):
                return self.form(a).plus(self.form(b))
            case Op(fn="sub", args=(a, b), dtype="i64"):
                return self.form(a).plus(self.form(b), -1)
            case Op(fn="mul", args=(a, b), dtype="i64"):
                x, y = self.form(a), self.form(b)
                if not x.terms:
                    x, y = y, x
                if not y.terms:
                    return Form().plus(x, y.const)
            case Op(fn="convert", args=(a,)) if a.dtype == "i64" and self.fits(a, e.dtype):
                return self.form(a)
        return Form(((e, 1),))

    def fits(self, e: Expr, dtype: str) -> bool:
        """Whether an index keeps its value in another integer dtype."""
        if dtype[0] not in "iu" or not dtype[1:].isdigit():
            return False
        low, high = self.range(e)
        bits = int(dtype[1:]) - (dtype[0] == "i")
        return low >= (-(2**bits) if dtype[0] == "i" else 0) and high < 2**bits

    def range(self, e: Expr) -> Range:
        return self.form_range(self.form(e))

    def form_range(self, form: Form) -> Range:
        """What values a sum may have."""
        low = high = float(form.const)
        for atom, factor in form.terms:
            a, b = self.atom_range(atom)
            low += min(a * factor, b * factor)
            high += max(a * factor, b * factor)
        for sign in (1, -1):
            terms = tuple((atom, sign * factor) for atom, factor in form.terms)
            if terms in self.between:
                a, b = self.between[terms]
                a, b = (a, b) if sign == 1 else (-b, -a)
                low, high = max(low, a + form.const), min(high, b + form.const)
        return low, high

    def atom_range(self, atom: Expr) -> Range:
        match atom:
            case Op(fn="idiv", args=(a, Const(value=int(n)))) if n > 0:
                low, high = self.range(a)
                return (low // n, high // n) if low >= 0 and high < LIMIT else ANYTHING
            case Op(fn="irem", args=(a, Const(value=int(n)))) if n > 0:
                low, high = self.range(a)
                return (0.0, min(high, n - 1.0)) if low >= 0 else ANYTHING
            case Op(fn="min" | "max" as fn, args=(a, b), dtype="i64"):
                x, y = self.range(a), self.range(b)
                pick = min if fn == "min" else max
                return pick(x[0], y[0]), pick(x[1], y[1])
        return self.ranges.get(atom, ANYTHING)

    def difference(self, e: Op) -> Form | None:
        """``a - b`` of a comparison of integers whose ranges are known."""
        a, b = e.args
        if a.dtype[0] not in "iu" or a.dtype == "bool":
            return None
        x, y = self.form(a), self.form(b)
        if any(abs(end) >= LIMIT for side in (x, y) for end in self.form_range(side)):
            return None
        if a.dtype != "i64" and not all(self.is_index(s) for s in (x, y)):
            return None
        return x.plus(y, -1)

    def is_index(self, form: Form) -> bool:
        """Whether a sum is made of loop variables: arithmetic of another width may wrap."""
        return all(atom in self.ranges for atom, _ in form.terms)

    def decide(self, e: Op) -> bool | None:
        """A comparison that has one answer here."""
        form = self.difference(e)
        if form is None:
            return None
        low, high = self.form_range(form)
        match e.fn:
            case "lt" | "ge":
                less = True if high < 0 else False if low >= 0 else None
                return less if e.fn == "lt" or less is None else not less
            case "le" | "gt":
                most = True if high <= 0 else False if low > 0 else None
                return most if e.fn == "le" or most is None else not most
        same = True if low == high == 0 else False if low > 0 or high < 0 else None
        return same if e.fn == "eq" or same is None else not same

    # ---- expressions ----

    def fold(self, expr: Expr) -> Expr:
        """``expr`` with what is decided here decided."""
        done: dict[Expr, Expr] = {}
        for node in walk(expr):
            found = self.known.get(node)
            if found is not None:
                done[node] = found
                continue
            match node:
                case Var(name=name) if isinstance(self.values.get(name), Const | Var):
                    value = self.values[name]
                    done[node] = self.known.get(value) or value
                case Load():
                    done[node] = fold_load(node, tuple(done[kid] for kid in children(node)))
                case Op():
                    kids = tuple(done[kid] for kid in node.args)
                    done[node] = self.fold_op(rebuild(node, kids))
                case _:
                    done[node] = node
        return done[expr]

    def fold_op(self, node: Expr) -> Expr:
        if not isinstance(node, Op):
            return node
        if node in self.known:
            return self.known[node]
        if node.fn in COMPARISONS:
            answer = self.decide(node)
            return node if answer is None else Const(answer, "bool")
        if node.fn in ("min", "max") and node.dtype == "i64":
            return self.nearer(node)
        return fold_logic(node)

    def nearer(self, node: Op) -> Expr:
        """A minimum or maximum of indices of which one is always chosen."""
        a, b = node.args if node.fn == "min" else node.args[::-1]
        (low_a, high_a), (low_b, high_b) = self.range(node.args[0]), self.range(node.args[1])
        if max(abs(low_a), abs(high_a), abs(low_b), abs(high_b)) >= LIMIT:
            return node
        return a if high_a <= low_b else b if high_b <= low_a else node


def fold_load(node: Load, kids: tuple[Expr, ...]) -> Expr:
    """A load whose guard may be decided: one that reads nothing is zero."""
    n = len(node.index)
    if len(kids) == n or kids[n] == TRUE:
        return Load(node.buffer, kids[:n], node.dtype)
    if kids[n] == FALSE:
        return zero(node.dtype)
    return Load(node.buffer, kids[:n], node.dtype, kids[n])


def zero(dtype: str) -> Const:
    """What a load that reads nothing gives."""
    if dtype == "bool":
        return FALSE
    return Const(0.0 if dtype[0] in "fb" else 0j if dtype[0] == "c" else 0, dtype)


def fold_logic(node: Op) -> Expr:
    """Operations on truth values of which some are known."""
    match node:
        case Op(fn="select", args=(cond, yes, no)):
            if isinstance(cond, Const):
                return yes if cond.value else no
            if yes == no:
                return yes
            if (yes, no) == (TRUE, FALSE):
                return cond
            if isinstance(yes, Op) and yes.fn == "select" and yes.args[0] == cond:
                return Op("select", (cond, yes.args[1], no), node.dtype)
            if isinstance(no, Op) and no.fn == "select" and no.args[0] == cond:
                return Op("select", (cond, yes, no.args[2]), node.dtype)
        case Op(fn="and", args=(a, b), dtype="bool"):
            if FALSE in (a, b):
                return FALSE
            return b if a == TRUE else a if b == TRUE or a == b else node
        case Op(fn="or", args=(a, b), dtype="bool"):
            if TRUE in (a, b):
                return TRUE
            return b if a == FALSE else a if b == FALSE or a == b else node
        case Op(fn="not", args=(Const(value=value),), dtype="bool"):
            return Const(not value, "bool")
    return node
