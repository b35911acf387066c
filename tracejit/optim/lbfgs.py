"""Quasi-Newton steps with limited memory, and Newton-like relatives with a line search.

    optimizer = lbfgs()
    updates, state = optimizer.update(g, state, w, value=value, grad=g, value_fn=loss)

Sources: Liu and Nocedal, "On the limited memory BFGS method" (1989); Nocedal and Wright, "Numerical
optimization" (1999), algorithm 7.4.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tracejit.errors import ArgumentError
from tracejit.frontend import creation
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import as_array
from tracejit.lax import scan, stop_gradient
from tracejit.optim import tree
from tracejit.optim.base import (
    GradientTransformation,
    GradientTransformationExtraArgs,
    ScalarOrSchedule,
    chain,
    identity,
    need_params,
    safe_increment,
    transformation,
    zero_count,
)
from tracejit.optim.linesearch import scale_by_zoom_linesearch
from tracejit.optim.moments import F32, F64, precision
from tracejit.optim.transform import scale, scale_by_learning_rate
from tracejit.source import here
from tracejit.tree_util import tree_leaves, tree_map


class ScaleByLBFGSState(NamedTuple):
    """``params``, ``updates`` (gradients) of the last step; how they changed in each of the last
    steps; ``weights_memory``: 1 / <change of gradients, change of parameters>.
    """

    count: Any
    params: Any
    updates: Any
    diff_params_memory: Any
    diff_updates_memory: Any
    weights_memory: Any


def _number_dtype(params: Any) -> np.dtype:
    """What weights are kept in: double precision beside parameters of double precision."""
    return F64 if any(precision(p) == F64 for p in tree_leaves(params)) else F32


def _dot(x: Any, y: Any) -> Any:
    return ew.real(tree.vdot(x, y))


def _preconditioned(updates: Any, memory: Any, weights: Any, first: Any, size: Any) -> Any:
    """The inverse Hessian of the memory times ``updates``: two loops over the changes, of which
    ``first`` numbers the oldest; ``size`` times the identity is where they begin.
    """
    n = weights.shape[0]
    order = (first + np.arange(n, dtype=np.int32)) % n

    def change(k: Any) -> Any:
        return tree_map(lambda x: as_array(x)[k], memory)

    def back(v: Any, k: Any) -> Any:
        dw, du = change(k)
        alpha = weights[k] * _dot(dw, v)
        return tree.cast_like(tree.add_scale(v, -alpha, du), v), alpha

    def forth(v: Any, given: Any) -> Any:
        k, alpha = given
        dw, du = change(k)
        beta = weights[k] * _dot(du, v)
        return tree.cast_like(tree.add_scale(v, alpha - beta, dw), v), None

    found, alphas = scan(back, updates, order, reverse=True)
    return scan(forth, tree.scale(size, found), (order, alphas))[0]


def scale_by_lbfgs(
    memory_size: int = 10, scale_init_precond: bool = True
) -> GradientTransformation:
    """Multiplies gradients by an inverse Hessian made of how parameters and gradients changed in
    the last ``memory_size`` steps: L-BFGS (Liu and Nocedal, 1989).

    ``scale_init_precond``: begin with <du, dw> / <du, du> times the identity, at the first step
    with 1 / norm of the gradient, at most 1.
    """
    if memory_size < 1:
        raise ArgumentError(f"scale_by_lbfgs: memory_size {memory_size} is below 1", at=here())

    def init(params: Any) -> Any:
        memory = tree_map(
            lambda p: creation.zeros_like(p), tree.batch_shape(params, (memory_size,))
        )
        weights = creation.zeros((memory_size,), dtype=_number_dtype(params))
        zeros = tree.zeros_like(params)
        return ScaleByLBFGSState(zero_count(), zeros, zeros, memory, memory, weights)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        need_params("scale_by_lbfgs", params)
        begun = state.count > 0
        dw, du = tree.sub(params, state.params), tree.sub(updates, state.updates)
        bend = _dot(du, dw)
        weight = ew.select(ew.equal(bend, 0.0), 0.0, 1.0 / ew.select(ew.equal(bend, 0), 1, bend))
        dw, du, weight = tree_map(lambda x: ew.select(begun, x, 0), (dw, du, weight))
        place = (state.count - 1) % memory_size
        old = (state.diff_params_memory, state.diff_updates_memory, state.weights_memory)
        *memory, weights = tree_map(
            lambda x, y: as_array(x).at[place].set(tree.cast_like(y, x)), old, (dw, du, weight)
        )
        size: Any = 1.0
        if scale_init_precond:
            below = tree.norm(du, squared=True)
            some = below > 0.0
            size = ew.select(some, _dot(du, dw) / ew.select(some, below, 1), 1.0)
            at_first = ew.minimum(1.0, 1.0 / tree.norm(stop_gradient(updates)))
            size = ew.select(begun, size, at_first)
        found = _preconditioned(updates, tuple(memory), weights, state.count % memory_size, size)
        count = safe_increment(state.count)
        return found, ScaleByLBFGSState(count, params, updates, *memory, weights)

    return transformation(init, update)


#: what ``lbfgs`` searches with
ZOOM = scale_by_zoom_linesearch(max_linesearch_steps=20, initial_guess_strategy="one")


def lbfgs(
    learning_rate: ScalarOrSchedule = None,
    memory_size: int = 10,
    scale_init_precond: bool = True,
    linesearch: Any = ZOOM,
) -> GradientTransformationExtraArgs:
    """L-BFGS with a line search (Liu and Nocedal, 1989), for objectives without noise. None is no
    line search; then ``learning_rate`` says how far steps go.

    ``update`` takes the objective ``value_fn`` with its ``value`` and ``grad`` at the parameters,
    and what else ``value_fn`` takes by name; ``value_and_grad_from_state`` saves computing them
    twice.

    >>> from tracejit import optim
    >>> def rosenbrock(w):
    ...     return (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2
    >>> step = optim.lbfgs()
    >>> @jit
    ... def advance(w, state):
    ...     value, g = optim.value_and_grad_from_state(rosenbrock)(w, state=state)
    ...     updates, state = step.update(g, state, w, value=value, grad=g, value_fn=rosenbrock)
    ...     return optim.apply_updates(w, updates), state
    >>> w = jnp.array([-1.0, 1.5])
    >>> state = step.init(w)
    >>> for _ in range(40):
    ...     w, state = advance(w, state)
    >>> w.round(3)
    Array([1., 1.], dtype=float32)
    """
    scaling = scale(-1.0) if learning_rate is None else scale_by_learning_rate(learning_rate)
    return chain(
        scale_by_lbfgs(memory_size=memory_size, scale_init_precond=scale_init_precond),
        scaling,
        identity() if linesearch is None else linesearch,
    )
