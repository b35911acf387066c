"""Functions as their graphs, and transposed: ``make_jaxpr``, ``linear_transpose``, ``fwd_and_bwd``.

>>> tj.make_jaxpr(jnp.sin)(1.0).nodes[0].prim
sin
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import optree

from tracejit import source
from tracejit.errors import ArgumentError, GradError, MissingRule, user_traceback
from tracejit.frontend import key_uses, named_axes
from tracejit.frontend.array import as_array
from tracejit.frontend.call import (
    FlatCall,
    call_user,
    check_function,
    flatten,
    run_graph,
    trace_call,
)
from tracejit.frontend.derivatives import match_type, vjp
from tracejit.frontend.dispatch import jit
from tracejit.frontend.shapes import ShapeDtypeStruct, stand_ins
from tracejit.frontend.wrapping import named_as, wraps
from tracejit.ir.types import is_inexact
from tracejit.transform.backward import transpose_graph
from tracejit.tree_util import check_same_structure

Function = Callable[..., Any]


@user_traceback
def make_jaxpr(
    fun: Function,
    static_argnums: int | Sequence[int] = (),
    axis_env: Sequence[tuple[Any, int]] | None = None,
    return_shape: bool = False,
) -> Function:
    """A function that gives the traced Graph of ``fun`` at its arguments, which may be
    ShapeDtypeStructs. Print it; ``nodes``, ``inputs`` and ``outputs`` are its parts.

    ``static_argnums``: arguments that are passed on as they are. ``axis_env``: names and sizes of
    axes that collectives in ``fun`` may name. With ``return_shape``, ``(graph, shapes of the
    result)``.

    >>> print(tj.make_jaxpr(lambda x: jnp.sin(x) * 2)(1.0))
    graph lambda(%x: f32[]) -> (%2):
      %1 = sin(%x) : f32[] ...
      %2 = mul(%1, 2.0) : f32[] ...
    """
    check_function("make_jaxpr", fun)
    static = {static_argnums} if isinstance(static_argnums, int) else set(static_argnums)

    @user_traceback
    @wraps(fun)
    def graph_of(*args: Any, **kwargs: Any) -> Any:
        fixed = {k % len(args): args[k] for k in static}
        others = [x for k, x in enumerate(args) if k not in fixed]

        @wraps(fun)
        def of_others(*xs: Any, **rest: Any) -> Any:
            given = iter(xs)
            full = [fixed[k] if k in fixed else next(given) for k in range(len(args))]
            return call_user(fun, full, rest)

        args_now, kwargs_now = stand_ins(others, kwargs)
        call = FlatCall.of(of_others if fixed else fun, tuple(args_now), kwargs_now)
        with named_axes.all_bound(axis_env or ()):
            traced = trace_call(call, "make_jaxpr")
        if not return_shape:
            return traced.graph
        shapes = [ShapeDtypeStruct(y.type.shape, y.type.dtype) for y in traced.graph.outputs]
        return traced.graph, optree.tree_unflatten(traced.outputs.treedef, shapes)

    return graph_of


@user_traceback
def linear_transpose(fun: Function, *primals: Any, reduce_axes: Sequence[Any] = ()) -> Function:
    """The transpose of ``fun``, which is linear in all its arguments: a function from cotangents of
    its result to a tuple of cotangents of the arguments.

    ``primals``: arrays or ShapeDtypeStructs, of which only types count; they are floating. It is
    ``vjp`` without the forward pass. Raises GradError for integers; calls raise MissingRule where
    ``fun`` is not linear.

    >>> tj.linear_transpose(lambda x, y: 2 * x - y, 1.0, 1.0)(3.0)
    (Array(6., dtype=float32), Array(-3., dtype=float32))
    """
    check_function("linear_transpose", fun)
    if reduce_axes:
        raise ArgumentError("linear_transpose: reduce_axes is not provided", at=source.here())
    call = FlatCall.of(fun, *stand_ins(primals, {}))
    for leaf, name in zip(call.leaves, call.names, strict=True):
        if not is_inexact(leaf.dtype):
            raise GradError(
                f"linear_transpose: argument `{name}` of `{call.name}` is {leaf.type}; "
                "linear functions have floating arguments",
                at=source.here(),
            )
    traced = trace_call(call, "linear_transpose")
    linear = (*(False for _ in traced.captured), *(True for _ in call.leaves))
    outputs = traced.graph.outputs

    @user_traceback
    def transposed(cotangent: Any) -> Any:
        leaves, treedef = flatten(cotangent)
        check_same_structure(
            "linear_transpose", traced.outputs.treedef, treedef, ("output", "cotangent")
        )
        cts = [
            match_type(as_array(ct), y.type, "linear_transpose: the cotangent")
            for ct, y in zip(leaves, outputs, strict=True)
        ]
        try:
            graph, _ = transpose_graph(traced.graph, linear, (True,) * len(cts))
        except MissingRule as error:
            raise MissingRule(
                f"linear_transpose: `{call.name}` is not linear: {error.what}", at=error.at
            ) from None
        key_uses.consume_all(call.leaves, traced)
        found = run_graph(graph, [*traced.captured, *cts])
        return optree.tree_unflatten(call.treedef, found)[0]

    return transposed


@user_traceback
def fwd_and_bwd(
    fun: Function, argnums: int | Sequence[int], has_aux: bool = False, jitted: bool = True
) -> tuple[Function, Function]:
    """``(fwd, bwd)``: ``fwd(*args)`` gives ``(result, residuals)``, with ``has_aux`` ``(result,
    residuals, aux)``; ``bwd(residuals, cotangent)`` gives the cotangents of the arguments at
    ``argnums``, a tuple for a sequence of positions.

    Both are compiled, once each, unless ``jitted`` is False.

    >>> fwd, bwd = tj.fwd_and_bwd(jnp.multiply, argnums=(0, 1))
    >>> y, residuals = fwd(2.0, 5.0)
    >>> bwd(residuals, 1.0)
    (Array(5., dtype=float32), Array(2., dtype=float32))
    """
    check_function("fwd_and_bwd", fun)
    wanted = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    def fwd(*args: Any) -> Any:
        def of_wanted(*xs: Any) -> Any:
            full = list(args)
            for k, x in zip(wanted, xs, strict=True):
                full[k] = x
            return call_user(fun, full, {})

        return vjp(of_wanted, *(args[k] for k in wanted), has_aux=has_aux)

    def bwd(residuals: Any, cotangent: Any) -> Any:
        found = residuals(cotangent)
        return found[0] if isinstance(argnums, int) else found

    named_as(fwd, fun)
    return (jit(fwd), jit(bwd)) if jitted else (fwd, bwd)
