"""``scan`` and ``while``: loops that hold graphs.

    carry, ys = scan(*consts, *init, *xs, body={...}, n_consts, n_carry, length, reverse)
        body: (consts, carry, x) -> (carry, y); xs and ys have a leading axis of ``length``
    carry = while(*consts, *init, cond={...}, body={...}, n_consts)
        cond: (consts, carry) -> bool[]; body: (consts, carry) -> carry

Differentiating a scan gives a forward scan that stacks what the backward scan needs, and a backward
scan that runs the other way. Residuals that do not change from step to step (the weights) are
passed, not stacked. Reverse mode through a while is in ``tape.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.errors import ShapeError, TreeError
from tracejit.ir import build, interp
from tracejit.ir.build import full_like
from tracejit.ir.graph import Atom, Graph, Value
from tracejit.ir.prim import Linear, Partly, Primitive, is_linear
from tracejit.ir.types import TensorType
from tracejit.ops.arith import add
from tracejit.ops.broadcast import with_batch_axis
from tracejit.ops.layout import transpose as permute
from tracejit.record import dataclass
from tracejit.transform.backward import Live, live_input, pull_back
from tracejit.transform.batch import batch_graph
from tracejit.transform.branch import (
    check_operands,
    given,
    out_tangents,
    present,
    scatter_tangents,
)
from tracejit.transform.forward import count, jvp_graph, linearize_graph
from tracejit.transform.tape import linear_inputs, stop_per_example, transpose_while

Mask = tuple[bool, ...]


def fixpoint(mask: Mask, step: Callable[[Mask], Mask]) -> Mask:
    """Grow ``mask`` by ``step`` (carry in -> carry out) until it holds."""
    while True:
        grown = tuple(a or b for a, b in zip(mask, step(mask), strict=True))
        if grown == mask:
            return mask
        mask = grown


def check_carry(name: str, before: Sequence[TensorType], after: Sequence[TensorType]) -> None:
    """Raise TreeError unless the body returns the carry with the types it took."""
    if tuple(before) != tuple(after):
        wrong = [f"{a} became {b}" for a, b in zip(before, after, strict=False) if a != b]
        raise TreeError(f"{name}: the carry changes its type: {', '.join(wrong) or 'length'}")


# ---- scan ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scan:
    """The static parameters of a scan, and how they divide its operands and results."""

    body: Graph
    n_consts: int
    n_carry: int
    length: int
    reverse: bool

    def split(self, xs: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]:
        """(consts, carry, xs)."""
        c, s = self.n_consts, self.n_consts + self.n_carry
        return tuple(xs[:c]), tuple(xs[c:s]), tuple(xs[s:])

    def __call__(self, *xs: Atom) -> tuple[Value, ...]:
        return scan(  # type: ignore[no-any-return]
            *xs,
            body=self.body,
            n_consts=self.n_consts,
            n_carry=self.n_carry,
            length=self.length,
            reverse=self.reverse,
        )


def _infer_scan(*types: TensorType, **params: Any) -> tuple[TensorType, ...]:
    s = Scan(**params)
    consts, carry, xs = s.split(types)
    for x in xs:
        if x.ndim == 0 or x.shape[0] != s.length:
            raise ShapeError(f"scan: an operand {x} has no leading axis of length {s.length}")
    slices = tuple(x.with_shape(x.shape[1:]) for x in xs)
    check_operands("scan", s.body, (*consts, *carry, *slices))
    outs = s.body.output_types
    check_carry("scan", carry, outs[: s.n_carry])
    return (*carry, *(y.with_shape((s.length, *y.shape)) for y in outs[s.n_carry :]))


def _numpy_scan(*arrays: Any, **params: Any) -> tuple[Any, ...]:
    s = Scan(**params)
    consts, carry, xs = s.split(arrays)
    stacked = [np.empty((s.length, *y.shape), y.dtype) for y in s.body.output_types[s.n_carry :]]
    for step in range(s.length - 1, -1, -1) if s.reverse else range(s.length):
        outs = interp.run(s.body, (*consts, *carry, *(x[step] for x in xs)))
        carry = tuple(outs[: s.n_carry])
        for into, y in zip(stacked, outs[s.n_carry :], strict=True):
            into[step] = y
    return (*carry, *stacked)


def _push_scan(mode: str, operands: Any, dxs: Any, **params: Any) -> Any:
    s = Scan(**params)
    m_consts, m_carry, m_xs = s.split(present(dxs))
    m_carry = fixpoint(
        m_carry, lambda m: out_tangents(s.body, (*m_consts, *m, *m_xs), mode)[: s.n_carry]
    )
    mask = (*m_consts, *m_carry, *m_xs)
    found = out_tangents(s.body, mask, mode)
    out_mask = (*m_carry, *found[s.n_carry :])
    tangents = tuple(
        (full_like(x, 0) if dx is None else dx) if m else None
        for x, dx, m in zip(operands, dxs, mask, strict=True)
    )
    push = _push_joint if mode == "jvp" else _push_split
    return push(s, operands, tangents, mask, out_mask)


def _push_joint(s: Scan, operands: Any, tangents: Any, mask: Mask, out_mask: Mask) -> Any:
    """One scan over values and tangents together."""
    both, _ = jvp_graph(s.body, mask, out_mask)
    n, c = len(s.body.inputs), s.n_carry
    dc, ds, dx = s.split(mask)
    k1, k2 = count(dc), count(dc) + count(ds)
    ins, dins = s.split(both.inputs[:n]), both.inputs[n:]
    body_ins = (*ins[0], *dins[:k1], *ins[1], *dins[k1:k2], *ins[2], *dins[k2:])
    outs, douts = both.outputs[: len(s.body.outputs)], both.outputs[len(s.body.outputs) :]
    d_carry = count(ds)
    body_outs = (*outs[:c], *douts[:d_carry], *outs[c:], *douts[d_carry:])
    joint = Scan(
        Graph(body_ins, both.nodes, body_outs, s.body.name),
        s.n_consts + k1,
        c + d_carry,
        s.length,
        s.reverse,
    )
    vals, tans = s.split(operands), given(tangents)
    result = joint(*vals[0], *tans[:k1], *vals[1], *tans[k1:k2], *vals[2], *tans[k2:])
    ny = len(s.body.outputs) - c
    carry, d_c = result[:c], result[c : c + d_carry]
    ys, d_ys = result[c + d_carry : c + d_carry + ny], result[c + d_carry + ny :]
    return (*carry, *ys), scatter_tangents(out_mask, (*d_c, *d_ys))


def _push_split(s: Scan, operands: Any, tangents: Any, mask: Mask, out_mask: Mask) -> Any:
    """A forward scan that stacks residuals, and a linear scan that reads them."""
    split = linearize_graph(s.body, mask, out_mask)
    n = len(s.body.outputs)
    # a residual that is a const of the body is the same at every step
    invariant = [src is not None and src < s.n_consts for src in split.sources]
    stacked = [k for k, inv in enumerate(invariant) if not inv]
    forward_body = Graph(
        split.forward.inputs,
        split.forward.nodes,
        (*split.forward.outputs[:n], *(split.forward.outputs[n + k] for k in stacked)),
        s.body.name,
    )
    outs = Scan(forward_body, s.n_consts, s.n_carry, s.length, s.reverse)(*operands)

    d_ins = split.linear.inputs[split.residuals :]
    residuals = split.linear.inputs[: split.residuals]
    dc, ds, _ = s.split(mask)
    k1, k2 = count(dc), count(dc) + count(ds)
    fixed = [k for k, inv in enumerate(invariant) if inv]
    body_ins = (
        *(residuals[k] for k in fixed),
        *d_ins[:k1],
        *d_ins[k1:k2],
        *(residuals[k] for k in stacked),
        *d_ins[k2:],
    )
    linear = Scan(
        Graph(body_ins, split.linear.nodes, split.linear.outputs, s.body.name),
        len(fixed) + k1,
        k2 - k1,
        s.length,
        s.reverse,
    )
    tans = given(tangents)
    d_outs = linear(
        *(operands[split.sources[k]] for k in fixed),
        *tans[:k1],
        *tans[k1:k2],
        *outs[n:],
        *tans[k2:],
    )
    return outs[:n], scatter_tangents(out_mask, d_outs)


def _transpose_scan(cts: Any, operands: Any, **params: Any) -> Any:
    """The reversed scan: carries, sums and stacks cotangents of the carry, consts and xs.

    Where the cotangents of the carry have known zeros, flags that say so travel along with them.
    """
    s = Scan(**params)
    consts, carry, xs = s.split(operands)
    first, last = s.n_consts, s.n_consts + s.n_carry
    linear = linear_inputs(s.body, [is_linear(x) for x in operands], first, last)
    if not all(linear[first:last]):
        raise TreeError("scan: only a scan that is linear in its whole carry has a transpose")
    starts = tuple(is_linear(x) for x in carry)  # a tangent that starts at zero is a Literal here
    carry = tuple(Linear(x.type) for x in carry)
    ct_carry, ct_ys = cts[: s.n_carry], cts[s.n_carry :]
    live = build.current().live
    live_ys = [None if ct is None else live.get(ct) for ct in ct_ys]
    known_zeros = any(ct in live for ct in given(cts))
    tracked = [k for k, ct in enumerate(ct_carry) if known_zeros and (ct is None or ct in live)]
    operands = (*consts, *carry, *xs)
    body, with_zeros = _backward_body(s, operands, present(ct_ys), tracked, present(live_ys))
    a = sum(map(is_linear, consts))
    c = a + s.n_carry
    end = c + len(tracked)
    known_c = [x for x in consts if not is_linear(x)]
    outs = Scan(body, len(known_c), end, s.length, not s.reverse)(
        *known_c,
        *(full_like(x.type, 0) for x in consts if is_linear(x)),
        *(_or_zero(ct, x.type) for ct, x in zip(ct_carry, carry, strict=True)),
        *(_flags(live, ct_carry[k], carry[k].type) for k in tracked),
        *(x for x in xs if not is_linear(x)),
        *given(ct_ys),
        *(flags.get() for flags in live_ys if flags is not None),
    )
    flagged = (*(a + k for k in tracked), *(end + k for k in with_zeros))
    flags = (*outs[c:end], *outs[len(outs) - len(with_zeros) :])
    for k, flag in zip(flagged, flags, strict=True):
        live[outs[k]] = Live(functools.partial(_same, flag))
    from_c, from_x = iter(outs[:a]), iter(outs[end:])
    return (
        *(next(from_c) if is_linear(x) else None for x in consts),
        *(ct if start else None for ct, start in zip(outs[a:c], starts, strict=True)),
        *(next(from_x) if is_linear(x) else None for x in xs),
    )


def _backward_body(
    s: Scan, operands: Any, with_ct: Mask, tracked: Sequence[int], with_flags: Mask
) -> tuple[Graph, list[int]]:
    """A step back: (known consts, sums, carry, flags of ``tracked``, known xs, ys, flags of ys) ->
    (sums, carry, flags, slices, flags of slices), and which slices have flags."""
    consts, carry, xs = s.split(operands)
    ys = s.body.outputs[s.n_carry :]
    with build.building() as b:
        outer_known = [b.input(x.type) for x in consts if not is_linear(x)]
        sums = [b.input(x.type) for x in consts if is_linear(x)]
        d_carry = [b.input(x.type) for x in carry]
        for k in tracked:
            live_input(d_carry[k])
        step_known = [b.input(x.type.with_shape(x.type.shape[1:])) for x in xs if not is_linear(x)]
        d_ys = [b.input(y.type) if m else None for y, m in zip(ys, with_ct, strict=True)]
        for ct, known in zip(d_ys, with_flags, strict=True):
            if known and ct is not None:
                live_input(ct)
        ins = _merge(s, operands, outer_known, step_known)
        pulled = s.split(pull_back(s.body, ins, (*d_carry, *d_ys)))
        ct_consts = [c for c, x in zip(pulled[0], consts, strict=True) if is_linear(x)]
        new_sums = [
            old if ct is None else add(old, ct) for old, ct in zip(sums, ct_consts, strict=True)
        ]
        new_carry = [_or_zero(ct, x.type) for ct, x in zip(pulled[1], carry, strict=True)]
        flags = [_flags(b.live, pulled[1][k], carry[k].type) for k in tracked]
        slices = [
            _or_zero(ct, x.type.with_shape(x.type.shape[1:]))
            for ct, x in zip(pulled[2], xs, strict=True)
            if is_linear(x)
        ]
        with_zeros = [k for k, ct in enumerate(slices) if ct in b.live]
        stacked = [b.live[slices[k]].get() for k in with_zeros]
    return b.graph((*new_sums, *new_carry, *flags, *slices, *stacked), s.body.name), with_zeros


def _flags(known: dict[Atom, Live], ct: Atom | None, type: TensorType) -> Atom:
    """Where ``ct`` may differ from zero."""
    if ct in known:
        return known[ct].get()
    return full_like(type, ct is not None, np.dtype(bool))


def _same(flag: Atom) -> Atom:
    return flag


def _merge(s: Scan, operands: Any, known_consts: Any, known_slices: Any) -> list[Any]:
    """The body's operands: Linear for the linear ones, the given Values for the others."""
    consts, carry, xs = s.split(operands)
    from_c, from_x = iter(known_consts), iter(known_slices)
    slices = (
        Linear(x.type.with_shape(x.type.shape[1:])) if is_linear(x) else next(from_x) for x in xs
    )
    return [*(x if is_linear(x) else next(from_c) for x in consts), *carry, *slices]


def _or_zero(ct: Atom | None, type: TensorType) -> Atom:
    return full_like(type, 0) if ct is None else ct


def _batch_scan(size: int, mask: Any, operands: Any, **params: Any) -> Any:
    s = Scan(**params)
    m_consts, m_carry, m_xs = s.split(tuple(mask))
    m_carry = fixpoint(
        m_carry, lambda m: batch_graph(s.body, size, (*m_consts, *m, *m_xs))[1][: s.n_carry]
    )
    every = (*m_carry, *(False for _ in s.body.outputs[s.n_carry :]))
    body, out_mask = batch_graph(s.body, size, (*m_consts, *m_carry, *m_xs), every)
    consts, carry, xs = s.split(operands)
    had = s.split(tuple(mask))[1]
    carry = tuple(
        with_batch_axis(x, size, have) if want else x
        for x, have, want in zip(carry, had, m_carry, strict=True)
    )
    xs = tuple(swap_leading(x) if m else x for x, m in zip(xs, m_xs, strict=True))
    outs = Scan(body, s.n_consts, s.n_carry, s.length, s.reverse)(*consts, *carry, *xs)
    ys = tuple(
        swap_leading(y) if m else y
        for y, m in zip(outs[s.n_carry :], out_mask[s.n_carry :], strict=True)
    )
    return Partly((*outs[: s.n_carry], *ys), out_mask)


def swap_leading(x: Atom) -> Atom:
    """Exchange the first two axes."""
    return permute(x, permutation=(1, 0, *range(2, x.type.ndim)))  # type: ignore[no-any-return]


scan = Primitive(
    "scan",
    params=("body", "n_consts", "n_carry", "length", "reverse"),
    infer=_infer_scan,
    numpy=_numpy_scan,
    push=_push_scan,
    transpose=_transpose_scan,
    batch=_batch_scan,
    doc="A loop of fixed length with a carry, per-step operands and stacked results.",
)


# ---- while ---------------------------------------------------------------------------------------


def _infer_while(
    *types: TensorType, cond: Graph, body: Graph, n_consts: int
) -> tuple[TensorType, ...]:
    check_operands("while", cond, types)
    check_operands("while", body, types)
    if cond.output_types != (TensorType(np.dtype(bool), ()),):
        raise TreeError(f"while: the condition returns {cond.output_types}, not a scalar bool")
    check_carry("while", types[n_consts:], body.output_types)
    return types[n_consts:]


def _numpy_while(*arrays: Any, cond: Graph, body: Graph, n_consts: int) -> tuple[Any, ...]:
    consts, carry = arrays[:n_consts], arrays[n_consts:]
    while interp.run(cond, (*consts, *carry))[0]:
        carry = tuple(interp.run(body, (*consts, *carry)))
    return tuple(carry)


def _push_while(
    mode: str, operands: Any, dxs: Any, *, cond: Graph, body: Graph, n_consts: int
) -> Any:
    """Values and tangents in one loop: of unknown length, it can stack nothing for later."""
    given_mask = present(dxs)
    m_consts = given_mask[:n_consts]
    m_carry = fixpoint(
        given_mask[n_consts:], lambda m: jvp_graph(body, (*m_consts, *m), None, mode)[1]
    )
    both, _ = jvp_graph(body, (*m_consts, *m_carry), m_carry, mode)
    n, k = len(body.inputs), count(m_consts)
    d_ins = both.inputs[n:]
    body_ins = (*both.inputs[:n_consts], *d_ins[:k], *both.inputs[n_consts:n], *d_ins[k:])
    extra = [Value(v.type) for v in d_ins]
    cond_ins = (*cond.inputs[:n_consts], *extra[:k], *cond.inputs[n_consts:], *extra[k:])
    consts, carry = operands[:n_consts], operands[n_consts:]
    d_carry = [
        full_like(x, 0) if dx is None else dx
        for x, dx, m in zip(carry, dxs[n_consts:], m_carry, strict=True)
        if m
    ]
    outs = while_(
        *consts,
        *given(dxs[:n_consts]),
        *carry,
        *d_carry,
        cond=Graph(cond_ins, cond.nodes, cond.outputs, cond.name),
        body=Graph(body_ins, both.nodes, both.outputs, body.name),
        n_consts=n_consts + k,
    )
    tangents = scatter_tangents(m_carry, outs[len(carry) :])
    if mode == "linearize":  # values must not depend on tangents: they have a loop of their own
        return while_(*operands, cond=cond, body=body, n_consts=n_consts), tangents
    return outs[: len(carry)], tangents


def _batch_while(
    size: int, mask: Any, operands: Any, *, cond: Graph, body: Graph, n_consts: int
) -> Any:
    m_consts = tuple(mask[:n_consts])
    m_carry = fixpoint(
        tuple(mask[n_consts:]), lambda m: batch_graph(body, size, (*m_consts, *m))[1]
    )
    _, (per_lane,) = batch_graph(cond, size, (*m_consts, *m_carry))
    if per_lane:  # examples stop at different times: each keeps its carry once its condition fails
        m_carry = (True,) * len(m_carry)
    new_mask = (*m_consts, *m_carry)
    new_cond, _ = batch_graph(cond, size, new_mask)
    new_body, _ = batch_graph(body, size, new_mask, m_carry)
    if per_lane:
        new_cond, new_body = stop_per_example(new_cond, new_body, n_consts)
    carry = tuple(
        with_batch_axis(x, size, have) if want else x
        for x, have, want in zip(operands[n_consts:], mask[n_consts:], m_carry, strict=True)
    )
    outs = while_(*operands[:n_consts], *carry, cond=new_cond, body=new_body, n_consts=n_consts)
    return Partly(outs, m_carry)


while_ = Primitive(
    "while",
    params=("cond", "body", "n_consts"),
    infer=_infer_while,
    numpy=_numpy_while,
    push=_push_while,
    transpose=transpose_while,
    batch=_batch_while,
    doc="Repeat body while cond holds.",
)
