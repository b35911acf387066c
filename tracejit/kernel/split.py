"""Loops cut where the answers of their guards change, so that most of each runs without guards.

    vec i in 512:  y[i] = select(and(ge(i, 1), lt(i, 511)), x[add(i, -1) if ...], 0.0)

    vec i in 16:        y[i] = select(ge(i, 1), x[add(i, -1) if ge(i, 1)], 0.0)
    vec i in 16..496:   y[i] = x[add(i, -1)]
    vec i in 496..512:  ...

Comes in: a kernel whose extents are still numbers. Goes out: the same kernel with

- comparisons that have one answer wherever they are asked replaced by it,
- ``vec`` loops cut at multiples of their width near where a comparison of the loop's index (with a
  number, or with an index outside) changes: at most ``MOST`` pieces without it, and between them
  short ones that keep it,
- conditions that do not change in such a loop asked once, in front of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tracejit.ir.expr import Const, Expr, Load, Op, Var, children, walk
from tracejit.kernel.facts import COMPARISONS, FALSE, TRUE, Facts, Form
from tracejit.kernel.nodes import (
    Accumulate,
    Check,
    If,
    Kernel,
    Local,
    Loop,
    Scratch,
    Set,
    Stmt,
    Store,
    Transpose,
    While,
)
from tracejit.kernel.visit import expressions, nodes_of, statements
from tracejit.record import dataclass

#: pieces of a loop that are free of guards, at most
MOST = 3
#: vectors in a piece that is worth a copy of the body
WORTH = 4
#: conditions outside a loop that are asked in front of it, at most
CONDITIONS = 30
#: bodies of more operations than this are not copied
LARGE = 400


def split(kernel: Kernel) -> Kernel:
    """``kernel`` with its guards decided or moved out of the way."""
    if not any(isinstance(n, Op) and n.fn in COMPARISONS for n in nodes_of(kernel.body)):
        return kernel
    body = _Splitter(changed_in(kernel.body)).block(kernel.body, Facts())
    return replace(kernel, body=without_unused(body))


# ---- reading statements --------------------------------------------------------------------------


def declared(body: Sequence[Stmt]) -> set[str]:
    """Names of variables and buffers that ``body`` declares."""
    names = {s.name for s in statements(body) if isinstance(s, Local | Scratch)}
    return names | {s.var for s in statements(body) if isinstance(s, Loop)}


def changed_in(body: Sequence[Stmt]) -> set[str]:
    """Names of variables that ``body`` sets, and of buffers that it writes."""
    found: set[str] = set()
    for stmt in statements(body):
        match stmt:
            case Set() | Accumulate():
                found.add(stmt.name)
            case Store():
                found.add(stmt.buffer)
            case Transpose():
                found.add(stmt.target)
    return found


def without_unused(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    """``body`` without locals that nothing behind them reads."""
    found: list[Stmt] = []
    used: set[str] = set()
    for stmt in reversed(body):
        match stmt:
            case Local() if stmt.name not in used:
                continue
            case Loop() | While():
                stmt = replace(stmt, body=without_unused(stmt.body))
            case If():
                then, orelse = without_unused(stmt.then), without_unused(stmt.orelse)
                stmt = replace(stmt, then=then, orelse=orelse)
        used |= {n.name for n in nodes_of((stmt,)) if isinstance(n, Var)}
        used |= {s.name for s in statements((stmt,)) if isinstance(s, Set | Accumulate)}
        found.append(stmt)
    return tuple(reversed(found))


# ---- the pass ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Turn:
    """Where the answer of a comparison changes: at ``at`` (a number, or a sum of indices outside)
    or, as those inside the loop have several values, up to ``more`` further on.
    """

    at: Form
    more: int = 0


@dataclass(frozen=True)
class Piece:
    """A part of a loop: bounds, and what is known of its index beside them."""

    start: Expr
    stop: Expr
    facts: Facts
    pure: bool


class _Splitter:
    def __init__(self, changing: set[str]) -> None:
        self.changing = changing

    def stays(self, expr: Expr) -> bool:
        """Whether nothing that ``expr`` reads changes in the kernel."""
        names = {
            n.name if isinstance(n, Var) else n.buffer
            for n in walk(expr)
            if isinstance(n, Var | Load)
        }
        return not names & self.changing

    def block(self, body: Sequence[Stmt], facts: Facts) -> tuple[Stmt, ...]:
        """Statements with what is decided here decided."""
        found: list[Stmt] = []
        for stmt in body:
            match stmt:
                case Local():
                    value = facts.fold(stmt.value)
                    if stmt.name not in self.changing and self.stays(value):
                        facts = facts.with_value(stmt.name, value)
                    # bounds of loops may still name it; what nobody names goes at the end
                    found.append(replace(stmt, value=value))
                case Loop():
                    found += self.loop(stmt, facts)
                case If():
                    found += self.branch(stmt, facts)
                case _:
                    found += self.simple(stmt, facts)
        return tuple(found)

    def simple(self, stmt: Stmt, facts: Facts) -> tuple[Stmt, ...]:
        match stmt:
            case Set() | Accumulate():
                return (replace(stmt, value=facts.fold(stmt.value)),)
            case Store():
                guard = TRUE if stmt.guard is None else facts.fold(stmt.guard)
                if guard == FALSE:
                    return ()
                index = tuple(facts.fold(i) for i in stmt.index)
                value = facts.fold(stmt.value)
                return (Store(stmt.buffer, index, value, None if guard == TRUE else guard),)
            case Check():
                ok = facts.fold(stmt.ok)
                return () if ok == TRUE else (replace(stmt, ok=ok),)
            case While():
                body = self.block(stmt.body, facts)
                return (replace(stmt, cond=facts.fold(stmt.cond), body=body),)
        return (stmt,)

    def branch(self, stmt: If, facts: Facts) -> tuple[Stmt, ...]:
        cond = facts.fold(stmt.cond)
        if isinstance(cond, Const):
            # names declared inside end there: they may be declared again behind it
            return self.block(stmt.then if cond.value else stmt.orelse, facts)
        conds = (stmt.cond, cond) if self.stays(stmt.cond) else ()
        then = self.block(stmt.then, facts.with_known(dict.fromkeys(conds, TRUE)))
        orelse = self.block(stmt.orelse, facts.with_known(dict.fromkeys(conds, FALSE)))
        return (If(cond, then, orelse),)

    # ---- loops ----

    def loop(self, loop: Loop, facts: Facts) -> tuple[Stmt, ...]:
        # bounds stay as they are: other extents have the same kernel
        if loop.how != "vec":
            return (replace(loop, body=self.block(loop.body, self.inside(loop, facts))),)
        plain = replace(loop, body=self.block(loop.body, self.inside(loop, facts)))
        if len(nodes_of(plain.body)) > LARGE or any(
            isinstance(s, Loop) and s.how == "vec" for s in statements(plain.body)
        ):
            return (plain,)
        pieces = self.pieces(loop, plain, facts)
        conds = self.conditions(pieces)
        if not conds:
            return pieces
        always = self.pieces(loop, plain, facts.with_known(dict.fromkeys(conds, TRUE)))
        never: tuple[Stmt, ...] = (plain,)
        if len(conds) == 1:
            never = self.pieces(loop, plain, facts.with_known({conds[0]: FALSE}))
        cond = conds[0]
        for other in conds[1:]:
            cond = Op("and", (cond, other), "bool")
        return (If(cond, always, never),)

    def inside(self, loop: Loop, facts: Facts) -> Facts:
        low, high = facts.range(loop.start)[0], facts.range(loop.stop)[1]
        return facts.with_range(Var(loop.var, "i64"), low, high)

    def pieces(self, loop: Loop, plain: Loop, facts: Facts) -> tuple[Stmt, ...]:
        """The loop in pieces, each with what is decided in it."""
        whole = replace(plain, body=self.block(loop.body, self.inside(loop, facts)))
        turns = self.turns(whole, facts)
        cuts = numbered(loop, turns, facts) or moving(loop, turns, facts)
        if not any(piece.pure for piece in cuts):
            return (whole,)
        found: list[Loop] = []
        for piece in cuts:
            body = self.block(loop.body, piece.facts)
            start, stop = facts.fold(piece.start), facts.fold(piece.stop)
            part = replace(loop, start=start, stop=stop, body=body)
            if found and found[-1].body == body:
                found[-1] = replace(found[-1], stop=part.stop)
            else:
                found.append(part if piece.pure else replace(part, unroll=1))
        return tuple(part for part in found if part.body)

    def turns(self, loop: Loop, facts: Facts) -> list[Turn]:
        """Where comparisons with the loop's index change their answers."""
        var = Var(loop.var, "i64")
        found: dict[Turn, None] = {}
        for node, here in self.comparisons(loop.body, self.inside(loop, facts)):
            form = here.difference(node)
            factor = 0 if form is None else form.factor(var)
            if form is None or factor == 0 or here.decide(node) is not None:
                continue
            rest = form.without(var)
            outer = all(isinstance(a, Var) and a in facts.ranges for a, _ in rest.terms)
            if abs(factor) == 1 and outer:
                at, more = Form().plus(rest, -factor), 0
            else:
                low, high = here.form_range(rest)
                ends = sorted(-end / factor for end in (low, high))
                if abs(ends[0]) > 2**53 or abs(ends[1]) > 2**53:
                    continue
                at, more = Form((), int(ends[0] // 1)), int(ends[1] // 1) - int(ends[0] // 1) + 1
            for one in needed(node.fn, factor):
                found[Turn(at.plus(Form((), one)), more)] = None
        return list(found)

    def comparisons(self, body: Sequence[Stmt], facts: Facts) -> Iterator[tuple[Op, Facts]]:
        """Comparisons of integers in ``body``, with what is known where they are."""
        for stmt in body:
            for expr in expressions(stmt):
                for node in walk(expr):
                    if isinstance(node, Op) and node.fn in COMPARISONS:
                        yield node, facts
            match stmt:
                case Local() if stmt.name not in self.changing and self.stays(stmt.value):
                    facts = facts.with_value(stmt.name, stmt.value)
                case Loop():
                    yield from self.comparisons(stmt.body, self.inside(stmt, facts))
                case While():
                    yield from self.comparisons(stmt.body, facts)
                case If():
                    yield from self.comparisons(stmt.then, facts)
                    yield from self.comparisons(stmt.orelse, facts)

    def conditions(self, pieces: Sequence[Stmt]) -> list[Expr]:
        """Truth values in the pieces that do not change there; none where there are too many."""
        found: dict[Expr, None] = {}
        for piece in pieces:
            if not isinstance(piece, Loop):
                continue
            own = declared((piece,)) | self.changing
            free: dict[Expr, bool] = {}
            for stmt in statements(piece.body):
                for expr in expressions(stmt):
                    for node in walk(expr):
                        kids = children(node)
                        free[node] = not isinstance(node, Load) and (
                            node.name not in own
                            if isinstance(node, Var)
                            else all(free[kid] for kid in kids)
                        )
                    for node in walk(expr):
                        found.update(dict.fromkeys(asked(node, free)))
                if isinstance(stmt, Store) and stmt.guard is not None and free[stmt.guard]:
                    found[stmt.guard] = None
        conds = [c for c in found if not isinstance(c, Const)]
        parts = {kid for c in conds for kid in children(c)}
        conds = [c for c in conds if c not in parts]
        return conds if len(conds) <= CONDITIONS else []


def asked(node: Expr, free: Mapping[Expr, bool]) -> tuple[Expr, ...]:
    """Conditions in ``node`` that are the same in every lane."""
    match node:
        case Op(fn="select", args=(cond, _, _)):
            return (cond,) if free[cond] else ()
        case Op(fn="and" | "or", dtype="bool", args=args):
            return tuple(a for a in args if free[a]) if not free[node] else ()
        case Load(guard=guard) if guard is not None and free[guard]:
            return (guard,)
    return ()


def needed(fn: str, factor: int) -> tuple[int, ...]:
    """Which steps behind ``index = at`` the comparison changes at."""
    if fn in ("eq", "ne"):
        return (0, 1)
    first = fn in ("lt", "ge")
    return (0,) if first == (factor > 0) else (1,)


# ---- where to cut --------------------------------------------------------------------------------


def numbered(loop: Loop, turns: Sequence[Turn], facts: Facts) -> list[Piece]:
    """The loop cut at numbers."""
    low, high = facts.range(loop.start)[0], facts.range(loop.stop)[1]
    if any(turn.at.terms for turn in turns) or max(abs(low), abs(high)) > 2**53:
        return []
    first, last, width = int(low), int(high), loop.width
    mixed: list[list[int]] = []
    for a, b in sorted((t.at.const, t.at.const + t.more) for t in turns):
        a, b = max(a // width * width, first), min(-(-b // width) * width, last)
        if b <= first or a >= last:
            continue
        if mixed and a - mixed[-1][1] < WORTH * width:
            mixed[-1][1] = max(mixed[-1][1], b)
        else:
            mixed.append([a, b])
    if mixed and mixed[0][0] - first < WORTH * width:
        mixed[0][0] = first
    if mixed and last - mixed[-1][1] < WORTH * width:
        mixed[-1][1] = last
    ends = [first, *(end for pair in mixed for end in pair), last]
    spans = [(a, b, k % 2 == 0) for k, (a, b) in enumerate(zip(ends, ends[1:], strict=False))]
    spans = fewer([span for span in spans if span[0] < span[1]])
    pieces = []
    for a, b, pure in spans:
        start = loop.start if a == first else within(loop, a)
        stop = loop.stop if b == last else within(loop, b)
        here = facts.with_range(Var(loop.var, "i64"), a, b)
        pieces.append(Piece(start, stop, here, pure))
    return pieces if len(pieces) > 1 else []


def fewer(spans: list[tuple[int, int, bool]]) -> list[tuple[int, int, bool]]:
    """The longest spans without guards; what is between them is one span each."""
    pure = sorted((s for s in spans if s[2]), key=lambda s: s[0] - s[1])[:MOST]
    found: list[tuple[int, int, bool]] = []
    for span in spans:
        keep = span in pure
        if not keep and found and not found[-1][2]:
            found[-1] = (found[-1][0], span[1], False)
        else:
            found.append((span[0], span[1], keep))
    return found


def within(loop: Loop, number: int) -> Expr:
    """A number as a bound of a part of the loop."""
    return clipped(loop, Const(number, "i64"))


def clipped(loop: Loop, bound: Expr) -> Expr:
    """A bound inside the loop's own bounds."""
    if isinstance(bound, Const) and isinstance(loop.start, Const) and isinstance(loop.stop, Const):
        return bound
    return Op("min", (loop.stop, Op("max", (loop.start, bound), "i64")), "i64")


def moving(loop: Loop, turns: Sequence[Turn], facts: Facts) -> list[Piece]:
    """The loop cut where its index meets an index outside: one vector, or a few, between two
    pieces.
    """
    moved = [turn for turn in turns if turn.at.terms]
    if not moved or len({turn.at.terms for turn in moved}) > 1:
        return []
    low, high = facts.range(loop.start)[0], facts.range(loop.stop)[1]
    if high - low < WORTH * loop.width or low < 0:
        return []
    var, width = Var(loop.var, "i64"), loop.width
    at = min((t.at for t in moved), key=lambda form: form.const)
    more = max(t.at.const for t in moved) - at.const
    # the vector in which it happens, and the one behind the last
    number = Op("max", (at.expr(), Const(0, "i64")), "i64")
    vector = Op("idiv", (number, Const(width, "i64")), "i64")
    begin = Op("mul", (vector, Const(width, "i64")), "i64")
    size = -(-(more + width) // width) * width
    first = clipped(loop, begin)
    second = clipped(loop, Op("add", (begin, Const(size, "i64")), "i64"))
    apart = Form(((var, 1),)).plus(at, -1)
    inside = facts.with_range(var, low, high)
    far = float("inf")
    return [
        Piece(loop.start, first, inside.with_between(apart, -far, -1), True),
        Piece(first, second, inside, False),
        Piece(second, loop.stop, inside.with_between(apart, more, far), True),
    ]
