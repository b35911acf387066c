"""From a value to a scalar expression: ``element`` rules of producers substituted into each other.

    puller = Puller(graph.producer, stop={x}, names={x: "x"})
    puller.read(y, (i, j))      -> exp(sub(x[i, j], 1.0))

Reading stops at the values in ``stop``, which become Loads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tracejit.errors import InternalError
from tracejit.ir.expr import Const, Expr, Load, Op, children, rebuild, walk
from tracejit.ir.graph import Atom, Literal, Node, Value
from tracejit.ir.types import TensorType, short
from tracejit.record import dataclass

Index = tuple[Expr, ...]
ZERO = Const(0, "i64")


@dataclass(frozen=True)
class Reader:
    """An operand of an element rule: its type, and its element at an index."""

    puller: Puller
    atom: Atom

    @property
    def type(self) -> TensorType:
        return self.atom.type

    @property
    def dtype(self) -> str:
        return short(self.atom.type.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.atom.type.shape

    def __call__(self, index: Any, guard: Expr | None = None) -> Expr:
        found = self.puller.read(self.atom, tuple(index))
        return found if guard is None else guarded(found, guard, self.puller.rewritten)


class Puller:
    """Reads elements of values; the same element of the same value is the same expression."""

    def __init__(
        self,
        producer: Mapping[Value, Node],
        stop: Callable[[Value], bool],
        name: Callable[[Value], str],
    ) -> None:
        self.producer = producer
        self.stop = stop
        self.name = name
        self.memo: dict[tuple[Value, Index], Expr] = {}

    def read(self, x: Atom, index: Index) -> Expr:
        """The element of ``x`` at ``index``."""
        if isinstance(x, Literal):
            return watching(Const(x.value.item(), short(x.type.dtype)), index)
        # an axis of one element has one index: loops over it need not exist
        shape = x.type.shape
        index = tuple(
            ZERO if n == 1 and not has_check(i) else i for i, n in zip(index, shape, strict=True)
        )
        key = (x, index)
        found = self.memo.get(key)
        if found is None:
            if self.stop(x):
                found = Load(self.name(x), index, short(x.type.dtype))
            else:
                found = watching(self.element(x, index), index)
            self.memo[key] = found
        return found

    def rewritten(self, count: int) -> None:
        """Told how many expressions were written anew under a guard: each one doubles what several
        guards in a row read, and who reads without bounds may refuse to go on.
        """

    def element(self, x: Value, index: Index) -> Expr:
        """The element of ``x`` by its producer's rule, whether reading stops at ``x`` or not."""
        node = self.producer.get(x)
        if node is None or node.prim.element is None:
            raise InternalError(f"{x!r} has no element rule and is not a buffer")
        operands = tuple(Reader(self, operand) for operand in node.inputs)
        found = node.prim.element(operands, index, **node.params)
        return found[node.outputs.index(x)] if isinstance(found, tuple) else found  # type: ignore[no-any-return]


def has_check(expr: Expr) -> bool:
    """Whether some index in an expression is reported when it lies outside of its axis."""
    return any(is_check(node) for node in walk(expr))


def is_check(node: Expr) -> bool:
    return isinstance(node, Op) and node.fn == "check_index"


def watching(element: Expr, index: Index) -> Expr:
    """``element``, which may not depend on ``index`` (a value that is repeated), with the checks of
    ``index`` in it: both sides of a choice are the element.
    """
    checks = {node for i in index if isinstance(i, Op) for node in walk(i) if is_check(node)}
    if checks:
        checks -= set(walk(element))
    for check in sorted(checks, key=str):
        inside = Op("ge", (check, ZERO), "bool")
        element = Op("select", (inside, element, element), element.dtype)
    return element


def guarded(expr: Expr, guard: Expr, told: Callable[[int], None] | None = None) -> Expr:
    """``expr`` reading nothing where ``guard`` is false; its value there is not to be used.
    ``told`` hears how many expressions that took.
    """
    if guard == Const(True, "bool"):
        return expr
    done: dict[Expr, Expr] = {}
    for node in walk(expr):
        kids = tuple(done[kid] for kid in children(node))
        if isinstance(node, Load):
            n = len(node.index)
            both = guard if node.guard is None else Op("and", (guard, kids[n]), "bool")
            done[node] = Load(node.buffer, kids[:n], node.dtype, both)
        elif isinstance(node, Op) and node.fn == "check_index":
            # an index that is not used may be anything
            used = Op("select", (guard, kids[0], ZERO), "i64")
            done[node] = Op("check_index", (used, kids[1]), "i64")
        else:
            done[node] = rebuild(node, kids)
    if told is not None:
        told(len(done))
    return done[expr]
