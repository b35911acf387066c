"""Linear maps whose transpose is given: ``linear_call``, and ``custom_linear_solve``, the solution
of a linear equation.

%3 = linear_call(%w, %x, body={...}, transposed={...}, n_fixed=1)
%3 = custom_linear_solve(%a, %b, matvec={...}, solve={...}, ...)      solve runs, matvec gives
                                                                      the derivatives

Derivatives of both are again such nodes, so they have derivatives of every order, and what
``solve`` does inside (a loop, a factorization) is never differentiated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracejit.errors import GradError
from tracejit.ir import interp
from tracejit.ir.build import full_like
from tracejit.ir.graph import Atom, Graph
from tracejit.ir.prim import Primitive, is_linear
from tracejit.ir.types import TensorType
from tracejit.ops.arith import add, neg, sub
from tracejit.ops.broadcast import with_batch_axis
from tracejit.transform.batch import batch_graph
from tracejit.transform.branch import check_operands
from tracejit.transform.forward import push_forward

Tangent = Atom | None


def _plus(a: Tangent, b: Tangent) -> Tangent:
    if a is None or b is None:
        return b if a is None else a
    return add(a, b)  # type: ignore[no-any-return]


def _minus(a: Tangent, b: Tangent) -> Tangent:
    if b is None:
        return a
    return neg(b) if a is None else sub(a, b)


def _filled(dxs: Sequence[Tangent], types: Sequence[TensorType]) -> list[Atom]:
    return [full_like(t, 0) if dx is None else dx for dx, t in zip(dxs, types, strict=True)]


def _batched(graph: Graph, size: int, fixed: Sequence[bool]) -> Graph:
    """``graph`` with a batch axis on its inputs at ``fixed``, all others and all outputs."""
    rest = (True,) * (len(graph.inputs) - len(fixed))
    return batch_graph(graph, size, (*fixed, *rest), (True,) * len(graph.outputs))[0]


# ---- linear_call: body is a graph (fixed, xs) -> ys, transposed one of (fixed, cts) -> cts -------


def _infer_linear_call(*types: TensorType, body: Graph, **_: Any) -> tuple[TensorType, ...]:
    check_operands("linear_call", body, types)
    return body.output_types


def _push_linear_call(
    mode: str, xs: Any, dxs: Any, *, body: Graph, transposed: Graph, n_fixed: int
) -> Any:
    params = {"body": body, "transposed": transposed, "n_fixed": n_fixed}
    fixed, dfixed, dlinear = xs[:n_fixed], dxs[:n_fixed], dxs[n_fixed:]
    ys = linear_call(*xs, **params)
    dys: tuple[Tangent, ...] = (None,) * len(ys)
    if any(dx is not None for dx in dlinear):
        dys = linear_call(*fixed, *_filled(dlinear, body.input_types[n_fixed:]), **params)
    if any(dx is not None for dx in dfixed):
        _, more = push_forward(body, xs, (*dfixed, *(None for _ in dlinear)), mode)
        dys = tuple(_plus(a, b) for a, b in zip(dys, more, strict=True))
    return ys, dys


def _transpose_linear_call(
    cts: Any, xs: Any, *, body: Graph, transposed: Graph, n_fixed: int
) -> Any:
    if any(is_linear(x) for x in xs[:n_fixed]):
        raise GradError("linear_call: it is not linear in its residual arguments")
    outs = linear_call(
        *xs[:n_fixed],
        *_filled(cts, body.output_types),
        body=transposed,
        transposed=body,
        n_fixed=n_fixed,
    )
    return (*(None for _ in range(n_fixed)), *outs)


def _batch_linear_call(
    size: int, mask: Any, xs: Any, *, body: Graph, transposed: Graph, n_fixed: int
) -> Any:
    fixed = tuple(mask[:n_fixed])
    given = zip(xs[n_fixed:], mask[n_fixed:], strict=True)
    linear = [with_batch_axis(x, size, have) for x, have in given]
    return linear_call(
        *xs[:n_fixed],
        *linear,
        body=_batched(body, size, fixed),
        transposed=_batched(transposed, size, fixed),
        n_fixed=n_fixed,
    )


linear_call = Primitive(
    "linear_call",
    params=("body", "transposed", "n_fixed"),
    infer=_infer_linear_call,
    numpy=lambda *arrays, body, **_: tuple(interp.run(body, arrays)),
    push=_push_linear_call,
    transpose=_transpose_linear_call,
    batch=_batch_linear_call,
    doc="A linear function with a user's transpose.",
)


# ---- custom_linear_solve -------------------------------------------------------------------------
# All graphs take the constants first. matvec: x -> A x; solve: b -> (x, aux); vecmat and
# transpose_solve do the same for the transpose of A, and are None where no reverse mode was given.


def _infer_solve(*types: TensorType, solve: Graph, **_: Any) -> tuple[TensorType, ...]:
    check_operands("custom_linear_solve", solve, types)
    return solve.output_types


def _push_solve(mode: str, xs: Any, dxs: Any, *, matvec: Graph, n_consts: int, **rest: Any) -> Any:
    """A x = b, so A dx = db - dA x."""
    params = {"matvec": matvec, "n_consts": n_consts, **rest}
    consts, dconsts, db = xs[:n_consts], dxs[:n_consts], tuple(dxs[n_consts:])
    outs = custom_linear_solve(*xs, **params)
    n = len(matvec.outputs)
    if any(dx is not None for dx in dconsts):
        _, slope = push_forward(matvec, (*consts, *outs[:n]), (*dconsts, *(None,) * n), mode)
        db = tuple(_minus(a, b) for a, b in zip(db, slope, strict=True))
    if all(dx is None for dx in db):
        return outs, (None,) * len(outs)
    dx = custom_linear_solve(*consts, *_filled(db, matvec.output_types), **params)[:n]
    return outs, (*dx, *(None for _ in outs[n:]))


def _transpose_solve(
    cts: Any,
    xs: Any,
    *,
    matvec: Graph,
    vecmat: Graph | None,
    solve: Graph,
    transpose_solve: Graph | None,
    n_consts: int,
) -> Any:
    if vecmat is None or transpose_solve is None:
        raise GradError(
            f"reverse-mode derivative of custom_linear_solve of `{matvec.name}` without "
            "transpose_solve",
            hint="pass transpose_solve, or symmetric=True where the operator is its own transpose",
        )
    if any(is_linear(x) for x in xs[:n_consts]):
        raise GradError("custom_linear_solve: it is not linear in what its functions close over")
    n = len(matvec.outputs)
    outs = custom_linear_solve(
        *xs[:n_consts],
        *_filled(cts[:n], matvec.output_types),
        matvec=vecmat,
        vecmat=matvec,
        solve=transpose_solve,
        transpose_solve=solve,
        n_consts=n_consts,
    )[:n]
    found = zip(outs, xs[n_consts:], strict=True)
    return (*(None for _ in range(n_consts)), *(ct if is_linear(x) else None for ct, x in found))


def _batch_solve(
    size: int,
    mask: Any,
    xs: Any,
    *,
    matvec: Graph,
    vecmat: Graph | None,
    solve: Graph,
    transpose_solve: Graph | None,
    n_consts: int,
) -> Any:
    fixed = tuple(mask[:n_consts])

    def batched(graph: Graph | None) -> Graph | None:
        return None if graph is None else _batched(graph, size, fixed)

    given = zip(xs[n_consts:], mask[n_consts:], strict=True)
    return custom_linear_solve(
        *xs[:n_consts],
        *(with_batch_axis(x, size, have) for x, have in given),
        matvec=batched(matvec),
        vecmat=batched(vecmat),
        solve=batched(solve),
        transpose_solve=batched(transpose_solve),
        n_consts=n_consts,
    )


custom_linear_solve = Primitive(
    "custom_linear_solve",
    params=("matvec", "vecmat", "solve", "transpose_solve", "n_consts"),
    infer=_infer_solve,
    numpy=lambda *arrays, solve, **_: tuple(interp.run(solve, arrays)),
    push=_push_solve,
    transpose=_transpose_solve,
    batch=_batch_solve,
    doc="The solution of a linear equation, differentiated by solving with the same operator.",
)
