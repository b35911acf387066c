"""Relatives of Adam: ACProp, AdEMAMix, ADOPT and MADGRAD.

    optimizer = ademamix(1e-3, b3=0.9999, alpha=5.0)

Names, arguments, formulas and states are those of ``optax.contrib``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import as_array
from tracejit.frontend.promotion import typed
from tracejit.optim import tree
from tracejit.optim.adaptive import ScaleByAdamState, ScaleByBeliefState
from tracejit.optim.base import (
    GradientTransformation,
    GradientTransformationExtraArgs,
    ScalarOrSchedule,
    cast,
    chain,
    dtype_or_none,
    mapped,
    narrow,
    need_params,
    safe_increment,
    square_norm,
    transformation,
    zero_count,
    zeros_like,
)
from tracejit.optim.contrib.parts import number
from tracejit.optim.moments import (
    F64,
    bias_correction,
    mixed,
    quotient,
    update_moment,
    update_square_norm,
)
from tracejit.optim.transform import add_decayed_weights, scale_by_learning_rate

# ---- ACProp --------------------------------------------------------------------------------------


def scale_by_acprop(
    b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-16, eps_root: Any = 1e-16
) -> GradientTransformation:
    """Gradients over the root of how far earlier ones were from their average: ACProp, asynchronous
    and centred (Zhuang et al., 2021).
    """

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        surprise = mapped(ew.subtract, updates, state.mu)
        mu = update_moment(updates, state.mu, b1, 1)
        nu = update_square_norm(surprise, state.nu, b2)
        nu = mapped(lambda v: ew.add(v, narrow(eps_root, v)), nu)
        count = safe_increment(state.count)
        first = ew.equal(state.count, 0)
        spread = bias_correction(state.nu, b2, ew.select(first, count, state.count))
        spread = mapped(lambda v: ew.select(first, 1, v), spread)
        return quotient(updates, spread, eps, 0.0), ScaleByBeliefState(count, mu, nu)

    return transformation(
        lambda params: ScaleByBeliefState(zero_count(), zeros_like(params), zeros_like(params)),
        update,
    )


def acprop(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-16,
    eps_root: Any = 1e-16,
    weight_decay: Any = 0.0,
    mask: Any = None,
) -> GradientTransformationExtraArgs:
    """ACProp (Zhuang et al., 2021)."""
    return chain(
        scale_by_acprop(b1, b2, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


# ---- AdEMAMix ------------------------------------------------------------------------------------


class ScaleByAdemamixState(NamedTuple):
    """A fast average of gradients ``m1``, a slow one ``m2``, of squares ``nu``; counts for these
    and for the schedules.
    """

    count: Any
    count_m2: Any
    m1: Any
    m2: Any
    nu: Any


def scale_by_ademamix(
    b1: Any = 0.9,
    b2: Any = 0.999,
    b3: ScalarOrSchedule = 0.9999,
    alpha: ScalarOrSchedule = 6.0,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
) -> GradientTransformation:
    """Adam with a second, slow average of gradients, ``alpha`` times of which is added: AdEMAMix
    (Pagliardini, Ablin and Grangier, 2024). ``b3`` and ``alpha`` may be schedules.
    """
    dtype = dtype_or_none(mu_dtype)

    def init(params: Any) -> Any:
        zeros = zeros_like(params, dtype)
        return ScaleByAdemamixState(zero_count(), zero_count(), zeros, zeros, zeros)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        slow = b3(state.count_m2) if callable(b3) else b3
        m1 = update_moment(updates, state.m1, b1, 1)
        m2 = update_moment(updates, state.m2, slow, 1)
        nu = update_square_norm(updates, state.nu, b2)
        count = safe_increment(state.count)
        m1_hat, nu_hat = bias_correction(m1, b1, count), bias_correction(nu, b2, count)

        def both(m: Any, s: Any) -> Any:
            return ew.add(m, ew.multiply(number(alpha, state.count_m2, s), s))

        found = quotient(mapped(both, m1_hat, m2), nu_hat, eps, eps_root)
        counts = count, safe_increment(state.count_m2)
        return found, ScaleByAdemamixState(*counts, m1, m2, nu)

    return transformation(init, update)


def ademamix(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.999,
    b3: ScalarOrSchedule = 0.9999,
    alpha: ScalarOrSchedule = 5.0,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    weight_decay: Any = 0.0,
    mask: Any = None,
) -> GradientTransformationExtraArgs:
    """AdEMAMix (Pagliardini, Ablin and Grangier, 2024)."""
    return chain(
        scale_by_ademamix(b1, b2, b3, alpha, eps, eps_root, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


class ScaleBySimplifiedAdEMAMixState(NamedTuple):
    """Updates so far ``t``, the sum of decayed gradients ``m``, the average of squares ``n``."""

    t: Any
    m: Any
    n: Any


def scale_by_simplified_ademamix(
    b1: Any = 0.99,
    b2: Any = 0.95,
    alpha: ScalarOrSchedule = 0.0,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
) -> GradientTransformation:
    """AdEMAMix with one average, to which ``alpha`` times the gradient is added (Morwani et al.,
    2025).
    """

    def init(params: Any) -> Any:
        zeros = zeros_like(params)
        return ScaleBySimplifiedAdEMAMixState(zero_count(), zeros, zeros)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        m = tree.add_scale(updates, b1, state.m)
        n = mapped(lambda g, n: mixed(b2, ew.square(g), n), updates, state.n)
        t = safe_increment(state.t)
        now = alpha(state.t) if callable(alpha) else alpha
        n_hat = bias_correction(n, b2, t)
        found = quotient(tree.add_scale(m, now, updates), n_hat, eps, eps_root)
        return found, ScaleBySimplifiedAdEMAMixState(t, m, n)

    return transformation(init, update)


def simplified_ademamix(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.99,
    b2: Any = 0.95,
    alpha: ScalarOrSchedule = 0.0,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    weight_decay: Any = 0.0,
    mask: Any = None,
) -> GradientTransformationExtraArgs:
    """Simplified AdEMAMix (Morwani et al., 2025)."""
    return chain(
        scale_by_simplified_ademamix(b1, b2, alpha, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


# ---- ADOPT ---------------------------------------------------------------------------------------


def _fourth_root(count: Any) -> Any:
    return ew.sqrt(ew.sqrt(count))


def scale_by_adopt(
    b1: Any = 0.9,
    b2: Any = 0.9999,
    eps: Any = 1e-6,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
    use_clipping: bool = True,
    clip_value_fn: Callable[[Any], Any] = _fourth_root,
) -> GradientTransformation:
    """Adam that divides by the average of squares before the present gradient and averages
    afterwards: ADOPT (Taniguchi et al., 2024). ``use_clipping`` limits what is averaged to
    ``clip_value_fn(count)``.
    """
    dtype = dtype_or_none(mu_dtype)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        begun = ew.greater(state.count, 0)
        decay1, decay2 = (ew.select(begun, typed(b, F64), c) for b, c in ((b1, 1.0), (b2, 0.0)))
        nu = update_square_norm(updates, state.nu, decay2)

        def normal(g: Any, n: Any) -> Any:
            found = ew.divide(g, ew.maximum(ew.sqrt(n), narrow(eps, as_array(n))))
            if not use_clipping:
                return found
            bound = narrow(clip_value_fn(state.count), found)
            return ew.clip(found, ew.negative(bound), bound)

        steps = mapped(normal, updates, state.nu)
        mu = update_moment(steps, state.mu, decay1, 1)
        found = update_moment(steps, mu, decay1, 1) if nesterov else mu
        return found, ScaleByAdamState(safe_increment(state.count), cast(mu, dtype), nu)

    return transformation(
        lambda params: ScaleByAdamState(
            zero_count(), zeros_like(params, dtype), zeros_like(params)
        ),
        update,
    )


def adopt(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.9999,
    eps: Any = 1e-6,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
    use_clipping: bool = True,
    clip_value_fn: Callable[[Any], Any] = _fourth_root,
) -> GradientTransformationExtraArgs:
    """ADOPT (Taniguchi et al., 2024), Adam that converges with any ``b2``."""
    return chain(
        scale_by_adopt(
            b1, b2, eps, mu_dtype,
            nesterov=nesterov, use_clipping=use_clipping, clip_value_fn=clip_value_fn,
        ),
        scale_by_learning_rate(learning_rate),
    )  # fmt: skip


# ---- MADGRAD -------------------------------------------------------------------------------------


class MadgradState(NamedTuple):
    """Weighted sums of squares and of gradients, and the first parameters ``x0``."""

    count: Any
    grad_sum_sq: Any
    s: Any
    x0: Any


def scale_by_madgrad(
    learning_rate: ScalarOrSchedule, momentum: Any = 0.9, eps: Any = 1e-6
) -> GradientTransformation:
    """Dual averaging with cube roots of sums of squares: MADGRAD (Defazio and Jelassi, 2022)."""

    def init(params: Any) -> Any:
        zeros = zeros_like(params)
        return MadgradState(zero_count(), zeros, zeros, mapped(as_array, params))

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        need_params("scale_by_madgrad", params)

        def weight(g: Any) -> Any:
            rate = number(learning_rate, state.count, g) + eps
            return ew.multiply(rate, ew.sqrt(narrow(ew.add(state.count, 1), as_array(g))))

        squares = mapped(
            lambda t, g: ew.add(t, ew.multiply(weight(g), square_norm(g))),
            state.grad_sum_sq, updates,
        )  # fmt: skip
        sums = mapped(lambda t, g: ew.add(t, ew.multiply(weight(g), g)), state.s, updates)

        def moved(p: Any, first: Any, s: Any, q: Any) -> Any:
            goal = ew.subtract(first, ew.divide(s, ew.add(ew.cbrt(q), eps)))
            return ew.multiply(1 - momentum, ew.subtract(goal, p))

        found = mapped(moved, params, state.x0, sums, squares)
        return found, MadgradState(safe_increment(state.count), squares, sums, state.x0)

    return transformation(init, update)


def madgrad(
    learning_rate: ScalarOrSchedule,
    momentum: Any = 0.9,
    weight_decay: Any = 0.0,
    eps: Any = 1e-6,
) -> GradientTransformationExtraArgs:
    """MADGRAD (Defazio and Jelassi, 2022)."""
    return chain(add_decayed_weights(weight_decay), scale_by_madgrad(learning_rate, momentum, eps))
