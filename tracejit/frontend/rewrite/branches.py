"""if, conditional expressions, and, or, not, in, chained comparisons.

    if_(x > 0, then, orelse, ("y",), ())        then() or orelse(), or both traced and a ``cond``
    if_expr(x > 0, lambda: a, lambda: b)
    and_(a, lambda: b)                          b is looked at only where Python would

Both sides of a traced condition are traced, each on the variables as they were; then every variable
that is read later gets one value out of two.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import optree

from tracejit import source
from tracejit.errors import ShapeError, TracedValueError
from tracejit.frontend import elementwise, key_uses, methods, promotion
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.bodies import converted, share_captured
from tracejit.frontend.call import flatten, run_graph
from tracejit.frontend.rewrite import checks, raised
from tracejit.frontend.rewrite.exits import DONE
from tracejit.frontend.rewrite.state import (
    MISSING,
    Inside,
    NoValue,
    Slot,
    Typed,
    adopt,
    describe,
    is_number,
    is_older,
    is_own,
    is_traced,
    line,
    same,
    shown,
    slots_of,
)
from tracejit.frontend.rewrite.stores import Journal
from tracejit.frontend.trace import Trace, Traced, current_trace, run_trace
from tracejit.ir.build import full_like
from tracejit.ir.graph import Graph, Value
from tracejit.ir.types import DTYPES
from tracejit.passes.subgraphs import has_effect
from tracejit.record import dataclass
from tracejit.transform.branch import cond as cond_primitive

Thunk = Callable[[], Any]
#: traces within each other beyond which a recursion is taken to be endless
MOST_LEVELS = 40
#: a statement is traced so often until all that changes is among its variables
MOST_ROUNDS = 5


# ---- sides ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """One side of a condition, traced: the values of the variables at its end, and its result."""

    traced: Traced
    inside: Inside
    #: per variable; the last is the result of the function
    ends: tuple[Any, ...]
    #: per variable whether it holds the object it held at the beginning
    kept: tuple[bool, ...]
    #: what functions that it calls have changed, and what is none of the variables
    members: tuple[Slot, ...]

    def output(self, leaf: Any) -> int:
        """The number of the graph's output that a leaf is."""
        return self.traced.outputs[id(leaf)]  # type: ignore[no-any-return]


def trace_side(fun: Thunk | None, slots: Sequence[Slot], what: str) -> Side:
    """Trace ``fun`` on stand-ins for the variables; afterwards they are as they were."""
    outer = current_trace()
    trace = Trace(what, function=outer.function if outer else "")
    inside = Inside(trace)
    before = [slot.get() for slot in slots]
    found: list[Any] = []

    def run(_: list[Value]) -> tuple[Sequence[Array], Any]:
        given = [value if value is MISSING else inside.value(value) for value in before]
        for slot, value in zip(slots, given, strict=True):
            slot.set(value)
        result = None if fun is None else fun()
        ends = [*(slot.get() for slot in slots), result]
        found[:] = [ends, [*(a is b for a, b in zip(ends, given, strict=False)), False]]
        leaves = [leaf for end in ends if end is not MISSING for leaf in flatten(end)[0]]
        numbers = list({id(leaf): leaf for leaf in leaves if is_number(leaf)}.values())
        index = {id(leaf): k for k, leaf in enumerate(numbers)}
        return [as_array(leaf) for leaf in numbers], index

    journal = Journal([fun])
    try:
        with raised.Branch(what), journal:
            traced = run_trace(trace, (), (), run, name=trace.function)
            members = tuple(journal.members(slots))
    finally:
        journal.undo()
        for slot, value in zip(slots, before, strict=True):
            slot.set(value)
    return Side(traced, inside, tuple(found[0]), tuple(found[1]), members)


class Merge:
    """Gives each variable one value out of two sides, and makes the ``cond``."""

    def __init__(self, pred: Array, then: Side, orelse: Side, live: Sequence[Slot] = ()) -> None:
        self.pred = pred
        self.sides = (then, orelse)
        #: per side whether the function has returned: nobody reads its variables then
        self.returned = [
            any(slot.name == DONE and end is True for slot, end in zip(live, s.ends, strict=False))
            for s in self.sides
        ]
        self.atoms: tuple[list[Any], list[Any]] = ([], [])
        self.dtypes: list[Any] = []
        self.weak: list[bool] = []
        self.results: list[Array] = []

    def value(self, k: int, name: str) -> Any:
        """The value of variable ``k`` after the condition; Pending stands for a result."""
        a, b = (side.ends[k] for side in self.sides)
        for side, end in zip(self.sides, (a, b), strict=True):
            if isinstance(end, NoValue):
                return end
            if end is MISSING and name:
                other = self.sides[1 - self.sides.index(side)].ends[k]
                return self.one_sided(name, other, side is self.sides[0])
        (xs, tree), (ys, other_tree) = flatten(a), flatten(b)
        if tree != other_tree:
            return self.differs(name, a, b)
        leaves = []
        for x, y in zip(xs, ys, strict=True):
            leaf = self.leaf(x, y)
            if leaf is None:
                return self.differs(name, a, b)
            leaves.append(leaf)
        return Later(tree, leaves)

    def leaf(self, x: Any, y: Any) -> Any:
        """One leaf: what it is on both sides, or a Pending result; None where they do not fit."""
        x_out, y_out = (
            side.inside.outside(leaf) for side, leaf in zip(self.sides, (x, y), strict=True)
        )
        if same(x_out, y_out):
            return Known(x_out)
        if not is_number(x) or not is_number(y):
            return None
        types, flags = [], []
        for side, leaf in zip(self.sides, (x, y), strict=True):
            types.append(side.traced.graph.outputs[side.output(leaf)].type)
            flags.append(as_array(leaf)._weak)
        if types[0].shape != types[1].shape:
            return None
        stand_ins = [Typed(t, w) for t, w in zip(types, flags, strict=True)]
        dtype, weak = promotion.dtype_of(stand_ins)
        outputs = [
            side.traced.graph.outputs[side.output(leaf)]
            for side, leaf in zip(self.sides, (x, y), strict=True)
        ]
        return self.pending(outputs, dtype, weak)

    def pending(self, outputs: Sequence[Any], dtype: Any, weak: bool) -> Pending:
        for atoms, output in zip(self.atoms, outputs, strict=True):
            atoms.append(output)
        self.dtypes.append(dtype)
        self.weak.append(weak)
        return Pending(len(self.dtypes) - 1)

    def one_sided(self, name: str, value: Any, in_else: bool) -> Any:
        """A variable that only one side assigns: filled where flags say that nobody looks."""
        if value is MISSING:
            return MISSING
        side = self.sides[1 if in_else else 0]
        if not is_own(name) and not self.returned[0 if in_else else 1]:
            return NoValue(
                f"{shown(name)} is assigned in one branch only",
                (f"the condition{line(source.here())} is traced: either branch may run",),
                f"assign {shown(name)} before the `if`, or in both branches",
            )
        leaves, tree = flatten(value)
        found: list[Any] = []
        for leaf in leaves:
            if not is_number(leaf):
                found.append(Known(side.inside.outside(leaf)))
                continue
            output = side.traced.graph.outputs[side.output(leaf)]
            outputs = [output, full_like(output.type, 0)]
            outputs = outputs[::-1] if in_else else outputs
            found.append(self.pending(outputs, output.type.dtype, as_array(leaf)._weak))
        return Later(tree, found)

    def differs(self, name: str, a: Any, b: Any) -> Any:
        """The two values cannot become one."""
        what = shown(name) if name else "the value of the conditional expression"
        hint = "give both one structure and one shape: a sum of arrays begins as jnp.zeros(shape)"
        if isinstance(a, list | set) and type(a) is type(b):
            hint = "a list or set cannot grow under a traced condition: keep a number in an array "
            hint += "of the full size, and count them"
        found = NoValue(
            f"{what} differs between the branches: {describe(a)} and {describe(b)}",
            (f"the condition{line(source.here())} is traced: either branch may run",),
            hint,
        )
        if not name or is_own(name):
            found.fail()
        return found

    def finish(self) -> None:
        """Record the ``cond``."""
        sides = [
            Traced(_pruned(s.traced.graph, atoms), s.traced.captured, None)
            for s, atoms in zip(self.sides, self.atoms, strict=True)
        ]
        sides = [_used(side) for side in sides]
        key_uses.consume_all((), *(side.traced for side in self.sides))
        if not self.dtypes and not any(has_effect(n) for s in sides for n in s.graph.nodes):
            return
        captured, graphs = share_captured(sides)
        graphs = tuple(converted(graph, self.dtypes) for graph in graphs)
        index = promotion.convert(self.pred, DTYPES["i32"])
        outs = apply(cond_primitive, index, *captured, branches=(graphs[1], graphs[0]))
        for out, weak in zip(outs, self.weak, strict=True):
            out._weak = weak
        self.results = list(outs)
        for side, atoms in zip(self.sides, self.atoms, strict=True):
            found = {y: out for y, out in zip(atoms, outs, strict=True) if isinstance(y, Value)}
            key_uses.note_results([found.get(y) for y in side.traced.graph.outputs], side.traced)

    def built(self, value: Any) -> Any:
        """A value with the results in it."""
        if not isinstance(value, Later):
            return value
        leaves = [
            self.results[leaf.number] if isinstance(leaf, Pending) else leaf.value
            for leaf in value.leaves
        ]
        return optree.tree_unflatten(value.tree, leaves)


@dataclass(frozen=True)
class Known:
    """A leaf that does not depend on the condition."""

    value: Any


@dataclass(frozen=True)
class Pending:
    """A leaf that a result of the ``cond`` will be."""

    number: int


@dataclass(frozen=True)
class Later:
    """A value whose leaves are Known or Pending."""

    tree: Any
    leaves: list[Any]


def _pruned(graph: Graph, outputs: Sequence[Any]) -> Graph:
    """``graph`` with other outputs and the nodes that these and side effects need."""
    wanted = {x for x in outputs if isinstance(x, Value)}
    kept = []
    for node in reversed(graph.nodes):
        if has_effect(node) or not wanted.isdisjoint(node.outputs):
            wanted.update(x for x in node.inputs if isinstance(x, Value))
            kept.append(node)
    return Graph(graph.inputs, tuple(reversed(kept)), tuple(outputs), graph.name)


def _used(side: Traced) -> Traced:
    """``side`` without captured values that it does not read."""
    read = {x for node in side.graph.nodes for x in node.inputs if isinstance(x, Value)}
    read |= {x for x in side.graph.outputs if isinstance(x, Value)}
    pairs = [
        (array, value)
        for array, value in zip(side.captured, side.graph.inputs, strict=True)
        if value in read
    ]
    inputs = tuple(value for _, value in pairs)
    graph = Graph(inputs, side.graph.nodes, side.graph.outputs, side.graph.name)
    return Traced(graph, tuple(array for array, _ in pairs), side.outputs)


# ---- statements ----------------------------------------------------------------------------------


def if_(
    test: Any,
    then: FunctionType,
    orelse: FunctionType | None,
    live: Sequence[str],
    dead: Sequence[str],
    shared: Sequence[str] = (),
) -> None:
    """The ``if`` statement. ``live``: variables that are read later, of those assigned."""
    if not is_traced(test):
        if test:
            then()
        elif orelse is not None:
            orelse()
        return
    check_shared(shared, "if")
    bodies = [then] if orelse is None else [then, orelse]
    branch(test, then, orelse, slots_of(bodies, live), slots_of(bodies, dead))


def check_shared(shared: Sequence[str], what: str) -> None:
    """TracedValueError where a traced statement assigns global variables."""
    if shared:
        raise TracedValueError(
            f"a traced `{what}` assigns the global variable `{shared[0]}`",
            at=source.here(),
            hint="make it a local variable, and return it",
        )


def branch(
    test: Array,
    then: Thunk,
    orelse: Thunk | None,
    live: Sequence[Slot],
    dead: Sequence[Slot] = (),
) -> None:
    """Both sides of a traced condition, and the values of variables after it."""
    pred = condition(test, "if")
    _merged(pred, then, orelse, live, dead)
    for slot in dead:
        slot.set(dropped(slot.name))


def _merged(
    pred: Array,
    then: Thunk | None,
    orelse: Thunk | None,
    live: Sequence[Slot],
    dead: Sequence[Slot] = (),
    ready: dict[Thunk, Side] | None = None,
) -> Any:
    """Trace both sides, give variables their values, and return that of the two results.

    ``ready``: sides that are traced already. Where one side always raises, the program checks that
    it is not taken, and goes on with the other.
    """
    done = ready or {}
    sides: list[Side] = []
    failed: list[tuple[bool, raised.Reached]] = []
    for side in (then, orelse):
        try:
            sides.append(
                done[side]  # type: ignore[index]
                if side in done
                else traced_under(pred, side, side is then, [*live, *dead])
            )
        except raised.Reached as error:
            if failed:
                raise error.plain() from None
            failed.append((side is then, error))
    if failed:
        first, error = failed[0]
        side, other = (then, orelse) if first else (orelse, then)
        raises(pred if first else elementwise.logical_not(pred), side, error.at)
        return None if other is None else other()
    for count in range(MOST_ROUNDS + 1):
        found = [m for side in sides for m in side.members]
        members = {m.place(): m for m in found if not count or is_older(m)}
        if not members:
            break
        if count == MOST_ROUNDS:
            raise out_of_reach([*members.values()], "if")
        live = [*live, *members.values()]
        sides = [traced_under(pred, side, side is then, [*live, *dead]) for side in (then, orelse)]
    merge = Merge(pred, *sides, live)
    values = [merge.value(k, slot.name) for k, slot in enumerate(live)]
    result = merge.value(len(live) + len(dead), "")
    merge.finish()
    for k, (slot, value) in enumerate(zip(live, values, strict=True)):
        found = merge.built(value)
        if all(side.kept[k] for side in sides) and found is not MISSING:
            found = adopt(slot.get(), found)
        slot.set(found)
    return merge.built(result)


def raises(pred: Array, side: Thunk | None, at: source.Position | None) -> None:
    """Have the program raise what ``side`` always raises, where ``pred`` holds."""
    found = traced_under(pred, lambda: checks.raised_in(side, pred, at), True, ())
    Merge(pred, found, trace_side(None, (), "if")).finish()


def traced_under(pred: Array, side: Thunk | None, wanted: bool, slots: Sequence[Slot]) -> Side:
    """A side, traced as one that runs where ``pred`` is ``wanted``."""
    with checks.under(checks.Way(pred, wanted)):
        return trace_side(side, slots, "if")


def out_of_reach(members: Sequence[Slot], what: str) -> TracedValueError:
    """The error for changes that come anew each time a statement is traced."""
    return TracedValueError(
        f"what is called in a traced `{what}` changes {shown(members[0].name)} in a way that "
        "cannot be followed",
        at=source.here(),
        hint="return the new value, and assign it where the condition stands",
    )


def dropped(name: str) -> NoValue:
    """The value of a variable after a statement for whose end it is not needed."""
    return NoValue(f"{shown(name)} has no value here: it was assigned under a traced condition")


def condition(test: Any, what: str) -> Array:
    """A traced value as the truth of a statement: bool[]."""
    if test.size != 1:
        raise ShapeError(
            f"the condition of `{what}` is {test.type}, not a scalar",
            at=source.here(),
            hint="reduce it with .any() or .all(), or use numpy.where for each element",
        )
    check_depth()
    return elementwise.truth(promotion.reshaped(test, ()))  # type: ignore[no-any-return]


def check_depth() -> None:
    """TracedValueError where traced statements nest as no program is written."""
    if raised.levels() > MOST_LEVELS:
        raise TracedValueError(
            "a function calls itself under a traced condition, again and again",
            at=source.here(),
            hint="how deep is not known while tracing: write it as a loop",
        )


# ---- expressions ---------------------------------------------------------------------------------


def if_expr(test: Any, then: Thunk, orelse: Thunk) -> Any:
    """``then if test else orelse``."""
    if not is_traced(test):
        return then() if test else orelse()
    return _merged(condition(test, "if"), then, orelse, ())


def and_(left: Any, right: Thunk) -> Any:
    """``left and right``."""
    if not is_traced(left):
        return left and right()
    return _connected(left, right, True)


def or_(left: Any, right: Thunk) -> Any:
    """``left or right``."""
    if not is_traced(left):
        return left or right()
    return _connected(left, right, False)


def _connected(left: Array, right: Thunk, conjunction: bool) -> Any:
    flag = condition(left, "and" if conjunction else "or")
    try:
        side = traced_under(flag, right, conjunction, ())
    except raised.Reached:
        sides = (right, lambda: left) if conjunction else (lambda: left, right)
        return _merged(flag, *sides, ())
    value = side.ends[0]
    if is_number(value) and as_array(value).dtype == DTYPES["bool"] and _is_simple(side):
        # what costs nothing and cannot fail needs no branch
        key_uses.consume_all((), side.traced)
        found = run_graph(side.traced.graph, list(side.traced.captured))[side.output(value)]
        if left.dtype == DTYPES["bool"] and found.shape == ():
            connect = elementwise.logical_and if conjunction else elementwise.logical_or
            return connect(flag, found)
    if conjunction:
        return _merged(flag, right, lambda: _stand(left, value), (), ready={right: side})
    return _merged(flag, lambda: _stand(left, value), right, (), ready={right: side})


def _stand(left: Array, other: Any) -> Any:
    """The left operand as the value of the whole, in the shape of the right one."""
    if is_number(other) and as_array(other).shape == () and left.shape != ():
        return promotion.reshaped(left, ())
    return left


def _is_simple(side: Side) -> bool:
    return (
        len(side.traced.graph.nodes) <= 16
        and not side.members
        and all(
            node.prim.element is not None
            and not node.prim.effect
            and node.outputs[0].type.shape == ()
            and not any(x.type.shape for x in node.inputs)
            for node in side.traced.graph.nodes
        )
    )


def known(value: Any, what: str) -> Any:
    """The left operand of ``what``, the other of which assigns a variable: it must be known."""
    if is_traced(value):
        raise TracedValueError(
            f"`:=` in an operand of a traced {what}: whether it assigns is not known while tracing",
            at=source.here(),
            hint="assign the variable in a statement before",
        )
    return value


def not_(value: Any) -> Any:
    """``not value``."""
    if not is_traced(value):
        return not value
    return elementwise.logical_not(condition(value, "not"))


def contains(item: Any, container: Any) -> Any:
    """``item in container``."""
    if is_traced(container) or (isinstance(container, Array) and is_traced(item)):
        return methods.any(methods.equal(container, item))
    if is_traced(item) and isinstance(container, list | tuple | range | set | frozenset):
        found: Any = False
        for one in container:
            found = or_(found, lambda one=one: methods.equal(item, one))
        return found
    return item in container


_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "Lt": operator.lt,
    "LtE": operator.le,
    "Gt": operator.gt,
    "GtE": operator.ge,
    "Eq": operator.eq,
    "NotEq": operator.ne,
    "Is": operator.is_,
    "IsNot": operator.is_not,
    "In": contains,
    "NotIn": lambda a, b: not_(contains(a, b)),
}


def chain(left: Any, names: Sequence[str], *rights: Thunk) -> Any:
    """``left < a <= b``: each operand is computed once."""
    right = rights[0]()
    first = _COMPARE[names[0]](left, right)
    if len(rights) == 1:
        return first
    return and_(first, lambda: chain(right, names[1:], *rights[1:]))
