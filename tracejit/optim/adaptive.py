"""Adaptive step sizes: gradients divided by what their own history says of their size.

    adam = chain(scale_by_adam(), scale_by_learning_rate(1e-3))

Names, arguments, formulas and states are those of optax; each function names its source.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tracejit.frontend import elementwise as ew
from tracejit.frontend import promotion, reductions
from tracejit.frontend.array import Array, as_array
from tracejit.optim.base import (
    GradientTransformation,
    cast,
    dtype_or_none,
    full_like,
    mapped,
    narrow,
    need_params,
    safe_increment,
    square_norm,
    transformation,
    zero_count,
    zeros_like,
)
from tracejit.optim.moments import (
    F64,
    bias_correction,
    mixed,
    power_of_count,
    quotient,
    update_moment,
    update_square_norm,
)
from tracejit.tree_util import tree_map

# ---- Adam and its kin ----------------------------------------------------------------------------


class ScaleByAdamState(NamedTuple):
    """``count``: updates so far; ``mu``, ``nu``: averages of gradients and of their squares."""

    count: Any
    mu: Any
    nu: Any


def _two_averages(dtype: Any = None) -> Any:
    def init(params: Any) -> Any:
        return ScaleByAdamState(zero_count(), zeros_like(params, dtype), zeros_like(params))

    return init


def _corrected(mu: Any, updates: Any, b1: Any, count: Array, nesterov: bool) -> Any:
    """The average without its bias; with ``nesterov`` as it will be one step later."""
    if not nesterov:
        return bias_correction(mu, b1, count)
    later = bias_correction(mu, b1, safe_increment(count))
    now = bias_correction(updates, b1, count)
    return mapped(lambda m, g: mixed(b1, g, m), later, now)


def _averages(updates: Any, state: Any, b1: Any, b2: Any) -> tuple[Any, Any, Array]:
    mu = update_moment(updates, state.mu, b1, 1)
    nu = update_square_norm(updates, state.nu, b2)
    return mu, nu, safe_increment(state.count)


def scale_by_adam(
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """mu_hat / (sqrt(nu_hat + eps_root) + eps): Adam (Kingma and Ba, 2015); with ``nesterov`` NAdam
    (Dozat, 2016).

    ``mu_dtype``: what the average of gradients is kept in, that of the parameters by default.

    >>> from tracejit import optim
    >>> step = optim.scale_by_adam()
    >>> step.update(jnp.array([3.0, -0.1]), step.init(jnp.zeros(2)))[0].round(3)
    Array([ 1., -1.], dtype=float32)
    """
    dtype = dtype_or_none(mu_dtype)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        mu, nu, count = _averages(updates, state, b1, b2)
        mu_hat = _corrected(mu, updates, b1, count, nesterov)
        found = quotient(mu_hat, bias_correction(nu, b2, count), eps, eps_root)
        nu = mapped(lambda new, old: promotion.convert(new, as_array(old).dtype), nu, state.nu)
        return found, ScaleByAdamState(count, cast(mu, dtype), nu)

    return transformation(_two_averages(dtype), update)


class ScaleByAmsgradState(NamedTuple):
    """Adam's state and ``nu_max``, the largest average of squares so far."""

    count: Any
    mu: Any
    nu: Any
    nu_max: Any


def scale_by_amsgrad(
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    bias_correction_mu: bool = True,
    bias_correction_nu: bool = True,
) -> GradientTransformation:
    """Adam divided by the largest average of squares so far: AMSGrad (Reddi, Kale and Kumar,
    2018).
    """
    dtype = dtype_or_none(mu_dtype)

    def init(params: Any) -> Any:
        empty = zeros_like(params)
        return ScaleByAmsgradState(zero_count(), zeros_like(params, dtype), empty, empty)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        mu, nu, count = _averages(updates, state, b1, b2)
        mu_hat = bias_correction(mu, b1, count) if bias_correction_mu else mu
        nu_hat = bias_correction(nu, b2, count) if bias_correction_nu else nu
        top = mapped(ew.maximum, state.nu_max, nu_hat)
        found = quotient(mu_hat, top, eps, eps_root)
        return found, ScaleByAmsgradState(count, cast(mu, dtype), nu, top)

    return transformation(init, update)


def scale_by_adamax(b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8) -> GradientTransformation:
    """The average of gradients over their decayed maximum, max(|g| + eps, b2 * nu) (Kingma and Ba,
    2015).
    """

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        mu = update_moment(updates, state.mu, b1, 1)

        def largest(g: Any, n: Any) -> Any:
            n = as_array(n)
            return ew.maximum(ew.add(ew.absolute(g), narrow(eps, n)), ew.multiply(narrow(b2, n), n))

        nu = mapped(largest, updates, state.nu)
        count = safe_increment(state.count)
        found = mapped(ew.divide, bias_correction(mu, b1, count), nu)
        return found, ScaleByAdamState(count, mu, nu)

    return transformation(_two_averages(), update)


class ScaleByBeliefState(NamedTuple):
    """``mu``: the average of gradients; ``nu``: of the squares of their distance to it."""

    count: Any
    mu: Any
    nu: Any


def scale_by_belief(
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-16,
    eps_root: Any = 1e-16,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """Adam divided by how far gradients are from their average: AdaBelief (Zhuang et al., 2020)."""

    def init(params: Any) -> Any:
        return ScaleByBeliefState(zero_count(), zeros_like(params), zeros_like(params))

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        mu = update_moment(updates, state.mu, b1, 1)
        surprise = mapped(ew.subtract, updates, mu)
        nu = update_square_norm(surprise, state.nu, b2)
        nu = mapped(lambda v: ew.add(v, narrow(eps_root, v)), nu)
        count = safe_increment(state.count)
        mu_hat = _corrected(mu, updates, b1, count, nesterov)
        found = quotient(mu_hat, bias_correction(nu, b2, count), eps, 0.0)
        return found, ScaleByBeliefState(count, mu, nu)

    return transformation(init, update)


def scale_by_yogi(
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-3,
    eps_root: Any = 0.0,
    initial_accumulator_value: Any = 1e-6,
) -> GradientTransformation:
    """Adam whose average of squares moves by (1 - b2) g**2 towards g**2: Yogi (Zaheer et al.,
    2018).
    """

    def init(params: Any) -> Any:
        first = full_like(params, initial_accumulator_value)
        return ScaleByAdamState(zero_count(), first, first)

    def moved(g: Any, v: Any) -> Any:
        v = as_array(v)
        square = square_norm(g)
        rate = 1.0 - narrow(b2, v)
        return ew.subtract(
            v, ew.multiply(ew.multiply(rate, ew.sign(ew.subtract(v, square))), square)
        )

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        mu = update_moment(updates, state.mu, b1, 1)
        nu = mapped(moved, updates, state.nu)
        count = safe_increment(state.count)
        mu_hat, nu_hat = bias_correction(mu, b1, count), bias_correction(nu, b2, count)
        return quotient(mu_hat, nu_hat, eps, eps_root), ScaleByAdamState(count, mu, nu)

    return transformation(init, update)


def scale_by_radam(
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    threshold: Any = 5.0,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """Adam with its variance rectified, and without division while that cannot be told: RAdam (Liu
    et al., 2020).
    """
    limit = 2.0 / (1.0 - b2) - 1.0

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        mu, nu, count = _averages(updates, state, b1, b2)
        decayed = power_of_count(b2, count, F64)
        steps = promotion.convert(count, F64)
        weight = ew.divide(ew.multiply(ew.multiply(2, steps), decayed), ew.subtract(1, decayed))
        length = ew.subtract(limit, weight)
        top = ew.multiply(ew.multiply(ew.subtract(length, 4.0), ew.subtract(length, 2.0)), limit)
        bottom = ew.multiply((limit - 4.0) * (limit - 2.0), length)
        known = ew.greater_equal(length, threshold)
        rectifier = ew.sqrt(ew.select(known, ew.divide(top, bottom), 1.0))
        mu_hat = _corrected(mu, updates, b1, count, nesterov)
        scaled = quotient(mu_hat, bias_correction(nu, b2, count), eps, eps_root)

        def chosen(s: Any, m: Any) -> Any:
            return ew.select(known, ew.multiply(narrow(rectifier, s), s), m)

        return mapped(chosen, scaled, mu_hat), ScaleByAdamState(count, mu, nu)

    return transformation(_two_averages(), update)


class ScaleByNovogradState(NamedTuple):
    """``mu``: the running sum of scaled gradients; ``nu``: one average of squares a leaf."""

    count: Any
    mu: Any
    nu: Any


def scale_by_novograd(
    b1: Any = 0.9,
    b2: Any = 0.25,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    weight_decay: Any = 0.0,
    mu_dtype: Any = None,
) -> GradientTransformation:
    """Gradients over their norm, layer by layer, with momentum: NovoGrad (Ginsburg et al.,
    2019).
    """
    dtype = dtype_or_none(mu_dtype)

    def init(params: Any) -> Any:
        norms = tree_map(lambda p: promotion.convert(as_array(0.0), as_array(p).dtype), params)
        return ScaleByNovogradState(zero_count(), zeros_like(params, dtype), norms)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        need_params("scale_by_novograd", params)
        first = ew.equal(state.count, 0)

        def norm(g: Any, n: Any) -> Any:
            square = promotion.convert(reductions.sum(square_norm(g)), as_array(n).dtype)
            return ew.select(first, square, mixed(b2, square, n))

        nu = mapped(norm, updates, state.nu)

        def moved(g: Any, p: Any, m: Any, n: Any) -> Any:
            n = as_array(n)
            size = ew.add(ew.sqrt(ew.add(n, narrow(eps_root, n))), narrow(eps, n))
            step = ew.add(ew.divide(g, size), ew.multiply(narrow(weight_decay, as_array(p)), p))
            kept = ew.add(ew.multiply(narrow(b1, as_array(m)), m), step)
            return ew.select(first, step, kept)

        mu = cast(mapped(moved, updates, params, state.mu, nu), dtype)
        return mu, ScaleByNovogradState(safe_increment(state.count), mu, nu)

    return transformation(init, update)


# ---- squares alone -------------------------------------------------------------------------------


class ScaleByRssState(NamedTuple):
    """``sum_of_squares`` of all gradients so far."""

    sum_of_squares: Any


def _root_or_zero(total: Any, eps: Any) -> Any:
    """1 / sqrt(total + eps), 0 where the total is."""
    return ew.select(ew.greater(total, 0), ew.reciprocal(ew.sqrt(ew.add(total, eps))), 0.0)


def scale_by_rss(initial_accumulator_value: Any = 0.1, eps: Any = 1e-7) -> GradientTransformation:
    """Divides by the root of the sum of all squares so far: AdaGrad (Duchi, Hazan and Singer,
    2011).
    """

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        total = mapped(lambda g, t: ew.add(square_norm(g), t), updates, state.sum_of_squares)
        found = mapped(
            lambda g, t: ew.multiply(_root_or_zero(t, narrow(eps, t)), g), updates, total
        )
        return found, ScaleByRssState(total)

    return transformation(
        lambda params: ScaleByRssState(full_like(params, initial_accumulator_value)), update
    )


class ScaleByRmsState(NamedTuple):
    """``nu``: the average of squares."""

    nu: Any


class ScaleByRmsWithCountState(NamedTuple):
    """``count``: updates so far; ``nu``: the average of squares."""

    count: Any
    nu: Any


class ScaleByRStdDevState(NamedTuple):
    """``mu``, ``nu``: averages of gradients and of their squares."""

    mu: Any
    nu: Any


class ScaleByRStdDevWithCountState(NamedTuple):
    """``count``: updates so far; ``mu``, ``nu``: averages of gradients and of their squares."""

    count: Any
    mu: Any
    nu: Any


def _over_root(g: Any, n: Any, eps: Any, eps_in_sqrt: bool) -> Any:
    small = narrow(eps, as_array(n))
    if eps_in_sqrt:
        return ew.multiply(ew.reciprocal(ew.sqrt(ew.add(n, small))), g)
    return ew.multiply(ew.reciprocal(ew.add(ew.sqrt(n), small)), g)


def scale_by_rms(
    decay: Any = 0.9,
    eps: Any = 1e-8,
    initial_scale: Any = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
) -> GradientTransformation:
    """Divides by the root of the average of squares: RMSProp (Hinton, lecture notes, 2012)."""
    return _by_spread(decay, eps, initial_scale, eps_in_sqrt, bias_correction, centred=False)


def scale_by_stddev(
    decay: Any = 0.9,
    eps: Any = 1e-8,
    initial_scale: Any = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
) -> GradientTransformation:
    """Divides by the running standard deviation of gradients: centred RMSProp (Graves, 2013)."""
    return _by_spread(decay, eps, initial_scale, eps_in_sqrt, bias_correction, centred=True)


def _by_spread(
    decay: Any, eps: Any, initial: Any, eps_in_sqrt: bool, correct: bool, *, centred: bool
) -> GradientTransformation:
    kinds = {
        (False, False): lambda count, mu, nu: ScaleByRmsState(nu),
        (False, True): lambda count, mu, nu: ScaleByRmsWithCountState(count, nu),
        (True, False): lambda count, mu, nu: ScaleByRStdDevState(mu, nu),
        (True, True): ScaleByRStdDevWithCountState,
    }
    made = kinds[centred, correct]

    def init(params: Any) -> Any:
        mu = zeros_like(params) if centred else None
        return made(zero_count(), mu, full_like(params, initial))

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        mu = update_moment(updates, state.mu, decay, 1) if centred else None
        nu = update_square_norm(updates, state.nu, decay)
        count = safe_increment(state.count) if correct else None
        spread, middle = nu, mu
        if correct:
            spread = bias_correction(nu, decay, count)
            middle = bias_correction(mu, decay, count) if centred else None
        if centred:
            spread = mapped(lambda n, m: ew.subtract(n, square_norm(m)), spread, middle)
        found = mapped(lambda g, n: _over_root(g, n, eps, eps_in_sqrt), updates, spread)
        return found, made(count, mu, nu)

    return transformation(init, update)


class ScaleByAdaDeltaState(NamedTuple):
    """``e_g``, ``e_x``: averages of the squares of gradients and of updates."""

    e_g: Any
    e_x: Any


def scale_by_adadelta(rho: Any = 0.9, eps: Any = 1e-6) -> GradientTransformation:
    """Gradients times the ratio of the sizes of past updates and gradients: AdaDelta (Zeiler,
    2012).
    """

    def step(g: Any, now: Any, before: Any) -> Any:
        small = narrow(eps, as_array(before))
        ratio = ew.divide(ew.sqrt(ew.add(before, small)), ew.sqrt(ew.add(now, small)))
        return ew.multiply(ratio, g)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        e_g = update_moment(updates, state.e_g, rho, 2)
        found = mapped(step, updates, e_g, state.e_x)
        return found, ScaleByAdaDeltaState(e_g, update_moment(found, state.e_x, rho, 2))

    return transformation(
        lambda params: ScaleByAdaDeltaState(zeros_like(params), zeros_like(params)), update
    )


class ScaleByRpropState(NamedTuple):
    """``step_sizes`` of each element, and ``prev_updates``."""

    step_sizes: Any
    prev_updates: Any


def scale_by_rprop(
    learning_rate: Any,
    eta_minus: Any = 0.5,
    eta_plus: Any = 1.2,
    min_step_size: Any = 1e-6,
    max_step_size: Any = 50.0,
) -> GradientTransformation:
    """Steps that grow while the sign of a gradient stays and shrink where it changes: Rprop
    (Riedmiller and Braun, 1993).
    """

    def init(params: Any) -> Any:
        return ScaleByRpropState(full_like(params, learning_rate), zeros_like(params))

    def resized(sign: Any, size: Any) -> Any:
        scaled = [ew.multiply(size, narrow(eta, as_array(size))) for eta in (eta_plus, eta_minus)]
        new = ew.clip(ew.select(ew.greater(sign, 0), *scaled), min_step_size, max_step_size)
        return ew.select(ew.equal(sign, 0), size, new)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        sign = mapped(ew.multiply, updates, state.prev_updates)
        sizes = mapped(resized, sign, state.step_sizes)
        new = mapped(
            lambda s, g, size: ew.select(ew.less(s, 0), 0, ew.multiply(size, ew.sign(g))),
            sign,
            updates,
            sizes,
        )
        # as in optax: a step is taken at the next call, unless the sign has changed by then
        found = mapped(lambda s, old: ew.select(ew.less(s, 0), 0, old), sign, state.prev_updates)
        return found, ScaleByRpropState(sizes, new)

    return transformation(init, update)
