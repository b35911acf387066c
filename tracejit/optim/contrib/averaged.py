"""Optimisers whose parameters are not where gradients are taken: averages in place of schedules,
and neighbours that are worse.

    optimizer = schedule_free_adamw(1e-3, warmup_steps=100)
    for_evaluation = schedule_free_eval_params(state, params)
    optimizer = sam(sgd(0.1), chain(normalize(), sgd(0.05)))

>>> from tracejit import optim
>>> inner = optim.chain(optim.contrib.normalize(), optim.sgd(0.1))
>>> step = optim.contrib.sam(optim.sgd(0.5), inner, opaque_mode=True)
>>> w = jnp.array([2.0])
>>> step.update(2 * w, step.init(w), w, grad_fn=lambda w, k: 2 * w)[0].round(3)
Array([-2.1], dtype=float32)

Names, arguments, formulas and states are those of ``optax.contrib``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tracejit.errors import ArgumentError
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import as_array
from tracejit.frontend.promotion import convert
from tracejit.lax import pmean
from tracejit.optim import tree
from tracejit.optim.adaptive import scale_by_rms
from tracejit.optim.base import (
    EmptyState,
    GradientTransformation,
    GradientTransformationExtraArgs,
    ScalarOrSchedule,
    apply_updates,
    cast,
    chain,
    mapped,
    narrow,
    need_params,
    safe_increment,
    stateless,
    wide_transformation,
    with_extra_args_support,
    zero_count,
)
from tracejit.optim.contrib.parts import arrays, lowest, number, scalar
from tracejit.optim.optimizers import sgd
from tracejit.optim.schedules import warmup_constant_schedule
from tracejit.optim.transform import add_decayed_weights, scale_by_learning_rate
from tracejit.source import here
from tracejit.tree_util import tree_map

# ---- schedule-free -------------------------------------------------------------------------------


class ScheduleFreeState(NamedTuple):
    """The share ``b1`` of the average, the sum of weights, updates so far plus 1, the largest rate,
    the state of the optimiser inside, and the parameters ``z`` that it moves.
    """

    b1: Any
    weight_sum: Any
    step_count: Any
    max_lr: Any
    base_optimizer_state: Any
    z: Any


def _average(y: Any, z: Any, b1: Any) -> Any:
    """x of y = b1 x + (1 - b1) z."""

    def one(y: Any, z: Any) -> Any:
        share = narrow(b1, as_array(y))
        return ew.divide(ew.subtract(y, ew.multiply(1.0 - share, z)), share)

    return tree_map(one, y, z)


def schedule_free_eval_params(state: Any, params: Any) -> Any:
    """The averaged parameters, which are to be used after training, of those that gradients are
    taken at.
    """
    if not hasattr(state, "b1") or not hasattr(state, "z"):
        raise ArgumentError(
            f"schedule_free_eval_params: takes a ScheduleFreeState, not a {type(state).__name__}",
            at=here(),
        )
    return _average(params, state.z, state.b1)


def schedule_free(
    base_optimizer: Any,
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    weight_lr_power: Any = 2.0,
    state_dtype: Any = None,
) -> GradientTransformationExtraArgs:
    """An average of parameters in place of a schedule that ends: the optimiser inside moves z, the
    average x of z is what counts, and gradients are taken between them at b1 x + (1 - b1) z: "The
    road less scheduled" (Defazio et al., 2024).

    The optimiser inside has no momentum; ``learning_rate`` is its rate, whose power weighs the
    average. ``state_dtype``: what z is kept in.
    """
    inner = with_extra_args_support(base_optimizer)

    def init(params: Any) -> Any:
        dtype = lowest(params)
        zero = scalar(0.0, dtype)
        one = ew.add(zero_count(), 1)
        z = cast(arrays(params), state_dtype)
        return ScheduleFreeState(scalar(b1, dtype), zero, one, zero, inner.init(params), z)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        need_params("schedule_free", params)
        rate = number(learning_rate, state.step_count, state.max_lr)
        most = ew.maximum(state.max_lr, rate)
        weight = ew.power(most, weight_lr_power)
        total = ew.add(state.weight_sum, weight)
        none = ew.equal(total, 0)
        share = ew.select(none, 0.0, weight / ew.select(none, 1, total))
        steps, held = inner.update(updates, state.base_optimizer_state, params, **extra_args)

        def kept(new: Any, old: Any) -> Any:
            return convert(new, as_array(old).dtype)

        z = mapped(lambda z, u: kept(ew.add(z, u), z), state.z, steps)
        x = mapped(
            lambda x, z: ew.add((1.0 - narrow(share, x)) * x, ew.multiply(narrow(share, x), z)),
            _average(params, state.z, b1), z,
        )  # fmt: skip

        def moved(p: Any, x: Any, z: Any) -> Any:
            return ew.subtract(ew.add(ew.multiply(b1, x), ew.multiply(1.0 - b1, z)), p)

        count = safe_increment(state.step_count)
        new = ScheduleFreeState(state.b1, total, count, most, held, z)
        return mapped(moved, params, x, z), new

    return wide_transformation(init, update)


def _warm(learning_rate: Any, steps: int | None) -> Any:
    return learning_rate if steps is None else warmup_constant_schedule(0, learning_rate, steps)


def schedule_free_sgd(
    learning_rate: Any = 1.0,
    warmup_steps: int | None = None,
    b1: Any = 0.9,
    weight_decay: Any = None,
    weight_lr_power: Any = 2.0,
    state_dtype: Any = None,
) -> GradientTransformationExtraArgs:
    """Gradient descent without a schedule (Defazio et al., 2024)."""
    rate = _warm(learning_rate, warmup_steps)
    inner = sgd(rate)
    if weight_decay is not None:
        inner = chain(add_decayed_weights(weight_decay), inner)
    return schedule_free(inner, rate, b1, weight_lr_power, state_dtype)


def schedule_free_adamw(
    learning_rate: Any = 0.0025,
    warmup_steps: int | None = None,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    weight_decay: Any = 0.0,
    weight_lr_power: Any = 2.0,
    state_dtype: Any = None,
) -> GradientTransformationExtraArgs:
    """AdamW without a schedule (Defazio et al., 2024).

    >>> from tracejit import optim
    >>> step = optim.contrib.schedule_free_adamw(0.5)
    >>> w = jnp.array([4.0])
    >>> state = step.init(w)
    >>> for _ in range(60):
    ...     updates, state = step.update(2 * w, state, w)
    ...     w = optim.apply_updates(w, updates)
    >>> bool(abs(optim.contrib.schedule_free_eval_params(state, w))[0] < 1)
    True
    """
    rate = _warm(learning_rate, warmup_steps)
    inner = chain(
        scale_by_rms(decay=b2, eps=eps, eps_in_sqrt=False, bias_correction=True),
        add_decayed_weights(weight_decay),
        scale_by_learning_rate(rate),
    )
    return schedule_free(inner, rate, b1, weight_lr_power, state_dtype)


# ---- sharpness -----------------------------------------------------------------------------------

NormalizeState = EmptyState


def normalize() -> GradientTransformation:
    """Divides updates by their global norm."""

    def one(updates: Any, params: Any) -> Any:
        norm = tree.norm(updates)
        return mapped(lambda g: ew.divide(g, narrow(norm, as_array(g))), updates)

    return stateless(one)


class SAMState(NamedTuple):
    """Steps since the last update, the states of both optimisers, and the parameters that the
    neighbour is of (None in opaque mode).
    """

    steps_since_sync: Any
    opt_state: Any
    adv_state: Any
    cache: Any


def _opposite(updates: Any) -> Any:
    return mapped(ew.negative, updates)


def sam(
    optimizer: Any,
    adv_optimizer: Any,
    sync_period: int = 2,
    reset_state: bool = True,
    opaque_mode: bool = False,
    batch_axis_name: Any = None,
) -> GradientTransformationExtraArgs:
    """Sharpness-aware minimisation (Foret et al., 2021): gradients are taken at a neighbour where
    the loss is larger, to which ``adv_optimizer`` goes in ``sync_period`` - 1 steps.

    Each call of ``update`` is a step, of which every ``sync_period``-th moves the parameters. With
    ``opaque_mode`` all of them are taken in one call, which needs ``grad_fn(params, step)``;
    ``batch_axis_name`` is an axis of ``vmap`` to average its gradients over. ``reset_state``: the
    state of ``adv_optimizer`` begins anew.
    """
    if sync_period < 1:
        raise ArgumentError(f"sam: sync_period {sync_period} is below 1", at=here())

    def init(params: Any) -> Any:
        cache = None if opaque_mode else arrays(params)
        states = optimizer.init(params), adv_optimizer.init(params)
        return SAMState(zero_count(), *states, cache)

    def in_steps(updates: Any, state: Any, params: Any = None, *, grad_fn: Any = None) -> Any:
        need_params("sam", params)
        first = ew.equal(state.steps_since_sync, 0)
        last = ew.equal(state.steps_since_sync, sync_period - 1)
        up, adv_state = adv_optimizer.update(updates, state.adv_state, params)
        down, opt_state = optimizer.update(updates, state.opt_state, state.cache)
        back = mapped(lambda u, c, p: ew.add(ew.subtract(c, p), u), down, state.cache, params)
        begun = adv_optimizer.init(params) if reset_state else state.adv_state
        count = ew.remainder(ew.add(state.steps_since_sync, 1), sync_period)
        return tree.where(last, back, _opposite(up)), SAMState(
            count,
            tree.where(last, opt_state, state.opt_state),
            tree.where(last, begun, adv_state),
            tree.where(first, params, state.cache),
        )

    def at_once(updates: Any, state: Any, params: Any = None, *, grad_fn: Any = None) -> Any:
        need_params("sam", params)
        if grad_fn is None:
            raise ArgumentError("sam: update needs grad_fn= in opaque mode", at=here())
        at, adv_state = params, state.adv_state
        for k in range(sync_period - 1):
            up, adv_state = adv_optimizer.update(updates, adv_state, at)
            at = apply_updates(at, _opposite(up))
            updates = grad_fn(at, k)
            if batch_axis_name is not None:
                updates = pmean(updates, axis_name=batch_axis_name)
        if reset_state:
            adv_state = adv_optimizer.init(params)
        found, opt_state = optimizer.update(updates, state.opt_state, params)
        return found, SAMState(zero_count(), opt_state, adv_state, None)

    return wide_transformation(init, at_once if opaque_mode else in_steps)
