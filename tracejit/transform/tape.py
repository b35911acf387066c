"""Reverse mode through ``while``: a loop of unknown length, walked back along a tape.

    cts = while_pullback(*consts, *init, *cts, cond={...}, body={...}, pull={...}, n_consts, n_sums)
        cond, body: the loop on values
        pull: (consts, carry before a step, sums, cts after it) -> (sums, cts before it)

The operation runs the loop again and keeps the carry of every step, a tape as long as the loop
turns out to be; then ``pull`` goes from the last step to the first. ``sums`` are cotangents of
consts. That is its meaning; compiled programs and derivatives of it walk back in bounded memory
(``rewind.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.errors import ShapeError
from tracejit.ir import build, interp
from tracejit.ir.build import full_like
from tracejit.ir.graph import Atom, Graph
from tracejit.ir.prim import Linear, Primitive, is_linear
from tracejit.ir.types import TensorType
from tracejit.ops.arith import add
from tracejit.ops.broadcast import with_batch_axis
from tracejit.ops.logic import select
from tracejit.ops.reduce import reduce_or
from tracejit.transform import rewind
from tracejit.transform.backward import pull_back
from tracejit.transform.batch import batch_graph
from tracejit.transform.branch import call, per_example
from tracejit.transform.forward import reachable, split_by_dependency


def _infer(
    *types: TensorType, cond: Graph, body: Graph, pull: Graph, n_consts: int, n_sums: int
) -> tuple[TensorType, ...]:
    wanted = (*body.input_types, *pull.output_types[n_sums:])
    if types != wanted:
        raise ShapeError(f"while_pullback: takes {wanted}, got {types}")
    return pull.output_types


def _numpy(
    *arrays: Any, cond: Graph, body: Graph, pull: Graph, n_consts: int, n_sums: int
) -> tuple[Any, ...]:
    n = len(body.inputs)
    consts, carry, cts = arrays[:n_consts], arrays[n_consts:n], arrays[n:]
    tape = []
    while interp.run(cond, (*consts, *carry))[0]:
        tape.append(carry)
        carry = tuple(interp.run(body, (*consts, *carry)))
    sums = tuple(np.zeros(t.shape, t.dtype) for t in pull.output_types[:n_sums])
    for before in reversed(tape):
        outs = tuple(interp.run(pull, (*consts, *before, *sums, *cts)))
        sums, cts = outs[:n_sums], outs[n_sums:]
    return (*sums, *cts)


def transpose_while(
    cts: Sequence[Atom | None],
    operands: Sequence[Atom | Linear],
    *,
    cond: Graph,
    body: Graph,
    n_consts: int,
) -> tuple[Atom | None, ...]:
    """Cotangents of the linear operands of a loop over values and tangents together.

    A tangent that starts as a known zero is part of the linear loop all the same.
    """
    linear = linear_inputs(body, [is_linear(x) for x in operands], n_consts, len(operands))
    known = [x for x, lin in zip(operands, linear, strict=True) if not lin]
    outs = [y for y, lin in zip(body.outputs, linear[n_consts:], strict=True) if not lin]

    def on_values(graph: Graph, outputs: Sequence[Atom]) -> Graph:
        inputs = tuple(v for v, lin in zip(graph.inputs, linear, strict=True) if not lin)
        nodes = tuple(reachable(graph.nodes, outputs))
        return Graph(inputs, nodes, tuple(outputs), graph.name)

    n_sums = sum(linear[:n_consts])
    after = [
        full_like(x.type, 0) if ct is None else ct
        for ct, x, lin in zip(cts, operands[n_consts:], linear[n_consts:], strict=True)
        if lin
    ]
    found = iter(
        while_pullback(
            *known,
            *after,
            cond=on_values(cond, cond.outputs),
            body=on_values(body, outs),
            pull=_pull_of_step(body, linear, n_consts),
            n_consts=n_consts - n_sums,
            n_sums=n_sums,
        )
    )
    pulled = [next(found) if lin else None for lin in linear]
    return tuple(ct if is_linear(x) else None for ct, x in zip(pulled, operands, strict=True))


def linear_inputs(body: Graph, linear: Sequence[bool], first: int, last: int) -> list[bool]:
    """``linear`` with the carry that depends on a linear input, at the first step or a later one.

    The carry is inputs ``first`` to ``last`` of the body, and its first outputs.
    """
    found = list(linear)
    while True:
        roots = [v for v, lin in zip(body.inputs, found, strict=True) if lin]
        bound = split_by_dependency(body.nodes, roots)[1]
        made = {*roots, *(out for node in bound for out in node.outputs)}
        grown = [lin or y in made for lin, y in zip(found[first:last], body.outputs, strict=False)]
        if grown == found[first:last]:
            return found
        found[first:last] = grown


def _pull_of_step(body: Graph, linear: Sequence[bool], n_consts: int) -> Graph:
    """One step backward: known consts and carry, sums, cotangents -> sums, cotangents."""
    with build.building() as b:
        xs: list[Atom | Linear] = [
            Linear(v.type) if lin else b.input(v.type, v.name)
            for v, lin in zip(body.inputs, linear, strict=True)
        ]
        sums = [b.input(x.type) for x in xs[:n_consts] if is_linear(x)]
        after = [b.input(x.type) if is_linear(x) else None for x in xs[n_consts:]]
        found = pull_back(body, xs, after)
        pairs = list(zip(found, xs, strict=True))
        parts = [ct for ct, x in pairs[:n_consts] if is_linear(x)]
        new_sums = [
            old if ct is None else add(old, ct) for old, ct in zip(sums, parts, strict=True)
        ]
        before = [
            full_like(x.type, 0) if ct is None else ct for ct, x in pairs[n_consts:] if is_linear(x)
        ]
    return b.graph((*new_sums, *before), body.name)


def stop_per_example(cond: Graph, body: Graph, n_consts: int) -> tuple[Graph, Graph]:
    """Run while any example's condition holds; examples that are done keep their carry."""
    with build.building() as b:
        xs = [b.input(v.type, v.name) for v in cond.inputs]
        (running,) = b.inline(cond, xs)
        any_running = b.graph((reduce_or(running, axes=(0,)),), cond.name)
    return any_running, _while_running(cond, body, len(body.inputs), n_consts)


def _while_running(cond: Graph, step: Graph, n_loop: int, first: int) -> Graph:
    """``step`` where the condition on its first ``n_loop`` inputs holds, per example; elsewhere its
    inputs from ``first`` on stay as they are.
    """
    with build.building() as b:
        xs = [b.input(v.type, v.name) for v in step.inputs]
        (running,) = b.inline(cond, xs[:n_loop])
        news = b.inline(step, xs)
        outs = [
            select(per_example(running, new), new, old)
            for new, old in zip(news, xs[first:], strict=True)
        ]
    return b.graph(outs, step.name)


def _batch(
    size: int,
    mask: Any,
    xs: Any,
    *,
    cond: Graph,
    body: Graph,
    pull: Graph,
    n_consts: int,
    n_sums: int,
) -> Any:
    """Examples stop at different times: going back, each waits for the step it stopped at."""
    n = len(body.inputs)
    consts = tuple(mask[:n_consts])
    loop = (*consts, *(True for _ in range(n - n_consts)))
    lanes, _ = batch_graph(cond, size, loop, (True,))
    steps, _ = batch_graph(body, size, loop, (True,) * len(body.outputs))
    outs = (True,) * len(pull.outputs)
    back, _ = batch_graph(pull, size, (*loop, *outs), outs)
    any_running, kept = stop_per_example(lanes, steps, n_consts)
    rest = [
        with_batch_axis(x, size, m) for x, m in zip(xs[n_consts:], mask[n_consts:], strict=True)
    ]
    return while_pullback(
        *xs[:n_consts],
        *rest,
        cond=any_running,
        body=kept,
        pull=_while_running(lanes, back, n, n),
        n_consts=n_consts,
        n_sums=n_sums,
    )


def _push(mode: str, xs: Any, dxs: Any, **params: Any) -> Any:
    """The derivatives of the loops that walk back."""
    with build.building() as b:
        inputs = [b.input(x.type) for x in xs]
        graph = b.graph(rewind.expand(*inputs, **params), "rewind")
    return call.rule("push")(mode, xs, dxs, graph=graph)


while_pullback = Primitive(
    "while_pullback",
    params=("cond", "body", "pull", "n_consts", "n_sums"),
    infer=_infer,
    numpy=_numpy,
    push=_push,
    batch=_batch,
    doc="Reverse mode through a while loop: run it again with a tape, then go back.",
)
