"""Transformations of gradients: the pieces that optimisers are chains of.

    adam = chain(scale_by_adam(b1=0.9, b2=0.999), scale_by_learning_rate(1e-3))

Names, arguments, formulas and states are those of optax.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tracejit.errors import ArgumentError
from tracejit.frontend import elementwise as ew
from tracejit.frontend import promotion, reductions
from tracejit.frontend.array import Array, as_array
from tracejit.optim.base import (
    EmptyState,
    GradientTransformation,
    ScalarOrSchedule,
    cast,
    dtype_or_none,
    global_norm,
    identity,
    mapped,
    narrow,
    need_params,
    safe_increment,
    stateless_with_tree_map,
    transformation,
    zero_count,
    zeros_like,
)
from tracejit.optim.masks import masked
from tracejit.optim.moments import bias_correction, mixed, update_moment
from tracejit.source import here

# ---- factors -------------------------------------------------------------------------------------


def scale(step_size: Any) -> GradientTransformation:
    """Multiplies updates by ``step_size``.

    >>> from tracejit import optim
    >>> descend = optim.scale(-0.5)
    >>> descend.update(jnp.ones(2), descend.init(jnp.ones(2)))[0]
    Array([-0.5, -0.5], dtype=float32)
    """
    return stateless_with_tree_map(lambda g, _: ew.multiply(narrow(step_size, as_array(g)), g))


class ScaleByScheduleState(NamedTuple):
    """``count``: updates so far."""

    count: Any


def scale_by_schedule(step_size_fn: Any) -> GradientTransformation:
    """Multiplies updates by ``step_size_fn(count)``, where count is the number of updates before.

    >>> from tracejit import optim
    >>> halving = optim.scale_by_schedule(lambda count: 0.5**count)
    >>> state = halving.init(1.0)
    >>> for _ in range(3):
    ...     g, state = halving.update(jnp.ones(()), state)
    >>> g, state.count
    (Array(0.25, dtype=float32), Array(3, dtype=int32))
    """

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        factor = step_size_fn(state.count)
        updates = mapped(lambda g: ew.multiply(narrow(factor, as_array(g)), g), updates)
        return updates, ScaleByScheduleState(safe_increment(state.count))

    return transformation(lambda params: ScaleByScheduleState(zero_count()), update)


def scale_by_learning_rate(
    learning_rate: ScalarOrSchedule = None, *, flip_sign: bool = True
) -> GradientTransformation:
    """Multiplies updates by minus the learning rate (a number or a schedule); by the rate itself
    without ``flip_sign``. None leaves updates as they are.
    """
    if learning_rate is None:
        return identity()
    sign = -1 if flip_sign else 1
    if callable(learning_rate):
        return scale_by_schedule(lambda count: ew.multiply(sign, learning_rate(count)))
    if isinstance(learning_rate, str | bytes | dict | list | tuple):
        raise ArgumentError(
            "optim: a learning rate is a number or a schedule, not a "
            f"{type(learning_rate).__name__}",
            at=here(),
        )
    return scale(sign * learning_rate)


def _norm(x: Any) -> Array:
    """The Euclidean norm of all elements, with derivative 0 at zero."""
    x = as_array(x)
    total = reductions.sum(ew.square(ew.absolute(x)))
    some = ew.greater(total, 0)
    return ew.select(some, ew.sqrt(ew.select(some, total, 1)), 0)  # type: ignore[no-any-return]


def scale_by_trust_ratio(
    min_norm: Any = 0.0, trust_coefficient: Any = 1.0, eps: Any = 0.0
) -> GradientTransformation:
    """Multiplies each leaf by trust_coefficient * |param| / (|update| + eps): LARS and LAMB (You et
    al., 2017 and 2020). Where one of the norms is zero, by 1.
    """

    def one(update: Any, param: Any) -> Any:
        need_params("scale_by_trust_ratio", param)
        p = ew.maximum(_norm(param), min_norm)
        u = ew.maximum(_norm(update), min_norm)
        empty = ew.logical_or(ew.equal(p, 0), ew.equal(u, 0))
        ratio = ew.divide(ew.multiply(trust_coefficient, p), ew.add(ew.select(empty, 1, u), eps))
        return ew.multiply(update, narrow(ew.select(empty, 1.0, ratio), as_array(update)))

    return stateless_with_tree_map(one)


def scale_by_sign() -> GradientTransformation:
    """The signs of the updates."""
    return stateless_with_tree_map(lambda g, _: ew.sign(g))


def normalize_by_update_norm(scale_factor: Any = 1.0, eps: Any = 1e-6) -> GradientTransformation:
    """Divides updates by their global norm: (|updates| + eps) / scale_factor."""
    return _by_global(
        lambda g, norm: ew.divide(g, narrow(ew.divide(ew.add(norm, eps), scale_factor), g))
    )


# ---- clipping ------------------------------------------------------------------------------------


def clip(max_delta: Any) -> GradientTransformation:
    """Limits each element to [-max_delta, max_delta]; nan stays nan."""

    def one(g: Any, _: Any) -> Any:
        bound = narrow(max_delta, as_array(g))
        return ew.clip(g, -bound, bound)

    return stateless_with_tree_map(one)


def clip_by_block_rms(threshold: Any) -> GradientTransformation:
    """Scales each leaf down where its root mean square is above ``threshold``."""

    def one(g: Any, _: Any) -> Any:
        rms = ew.sqrt(reductions.mean(ew.square(ew.absolute(g))))
        return ew.divide(g, ew.maximum(1.0, ew.divide(rms, narrow(threshold, rms))))

    return stateless_with_tree_map(one)


def clip_by_global_norm(max_norm: Any) -> GradientTransformation:
    """Scales all updates down together where their global norm is above ``max_norm`` (Pascanu,
    Mikolov and Bengio, 2013).

    >>> from tracejit import optim
    >>> limit = optim.clip_by_global_norm(1.0)
    >>> limit.update({"a": jnp.array(3.0), "b": jnp.array(4.0)}, limit.init(None))[0]
    {'a': Array(0.6, dtype=float32), 'b': Array(0.8, dtype=float32)}
    """

    def one(g: Array, norm: Array) -> Any:
        clipped = ew.multiply(ew.divide(g, narrow(norm, g)), narrow(max_norm, g))
        return ew.select(ew.less(norm, max_norm), g, clipped)

    return _by_global(one)


def _by_global(one: Any) -> GradientTransformation:
    def update(updates: Any, state: Any, params: Any = None) -> Any:
        norm = global_norm(updates)
        return mapped(lambda g: one(as_array(g), norm), updates), state

    return transformation(lambda params: EmptyState(), update)


def adaptive_grad_clip(clipping: Any, eps: Any = 1e-3, axis: Any = None) -> GradientTransformation:
    """Clips the gradients of each unit to ``clipping`` times the norm of its parameters (Brock et
    al., 2021). Units are columns; the features of vectors count together.
    """

    def one(g: Any, p: Any) -> Any:
        need_params("adaptive_grad_clip", p)
        g, p = as_array(g), as_array(p)
        limit = ew.multiply(clipping, ew.maximum(unit_norm(p, axis), eps))
        size = unit_norm(g, axis)
        clipped = ew.multiply(g, ew.divide(limit, ew.maximum(size, 1e-6)))
        return ew.select(ew.less(size, limit), g, clipped)

    return stateless_with_tree_map(one)


def unit_norm(x: Array, axis: Any = None) -> Any:
    """The norm of each unit, its axes kept with size 1."""
    if axis is not None:
        axes = axis
    elif sum(n != 1 for n in x.shape) <= 1:
        axes = tuple(range(x.ndim))
    else:
        axes = (0,) if x.ndim < 4 else tuple(range(x.ndim - 1))
    return ew.sqrt(reductions.sum(ew.square(ew.absolute(x)), axes, keepdims=True))


def zero_nans() -> GradientTransformation:
    """Zeros in place of nan; the state tells for each leaf whether it had one."""

    def init(params: Any) -> Any:
        return ZeroNansState(mapped(lambda p: as_array(False), params))

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        found = mapped(lambda g: reductions.any(ew.isnan(g)), updates)
        return mapped(lambda g: ew.select(ew.isnan(g), 0, g), updates), ZeroNansState(found)

    return transformation(init, update)


class ZeroNansState(NamedTuple):
    """``found_nan``: whether each leaf of the last updates had a nan."""

    found_nan: Any


def keep_params_nonnegative() -> GradientTransformation:
    """Updates after which no parameter is negative; comes last in a chain."""

    def one(u: Any, p: Any) -> Any:
        need_params("keep_params_nonnegative", p)
        return ew.select(ew.less(ew.add(p, u), 0), ew.negative(p), u)

    return stateless_with_tree_map(one)


def centralize() -> GradientTransformation:
    """Subtracts from each gradient of two or more axes its mean over all but the first (Yong et
    al., 2020).
    """

    def one(g: Any, _: Any) -> Any:
        g = as_array(g)
        if g.ndim < 2:
            return g
        return ew.subtract(g, reductions.mean(g, tuple(range(1, g.ndim)), keepdims=True))

    return stateless_with_tree_map(one)


# ---- what is added -------------------------------------------------------------------------------


class WeightDecaySchedule(NamedTuple):
    """``count``: updates so far."""

    count: Any


def add_decayed_weights(
    weight_decay: ScalarOrSchedule = 0.0, mask: Any = None
) -> GradientTransformation:
    """Adds weight_decay * param to updates, where ``mask`` is true (a tree of bools, or a function
    of the parameters that gives one).

    >>> from tracejit import optim
    >>> decay = optim.add_decayed_weights(0.1)
    >>> decay.update(jnp.zeros(2), decay.init(jnp.ones(2)), jnp.ones(2))[0]
    Array([0.1, 0.1], dtype=float32)
    """

    def init(params: Any) -> Any:
        return WeightDecaySchedule(zero_count()) if callable(weight_decay) else EmptyState()

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        need_params("add_decayed_weights", params)
        rate = weight_decay
        if callable(weight_decay):
            rate = weight_decay(state.count)
            state = WeightDecaySchedule(safe_increment(state.count))
        elif promotion.is_python(rate) and rate == 0:
            return updates, state

        def add(g: Any, p: Any) -> Any:
            return ew.add(g, ew.multiply(narrow(rate, as_array(g)), p))

        return mapped(add, updates, params), state

    found = transformation(init, update)
    return found if mask is None else masked(found, mask)


# ---- averages ------------------------------------------------------------------------------------


class TraceState(NamedTuple):
    """``trace``: the sum of decayed updates."""

    trace: Any


def trace(
    decay: Any, nesterov: bool = False, accumulator_dtype: Any = None
) -> GradientTransformation:
    """Momentum: t = g + decay * t, which becomes the update; with ``nesterov`` g + decay * t.

    >>> from tracejit import optim
    >>> momentum = optim.trace(0.5)
    >>> state = momentum.init(jnp.zeros(()))
    >>> for _ in range(3):
    ...     g, state = momentum.update(jnp.ones(()), state)
    >>> g
    Array(1.75, dtype=float32)
    """
    dtype = dtype_or_none(accumulator_dtype)

    def add(g: Any, t: Any) -> Any:
        return ew.add(g, ew.multiply(narrow(decay, as_array(t)), t))

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        new = mapped(add, updates, state.trace)
        updates = mapped(add, updates, new) if nesterov else new
        return updates, TraceState(cast(new, dtype))

    return transformation(lambda params: TraceState(zeros_like(params, dtype)), update)


class EmaState(NamedTuple):
    """``count``: updates so far; ``ema``: their running average."""

    count: Any
    ema: Any


def ema(decay: Any, debias: bool = True, accumulator_dtype: Any = None) -> GradientTransformation:
    """The running average of updates, divided by the weight it has seen with ``debias``."""
    dtype = dtype_or_none(accumulator_dtype)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        new = update_moment(updates, state.ema, decay, 1)
        count = safe_increment(state.count)
        updates = bias_correction(new, decay, count) if debias else new
        return updates, EmaState(count, cast(new, dtype))

    return transformation(lambda params: EmaState(zero_count(), zeros_like(params, dtype)), update)


class ScaleByLionState(NamedTuple):
    """``count``: updates so far; ``mu``: the running average of gradients."""

    count: Any
    mu: Any


def scale_by_lion(
    b1: Any = 0.9,
    b2: Any = 0.99,
    mu_dtype: Any = None,
    *,
    mode: str = "hard",
    smooth_beta: Any = 1.0,
) -> GradientTransformation:
    """The sign of (1 - b1) * g + b1 * mu (Chen et al., "Symbolic discovery of optimization
    algorithms", 2023).

    ``mode``: "hard", "smooth" (tanh in place of the sign) or "refined" (the sign only beyond 1).
    """
    dtype = dtype_or_none(mu_dtype)
    rules = {
        "hard": ew.sign,
        "smooth": lambda x: ew.tanh(ew.multiply(smooth_beta, x)),
        "refined": lambda x: ew.select(ew.less(ew.absolute(x), 1.0), x, ew.sign(x)),
    }
    if mode not in rules:
        raise ArgumentError(
            f"scale_by_lion: mode is one of {', '.join(map(repr, rules))}, not {mode!r}", at=here()
        )

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        found = mapped(lambda g, m: rules[mode](mixed(b1, g, m)), updates, state.mu)
        mu = cast(update_moment(updates, state.mu, b2, 1), dtype)
        return found, ScaleByLionState(safe_increment(state.count), mu)

    return transformation(
        lambda params: ScaleByLionState(zero_count(), zeros_like(params, dtype)), update
    )
