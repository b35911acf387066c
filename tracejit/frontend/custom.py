"""Derivatives given by the user, and recomputation: custom_jvp, custom_vjp, custom_gradient,
checkpoint, stop_gradient.

    >>> @custom_vjp
    ... def clip_gradient(low, high, x):
    ...     return x
    >>> clip_gradient.defvjp(
    ...     lambda low, high, x: (x, (low, high)),
    ...     lambda bounds, ct: (None, None, jnp.clip(ct, *bounds)),
    ... )
    >>> grad(lambda x: 100 * clip_gradient(-1.0, 1.0, x))(2.0)
    Array(1., dtype=float32)

Outside of any trace a decorated function just runs. Inside, the function and its rules are traced
at each call and become sub-graphs of one node. Names and argument order are JAX's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from tracejit.errors import ArgumentError, GradError, TracejitError
from tracejit.frontend import key_uses, methods
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.bodies import share_captured, trace_body
from tracejit.frontend.call import (
    FlatCall,
    arrays_of,
    flatten,
    function_name,
    run_graph,
)
from tracejit.frontend.derivatives import match_type
from tracejit.frontend.split import Split, inexact, placeholder, places, positional, with_float0
from tracejit.frontend.symbolic_zeros import SymbolicZero, jvp_rule, vjp_rules
from tracejit.frontend.trace import Traced, current_trace, open_traces
from tracejit.frontend.vectorize import broadcast_prefix
from tracejit.frontend.wrapping import named_as, wraps
from tracejit.ir.build import full_like
from tracejit.ir.graph import Graph, Value
from tracejit.ir.types import is_inexact
from tracejit.ops import parts
from tracejit.source import here
from tracejit.transform import custom
from tracejit.tree_util import (
    check_same_structure,
    tree_map,
    tree_structure,
    tree_unflatten,
)

Function = Callable[..., Any]
P = ParamSpec("P")
R = TypeVar("R")

#: a rule may call its own function and others that have rules; those are then traced inside, down
#: to this depth. It bounds the order of derivatives of such calls; one of higher order is an error
DEPTH = 3

#: how traces of rules are called, and those of the transforms that use up an order of derivatives
RULE = " rule"
DERIVATIVES = frozenset({"grad", "vjp", "jvp", "linearize"})


def checked_outputs(what: str, result: Any, body: Traced) -> list[Array]:
    """A rule's primal outputs as leaves, of the types that the function itself returns."""
    leaves, treedef = flatten(result)
    check_same_structure(
        f"{what}: the rule's output differs from the function's",
        body.outputs.treedef,
        treedef,
        ("function", "rule"),
    )
    found = []
    for k, (leaf, y) in enumerate(zip(leaves, body.graph.outputs, strict=True)):
        array = as_array(leaf)
        if array._weak and array.dtype != y.type.dtype:
            array = methods.astype(array, y.type.dtype)
        if array.type != y.type:
            raise GradError(
                f"{what}: output {k} of the rule is {array.type}, the function returns {y.type}",
                at=here(),
            )
        found.append(array)
    return found


def rule_depth() -> int:
    """How many rules are being traced inside each other, of whichever functions: the order of the
    derivative that a rule traced now would serve. A derivative taken inside a rule serves its own.
    """
    depth = 0
    for trace in reversed(list(open_traces())):
        if trace.what.endswith(RULE):
            depth += 1
        elif trace.what in DERIVATIVES:
            depth = max(0, depth - 1)
    return depth


class _Custom:
    """A function with rules of the user's own, the attributes ``RULES``."""

    RULES: tuple[str, ...]

    def __init__(
        self,
        fun: Function,
        nondiff_argnums: Sequence[int] = (),
        nondiff_argnames: Sequence[str] = (),
    ) -> None:
        named_as(self, fun)
        self.__dict__.update(dict.fromkeys(self.RULES))  # not those of a ``fun`` that has rules
        self.fun = fun
        self.nondiff_argnums = places(fun, nondiff_argnums, nondiff_argnames)


# ---- custom_jvp ----------------------------------------------------------------------------------


class custom_jvp(_Custom):  # noqa: N801 - a decorator
    """A function whose forward derivative the user gives: ``f.defjvp(rule)``.

    ``rule(primals, tangents) -> (output, tangent of the output)``, with the arguments at
    ``nondiff_argnums``, or of these ``nondiff_argnames``, in front. The rule must be linear in the
    tangents; reverse mode transposes it. The rule's outputs have the types of the function's, else
    GradError. Calls without a rule raise ArgumentError.

    >>> @tj.custom_jvp
    ... def log1pexp(x):
    ...     return jnp.log1p(jnp.exp(x))
    >>> @log1pexp.defjvp
    ... def rule(primals, tangents):
    ...     (x,), (dx,) = primals, tangents
    ...     return log1pexp(x), dx / (1 + jnp.exp(-x))
    >>> grad(log1pexp)(100.0)
    Array(1., dtype=float32)
    """

    RULES = ("jvp",)
    jvp: Function | None

    def defjvp(self, jvp: Function, symbolic_zeros: bool = False) -> Function:
        """Give the rule; returns it, so this can decorate it. With ``symbolic_zeros`` the tangents
        of integers are ``SymbolicZero``, and the rule may return that for a zero tangent.
        """
        self.jvp = jvp_rule(jvp) if symbolic_zeros else jvp
        return jvp

    def defjvps(self, *jvps: Function | None) -> None:
        """Give one rule ``(tangent, output, *primals) -> tangent`` per argument; None is zero."""
        if self.nondiff_argnums:
            raise ArgumentError("defjvps: use defjvp with nondiff_argnums", at=here())

        def jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
            out = self(*primals)
            zeros = tree_map(methods.zeros_like, out)
            terms = [rule(t, out, *primals) for t, rule in zip(tangents, jvps, strict=True) if rule]
            return out, functools.reduce(lambda a, b: tree_map(methods.add, a, b), terms, zeros)

        self.jvp = jvp

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name = function_name(self)
        if self.jvp is None:
            raise ArgumentError(
                f"`{name}` has no derivative rule", at=here(), hint=f"call {name}.defjvp(rule)"
            )
        if current_trace() is None:
            return self.fun(*args, **kwargs)
        call = Split.of(self.fun, positional(self.fun, args, kwargs), self.nondiff_argnums)
        body = call.trace(self.fun, "custom_jvp")
        key_uses.consume_all(call.leaves, body)
        if rule_depth() >= DEPTH:
            return _emit_body(custom.custom_jvp_call, call, body, rule=None)
        rule = _trace_jvp_rule(call, body, self.jvp)
        captured, (body_graph, rule_graph) = share_captured((body, rule))
        n = len(captured) + len(call.leaves)
        tangents = tuple(Value(a.type) for a in inexact(captured))
        inputs = (*rule_graph.inputs[:n], *tangents, *rule_graph.inputs[n:])
        rule_graph = Graph(inputs, rule_graph.nodes, rule_graph.outputs, rule_graph.name)
        outs = apply(
            custom.custom_jvp_call,
            *captured,
            *call.leaves,
            body=body_graph,
            rule=rule_graph,
            n_consts=len(captured),
        )
        key_uses.note_results(outs, body)
        return body.outputs.build(outs)


def _emit_body(prim: Any, call: Split, body: Traced, **rules: None) -> Any:
    """The node without rules: for calls nested too deeply in the function's own rules."""
    captured = body.captured
    outs = apply(prim, *captured, *call.leaves, body=body.graph, n_consts=len(captured), **rules)
    key_uses.note_results(outs, body)
    return body.outputs.build(outs)


def _trace_jvp_rule(call: Split, body: Traced, jvp: Function) -> Traced:
    """The graph (primals, tangents of inexact ones) -> (outputs, tangents of inexact ones)."""
    what = f"custom_jvp of `{function_name(call.fun)}`"
    tangents = [placeholder(leaf.type) for leaf in inexact(call.leaves)]
    n = len(call.leaves)

    @wraps(jvp)
    def rule(*xs: Any) -> Any:
        primals = call.arrays(xs[:n])
        return jvp(*call.fixed, primals, call.arrays(with_float0(call.leaves, xs[n:])))

    def finish(result: Any) -> Any:
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise ArgumentError(f"{what}: the rule must return a pair (output, tangent)", at=here())
        ys = checked_outputs(what, result[0], body)
        dys, treedef = flatten(result[1])
        check_same_structure(
            f"{what}: the tangent differs from the output",
            body.outputs.treedef,
            treedef,
            ("output", "tangent"),
        )
        return ys, [
            match_type(as_array(dy), y, f"{what}: the tangent of output {k}")
            for k, (y, dy) in enumerate(zip(ys, dys, strict=True))
            if is_inexact(y.dtype)
        ]

    leaves = (*call.leaves, *tangents)
    names = (*call.names, *(f"tangent {k}" for k in range(len(tangents))))
    return trace_body(
        rule,
        leaves,
        tree_structure(leaves),
        "custom_jvp" + RULE,
        names=names,
        eager=call.eager,
        finish=finish,
    )


# ---- custom_vjp ----------------------------------------------------------------------------------


class custom_vjp(_Custom):  # noqa: N801 - a decorator
    """A function whose backward derivative the user gives: ``f.defvjp(fwd, bwd)``.

    ``fwd(*args) -> (output, residuals)`` and ``bwd(residuals, cotangent) -> tuple of cotangents``,
    one per argument; None is zero. Arguments at ``nondiff_argnums`` come first in ``bwd`` and have
    no cotangent. Cotangents have the types of their arguments, else GradError. Calls without rules
    raise ArgumentError.

    >>> @tj.custom_vjp
    ... def clip_gradient(x, limit):
    ...     return x
    >>> def forward(x, limit):
    ...     return x, limit
    >>> def backward(limit, ct):
    ...     return jnp.clip(ct, -limit, limit), None
    >>> clip_gradient.defvjp(forward, backward)
    >>> grad(lambda x: 100 * clip_gradient(x, 1.0))(2.0)
    Array(1., dtype=float32)
    """

    RULES = ("fwd", "bwd")
    fwd: Function | None
    bwd: Function | None

    def defvjp(
        self,
        fwd: Function,
        bwd: Function,
        symbolic_zeros: bool = False,
        optimize_remat: bool = False,
    ) -> None:
        """Give the rules. With ``symbolic_zeros`` ``fwd`` takes a ``CustomVJPPrimal`` per array,
        and ``bwd`` may return a ``SymbolicZero``.
        """
        if symbolic_zeros:
            fwd, bwd = vjp_rules(fwd, bwd, self.nondiff_argnums)
        self.fwd, self.bwd = fwd, bwd

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name = function_name(self)
        if self.fwd is None or self.bwd is None:
            raise ArgumentError(
                f"`{name}` has no derivative rules", at=here(), hint=f"call {name}.defvjp(fwd, bwd)"
            )
        if current_trace() is None:
            return self.fun(*args, **kwargs)
        what = f"custom_vjp of `{name}`"
        call = Split.of(self.fun, positional(self.fun, args, kwargs), self.nondiff_argnums)
        body = call.trace(self.fun, "custom_vjp")
        key_uses.consume_all(call.leaves, body)
        residuals: list[Any] = []
        if rule_depth() >= DEPTH:
            return _emit_body(custom.custom_vjp_call, call, body, fwd=None, bwd=None)

        def finish(result: Any) -> Any:
            if not isinstance(result, tuple | list) or len(result) != 2:
                raise ArgumentError(
                    f"{what}: fwd must return a pair (output, residuals)", at=here()
                )
            leaves, treedef = flatten(result[1])
            residuals[:] = [
                arrays_of(leaves, [f"residual {k}" for k in range(len(leaves))], name),
                treedef,
            ]
            return checked_outputs(what, result[0], body), residuals[0]

        fwd = call.trace(self.fwd, "custom_vjp" + RULE, finish)
        found, treedef = residuals
        bwd = functools.partial(self.bwd, *call.fixed)
        named_as(bwd, self.bwd)
        back = _trace_bwd(what, call, body, bwd, found, treedef)
        return _emit_vjp(call, body, fwd, back, back.captured)


def _trace_bwd(
    what: str, call: Split, body: Traced, bwd: Function, residuals: Sequence[Array], treedef: Any
) -> Traced:
    """The graph (captured, residuals, cotangents of inexact outputs) -> cotangents of the inexact
    leaves.
    """
    outputs = body.graph.outputs
    n = len(residuals)

    @wraps(bwd)
    def rule(*xs: Any) -> Any:
        cts = tree_unflatten(body.outputs.treedef, with_float0(outputs, xs[n:]))
        return bwd(tree_unflatten(treedef, xs[:n]), cts)

    return _trace_cotangents(what, call, outputs, rule, residuals)


def _trace_cotangents(
    what: str, call: Split, outputs: Sequence[Any], rule: Function, residuals: Sequence[Array]
) -> Traced:
    cts = [placeholder(y.type) for y in inexact(outputs)]
    leaves = (*(placeholder(r.type, r) for r in residuals), *cts)
    names = (
        *(f"residual {k}" for k in range(len(residuals))),
        *(f"cotangent {k}" for k in range(len(cts))),
    )
    return trace_body(
        rule,
        leaves,
        tree_structure(leaves),
        "custom_vjp" + RULE,
        names=names,
        eager=call.eager,
        finish=lambda result: _cotangents(what, call, result),
    )


def _cotangents(what: str, call: Split, result: Any) -> list[Array]:
    """What bwd returned as one cotangent per inexact leaf; None stands for zeros of a whole
    argument.
    """
    arguments = call.arrays(call.leaves)
    if not isinstance(result, tuple | list) or len(result) != len(arguments):
        shown = (
            f"{len(result)} of them"
            if isinstance(result, tuple | list)
            else f"a {type(result).__name__}"
        )
        raise GradError(
            f"{what}: bwd must return a tuple of {len(arguments)} cotangents, one per "
            f"argument, not {shown}",
            at=here(),
        )
    try:
        given = broadcast_prefix(tuple(result), arguments)
    except ValueError as error:
        raise GradError(
            f"{what}: the cotangents of bwd do not have the structure of the arguments", at=here()
        ) from error
    found = []
    for leaf, name, ct in zip(call.leaves, call.names, given, strict=True):
        if not is_inexact(leaf.dtype):
            continue
        if ct is None:
            found.append(methods.zeros_like(leaf))
        else:
            found.append(match_type(as_array(ct), leaf, f"{what}: the cotangent of `{name}`"))
    return found


def _emit_vjp(call: Split, body: Traced, fwd: Traced, back: Traced, extra: Sequence[Array]) -> Any:
    """The node. Values that bwd alone captures (``extra``) become residuals before the others."""
    through = Traced(Graph(tuple(Value(a.type) for a in extra), (), ()), tuple(extra), None)
    captured, (body_graph, fwd_graph, _) = share_captured((body, fwd, through))
    place = {id(a): v for a, v in zip(captured, fwd_graph.inputs, strict=False)}
    n = len(body.graph.outputs)
    outputs = (*fwd_graph.outputs[:n], *(place[id(a)] for a in extra), *fwd_graph.outputs[n:])
    zeros = tuple(full_like(a.type, 0) for a in inexact(captured))
    bwd_graph = Graph(
        back.graph.inputs, back.graph.nodes, (*zeros, *back.graph.outputs), back.graph.name
    )
    outs = apply(
        custom.custom_vjp_call,
        *captured,
        *call.leaves,
        body=body_graph,
        fwd=Graph(fwd_graph.inputs, fwd_graph.nodes, outputs, fwd_graph.name),
        bwd=bwd_graph,
        n_consts=len(captured),
    )
    key_uses.note_results(outs, body)
    return body.outputs.build(outs)


def custom_gradient(fun: Function) -> Function:
    """``fun(*args)`` returns ``(output, vjp)``; ``vjp(cotangent)`` gives the cotangents of the
    arguments.

    >>> @tj.custom_gradient
    ... def double_backward(x):
    ...     return x, lambda ct: 2 * ct
    >>> grad(double_backward)(1.0)
    Array(2., dtype=float32)
    """

    @wraps(fun)
    def with_gradient(*args: Any, **kwargs: Any) -> Any:
        if current_trace() is None:
            return fun(*args, **kwargs)[0]
        what = f"custom_gradient of `{function_name(fun)}`"
        call = Split.of(fun, positional(fun, args, kwargs), ())
        body = call.trace(fun, "custom_gradient", lambda result: result[0])
        key_uses.consume_all(call.leaves, body)
        backs: list[Traced] = []

        def finish(result: Any) -> Any:
            out, vjp = result
            ys = checked_outputs(what, out, body)

            @wraps(vjp)
            def rule(*cts: Any) -> Any:
                found = vjp(
                    tree_unflatten(body.outputs.treedef, with_float0(body.graph.outputs, cts))
                )
                many = isinstance(found, tuple | list) and len(call.args) != 1
                return found if many or isinstance(found, tuple) else (found,)

            # traced while this trace is open: what the closure reads of it is captured, and
            # makes the residuals
            backs[:] = [_trace_cotangents(what, call, body.graph.outputs, rule, ())]
            return ys, list(backs[0].captured)

        fwd = call.trace(fun, "custom_gradient", finish)
        return _emit_vjp(call, body, fwd, backs[0], ())

    return with_gradient


# ---- constants of differentiation ----------------------------------------------------------------


def stop_gradient(x: Any) -> Any:
    """``x``, a pytree, taken as a constant by derivatives.

    >>> grad(lambda x: x * lax.stop_gradient(x))(3.0)
    Array(3., dtype=float32)
    """
    return tree_map(_stop, x)


def _stop(leaf: Any) -> Any:
    try:
        array = as_array(leaf)
    except (TracejitError, TypeError, ValueError):
        return leaf  # no array: nothing to differentiate
    if not is_inexact(array.dtype) or current_trace() is None:
        return array
    found = apply(parts.stop_gradient, array)
    found._weak = array._weak
    return found


def closure_convert(fun: Function, *example_args: Any) -> tuple[Function, list[Array]]:
    """``(converted, consts)``: ``converted(*args, *consts)`` is ``fun(*args)`` with what it closes
    over as arguments.

    >>> weight = jnp.float32(3.0)
    >>> converted, consts = tj.closure_convert(lambda x: weight * x, 1.0)
    >>> converted(2.0, *consts)
    Array(6., dtype=float32)
    """
    call = Split.of(fun, example_args, ())
    body = call.trace(fun, "closure_convert")
    n = len(body.captured)

    def converted(*args: Any) -> Any:
        split = len(args) - n
        given = FlatCall.of(fun, args[:split], {})
        check_same_structure(
            "closure_convert: the arguments differ from the example",
            call.treedef,
            tree_structure(args[:split]),
        )
        consts = [as_array(c) for c in args[split:]]
        return body.outputs.build(run_graph(body.graph, [*consts, *given.leaves]))

    return converted, list(body.captured)


def zero_from_primal(val: Any, symbolic_zeros: bool = False) -> Any:
    """Zeros to be the tangent of ``val``: float0 for integers; a SymbolicZero for each array with
    ``symbolic_zeros``.
    """

    def zero(leaf: Any) -> Any:
        if symbolic_zeros:
            return SymbolicZero.from_primal_value(leaf)
        array = as_array(leaf)
        return methods.zeros_like(array) if is_inexact(array.dtype) else methods.float0_zeros(array)

    return tree_map(zero, val)
