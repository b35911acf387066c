"""Optimisers without a learning rate: they estimate how far the solution is.

    optimizer = prodigy()              D-Adaptation, faster
    optimizer = dog()                  distance over gradients
    optimizer = mechanize(adamw(1.0))  around another optimiser

Names, arguments, formulas and states are those of ``optax.contrib``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tracejit.errors import ArgumentError
from tracejit.frontend import creation, reductions
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import as_array
from tracejit.optim import tree
from tracejit.optim.base import (
    GradientTransformation,
    GradientTransformationExtraArgs,
    ScalarOrSchedule,
    chain,
    full_like,
    mapped,
    narrow,
    need_params,
    safe_increment,
    transformation,
    wide_transformation,
    with_extra_args_support,
    zero_count,
    zeros_like,
)
from tracejit.optim.contrib.parts import arrays, decayed, decoupled, lowest, number, scalar
from tracejit.optim.transform import add_decayed_weights, scale_by_learning_rate
from tracejit.source import here

# ---- COCOB ---------------------------------------------------------------------------------------


class COCOBState(NamedTuple):
    """First parameters, sums of gradients, largest and summed absolute gradients, and rewards."""

    init_particles: Any
    cumulative_gradients: Any
    scale: Any
    subgradients: Any
    reward: Any


def scale_by_cocob(alpha: Any = 100.0, eps: Any = 1e-8) -> GradientTransformation:
    """Steps as bets on coins whose outcomes are gradients: COCOB (Orabona and Tommasi, 2017)."""

    def init(params: Any) -> Any:
        zeros = zeros_like(params)
        return COCOBState(arrays(params), zeros, full_like(params, eps), zeros, zeros)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        need_params("scale_by_cocob", params)
        g, p = arrays(updates), arrays(params)
        first = state.init_particles
        most = mapped(lambda s, g: ew.maximum(s, abs(g)), state.scale, g)
        total = mapped(lambda s, g: s + abs(g), state.subgradients, g)
        reward = mapped(
            lambda r, g, p, p0: ew.maximum(r - g * (p - p0), 0), state.reward, g, p, first
        )
        sums = mapped(lambda s, g: s - g, state.cumulative_gradients, g)

        def moved(p: Any, p0: Any, s: Any, m: Any, t: Any, r: Any) -> Any:
            bet = s / (m * ew.maximum(t + m, alpha * m)) * (m + r)
            return p0 - p + bet

        found = mapped(moved, p, first, sums, most, total, reward)
        return found, COCOBState(first, sums, most, total, reward)

    return transformation(init, update)


def cocob(
    learning_rate: ScalarOrSchedule = 1.0,
    alpha: Any = 100.0,
    eps: Any = 1e-8,
    weight_decay: Any = 0.0,
    mask: Any = None,
) -> GradientTransformationExtraArgs:
    """COCOB (Orabona and Tommasi, 2017)."""
    return chain(
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate, flip_sign=False),
        scale_by_cocob(alpha, eps),
    )


# ---- distance over gradients ---------------------------------------------------------------------


class DoGState(NamedTuple):
    """First parameters, the largest distance from them, the sum of squared norms of gradients."""

    is_init_step: Any
    init_params: Any
    max_dist: Any
    sum_sq_norm_grads: Any


def scale_by_dog(init_step: tuple[str, Any], eps: Any = 1e-8) -> GradientTransformation:
    """Multiplies by the largest distance from the first parameters over the root of the sum of
    squared gradients: DoG (Ivgi, Hinder and Carmon, 2023).

    ``init_step``: ("distance", d), ("learning_rate", rate) of the first step, or ("heuristic", e),
    the distance e * (1 + norm of the parameters).
    """
    how, value = init_step
    if how not in ("distance", "heuristic", "learning_rate"):
        raise ArgumentError(
            "scale_by_dog: init_step is a pair of 'distance', 'heuristic' or 'learning_rate' and a "
            f"number, not {init_step!r}",
            at=here(),
        )

    def init(params: Any) -> Any:
        first = 0.0 if how == "learning_rate" else value
        if how == "heuristic":
            first = (1 + tree.norm(params)) * value
        dtype = lowest(params)
        return DoGState(as_array(True), arrays(params), scalar(first, dtype), scalar(0.0, dtype))

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        need_params("scale_by_dog", params)
        away = narrow(tree.norm(tree.sub(state.init_params, params)), state.max_dist)
        most = ew.maximum(state.max_dist, away)
        squares = tree.norm(updates, squared=True)
        total = ew.add(state.sum_sq_norm_grads, narrow(squares, state.sum_sq_norm_grads))
        rate = most / ew.sqrt(total + eps)
        if how == "learning_rate":
            rate = ew.select(state.is_init_step, narrow(value, rate), rate)
        state = DoGState(as_array(False), state.init_params, most, total)
        return tree.scale(rate, updates), state

    return transformation(init, update)


def dog(
    learning_rate: ScalarOrSchedule = 1.0,
    init_step: tuple[str, Any] = ("heuristic", 1e-6),
    eps: Any = 1e-8,
    weight_decay: Any = None,
    mask: Any = None,
) -> GradientTransformationExtraArgs:
    """Distance over gradients (Ivgi, Hinder and Carmon, 2023)."""
    return chain(
        decoupled(weight_decay, mask),
        scale_by_dog(init_step, eps),
        scale_by_learning_rate(learning_rate),
    )


class DoWGState(NamedTuple):
    """First parameters, the weighted sum of squared norms, the largest squared distance."""

    init_params: Any
    weighted_sq_norm_grads: Any
    estim_sq_dist: Any


def scale_by_dowg(init_estim_sq_dist: Any = None, eps: Any = 1e-4) -> GradientTransformation:
    """DoG with gradients weighted by the distance: DoWG (Khaled, Mishchenko and Jin, 2023)."""

    def init(params: Any) -> Any:
        dtype = lowest(params)
        first = eps if init_estim_sq_dist is None else init_estim_sq_dist
        return DoWGState(arrays(params), scalar(0.0, dtype), scalar(first, dtype))

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        need_params("scale_by_dowg", params)
        away = tree.norm(tree.sub(state.init_params, params), squared=True)
        dist = ew.maximum(state.estim_sq_dist, narrow(away, state.estim_sq_dist))
        squares = narrow(tree.norm(updates, squared=True), dist)
        total = dist * squares + state.weighted_sq_norm_grads
        found = tree.scale(dist / (ew.sqrt(total) + eps), updates)
        return found, DoWGState(state.init_params, total, dist)

    return transformation(init, update)


def dowg(
    learning_rate: ScalarOrSchedule = 1.0,
    init_estim_sq_dist: Any = None,
    eps: Any = 1e-4,
    weight_decay: Any = None,
    mask: Any = None,
) -> GradientTransformationExtraArgs:
    """Distance over weighted gradients (Khaled, Mishchenko and Jin, 2023)."""
    return chain(
        decoupled(weight_decay, mask),
        scale_by_dowg(init_estim_sq_dist, eps),
        scale_by_learning_rate(learning_rate),
    )


# ---- D-Adaptation --------------------------------------------------------------------------------


class DAdaptAdamWState(NamedTuple):
    """Averages of gradients and squares, the sum that tells the distance, the rate so far."""

    exp_avg: Any
    exp_avg_sq: Any
    grad_sum: Any
    estim_lr: Any
    numerator_weighted: Any
    count: Any


def _corrected_rate(rate: Any, schedule: Any, betas: tuple[Any, Any], state: Any) -> Any:
    """The estimate times the schedule, times Adam's correction of both averages."""
    count = safe_increment(state.count)
    b1, b2 = (decayed(b, count, rate) for b in betas)
    return rate * number(schedule, state.count, rate) * ew.sqrt(1 - b2) / (1 - b1)


def dadapt_adamw(
    learning_rate: ScalarOrSchedule = 1.0,
    betas: tuple[Any, Any] = (0.9, 0.999),
    eps: Any = 1e-8,
    estim_lr0: Any = 1e-6,
    weight_decay: Any = 0.0,
) -> GradientTransformationExtraArgs:
    """AdamW that finds its learning rate: D-Adaptation (Defazio and Mishchenko, 2023).
    ``learning_rate`` is a factor, 1 or a schedule.
    """
    b1, b2 = betas
    root = b2**0.5

    def init(params: Any) -> Any:
        zeros, dtype = zeros_like(params), lowest(params)
        first = scalar(estim_lr0, dtype), scalar(0.0, dtype)
        return DAdaptAdamWState(zeros, zeros, zeros, *first, zero_count())

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        need_params("dadapt_adamw", params)
        g, p = arrays(updates), arrays(params)
        rate = _corrected_rate(state.estim_lr, learning_rate, betas, state)
        scaled = mapped(lambda s, q: s / (ew.sqrt(q) + eps), state.grad_sum, state.exp_avg_sq)
        gain = narrow(tree.vdot(g, scaled), rate)
        m = mapped(lambda m, g: b1 * m + (1 - b1) * narrow(rate, g) * g, state.exp_avg, g)
        q = mapped(lambda q, g: b2 * q + (1 - b2) * g * g, state.exp_avg_sq, g)
        s = mapped(lambda s, g: root * s + (1 - root) * narrow(rate, g) * g, state.grad_sum, g)
        size = narrow(tree.norm(s, ord=1), rate)
        top = root * state.numerator_weighted + (1 - root) * rate * gain
        estimate = ew.maximum(state.estim_lr, top / ((1 - root) * size))

        def moved(m: Any, q: Any, p: Any) -> Any:
            return -weight_decay * narrow(rate, p) * p - m / (ew.sqrt(q) + eps)

        count = safe_increment(state.count)
        return mapped(moved, m, q, p), DAdaptAdamWState(m, q, s, estimate, top, count)

    return wide_transformation(init, update)


class ProdigyState(NamedTuple):
    """As of ``dadapt_adamw``, and the first parameters."""

    exp_avg: Any
    exp_avg_sq: Any
    grad_sum: Any
    params0: Any
    estim_lr: Any
    numerator_weighted: Any
    count: Any


def prodigy(
    learning_rate: ScalarOrSchedule = 1.0,
    betas: tuple[Any, Any] = (0.9, 0.999),
    beta3: Any = None,
    eps: Any = 1e-8,
    estim_lr0: Any = 1e-6,
    estim_lr_coef: Any = 1.0,
    weight_decay: Any = 0.0,
    safeguard_warmup: bool = False,
) -> GradientTransformationExtraArgs:
    """AdamW that finds its learning rate: Prodigy (Mishchenko and Defazio, 2023).

    ``safeguard_warmup`` leaves the schedule out of the estimate, for schedules that begin low.

    >>> from tracejit import optim
    >>> step = optim.contrib.prodigy()
    >>> w = jnp.array([4.0, -4.0])
    >>> state = step.init(w)
    >>> for _ in range(100):
    ...     updates, state = step.update(2 * w, state, w)
    ...     w = optim.apply_updates(w, updates)
    >>> bool((abs(w) < 1).all())
    True
    """
    b1, b2 = betas
    b3 = b2**0.5 if beta3 is None else beta3

    def init(params: Any) -> Any:
        zeros, dtype = zeros_like(params), lowest(params)
        first = scalar(estim_lr0, dtype), scalar(0.0, dtype)
        return ProdigyState(zeros, zeros, zeros, arrays(params), *first, zero_count())

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        need_params("prodigy", params)
        g, p = arrays(updates), arrays(params)
        d = state.estim_lr
        rate = _corrected_rate(d, learning_rate, betas, state)
        dg = mapped(lambda g: narrow(d, g) * g, g)
        gain = narrow(tree.vdot(g, tree.sub(state.params0, p)), d)
        m = mapped(lambda m, x: b1 * m + (1 - b1) * x, state.exp_avg, dg)
        q = mapped(lambda q, x: b2 * q + (1 - b2) * x * x, state.exp_avg_sq, dg)
        weight = d if safeguard_warmup else rate
        s = mapped(lambda s, x: b3 * s + narrow(weight, x) * x / estim_lr0, state.grad_sum, dg)
        top = b3 * state.numerator_weighted + d / estim_lr0 * rate * gain
        below = narrow(tree.norm(s, ord=1), d)
        estimate = ew.maximum(d, estim_lr_coef * top / below)

        def moved(m: Any, q: Any, p: Any) -> Any:
            r = narrow(rate, p)
            return -weight_decay * r * p - r * m / (ew.sqrt(q) + narrow(estimate, p) * eps)

        count = safe_increment(state.count)
        new = ProdigyState(m, q, s, state.params0, estimate, top, count)
        return mapped(moved, m, q, p), new

    return wide_transformation(init, update)


# ---- Mechanic ------------------------------------------------------------------------------------


class MechanicState(NamedTuple):
    """The state of the optimiser inside; for each decay rewards ``r``, largest gains ``m``, sums of
    squares ``v`` and factors ``s``; first parameters ``x0``.
    """

    base_optimizer_state: Any
    count: Any
    r: Any
    m: Any
    v: Any
    s: Any
    x0: Any


def mechanize(
    base_optimizer: Any,
    weight_decay: Any = 1e-2,
    eps: Any = 1e-8,
    s_init: Any = 1e-6,
    num_betas: int = 6,
) -> GradientTransformationExtraArgs:
    """Finds a factor for the learning rate of another optimiser: Mechanic (Cutkosky, Defazio and
    Mehta, 2023).
    """
    base = with_extra_args_support(base_optimizer)
    decays = 1.0 - 0.1 ** np.arange(1, num_betas + 1)

    def init(params: Any) -> Any:
        dtype = lowest(params)
        zeros = creation.zeros((num_betas,), dtype=dtype)
        factors = creation.full((num_betas,), s_init, dtype=dtype)
        inner = base.init(params)
        return MechanicState(inner, zero_count(), zeros, zeros, zeros, factors, arrays(params))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        need_params("mechanize", params)
        p = arrays(params)
        inner_updates, inner = base.update(
            updates, state.base_optimizer_state, params, **extra_args
        )
        x0 = tree.where(ew.equal(state.count, 0), p, state.x0)
        total = reductions.sum(state.s)
        pull = weight_decay * total * tree.norm(updates) / (tree.norm(p) + eps)
        g = tree.add_scale(arrays(updates), pull, p)
        before = mapped(lambda p, first: (first - p) / (narrow(total, p) + eps), p, x0)
        change = tree.sub(before, inner_updates)
        h = narrow(tree.vdot(g, before), state.m)
        betas = narrow(as_array(decays), state.s)
        m = ew.maximum(betas * state.m, abs(h) + eps)
        v = ew.square(betas) * state.v + ew.square(h)
        r = betas * state.r + ew.clip(h, -state.m, state.m) * state.s
        wealth = s_init / num_betas * m + ew.maximum(r, 0.0)
        s = wealth / (ew.sqrt(v) + eps)
        factor = reductions.sum(s)
        found = mapped(lambda p, first, d: first - narrow(factor, p) * d - p, p, x0, change)
        return found, MechanicState(inner, safe_increment(state.count), r, m, v, s, x0)

    return wide_transformation(init, update)
