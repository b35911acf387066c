"""More transformations around others: under a condition, watched, on one flat vector, with slow
copies of the parameters.

    optimizer = conditionally_transform(clip(1.0), lambda step: step > 100)
    optimizer = chain(monitor({"norm": optim.tree.norm}), adam(1e-3))     state[0].measurements
    optimizer = lookahead(sgd(0.1), sync_period=5, slow_step_size=0.5)

Names, arguments and states are those of optax.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend import elementwise as ew
from tracejit.frontend import promotion, reductions, shaping
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.promotion import reshaped
from tracejit.frontend.vectorize import vmap
from tracejit.lax import cond
from tracejit.numpy import nan_to_num, tensordot
from tracejit.optim import tree
from tracejit.optim.base import (
    GradientTransformation,
    GradientTransformationExtraArgs,
    chain,
    mapped,
    narrow,
    safe_increment,
    stateless,
    transformation,
    wide_transformation,
    with_extra_args_support,
    zero_count,
    zeros_like,
)
from tracejit.optim.transform import ema
from tracejit.source import here
from tracejit.tree_util import tree_leaves, tree_map, tree_structure, tree_unflatten


class ConditionFn(Protocol):
    """``f(step, **extra_args) -> bool``."""

    def __call__(self, step: Any, **extra_args: Any) -> Any: ...


class ShouldSkipUpdateFunction(Protocol):
    """``f(updates, gradient_step, params) -> (bool, tree that tells why)``."""

    def __call__(self, updates: Any, gradient_step: Any, params: Any) -> tuple[Any, Any]: ...


# ---- under a condition ---------------------------------------------------------------------------


class ConditionallyTransformState(NamedTuple):
    """``inner_state``, and ``step``: updates so far."""

    inner_state: Any
    step: Any


class ConditionallyMaskState(NamedTuple):
    """``step``: updates so far, and ``inner_state``."""

    step: Any
    inner_state: Any


def _conditional(
    inner: Any, wanted: ConditionFn, forward: bool, else_: Callable[[Any], Any], state_of: Any
) -> GradientTransformationExtraArgs:
    inner = with_extra_args_support(inner)

    def init(params: Any) -> Any:
        return state_of(step=zero_count(), inner_state=inner.init(params))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        def one(u: Any, v: Any) -> Any:
            return tree_map(lambda a, b: promotion.convert(as_array(a), as_array(b).dtype), u, v)

        def done() -> Any:
            found, held = inner.update(updates, state.inner_state, params, **extra)
            return one(found, updates), one(held, state.inner_state)

        flag = wanted(state.step, **(extra if forward else {}))
        found, held = cond(flag, done, lambda: (else_(updates), state.inner_state))
        return found, state_of(step=safe_increment(state.step), inner_state=held)

    return wide_transformation(init, update)


def conditionally_transform(
    inner: Any, should_transform_fn: ConditionFn, forward_extra_args: bool = False
) -> GradientTransformationExtraArgs:
    """``inner`` at steps where ``should_transform_fn(step)`` is true; updates pass at others.

    ``forward_extra_args``: the function takes the extra arguments of ``update`` too.

    >>> from tracejit import optim
    >>> step = optim.conditionally_transform(optim.scale(2.0), lambda step: step > 0)
    >>> state = step.init(jnp.ones(()))
    >>> for _ in range(2):
    ...     g, state = step.update(jnp.ones(()), state)
    ...     print(float(g))
    1.0
    2.0
    """
    return _conditional(
        inner, should_transform_fn, forward_extra_args, lambda u: u, ConditionallyTransformState
    )


def conditionally_mask(
    inner: Any, should_transform_fn: ConditionFn, forward_extra_args: bool = False
) -> GradientTransformationExtraArgs:
    """``inner`` at steps where ``should_transform_fn(step)`` is true; zeros at others."""
    return _conditional(
        inner, should_transform_fn, forward_extra_args, zeros_like, ConditionallyMaskState
    )


def skip_large_updates(
    updates: Any, gradient_step: Any, params: Any, max_squared_norm: Any
) -> tuple[Any, Any]:
    """For ``MultiSteps(should_skip_update_fn=)``, with ``max_squared_norm`` given by
    ``functools.partial``: skips gradients whose squared norm is not below it, nan too.
    """
    norm = tree.sum(mapped(ew.square, updates))
    skip = ew.logical_not(ew.less(norm, max_squared_norm))
    return skip, {"should_skip": skip, "norm_squared": norm}


# ---- watched -------------------------------------------------------------------------------------


class SnapshotState(NamedTuple):
    """``measurement``: a dict of one name."""

    measurement: Any


def snapshot(measure_name: str, measure: Callable[[Any], Any]) -> GradientTransformation:
    """Keeps ``measure(updates)`` in the state; updates pass as they are.

    >>> from tracejit import optim
    >>> step = optim.chain(optim.snapshot("norm", optim.tree.norm), optim.sgd(0.1))
    >>> _, state = step.update(jnp.array([3.0, 4.0]), step.init(jnp.zeros(2)))
    >>> optim.tree.get(state, "norm")
    Array(5., dtype=float32)
    """

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        return updates, SnapshotState({measure_name: measure(updates)})

    return transformation(lambda params: SnapshotState({measure_name: measure(params)}), update)


class MonitorState(NamedTuple):
    """``measurements`` by name, and the states of those that have one."""

    measurements: Any
    measure_states: Any


def monitor(measures: dict[str, Any]) -> GradientTransformationExtraArgs:
    """Keeps several measurements of updates in the state. A measure is a function of the updates,
    or a transformation whose result is kept; updates pass as they are.
    """

    def one(measure: Any) -> Any:
        if hasattr(measure, "init"):
            return with_extra_args_support(measure)
        return with_extra_args_support(stateless(lambda updates, params: measure(updates)))

    parts = {name: one(measure) for name, measure in measures.items()}

    def init(params: Any) -> Any:
        return MonitorState({}, tuple(part.init(params) for part in parts.values()))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        found, states = {}, []
        for (name, part), held in zip(parts.items(), state.measure_states, strict=True):
            found[name], held = part.update(updates, held, params, **extra)
            states.append(held)
        return updates, MonitorState(found, tuple(states))

    return wide_transformation(init, update)


def measure_with_ema(
    measure: Callable[[Any], Any], decay: Any, debias: bool = True, accumulator_dtype: Any = None
) -> GradientTransformationExtraArgs:
    """The running average of ``measure(updates)``, as a measure for ``monitor``."""
    average = ema(decay, debias, accumulator_dtype)
    begin = GradientTransformation(lambda params: average.init(measure(params)), average.update)
    return chain(stateless(lambda updates, params: measure(updates)), begin)


# ---- one vector ----------------------------------------------------------------------------------


def _joined(tree: Any) -> Array:
    return shaping.concatenate([reshaped(x, (x.size,)) for x in map(as_array, tree_leaves(tree))])  # type: ignore[no-any-return]


def flatten(inner: Any) -> GradientTransformationExtraArgs:
    """``inner`` on all leaves joined to one vector.

    >>> from tracejit import optim
    >>> step = optim.flatten(optim.adam(0.1))
    >>> step.init({"a": jnp.ones(2), "b": jnp.ones((2, 2))})[0].mu.shape
    (6,)
    """
    inner = with_extra_args_support(inner)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        leaves = [as_array(x) for x in tree_leaves(updates)]
        whole = None if params is None else _joined(params)
        flat, state = inner.update(_joined(updates), state, whole, **extra)
        parts, start = [], 0
        for leaf in leaves:
            parts.append(reshaped(flat[start : start + leaf.size], leaf.shape))
            start += leaf.size
        return tree_unflatten(tree_structure(updates), parts), state

    return wide_transformation(lambda params: inner.init(_joined(params)), update)


# ---- fast and slow parameters --------------------------------------------------------------------


class LookaheadState(NamedTuple):
    """``fast_state``, and ``steps_since_sync``."""

    fast_state: Any
    steps_since_sync: Any


class LookaheadParams(NamedTuple):
    """``fast`` parameters, which the optimiser moves, and ``slow`` ones, which follow."""

    fast: Any
    slow: Any

    @classmethod
    def init_synced(cls, params: Any) -> LookaheadParams:
        """Both begin as ``params``."""
        return cls(slow=params, fast=params)


def lookahead(
    fast_optimizer: Any, sync_period: int, slow_step_size: Any, reset_state: bool = False
) -> GradientTransformation:
    """Every ``sync_period`` steps of the optimiser slow parameters move by ``slow_step_size`` of
    the way to the fast ones, and these begin there again: Lookahead (Zhang et al., 2019).

    Parameters and updates are ``LookaheadParams``; gradients are those of the fast ones.

    >>> from tracejit import optim
    >>> step = optim.lookahead(optim.sgd(1.0), sync_period=2, slow_step_size=0.5)
    >>> w = optim.LookaheadParams.init_synced(jnp.zeros(()))
    >>> state = step.init(w)
    >>> for _ in range(2):
    ...     updates, state = step.update(jnp.ones(()), state, w)
    ...     w = optim.apply_updates(w, updates)
    >>> float(w.fast), float(w.slow)
    (-1.0, -1.0)
    """
    if sync_period < 1:
        raise ArgumentError(f"lookahead: sync_period {sync_period} is below 1", at=here())

    def init(params: Any) -> Any:
        return LookaheadState(fast_optimizer.init(getattr(params, "fast", params)), zero_count())

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        if not hasattr(params, "fast"):
            raise ArgumentError(
                "lookahead: update needs parameters of the class LookaheadParams", at=here()
            )
        found, held = fast_optimizer.update(updates, state.fast_state, params.fast)
        sync = ew.equal(state.steps_since_sync, sync_period - 1)
        ahead = tree_map(
            lambda f, u, s: ew.subtract(ew.add(f, u), s), params.fast, found, params.slow
        )

        def slower(d: Any) -> Any:
            return ew.select(sync, ew.multiply(narrow(slow_step_size, as_array(d)), d), 0)

        def faster(u: Any, d: Any) -> Any:
            rest = ew.multiply(narrow(1 - slow_step_size, as_array(d)), d)
            return ew.subtract(u, ew.select(sync, rest, 0))

        if reset_state:
            held = tree.where(sync, fast_optimizer.init(params.fast), held)
        count = ew.remainder(ew.add(state.steps_since_sync, 1), sync_period)
        moved = LookaheadParams(fast=tree_map(faster, found, ahead), slow=tree_map(slower, ahead))
        return moved, LookaheadState(held, count)

    return transformation(init, update)


# ---- gradients of each example -------------------------------------------------------------------


def _check_examples(name: str, grads: Any) -> None:
    shapes = [as_array(g).shape for g in tree_leaves(grads)]
    if not shapes or any(not s or s[0] != shapes[0][0] for s in shapes):
        raise ShapeError(
            f"{name}: gradients have the examples along their first axis; shapes are {shapes}",
            at=here(),
        )


def per_example_global_norm_clip(grads: Any, l2_norm_clip: Any) -> tuple[Any, Array]:
    """The sum over the first axis of gradients of which each example is scaled down to the norm
    ``l2_norm_clip`` where it is above; and how many were (Abadi et al., 2016).
    """
    _check_examples("per_example_global_norm_clip", grads)
    norms = vmap(tree.norm)(grads)
    factors = nan_to_num(ew.minimum(ew.divide(narrow(l2_norm_clip, norms), norms), 1.0), nan=1.0)
    clipped = reductions.sum(ew.less(factors, 1.0))
    return tree_map(lambda g: tensordot(factors, g, axes=1), grads), clipped


def per_example_layer_norm_clip(
    grads: Any, global_l2_norm_clip: Any, uniform: bool = True
) -> tuple[Any, Any]:
    """As ``per_example_global_norm_clip``, leaf by leaf: the norm is shared among leaves evenly, or
    by their numbers of elements (McMahan et al., 2018). Two trees: sums, and counts.
    """
    _check_examples("per_example_layer_norm_clip", grads)
    leaves = [as_array(g) for g in tree_leaves(grads)]
    sizes = [1 if uniform else g.size // max(g.shape[0], 1) for g in leaves]
    bounds = [global_l2_norm_clip * (size / sum(sizes)) ** 0.5 for size in sizes]
    found = [per_example_global_norm_clip(g, b) for g, b in zip(leaves, bounds, strict=True)]
    treedef = tree_structure(grads)
    sums, counts = ([pair[k] for pair in found] for k in (0, 1))
    return tree_unflatten(treedef, sums), tree_unflatten(treedef, counts)
