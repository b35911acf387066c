"""Rules for loops and branches: what is known moves in, what does not change moves out.

cond(2, x, branches=(f, g, h))             ->  h(x)
scan with a carry that no step changes     ->  a scan with one more const
scan of length 1                           ->  its body
scan(..., 0.5, body={... mul(%x, %c) ...}) ->  scan(..., body={... mul(%x, 0.5) ...})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tracejit.ir import build
from tracejit.ir.graph import Atom, Graph, Literal, Node, Value, literal
from tracejit.ir.types import TensorType
from tracejit.ops.broadcast import broadcast_in_dim
from tracejit.ops.layout import reshape
from tracejit.passes.rule import Family, Hole, P, Rest, Rule
from tracejit.passes.rules_layout import repeated
from tracejit.passes.subgraphs import has_effect
from tracejit.transform.branch import cond
from tracejit.transform.forward import reachable
from tracejit.transform.loops import Scan, scan, while_

Atoms = tuple[Atom, ...]


# ---- graphs with fewer inputs --------------------------------------------------------------------


def fixed(graph: Graph, known: Mapping[int, Atom]) -> Graph:
    """``graph`` with the inputs numbered in ``known`` replaced by Literals or other inputs."""
    env: dict[Value, Atom] = {graph.inputs[k]: x for k, x in known.items()}

    def subst(atoms: Sequence[Atom]) -> Atoms:
        return tuple(env.get(x, x) if isinstance(x, Value) else x for x in atoms)

    def again(node: Node) -> Node:
        touched = any(x in env for x in node.inputs if isinstance(x, Value))
        return node.reading(subst(node.inputs)) if touched else node

    inputs = tuple(v for k, v in enumerate(graph.inputs) if k not in known)
    return Graph(inputs, tuple(map(again, graph.nodes)), subst(graph.outputs), graph.name)


def without(items: Sequence[Any], dropped: Mapping[int, Any] | set[int]) -> tuple[Any, ...]:
    return tuple(x for k, x in enumerate(items) if k not in dropped)


def as_input(x: Atom, inner: TensorType) -> Literal | None:
    """A Literal operand as the graph inside sees it; None for others."""
    return repeated(x, inner.shape) if isinstance(x, Literal) else None


def same_operands(operands: Sequence[Atom], places: Sequence[int]) -> dict[int, int]:
    """Places whose operand stands at an earlier place too: place -> that place."""
    first: dict[Atom, int] = {}
    found = {k: first.setdefault(operands[k], k) for k in places}
    return {k: at for k, at in found.items() if at != k}


def known_inputs(
    graph: Graph, operands: Sequence[Atom], groups: Sequence[Sequence[int]]
) -> dict[int, Atom]:
    """Inputs in ``groups`` that are Literals outside, or the same as another of their group."""
    known: dict[int, Atom] = {}
    for places in groups:
        for k, at in same_operands(operands, places).items():
            known[k] = graph.inputs[at]
        for k in places:
            held = as_input(operands[k], graph.inputs[k].type)
            if held is not None:
                known[k] = held
    return known


# ---- scan ----------------------------------------------------------------------------------------


def scan_no_steps(xs: Atoms, **params: Any) -> Any:
    s = Scan(**params)
    if s.length:
        return None
    ys = s.body.output_types[s.n_carry :]
    return (*s.split(xs)[1], *(literal(0, y.with_shape((0, *y.shape))) for y in ys))


def scan_one_step(xs: Atoms, **params: Any) -> Any:
    s = Scan(**params)
    if s.length != 1:
        return None
    consts, carry, stacked = s.split(xs)
    slices = tuple(reshape(x, new_sizes=x.type.shape[1:]) for x in stacked)
    outs = build.current().inline(s.body, (*consts, *carry, *slices))
    ys = tuple(reshape(y, new_sizes=(1, *y.type.shape)) for y in outs[s.n_carry :])
    return (*outs[: s.n_carry], *ys)


def scan_known_operands(xs: Atoms, **params: Any) -> Any:
    """Literals move into the body; an operand that is given twice is given once."""
    s = Scan(**params)
    c, first_x = s.n_consts, s.n_consts + s.n_carry
    known = known_inputs(s.body, xs, (range(c), range(first_x, len(xs))))
    if not known:
        return None
    n_consts = c - sum(k < c for k in known)
    new = replace(s, body=fixed(s.body, known), n_consts=n_consts)
    return new(*without(xs, known))


def unchanged_carries(body: Graph, n_consts: int, n_carry: int) -> list[int]:
    """Carries that the body returns as it got them."""
    ins = body.inputs[n_consts : n_consts + n_carry]
    return [k for k in range(n_carry) if body.outputs[k] is ins[k]]


def moved(items: Sequence[Any], n_consts: int, carries: Sequence[int]) -> tuple[Any, ...]:
    """Operands with some carries placed behind the consts."""
    at = {n_consts + k for k in carries}
    return (*items[:n_consts], *(items[k] for k in sorted(at)), *without(items, at)[n_consts:])


def scan_unchanged_carry(xs: Atoms, **params: Any) -> Any:
    s = Scan(**params)
    same = unchanged_carries(s.body, s.n_consts, s.n_carry)
    if not same:
        return None
    body = Graph(
        moved(s.body.inputs, s.n_consts, same),
        s.body.nodes,
        without(s.body.outputs, set(same)),
        s.body.name,
    )
    new = replace(s, body=body, n_consts=s.n_consts + len(same), n_carry=s.n_carry - len(same))
    return with_known(new(*moved(xs, s.n_consts, same)), {k: xs[s.n_consts + k] for k in same})


def with_known(outs: Sequence[Atom], known: Mapping[int, Atom]) -> Atoms:
    """``outs`` with the ``known`` ones put in at their places."""
    rest = iter(outs)
    return tuple(known[k] if k in known else next(rest) for k in range(len(outs) + len(known)))


def scan_known_results(xs: Atoms, **params: Any) -> Any:
    """Stacked results that are Literals, consts, stacked operands, or given twice."""
    s = Scan(**params)
    c, k = s.n_consts, s.n_carry
    place = {v: at for at, v in enumerate(s.body.inputs)}
    known: dict[int, Atom] = {}
    twice: dict[int, int] = {}
    first: dict[Value, int] = {}
    for j, y in enumerate(s.body.outputs[k:], k):
        at = place.get(y, -1) if isinstance(y, Value) else -1
        shape = (s.length, *y.type.shape)
        if isinstance(y, Literal):
            known[j] = repeated(y, shape)
        elif 0 <= at < c:
            dims = tuple(range(1, len(shape)))
            known[j] = broadcast_in_dim(xs[at], shape=shape, dims=dims)
        elif at >= c + k:
            known[j] = xs[at]
        elif first.setdefault(y, j) != j:
            twice[j] = first[y]
    if not known and not twice:
        return None
    gone = {*known, *twice}
    body = replace(s.body, outputs=without(s.body.outputs, gone))
    outs = replace(s, body=body)(*xs)
    kept = dict(zip(without(range(len(s.body.outputs)), gone), outs, strict=True))
    kept.update(known)
    return tuple(kept[twice.get(j, j)] for j in range(len(s.body.outputs)))


def scan_same_results(xs: Atoms, **params: Any) -> Any:
    """Stacked results that no step changes are computed once, and repeated."""
    s = Scan(**params)
    c, k = s.n_consts, s.n_carry
    changing: set[Atom] = set(s.body.inputs[c:])
    for node in s.body.nodes:
        if has_effect(node):
            return None
        if not changing.isdisjoint(node.inputs):
            changing.update(node.outputs)
    made = s.body.producer
    same = [j for j, y in enumerate(s.body.outputs) if j >= k and y in made and y not in changing]
    if not same:
        return None
    ys = tuple(s.body.outputs[j] for j in same)
    part = Graph(s.body.inputs[:c], tuple(reachable(s.body.nodes, ys)), ys, s.body.name)
    rows = build.current().inline(part, xs[:c])
    known = {
        j: broadcast_in_dim(
            y, shape=(s.length, *y.type.shape), dims=tuple(range(1, y.type.ndim + 1))
        )
        for j, y in zip(same, rows, strict=True)
    }
    body = replace(s.body, outputs=without(s.body.outputs, known))
    return with_known(replace(s, body=body)(*xs), known)


def scan_repeated_operands(node: Node, producers: dict[Value, Node]) -> Any:
    """A stacked operand that is the same at every step is a const."""
    s = Scan(**node.params)
    first_x = s.n_consts + s.n_carry
    sources = {k: repeated_rows(x, producers) for k, x in enumerate(node.inputs) if k >= first_x}
    found = {k: made for k, made in sources.items() if made is not None}
    if not found:
        return None
    with build.building() as b:
        consts = [b.input(v.type, v.name) for v in s.body.inputs[: s.n_consts]]
        fixed = {k: b.input(made.inputs[0].type) for k, made in found.items()}
        rest = [b.input(v.type, v.name) for v in without(s.body.inputs, found)[s.n_consts :]]
        rows = {
            k: broadcast_in_dim(
                x,
                shape=found[k].params["shape"][1:],
                dims=tuple(d - 1 for d in found[k].params["dims"]),
            )
            for k, x in fixed.items()
        }
        others = iter((*consts, *rest))
        outs = b.inline(
            s.body, [rows[k] if k in rows else next(others) for k in range(len(node.inputs))]
        )
        body = b.graph(outs, s.body.name)
    operands = without(node.inputs, found)
    new = replace(s, body=body, n_consts=s.n_consts + len(found))
    given = (made.inputs[0] for made in found.values())
    return new(*operands[: s.n_consts], *given, *operands[s.n_consts :])


def repeated_rows(x: Atom, producers: dict[Value, Node]) -> Node | None:
    """The broadcast that adds the leading axis of ``x``; None where something else makes it."""
    made = producers.get(x) if isinstance(x, Value) else None
    if made is None or made.prim is not broadcast_in_dim or 0 in made.params["dims"]:
        return None
    return made


# ---- while ---------------------------------------------------------------------------------------


def while_never(xs: Atoms, cond: Graph, body: Graph, n_consts: int) -> Any:
    test = cond.outputs[0]
    return xs[n_consts:] if isinstance(test, Literal) and not test.value else None


def while_known_operands(xs: Atoms, cond: Graph, body: Graph, n_consts: int) -> Any:
    consts = range(n_consts)
    known, in_cond = (known_inputs(graph, xs, (consts,)) for graph in (body, cond))
    if not known:
        return None
    return while_(
        *without(xs, known),
        cond=fixed(cond, in_cond),
        body=fixed(body, known),
        n_consts=n_consts - len(known),
    )


def while_unchanged_carry(xs: Atoms, cond: Graph, body: Graph, n_consts: int) -> Any:
    same = unchanged_carries(body, n_consts, len(body.outputs))
    if not same:
        return None
    test = replace(cond, inputs=moved(cond.inputs, n_consts, same))
    step = Graph(
        moved(body.inputs, n_consts, same), body.nodes, without(body.outputs, set(same)), body.name
    )
    outs = while_(*moved(xs, n_consts, same), cond=test, body=step, n_consts=n_consts + len(same))
    return with_known(outs, {k: xs[n_consts + k] for k in same})


# ---- cond ----------------------------------------------------------------------------------------


def cond_known(index: Atom, xs: Atoms, branches: tuple[Graph, ...]) -> Any:
    """The branch that is taken, or that all branches are."""
    if isinstance(index, Literal):
        taken = branches[min(max(int(index.value), 0), len(branches) - 1)]
    elif all(branch == branches[0] for branch in branches[1:]):
        taken = branches[0]
    else:
        return None
    return build.current().inline(taken, xs)


def cond_known_operands(index: Atom, xs: Atoms, branches: tuple[Graph, ...]) -> Any:
    every = (range(len(xs)),)
    known = [known_inputs(branch, xs, every) for branch in branches]
    if not known[0]:
        return None
    new = tuple(fixed(branch, k) for branch, k in zip(branches, known, strict=True))
    return cond(index, *without(xs, known[0]), branches=new)


def cond_known_results(index: Atom, xs: Atoms, branches: tuple[Graph, ...]) -> Any:
    """Results that all branches agree on: a Literal, or one of the operands."""
    known: dict[int, Atom] = {}
    for j, candidates in enumerate(zip(*(branch.outputs for branch in branches), strict=True)):
        outer = [seen_outside(b, y, xs) for b, y in zip(branches, candidates, strict=True)]
        if outer[0] is not None and all(x == outer[0] for x in outer):
            known[j] = outer[0]
    if not known:
        return None
    new = tuple(replace(branch, outputs=without(branch.outputs, known)) for branch in branches)
    return with_known(cond(index, *xs, branches=new), known)


def seen_outside(branch: Graph, y: Atom, xs: Atoms) -> Atom | None:
    """An output of a branch as an operand of the cond or a Literal; None when it is computed."""
    if isinstance(y, Literal):
        return y
    return xs[branch.inputs.index(y)] if y in branch.inputs else None


# ---- the rules -----------------------------------------------------------------------------------

_SCAN = P(
    scan,
    Rest("xs"),
    body=Hole("body"),
    n_consts=Hole("n_consts"),
    n_carry=Hole("n_carry"),
    length=Hole("length"),
    reverse=Hole("reverse"),
)
_WHILE = P(while_, Rest("xs"), cond=Hole("cond"), body=Hole("body"), n_consts=Hole("n_consts"))
_COND = P(cond, Hole("index"), Rest("xs"), branches=Hole("branches"))

RULES = (
    Rule("scan_no_steps", find=_SCAN, put=scan_no_steps),
    Rule("scan_one_step", find=_SCAN, put=scan_one_step),
    Rule("scan_known_operands", find=_SCAN, put=scan_known_operands),
    Rule("scan_unchanged_carry", find=_SCAN, put=scan_unchanged_carry),
    Rule("scan_known_results", find=_SCAN, put=scan_known_results),
    Rule("scan_same_results", find=_SCAN, put=scan_same_results),
    Rule(
        "scan_repeated_operands",
        find=Family((scan,), "broadcast_in_dim"),
        put=scan_repeated_operands,
    ),
    Rule("while_never", find=_WHILE, put=while_never),
    Rule("while_known_operands", find=_WHILE, put=while_known_operands),
    Rule("while_unchanged_carry", find=_WHILE, put=while_unchanged_carry),
    Rule("cond_known", find=_COND, put=cond_known),
    Rule("cond_known_operands", find=_COND, put=cond_known_operands),
    Rule("cond_known_results", find=_COND, put=cond_known_results),
)
