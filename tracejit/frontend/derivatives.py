"""grad, value_and_grad, jvp, vjp, linearize, jacfwd, jacrev, hessian: names and order of JAX.

    >>> grad(lambda x: jnp.sum(x * x))(jnp.array([1.0, 2.0]))
    Array([2., 4.], dtype=float32)

Each traces the function to a graph, transforms the graph and runs it; inside another trace the
transformed graph's nodes join that trace, so they nest in any order and depth.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import numpy as np
import optree

from tracejit import source
from tracejit.errors import ArgumentError, GradError, user_traceback
from tracejit.frontend import key_uses, methods
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.call import (
    FlatCall,
    OutTree,
    arrays_of,
    call_user,
    check_function,
    flatten,
    flatten_result,
    function_name,
    leaf_names,
    run_graph,
    trace_call,
)
from tracejit.frontend.wrapping import wraps
from tracejit.ir.graph import Graph
from tracejit.ir.types import TensorType, is_inexact, kind
from tracejit.record import dataclass
from tracejit.transform.backward import transpose_graph
from tracejit.transform.forward import jvp_graph, linearize_graph
from tracejit.tree_util import Partial, check_same_structure, register_pytree_node

Function = Callable[..., Any]
P = ParamSpec("P")
FLOAT0 = methods.float0_zeros(np.empty(())).dtype


def select_args(
    fun: Function, args: tuple[Any, ...], argnums: int | Sequence[int], what: str
) -> tuple[int, ...]:
    """``argnums`` as non-negative positions; ArgumentError when one is not among ``args``."""
    try:
        wanted = (argnums,) if isinstance(argnums, int) else tuple(map(operator.index, argnums))
    except TypeError as error:
        raise ArgumentError(
            f"{what}: argnums is an integer or a sequence of them, not {argnums!r}",
            at=source.here(),
        ) from error
    found = tuple(k + len(args) if k < 0 else k for k in wanted)
    if any(not 0 <= k < len(args) for k in found):
        raise ArgumentError(
            f"{what}: argnums={argnums}, but `{function_name(fun)}` was called with "
            f"{len(args)} positional arguments",
            at=source.here(),
            hint=f"positions go from 0 to {len(args) - 1}"
            if args
            else "pass the argument by position",
        )
    return found


def call_of_chosen(
    fun: Function, args: tuple[Any, ...], kwargs: dict[str, Any], wanted: Sequence[int]
) -> FlatCall:
    """``fun`` as a function of its arguments ``wanted`` alone; the others stay what they are."""

    @wraps(fun)
    def of_chosen(*xs: Any) -> Any:
        full = list(args)
        for k, x in zip(wanted, xs, strict=True):
            full[k] = x
        return call_user(fun, full, kwargs)

    chosen = tuple(args[k] for k in wanted)
    leaves, treedef = flatten((chosen, {}))
    all_names = leaf_names(fun, args, {})
    counts = [len(flatten(arg)[0]) for arg in args]
    starts = [sum(counts[:k]) for k in wanted]
    names = [
        n for k, at in zip(wanted, starts, strict=True) for n in all_names[at : at + counts[k]]
    ]
    return FlatCall(of_chosen, arrays_of(leaves, names, function_name(fun)), treedef, tuple(names))


def check_inputs(call: FlatCall, what: str, allow_int: bool, holomorphic: bool = False) -> None:
    for leaf, name in zip(call.leaves, call.names, strict=True):
        if holomorphic and kind(leaf.dtype) != "c":
            raise GradError(
                f"{what}: argument `{name}` of `{call.name}` is {leaf.type}; "
                "holomorphic=True is for complex inputs",
                at=source.here(),
                hint="convert it with .astype(complex), or drop holomorphic",
            )
        if not allow_int and not is_inexact(leaf.dtype):
            raise GradError(
                f"{what}: argument `{name}` of `{call.name}` is {leaf.type}; "
                "derivatives need floating or complex inputs",
                at=source.here(),
                hint="convert it with .astype(float), or pass allow_int=True",
            )


def _check_scalar(call: FlatCall, y: Array, what: str, holomorphic: bool) -> None:
    if y.shape != ():
        raise GradError(
            f"{what}: `{call.name}` returns {y.type}, not a scalar",
            at=source.here(),
            hint="reduce it with .sum() or .mean(), or use jacrev for all derivatives",
        )
    if kind(y.dtype) not in ("fc" if holomorphic else "f"):
        raise GradError(
            f"{what}: `{call.name}` returns {y.type}; a real floating scalar is needed",
            at=source.here(),
            hint="convert it with .astype(float), or pass holomorphic=True for a complex function",
        )


@user_traceback
def value_and_grad(
    fun: Callable[P, Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
) -> Callable[P, Any]:
    """A function giving ``(fun(*args), gradient)``; with ``has_aux``, ``((value, aux), gradient)``.

    Options and errors are those of ``grad``.

    >>> tj.value_and_grad(lambda w: w**2 + 1)(3.0)
    (Array(10., dtype=float32), Array(6., dtype=float32))
    """
    check_function("grad", fun)

    @user_traceback
    @wraps(fun)
    def value_and_grad_of(*args: Any, **kwargs: Any) -> Any:
        wanted = select_args(fun, args, argnums, "grad")
        call = call_of_chosen(fun, args, kwargs, sorted(set(wanted)))
        check_inputs(call, "grad", allow_int, holomorphic)
        value, pull, residuals, aux = _pull(call, has_aux, "grad")
        (y,) = value.leaves if len(value.leaves) == 1 else (None,)
        if y is None:
            raise GradError(
                f"grad: `{call.name}` returns {len(value.leaves)} values, not one scalar",
                at=source.here(),
                hint="return (loss, aux) and pass has_aux=True" if len(value.leaves) > 1 else "",
            )
        _check_scalar(call, y, "grad", holomorphic)
        cts = pull(residuals, [as_array(methods.ones_like(y))])
        grads = _grads_tree(args, wanted, cts, isinstance(argnums, int))
        out = value.build()
        return ((out, aux), grads) if has_aux else (out, grads)

    return value_and_grad_of


def _grads_tree(
    args: tuple[Any, ...], wanted: tuple[int, ...], cts: Sequence[Array], single: bool
) -> Any:
    rest = iter(cts)
    trees = {}
    for k in sorted(set(wanted)):
        leaves, treedef = flatten(args[k])
        trees[k] = optree.tree_unflatten(treedef, [next(rest) for _ in leaves])
    found = tuple(trees[k] for k in wanted)
    return found[0] if single else found


@user_traceback
def grad(
    fun: Callable[P, Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
) -> Callable[P, Any]:
    """A function that gives the gradient of ``fun``; with ``has_aux``, ``(gradient, aux)``.

    It has the structure, shapes and dtypes of the arguments at ``argnums`` (a tuple for a sequence
    of positions); of a real function of x + iy it is df/dx - i df/dy. ``holomorphic`` is for
    complex functions, ``allow_int`` gives float0 zeros for integers. The calls raise GradError
    when ``fun`` does not return a real scalar, or such an argument is not floating.

    >>> grad(lambda w, x: jnp.sum(w * x**2), argnums=1)(3.0, jnp.array([1.0, 2.0]))
    Array([ 6., 12.], dtype=float32)
    """
    both = value_and_grad(fun, argnums, has_aux, holomorphic, allow_int)

    @user_traceback
    @wraps(fun)
    def grad_of(*args: Any, **kwargs: Any) -> Any:
        value, grads = both(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return grad_of


class _Value:
    """Outputs of a traced function: leaves and how to build the tree."""

    def __init__(self, leaves: Sequence[Array], tree: OutTree) -> None:
        self.leaves = list(leaves)
        self.tree = tree

    def build(self) -> Any:
        return self.tree.build(self.leaves)


def with_aux(call: FlatCall, has_aux: bool, what: str) -> tuple[FlatCall, list[Any]]:
    """With ``has_aux`` the function returns (main, aux): trace both, remember where main ends."""
    notes: list[Any] = []
    if not has_aux:
        return call, notes

    @wraps(call.fun)
    def run(*args: Any, **kwargs: Any) -> Any:
        result = call_user(call.fun, args, kwargs)
        if not (isinstance(result, tuple) and len(result) == 2):
            raise ArgumentError(
                f"{what}: with has_aux=True `{call.name}` must return (value, aux), "
                f"not {type(result).__name__}",
                at=source.here(),
                hint="return (loss, anything else), or drop has_aux",
            )
        main, aux = flatten_result(result[0], call.name), flatten_result(result[1], call.name)
        notes[:] = [main[1], aux[1]]
        return [*main[0], *aux[0]]

    return FlatCall(run, call.leaves, call.treedef, call.names), notes


@dataclass(frozen=True, eq=False)
class _Pullback:
    """From cotangents of the floating outputs to those of the leaves, given the residuals."""

    linear: Graph
    inputs: tuple[TensorType, ...]
    weak: tuple[bool, ...]

    def __call__(self, residuals: Sequence[Array], cts: Sequence[Array]) -> list[Array]:
        floats = [is_inexact(t.dtype) for t in self.inputs]
        linear = (*(False for _ in residuals), *(True for f in floats if f))
        pulled, _ = transpose_graph(self.linear, linear, (True,) * len(cts))
        outs = iter(run_graph(pulled, [*residuals, *cts]))
        found = []
        for is_float, type, weak in zip(floats, self.inputs, self.weak, strict=True):
            ct = next(outs) if is_float else methods.float0_zeros(type)
            if is_float:  # weakly typed where the argument is a Python scalar
                ct._weak = weak
            found.append(ct)
        return found


def _pull(call: FlatCall, has_aux: bool, what: str) -> tuple[_Value, _Pullback, list[Array], Any]:
    """Values, their pullback and its residuals, and aux."""
    wrapped, notes = with_aux(call, has_aux, what)
    traced = trace_call(wrapped, what)
    key_uses.consume_all(call.leaves, traced)
    floats = [is_inexact(leaf.dtype) for leaf in call.leaves]
    full_mask = (*(False for _ in traced.captured), *floats)
    main: OutTree = notes[0] if has_aux else traced.outputs
    n_main = len(main.weak)
    graph = traced.graph
    wanted = tuple(k < n_main and is_inexact(y.type.dtype) for k, y in enumerate(graph.outputs))
    split = linearize_graph(graph, full_mask, wanted)
    outs = run_graph(split.forward, [*traced.captured, *call.leaves])
    key_uses.note_results(outs, traced)
    n = len(graph.outputs)
    pull = _Pullback(split.linear, call.types, tuple(leaf._weak for leaf in call.leaves))
    aux = notes[1].build(outs[n_main:n]) if has_aux else None
    return _Value(outs[:n_main], main), pull, outs[n:], aux


@dataclass(frozen=True, eq=False)
class _VjpFun:
    """What ``vjp`` returns, less its residuals: checks a cotangent and gives those of the
    primals.
    """

    pull: _Pullback
    outputs: Any
    types: tuple[TensorType, ...]
    primals: Any

    def __call__(self, *given: Any) -> Any:
        *residuals, cotangent = given
        leaves, treedef = flatten(cotangent)
        _same_tree(treedef, self.outputs, "vjp", ("output", "cotangent"))
        cts = [
            match_type(as_array(ct), y, "vjp: the cotangent")
            for ct, y in zip(leaves, self.types, strict=True)
            if is_inexact(y.dtype)
        ]
        return optree.tree_unflatten(self.primals, self.pull(residuals, cts))


class VjpFunction(Partial):
    """The function that ``vjp`` returns: a Partial of what the forward pass kept."""

    @user_traceback
    def __call__(self, cotangent: Any) -> Any:
        return super().__call__(cotangent)


register_pytree_node(
    VjpFunction,
    lambda fun: (fun.args, fun.func),
    lambda static, residuals: VjpFunction(static, *residuals),
)


@user_traceback
def vjp(fun: Function, *primals: Any, has_aux: bool = False) -> Any:
    """``(fun(*primals), vjp_fun)``: ``vjp_fun(cotangent)`` is the tuple of the primals' cotangents.

    A cotangent has the type of what it belongs to. With ``has_aux`` aux comes third. ``vjp_fun`` is
    a pytree of what the forward pass kept, so that compiled functions may take and return it.

    >>> y, pull = tj.vjp(jnp.multiply, 2.0, 5.0)
    >>> pull(1.0)
    (Array(5., dtype=float32), Array(2., dtype=float32))
    """
    check_function("vjp", fun)
    call = FlatCall.of(fun, primals, {})
    value, pull, residuals, aux = _pull(call, has_aux, "vjp")
    out = value.build()
    types = tuple(y.type for y in value.leaves)
    pulled = _VjpFun(pull, value.tree.treedef, types, call.treedef.children()[0])
    vjp_fun = VjpFunction(pulled, *residuals)
    return (out, vjp_fun, aux) if has_aux else (out, vjp_fun)


def _same_tree(found: Any, expected: Any, what: str, names: tuple[str, str]) -> None:
    if found != expected:
        check_same_structure(what, expected, found, names)


def match_type(given: Array, like: Array | TensorType, what: str) -> Array:
    """``given`` in the dtype of ``like``, an Array or a type, when it is a weak scalar; GradError
    when they differ.
    """
    if given._weak or given.dtype != like.dtype and given.shape == () and like.shape == ():
        given = methods.astype(given, like.dtype)
    wanted = like if isinstance(like, TensorType) else like.type
    if given.type != wanted:
        raise GradError(
            f"{what} is {given.type} where {wanted} is needed",
            at=source.here(),
            hint="it has the shape and dtype of what it belongs to: use .astype or .reshape",
        )
    return given


def _tangents(tangents: Sequence[Any], call: FlatCall, what: str) -> list[Array]:
    """The inexact leaves' tangents; GradError for a wrong type, or a tangent of an integer."""
    found = []
    for tangent, x, name in zip(tangents, call.leaves, call.names, strict=True):
        if is_inexact(x.dtype):
            found.append(match_type(as_array(tangent), x, f"{what}: the tangent of `{name}`"))
        elif getattr(tangent, "dtype", None) != FLOAT0:
            raise GradError(
                f"{what}: `{name}` is {x.type}, which has no tangent but float0 zeros",
                at=source.here(),
                hint="convert it with .astype(float) to differentiate by it, or close over it",
            )
    return found


@user_traceback
def jvp(
    fun: Function, primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False
) -> Any:
    """``(fun(*primals), tangent of the output)``: the derivative at ``primals`` along ``tangents``.

    Tangents have the structure and types of the primals, else GradError; float0 for integers.

    >>> tj.jvp(jnp.square, (3.0,), (1.0,))
    (Array(9., dtype=float32), Array(6., dtype=float32))
    """
    check_function("jvp", fun)
    if not isinstance(primals, tuple | list) or not isinstance(tangents, tuple | list):
        raise ArgumentError(
            "jvp: primals and tangents must be tuples or lists",
            at=source.here(),
            hint="write jvp(f, (x,), (dx,))",
        )
    call = FlatCall.of(fun, tuple(primals), {})
    t_leaves, t_tree = flatten(tuple(tangents))
    _same_tree(t_tree, call.treedef.children()[0], "jvp", ("primals", "tangents"))
    mask = tuple(is_inexact(leaf.dtype) for leaf in call.leaves)
    dxs = _tangents(t_leaves, call, "jvp")
    wrapped, notes = with_aux(call, has_aux, "jvp")
    traced = trace_call(wrapped, "jvp")
    key_uses.consume_all(call.leaves, traced)
    main: OutTree = notes[0] if has_aux else traced.outputs
    n, n_main = len(traced.graph.outputs), len(main.weak)
    wanted = tuple(
        k < n_main and is_inexact(y.type.dtype) for k, y in enumerate(traced.graph.outputs)
    )
    graph, _ = jvp_graph(traced.graph, (*(False for _ in traced.captured), *mask), wanted)
    outs = run_graph(graph, [*traced.captured, *call.leaves, *dxs])
    key_uses.note_results(outs, traced)
    rest = iter(outs[n:])
    dys = [
        next(rest) if w else methods.float0_zeros(y)
        for w, y in zip(wanted, outs[:n_main], strict=False)
    ]
    value, tangent = main.build(outs[:n_main]), optree.tree_unflatten(main.treedef, dys)
    return (value, tangent, notes[1].build(outs[n_main:n])) if has_aux else (value, tangent)


@user_traceback
def linearize(fun: Function, *primals: Any, has_aux: bool = False) -> Any:
    """``(fun(*primals), f_jvp)``: the linear map of tangents; all non-linear work is done once.
    With ``has_aux`` aux comes third.

    >>> tj.linearize(jnp.square, 3.0)[1](1.0)
    Array(6., dtype=float32)
    """
    check_function("linearize", fun)
    call = FlatCall.of(fun, primals, {})
    wrapped, notes = with_aux(call, has_aux, "linearize")
    traced = trace_call(wrapped, "linearize")
    key_uses.consume_all(call.leaves, traced)
    main: OutTree = notes[0] if has_aux else traced.outputs
    n, n_main = len(traced.graph.outputs), len(main.weak)
    mask = tuple(is_inexact(leaf.dtype) for leaf in call.leaves)
    wanted = tuple(
        k < n_main and is_inexact(y.type.dtype) for k, y in enumerate(traced.graph.outputs)
    )
    split = linearize_graph(traced.graph, (*(False for _ in traced.captured), *mask), wanted)
    outs = run_graph(split.forward, [*traced.captured, *call.leaves])
    key_uses.note_results(outs, traced)
    residuals, values = outs[n:], outs[:n_main]

    @user_traceback
    def f_jvp(*tangents: Any) -> Any:
        leaves, treedef = flatten(tangents)
        _same_tree(treedef, call.treedef.children()[0], "linearize", ("primals", "tangents"))
        dxs = _tangents(leaves, call, "linearize")
        found = iter(run_graph(split.linear, [*residuals, *dxs]))
        dys = [
            next(found) if w else methods.float0_zeros(y)
            for w, y in zip(wanted, values, strict=False)
        ]
        return optree.tree_unflatten(main.treedef, dys)

    value = main.build(values)
    return (value, f_jvp, notes[1].build(outs[n_main:n])) if has_aux else (value, f_jvp)


def make_graph(fun: Function, *args: Any, **kwargs: Any) -> Graph:
    """The traced graph of ``fun`` at ``args``, before any pass."""
    return trace_call(FlatCall.of(fun, args, kwargs), "make_graph").graph
