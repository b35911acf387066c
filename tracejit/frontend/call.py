"""A user's call as flat Arrays: pytrees in, names for messages, and tracing of functions over
pytrees.

call = FlatCall.of(f, args, kwargs)      leaves, treedef, names ("x", "params['w']")
traced = trace_call(f, call, "jit")      Traced with a graph over the leaves
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import optree

from tracejit import source
from tracejit.errors import ArgumentError, TracejitError
from tracejit.frontend import long_loops, on_device
from tracejit.frontend.array import Array, apply, as_array, carrying
from tracejit.frontend.placement import where
from tracejit.frontend.rewrite import active
from tracejit.frontend.trace import Trace, Traced, current_trace, run_trace
from tracejit.ir import build
from tracejit.ir.graph import Graph
from tracejit.ir.types import TensorType
from tracejit.passes.subgraphs import without_effects
from tracejit.record import dataclass
from tracejit.transform.branch import call as call_primitive
from tracejit.tree_util import NAMESPACE, keystr, tree_leaves_with_path


def flatten(tree: Any) -> tuple[list[Any], Any]:
    """Leaves and treedef; None is an empty tree, dict keys are sorted."""
    return optree.tree_flatten(tree, namespace=NAMESPACE)


def function_name(fun: Callable[..., Any]) -> str:
    """A name for messages and graphs."""
    found = getattr(fun, "__name__", None)
    return found if isinstance(found, str) else type(fun).__name__


def check_function(what: str, fun: Any) -> None:
    """ArgumentError unless ``fun``, which ``what`` is to transform, can be called."""
    if not callable(fun):
        raise ArgumentError(
            f"{what}: takes a function, not {type(fun).__name__}",
            at=source.here(),
            hint=f"pass the function itself, {what}(f), not its result, {what}(f(x))",
        )


def call_user(fun: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """``fun(*args, **kwargs)``; ArgumentError when it does not take such arguments."""
    fun = active.converted(fun)
    try:
        return fun(*args, **kwargs)
    except TypeError as error:
        inside = error.__traceback__ is not None and error.__traceback__.tb_next is not None
        if inside or isinstance(error, TracejitError):
            raise
        raise ArgumentError(str(error), at=source.here()) from None


@dataclass(frozen=True)
class FlatCall:
    """Arguments of one call: ``leaves`` are Arrays, ``treedef`` rebuilds ``(args, kwargs)``."""

    fun: Callable[..., Any]
    leaves: tuple[Array, ...]
    treedef: Any
    names: tuple[str, ...]

    @staticmethod
    def of(fun: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> FlatCall:
        leaves, treedef = flatten((args, kwargs))
        names = leaf_names(fun, args, kwargs)
        return FlatCall(fun, arrays_of(leaves, names, function_name(fun)), treedef, names)

    @property
    def types(self) -> tuple[TensorType, ...]:
        return tuple(leaf.type for leaf in self.leaves)

    @property
    def name(self) -> str:
        return function_name(self.fun)


def arrays_of(leaves: Sequence[Any], names: Sequence[str], function: str) -> tuple[Array, ...]:
    """Leaves as Arrays; ArgumentError naming the argument that is no array."""
    found = []
    for leaf, name in zip(leaves, names, strict=True):
        try:
            found.append(as_array(leaf))
        except (TracejitError, TypeError, ValueError) as error:
            raise ArgumentError(
                f"argument `{name}` of `{function}` is not an array: {type(leaf).__name__}",
                at=source.here(),
                hint="mark it static with static_argnums or static_argnames, or close over it",
            ) from error
        except RuntimeError as error:  # a tensor that requires grad, or is on another device
            raise ArgumentError(
                f"argument `{name}` of `{function}` gives no data: {error}", at=source.here()
            ) from error
    return tuple(found)


def leaf_names(
    fun: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[str, ...]:
    """Names of the leaves as the user would write them: ``x``, ``params['w'][0]``."""
    try:
        parameters = list(inspect.signature(fun).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    heads: list[str] = []
    for k in range(len(args)):
        variadic = next((p for p in parameters[: k + 1] if p.kind is p.VAR_POSITIONAL), None)
        if variadic is not None:
            heads.append(f"{variadic.name}[{k - parameters.index(variadic)}]")
        else:
            heads.append(parameters[k].name if k < len(parameters) else f"args[{k}]")
    names: list[str] = []
    for head, tree in (*zip(heads, args, strict=True), *((k, kwargs[k]) for k in sorted(kwargs))):
        names.extend(head + keystr(path) for path, _ in tree_leaves_with_path(tree))
    return tuple(names)


@dataclass(frozen=True)
class OutTree:
    """How a function's outputs were laid out: treedef, and which leaves were weakly typed."""

    treedef: Any
    weak: tuple[bool, ...]

    def build(self, arrays: Sequence[Array]) -> Any:
        for array, weak in zip(arrays, self.weak, strict=True):
            if weak:
                array._weak = True
        return optree.tree_unflatten(self.treedef, arrays)


def trace_call(call: FlatCall, what: str, *, types: Sequence[TensorType] | None = None) -> Traced:
    """Trace ``call.fun`` at its argument types (or other ``types`` for the leaves); ``outputs`` is
    an OutTree.

    ``what`` is the transform's name. Under grad-like transforms outside of any abstract trace
    ("grad", "vjp", "jvp", "jacfwd", "linearize") the traced values also carry the concrete
    arguments.
    """
    eager = what in ("grad", "vjp", "jvp", "jacfwd", "linearize") and all(
        leaf._has_value for leaf in call.leaves
    )
    trace = Trace(what, eager=eager, function=call.name)

    def run(values: list[Any]) -> tuple[Sequence[Array], OutTree]:
        arrays = [
            carrying(leaf if eager else None, value, trace, leaf._weak)
            for leaf, value in zip(call.leaves, values, strict=True)
        ]
        args, kwargs = optree.tree_unflatten(call.treedef, arrays)
        return flatten_result(call_user(call.fun, args, kwargs), call.name)

    return run_trace(trace, call.types if types is None else types, call.names, run, name=call.name)


def flatten_result(result: Any, function: str) -> tuple[tuple[Array, ...], OutTree]:
    """A function's result as Arrays; ArgumentError when a leaf is no array."""
    leaves, treedef = flatten(result)
    found = []
    for leaf in leaves:
        try:
            found.append(as_array(leaf))
        except (TracejitError, TypeError, ValueError) as error:
            raise ArgumentError(
                f"`{function}` returned something that is no array: {type(leaf).__name__}",
                at=source.here(),
                hint="return arrays and numbers; keep anything else outside of the function",
            ) from error
    return tuple(found), OutTree(treedef, tuple(a._weak for a in found))


def run_graph(graph: Graph, arrays: Sequence[Array]) -> list[Array]:
    """``graph`` on Arrays: its nodes join the innermost trace, or run at once when there is
    none.
    """
    trace = current_trace()
    if trace is None:
        return run_now(graph, arrays)
    atoms = [trace.lift(a) for a in arrays]
    results: Sequence[Array | None] = [None] * len(graph.outputs)
    if trace.eager and all(a._has_value for a in arrays):
        results = run_now(without_effects(graph), arrays)
    with build.building(trace.builder):
        outs = build.current().inline(graph, atoms)
    return [carrying(data, out, trace) for out, data in zip(outs, results, strict=True)]


def run_now(graph: Graph, arrays: Sequence[Array]) -> list[Array]:
    """``graph`` on concrete Arrays, operation by operation, where they lie."""
    place = where(arrays, f"`{graph.name}`")
    if place is not None:
        return on_device.run_graph(graph, arrays, *place)
    data = [a.concrete("a transform") for a in arrays]
    return [Array(found) for found in long_loops.run(graph, data)]


def call_graph(graph: Graph, arrays: Sequence[Array]) -> list[Array]:
    """``graph`` as one ``call`` node of the innermost trace."""
    outs = apply(call_primitive, *arrays, graph=graph)
    return list(outs)
