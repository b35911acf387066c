"""jacfwd, jacrev and hessian: all partial derivatives at once, by vmap over unit tangents.

jacrev(f)(x)     leaves of shape output.shape + input.shape
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optree

from tracejit import source
from tracejit.errors import GradError, user_traceback
from tracejit.frontend import key_uses, methods
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.call import (
    FlatCall,
    OutTree,
    check_function,
    flatten,
    run_graph,
    trace_call,
)
from tracejit.frontend.derivatives import (
    Function,
    call_of_chosen,
    check_inputs,
    select_args,
    vjp,
    with_aux,
)
from tracejit.frontend.vectorize import vmap
from tracejit.frontend.wrapping import wraps
from tracejit.ir.types import is_inexact, kind
from tracejit.transform.batch import batch_graph
from tracejit.transform.forward import jvp_graph


@user_traceback
def jacfwd(
    fun: Function,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
) -> Function:
    """The Jacobian by forward mode: leaves have shape ``output.shape + input.shape``.

    Raises GradError for complex inputs unless ``holomorphic``: no one number says it then.

    >>> tj.jacfwd(jnp.square)(jnp.array([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """
    return _jacobian(fun, argnums, has_aux, _columns, "jacfwd", holomorphic)


@user_traceback
def jacrev(
    fun: Function,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
) -> Function:
    """The Jacobian by reverse mode: leaves have shape ``output.shape + input.shape``.

    Raises GradError for complex outputs unless ``holomorphic``: no one number says it then.

    >>> tj.jacrev(jnp.sum)(jnp.array([1.0, 2.0]))
    Array([1., 1.], dtype=float32)
    """
    return _jacobian(fun, argnums, has_aux, _rows, "jacrev", holomorphic, allow_int)


jacobian = jacrev


def _jacobian(
    fun: Function,
    argnums: int | Sequence[int],
    has_aux: bool,
    compute: Any,
    what: str,
    holomorphic: bool,
    allow_int: bool = False,
) -> Function:
    check_function(what, fun)

    @user_traceback
    @wraps(fun)
    def jacobian_of(*args: Any, **kwargs: Any) -> Any:
        wanted = select_args(fun, args, argnums, what)
        call = call_of_chosen(fun, args, kwargs, wanted)
        check_inputs(call, what, allow_int, holomorphic)
        if what == "jacfwd" and not holomorphic:
            _check_real(call.leaves, call, what)
        chosen = tuple(args[k] for k in wanted)
        jac, ys, aux = compute(call.fun, chosen, has_aux, isinstance(argnums, int))
        if what == "jacrev" and not holomorphic:
            _check_real(ys, call, what)
        return (jac, aux) if has_aux else jac

    return jacobian_of


def _check_real(arrays: Sequence[Array], call: FlatCall, what: str) -> None:
    for array in arrays:
        if kind(array.dtype) == "c":
            raise GradError(
                f"{what}: `{call.name}` {'takes' if what == 'jacfwd' else 'returns'} {array.type}, "
                "whose derivative is not one complex number",
                at=source.here(),
                hint="pass holomorphic=True for a holomorphic function, "
                "or differentiate real and imaginary parts",
            )


def _basis(leaves: Sequence[Array]) -> list[Array]:
    """For each leaf, unit tangents of all leaves stacked: shape (total, *leaf.shape)."""
    total = sum(leaf.size for leaf in leaves)
    found, start = [], 0
    for leaf in leaves:
        rows = methods.eye(total, leaf.size, -start, leaf.dtype)
        found.append(methods.reshape(rows, (total, *leaf.shape)))
        start += leaf.size
    return found


def _columns(fun: Function, args: tuple[Any, ...], has_aux: bool, single: bool) -> Any:
    """The Jacobian, outputs and aux: one batched jvp along all unit tangents."""
    wrapped, notes = with_aux(FlatCall.of(fun, args, {}), has_aux, "jacfwd")
    traced = trace_call(wrapped, "jacfwd")
    key_uses.consume_all(wrapped.leaves, traced)
    xs, treedef = wrapped.leaves, wrapped.treedef.children()[0]
    main: OutTree = notes[0] if has_aux else traced.outputs
    n, n_main, outer = len(traced.graph.outputs), len(main.weak), len(traced.captured)
    wanted = tuple(
        k < n_main and is_inexact(y.type.dtype) for k, y in enumerate(traced.graph.outputs)
    )
    pushed, _ = jvp_graph(traced.graph, ((False,) * outer + (True,) * len(xs)), wanted)
    basis = _basis(xs)
    batched = (False,) * (outer + len(xs)) + (True,) * len(xs)
    columns, _ = batch_graph(
        pushed, sum(x.size for x in xs), batched, (False,) * n + (True,) * sum(wanted)
    )
    outs = run_graph(columns, [*traced.captured, *xs, *basis])
    key_uses.note_results(outs, traced)
    rest = iter(outs[n:])
    jac_leaves = []
    for y, w in zip(outs[:n_main], wanted, strict=False):
        parts = _parts_of_columns(next(rest), xs) if w else [_no_derivative(y, x) for x in xs]
        tree = optree.tree_unflatten(treedef, parts)
        jac_leaves.append(tree[0] if single else tree)
    aux = notes[1].build(outs[n_main:n]) if has_aux else None
    return optree.tree_unflatten(main.treedef, jac_leaves), outs[:n_main], aux


def _parts_of_columns(column: Array, xs: Sequence[Array]) -> list[Array]:
    parts, start = [], 0
    for x in xs:
        part = methods.moveaxis(methods.getitem(column, slice(start, start + x.size)), 0, -1)
        parts.append(methods.reshape(part, (*part.shape[:-1], *x.shape)))
        start += x.size
    return parts


def _no_derivative(y: Array, x: Array) -> Any:
    return methods.float0_zeros(x.type.with_shape((*y.shape, *x.shape)))


def _rows(fun: Function, args: tuple[Any, ...], has_aux: bool, single: bool) -> Any:
    """The Jacobian, outputs and aux: one batched vjp along all unit cotangents."""
    result = vjp(fun, *args, has_aux=has_aux)
    out, pull = result[0], result[1]
    leaves, out_tree = flatten(out)
    ys = [as_array(y) for y in leaves]
    inputs, treedef = flatten(args)
    xs = [as_array(x) for x in inputs]

    def pull_inexact(*dys: Array) -> list[Array]:
        cts = flatten(pull(optree.tree_unflatten(out_tree, dys)))[0]
        return [ct for ct, x in zip(cts, xs, strict=True) if is_inexact(x.dtype)]

    rows = vmap(pull_inexact)(*_basis(ys)) if ys else []
    jac_leaves, start = [], 0
    for y in ys:
        rest = iter(rows)
        parts = [
            _part_of_rows(next(rest), start, y) if is_inexact(x.dtype) else _no_derivative(y, x)
            for x in xs
        ]
        tree = optree.tree_unflatten(treedef, parts)
        jac_leaves.append(tree[0] if single else tree)
        start += y.size
    return optree.tree_unflatten(out_tree, jac_leaves), ys, (result[2] if has_aux else None)


def _part_of_rows(ct: Array, start: int, y: Array) -> Array:
    rows = methods.getitem(ct, slice(start, start + y.size))
    return methods.reshape(rows, (*y.shape, *ct.shape[1:]))


@user_traceback
def hessian(
    fun: Function,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
) -> Function:
    """The second derivatives, ``output.shape + 2 * input.shape``: ``jacfwd(jacrev(fun))``.

    >>> tj.hessian(lambda x: x[0] * x[1] ** 2)(jnp.array([3.0, 2.0])).tolist()
    [[0.0, 4.0], [4.0, 6.0]]
    """
    return jacfwd(jacrev(fun, argnums, has_aux, holomorphic), argnums, has_aux, holomorphic)
