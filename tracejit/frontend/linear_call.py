"""Linear functions whose transpose the user gives, and solutions of linear equations.

    >>> def scaled(factor, x):
    ...     return factor * x
    >>> y = linear_call(scaled, scaled, 2.0, jnp.array([1.0, 2.0]))
    >>> print(y)
    [2. 4.]

Both become one node that holds graphs (``transform/linear.py``): its derivatives are nodes of the
same kind, of every order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tracejit.errors import ArgumentError, DTypeError
from tracejit.frontend import key_uses
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.bodies import share_captured, trace_body
from tracejit.frontend.call import flatten, function_name, run_graph
from tracejit.frontend.derivatives import match_type
from tracejit.frontend.split import Split, placeholder
from tracejit.frontend.trace import Traced, current_trace
from tracejit.ir.types import is_inexact
from tracejit.source import here
from tracejit.transform import linear
from tracejit.transform.backward import transpose_graph
from tracejit.tree_util import check_same_structure, tree_structure, tree_unflatten

Function = Callable[..., Any]


def linear_call(
    fun: Function, fun_transpose: Function, residual_args: Any, linear_args: Any
) -> Any:
    """``fun(residual_args, linear_args)``, a function linear in its second argument whose transpose
    is ``fun_transpose(residual_args, cotangent)``.

    Arguments and results are pytrees. Reverse mode calls ``fun_transpose``, and transposing that
    calls ``fun``; derivatives by the residuals are taken of the function that runs. Raises
    DTypeError where a linear argument is no floating or complex array, GradError where
    ``fun_transpose`` does not return cotangents of the linear arguments.

    >>> def cumulate(_, x):
    ...     return jnp.cumsum(x)
    >>> def cumulate_transposed(_, ct):
    ...     return jnp.cumsum(ct[::-1])[::-1]
    >>> grad(lambda x: linear_call(cumulate, cumulate_transposed, None, x)[1])(jnp.ones(3))
    Array([1., 1., 0.], dtype=float32)
    """
    if current_trace() is None:
        return fun(residual_args, linear_args)
    what = f"linear_call of `{function_name(fun)}`"
    call = Split.of(fun, (residual_args, linear_args), ())
    fixed = len(flatten(residual_args)[0])
    for leaf, name in zip(call.leaves[fixed:], call.names[fixed:], strict=True):
        if not is_inexact(leaf.dtype):
            raise DTypeError(f"{what}: the linear argument `{name}` is {leaf.type}", at=here())
    body = call.trace(fun, "linear_call")
    key_uses.consume_all(call.leaves, body)
    cts = [placeholder(y.type) for y in body.graph.outputs]
    ct_tree = tree_unflatten(body.outputs.treedef, cts)
    leaves = (*call.leaves[:fixed], *cts)

    def checked(result: Any) -> list[Array]:
        return _like(f"{what}: the transpose", result, call.leaves[fixed:], linear_args)

    transposed = trace_body(
        fun_transpose, leaves, tree_structure((residual_args, ct_tree)), "linear_call",
        names=[*call.names[:fixed], *(f"cotangent {k}" for k in range(len(cts)))],
        eager=False, finish=checked,
    )  # fmt: skip
    captured, graphs = share_captured((body, transposed))
    outs = apply(
        linear.linear_call,
        *captured,
        *call.leaves,
        body=graphs[0],
        transposed=graphs[1],
        n_fixed=len(captured) + fixed,
    )
    return body.outputs.build(outs)


def _like(what: str, result: Any, leaves: Sequence[Array], tree: Any) -> list[Array]:
    """The leaves of ``result``, which has the structure of ``tree`` and the types of its leaves."""
    found, treedef = flatten(result)
    check_same_structure(
        f"{what} returns another structure", tree_structure(tree), treedef, ("needed", "returned")
    )
    return [
        match_type(as_array(y), x, f"{what}: result {k}")
        for k, (y, x) in enumerate(zip(found, leaves, strict=True))
    ]


# ---- custom_linear_solve -------------------------------------------------------------------------


def custom_linear_solve(
    matvec: Function,
    b: Any,
    solve: Function,
    transpose_solve: Function | None = None,
    symmetric: bool = False,
    has_aux: bool = False,
) -> Any:
    """The solution of ``matvec(x) == b``, found by ``solve(matvec, b)``; differentiated by solving.

    ``matvec`` is linear; ``b`` and x are pytrees of one structure. Derivatives are those of the
    equation, by ``b`` and by whatever ``matvec`` closes over; what ``solve`` does takes no part in
    them. Reverse mode needs ``transpose_solve(vecmat, ct)``, which solves with the transpose of
    ``matvec`` (without conjugation), or ``symmetric=True``: then ``solve`` serves. With ``has_aux``
    the solvers return ``(x, aux)``, and aux is a constant of differentiation.

    Raises TreeError and GradError where ``matvec`` or ``solve`` do not return what ``b`` is.

    >>> a = jnp.array([[2.0, 0.0], [1.0, 4.0]])
    >>> def solve(matvec, b):
    ...     return jnp.array([b[0] / 2, (b[1] - b[0] / 2) / 4])
    >>> lax.custom_linear_solve(lambda x: a @ x, jnp.array([2.0, 9.0]), solve)
    Array([1., 2.], dtype=float32)
    """
    if transpose_solve is None and symmetric:
        transpose_solve = solve
    if current_trace() is None:
        result = solve(matvec, b)
        return _pair(result) if has_aux else result
    call = Split.of(matvec, (b,), ())
    what = f"custom_linear_solve of `{function_name(matvec)}`"
    body = call.trace(matvec, what, lambda y: _solution(f"{what}: matvec", y, call, b, False))
    run = call.trace(
        lambda given: solve(matvec, given),
        what,
        lambda y: _solution(f"{what}: solve", y, call, b, has_aux),
    )
    key_uses.consume_all(call.leaves, run)
    bodies = [body, run]
    if transpose_solve is not None:
        bodies += _transposed(what, call, b, body, matvec, transpose_solve, symmetric, has_aux)
    captured, graphs = share_captured(bodies)
    outs = apply(
        linear.custom_linear_solve,
        *captured,
        *call.leaves,
        matvec=graphs[0],
        solve=graphs[1],
        vecmat=graphs[2] if transpose_solve else None,
        transpose_solve=graphs[3] if transpose_solve else None,
        n_consts=len(captured),
    )
    return run.outputs.build(outs)


def _pair(result: Any) -> Any:
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise ArgumentError(
            "custom_linear_solve: with has_aux, solve returns a pair (x, aux)", at=here()
        )
    return result


def _solution(what: str, result: Any, call: Split, b: Any, has_aux: bool) -> Any:
    """``result`` with its solution in the types of ``b``."""
    x, aux = _pair(result) if has_aux else (result, None)
    leaves = _like(what, x, call.leaves, b)
    x = tree_unflatten(tree_structure(b), leaves)
    return (x, aux) if has_aux else x


def _transposed(
    what: str,
    call: Split,
    b: Any,
    body: Traced,
    matvec: Function,
    transpose_solve: Function,
    symmetric: bool,
    has_aux: bool,
) -> list[Traced]:
    """The product with the transpose, and the solver of its equations."""
    n, n_captured = len(call.leaves), len(body.captured)
    graph = body.graph
    if not symmetric:
        graph, _ = transpose_graph(graph, (False,) * n_captured + (True,) * n, (True,) * n)

    def vecmat(y: Any) -> Any:
        if symmetric:
            return matvec(y)
        given = _like(f"{what}: vecmat", y, call.leaves, b)
        return tree_unflatten(tree_structure(b), run_graph(graph, [*body.captured, *given]))

    def finish(result: Any) -> Any:
        found = _solution(f"{what}: transpose_solve", result, call, b, has_aux)
        return found[0] if has_aux else found

    run = call.trace(lambda ct: transpose_solve(vecmat, ct), what, finish)
    return [Traced(graph, body.captured, None), run]
