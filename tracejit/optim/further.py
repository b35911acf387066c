"""Transformations of gradients beside Adam and its kin.

    optimizer = polyak_sgd()
    updates, state = optimizer.update(g, state, w, value=loss)

Names, arguments, formulas and states are those of optax; each function names its source.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tracejit.errors import ArgumentError
from tracejit.frontend import creation, promotion, reductions
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import as_array
from tracejit.frontend.custom import custom_vjp
from tracejit.frontend.promotion import convert
from tracejit.lax import stop_gradient
from tracejit.numpy import finfo
from tracejit.optim import tree
from tracejit.optim.adaptive import scale_by_adam
from tracejit.optim.base import (
    EmptyState,
    GradientTransformation,
    GradientTransformationExtraArgs,
    ScalarOrSchedule,
    cast,
    chain,
    mapped,
    narrow,
    need_params,
    safe_increment,
    transformation,
    wide_transformation,
    zero_count,
    zeros_like,
)
from tracejit.optim.moments import bias_correction, quotient, update_moment, update_square_norm
from tracejit.optim.optimizers import sgd
from tracejit.optim.transform import add_decayed_weights, scale_by_learning_rate
from tracejit.random import PRNGKeyArray, key, normal, split
from tracejit.source import here
from tracejit.tree_util import tree_map

# ---- Adan ----------------------------------------------------------------------------------------


class ScaleByAdanState(NamedTuple):
    """Averages of gradients ``m``, of their differences ``v``, of squares ``n``; the last gradient
    ``g``; the number of updates ``t``.
    """

    m: Any
    v: Any
    n: Any
    g: Any
    t: Any


def scale_by_adan(
    b1: Any = 0.98, b2: Any = 0.92, b3: Any = 0.99, eps: Any = 1e-8, eps_root: Any = 0.0
) -> GradientTransformation:
    """Adam with Nesterov's momentum, estimated from differences of gradients: Adan (Xie et al.,
    2022).
    """

    def init(params: Any) -> Any:
        zeros = zeros_like(params)
        return ScaleByAdanState(zeros, zeros, zeros, zeros, zero_count())

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        first = ew.equal(state.t, 0)
        change = mapped(lambda g, old: ew.select(first, 0, ew.subtract(g, old)), updates, state.g)
        m = update_moment(updates, state.m, b1, 1)
        v = update_moment(change, state.v, b2, 1)
        n = update_square_norm(tree.add_scale(updates, 1 - b2, change), state.n, b3)
        t = safe_increment(state.t)
        m_hat, v_hat, n_hat = (bias_correction(*x, t) for x in ((m, b1), (v, b2), (n, b3)))
        found = quotient(tree.add_scale(m_hat, 1 - b2, v_hat), n_hat, eps, eps_root)
        return found, ScaleByAdanState(m, v, n, updates, t)

    return transformation(init, update)


def adan(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.98,
    b2: Any = 0.92,
    b3: Any = 0.99,
    eps: Any = 1e-8,
    eps_root: Any = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Any = None,
) -> GradientTransformationExtraArgs:
    """Adan (Xie et al., 2022)."""
    return chain(
        scale_by_adan(b1=b1, b2=b2, b3=b3, eps=eps, eps_root=eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


# ---- optimistic gradients ------------------------------------------------------------------------


class ScaleByOptimisticGradientState(NamedTuple):
    """``previous_gradient``, and whether there is none yet."""

    is_initial_step: Any
    previous_gradient: Any


def scale_by_optimistic_gradient(alpha: Any = 1.0, beta: Any = 1.0) -> GradientTransformation:
    """(alpha + beta) g - beta * (the last g): optimistic gradient descent (Daskalakis et al., 2018;
    Mokhtari, Ozdaglar and Pattathil, 2020).
    """

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        def one(g: Any, old: Any) -> Any:
            g = as_array(g)
            a, b = narrow(alpha, g), narrow(beta, g)
            old = ew.select(state.is_initial_step, g, old)
            return ew.subtract(ew.multiply(a + b, g), ew.multiply(b, old))

        found = mapped(one, updates, state.previous_gradient)
        return found, ScaleByOptimisticGradientState(as_array(False), updates)

    return transformation(
        lambda params: ScaleByOptimisticGradientState(as_array(True), zeros_like(params)), update
    )


def optimistic_gradient_descent(
    learning_rate: ScalarOrSchedule, alpha: Any = 1.0, beta: Any = 1.0
) -> GradientTransformationExtraArgs:
    """Gradient descent for games and saddle points (Daskalakis et al., 2018)."""
    return chain(
        scale_by_optimistic_gradient(alpha=alpha, beta=beta), scale_by_learning_rate(learning_rate)
    )


def optimistic_adam(
    learning_rate: Any,
    optimism: Any = None,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = True,
) -> GradientTransformationExtraArgs:
    """Optimistic Adam (Daskalakis et al., 2018) with a rate that is fixed; ``optimism`` is the rate
    by default. ``optimistic_adam_v2`` takes schedules.
    """
    if callable(learning_rate):
        raise ArgumentError(
            "optimistic_adam: the learning rate is a number",
            at=here(),
            hint="optimistic_adam_v2 takes schedules",
        )
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_optimistic_gradient(
            learning_rate, learning_rate if optimism is None else optimism
        ),
        scale_by_learning_rate(1.0),
    )


def optimistic_adam_v2(
    learning_rate: ScalarOrSchedule,
    *,
    alpha: Any = 1.0,
    beta: Any = 1.0,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    nesterov: bool = True,
) -> GradientTransformationExtraArgs:
    """Optimistic Adam (Daskalakis et al., 2018)."""
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_optimistic_gradient(alpha, beta),
        scale_by_learning_rate(learning_rate),
    )


# ---- step sizes of the objective or of distances -------------------------------------------------


def scale_by_polyak(
    f_min: Any = 0.0, max_learning_rate: Any = 1.0, eps: Any = 0.0, variant: str = "sps"
) -> GradientTransformationExtraArgs:
    """Multiplies gradients by (value - f_min) / (|g|**2 + eps), at most ``max_learning_rate``:
    Polyak's step size, stochastic as in Loizou et al. (2021). ``update`` takes ``value``.

    ``variant`` "sps+" counts values below ``f_min`` as ``f_min``.
    """
    if variant not in ("sps", "sps+"):
        raise ArgumentError(
            f"scale_by_polyak: variant is 'sps' or 'sps+', not {variant!r}", at=here()
        )

    def update(
        updates: Any, state: Any, params: Any = None, *, value: Any, **extra_args: Any
    ) -> Any:
        size = tree.norm(updates, squared=True)
        gap = convert(as_array(ew.subtract(value, f_min)), size.dtype)
        gap = ew.maximum(gap, 0) if variant == "sps+" else gap
        below = ew.add(size, narrow(eps, size))
        tiny = ew.less_equal(below, finfo(size.dtype).eps)
        rate = ew.minimum(
            ew.divide(gap, ew.select(tiny, 1, below)), narrow(max_learning_rate, size)
        )
        return tree.scale(ew.select(tiny, 0, rate), updates), state

    return wide_transformation(lambda params: EmptyState(), update)


def polyak_sgd(
    max_learning_rate: Any = 1.0,
    scaling: ScalarOrSchedule = 1.0,
    f_min: Any = 0.0,
    eps: Any = 0.0,
    variant: str = "sps",
) -> GradientTransformationExtraArgs:
    """Gradient descent with Polyak's step size (Loizou et al., 2021). ``update`` takes ``value``.

    >>> from tracejit import optim
    >>> step = optim.polyak_sgd()
    >>> w = jnp.array([3.0, 4.0])
    >>> step.update(w, step.init(w), w, value=12.5)[0]
    Array([-1.5, -2. ], dtype=float32)
    """
    return chain(
        sgd(learning_rate=scaling),
        scale_by_polyak(f_min, max_learning_rate, eps, variant),
    )


class ScaleByDistanceOverGradientsState(NamedTuple):
    """For each leaf: ``max_dist`` from ``init_params``, and ``grad_sum_of_squares``."""

    max_dist: Any
    grad_sum_of_squares: Any
    init_params: Any


def scale_by_distance_over_gradients(
    reps_rel: Any = 1e-6,
    eps: Any = 1e-8,
    param_dtype: Any = np.float32,
    global_scale: Any = 1.0,
) -> GradientTransformation:
    """Multiplies each leaf by the largest distance from its first value over the root of the sum of
    squares of its gradients: DoG, layer by layer (Ivgi, Hinder and Carmon, 2023).

    ``reps_rel`` times 1 + the norm is the first distance; first values are kept in ``param_dtype``.
    """
    dtype = promotion.canonical(param_dtype)

    def distance(x: Any, y: Any = 0.0) -> Any:
        return ew.sqrt(reductions.sum(ew.square(ew.subtract(x, y))))

    def init(params: Any) -> Any:
        first = tree_map(lambda p: ew.multiply(reps_rel, ew.add(1, distance(p))), params)
        zeros = tree_map(lambda p: creation.zeros((1,), dtype=as_array(p).dtype), params)
        return ScaleByDistanceOverGradientsState(first, zeros, cast(params, dtype))

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        need_params("scale_by_distance_over_gradients", params)

        def farther(d: Any, p: Any, first: Any) -> Any:
            return ew.maximum(d, narrow(distance(p, first), as_array(d)))

        def summed(total: Any, g: Any) -> Any:
            return ew.add(total, reductions.sum(ew.square(g)))

        dist = tree_map(farther, state.max_dist, params, state.init_params)
        sums = tree_map(summed, state.grad_sum_of_squares, updates)

        def one(g: Any, d: Any, s: Any) -> Any:
            rate = ew.divide(d, ew.sqrt(ew.add(s, narrow(eps, as_array(s)))))
            return ew.multiply(ew.multiply(narrow(global_scale, as_array(g)), rate), g)

        found = mapped(one, updates, dist, sums)
        return found, ScaleByDistanceOverGradientsState(dist, sums, state.init_params)

    return transformation(init, update)


# ---- noise ---------------------------------------------------------------------------------------


class AddNoiseState(NamedTuple):
    """``count``: updates so far; ``rng_key``: for the next draw."""

    count: Any
    rng_key: Any


def key_or_seed(name: str, given: Any, seed: Any) -> Any:
    """A key from a key or a seed, of which one is given; 0 is the seed otherwise."""
    if given is not None and seed is not None:
        raise ArgumentError(f"{name}: give `key` or `seed`, not both", at=here())
    found = 0 if given is None and seed is None else given if seed is None else seed
    raw = getattr(found, "shape", None) == (2,)
    return found if raw or isinstance(found, PRNGKeyArray) else key(found)


def add_noise(eta: Any, gamma: Any, key: Any = None, *, seed: Any = None) -> GradientTransformation:
    """Adds normal noise of variance eta / count**gamma (Neelakantan et al., 2015). ``key``: a
    random key or a seed.

    >>> from tracejit import optim
    >>> step = optim.add_noise(0.01, 0.55, key=random.key(0))
    >>> step.update(jnp.zeros(2), step.init(jnp.zeros(2)))[0].shape
    (2,)
    """
    first = key_or_seed("add_noise", key, seed)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        count = safe_increment(state.count)
        parts = split(state.rng_key)
        noise = tree.random_like(parts[1], updates)

        def one(g: Any, z: Any) -> Any:
            g = as_array(g)
            spread = ew.sqrt(ew.divide(narrow(eta, g), ew.power(convert(count, g.dtype), gamma)))
            return ew.add(g, ew.multiply(spread, z))

        return mapped(one, updates, noise), AddNoiseState(count, parts[0])

    return transformation(lambda params: AddNoiseState(zero_count(), first), update)


def noisy_sgd(
    learning_rate: ScalarOrSchedule,
    eta: Any = 0.01,
    gamma: Any = 0.55,
    key: Any = None,
    *,
    seed: Any = None,
) -> GradientTransformationExtraArgs:
    """Gradient descent with noise that fades (Neelakantan et al., 2015)."""
    return chain(add_noise(eta, gamma, key, seed=seed), scale_by_learning_rate(learning_rate))


# ---- gradients of a function's own ---------------------------------------------------------------


@custom_vjp
def _scaled(inputs: Any, scale: Any) -> Any:
    return inputs


def _scaled_backward(scale: Any, ct: Any) -> Any:
    return tree_map(lambda g: ew.multiply(g, scale), ct), None


_scaled.defvjp(lambda inputs, scale: (inputs, scale), _scaled_backward)


def scale_gradient(inputs: Any, scale: float) -> Any:
    """``inputs`` as they are, with ``scale`` times their gradient.

    >>> from tracejit import optim
    >>> grad(lambda x: optim.scale_gradient(x, 0.5) ** 2)(3.0)
    Array(3., dtype=float32)
    """
    if scale == 1.0:
        return inputs
    return stop_gradient(inputs) if scale == 0.0 else _scaled(inputs, scale)


# ---- gathered gradients --------------------------------------------------------------------------


class ApplyEvery(NamedTuple):
    """``count``: steps since the last update; ``grad_acc``: what is gathered."""

    count: Any
    grad_acc: Any


def apply_every(k: int = 1) -> GradientTransformation:
    """The sum of updates every ``k`` steps, zeros in between; what comes before it in a chain sees
    each gradient (``MultiSteps`` gathers them first).
    """

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        place = ew.remainder(state.count, k)
        sums = mapped(
            lambda g, s: ew.add(ew.select(ew.equal(place, 0), 0, s), g), updates, state.grad_acc
        )
        last = ew.equal(place, k - 1)
        found = mapped(lambda s: ew.select(last, s, 0), sums)
        return found, ApplyEvery(ew.remainder(safe_increment(state.count), k), sums)

    return transformation(lambda params: ApplyEvery(zero_count(), zeros_like(params)), update)


# ---- distributions of parameters -----------------------------------------------------------------


class MultiNormalDiagFromLogScale:
    """A normal distribution with independent elements, of a mean and the logarithm of the scale."""

    def __init__(self, loc: Any, log_scale: Any) -> None:
        self.loc, self.log_scale = as_array(loc), as_array(log_scale)

    def sample(self, shape: Any, key: Any) -> Any:
        """Draws of ``shape``, in front of that of the parameters."""
        scale = ew.exp(self.log_scale)
        own = np.broadcast_shapes(self.loc.shape, scale.shape)
        return ew.add(ew.multiply(normal(key, (*shape, *own)), scale), self.loc)

    def log_prob(self, x: Any) -> Any:
        """The logarithm of the density."""
        z = ew.divide(ew.subtract(x, self.loc), ew.exp(self.log_scale))
        each = ew.subtract(-0.5 * np.log(2 * np.pi), ew.add(ew.square(z) * 0.5, self.log_scale))
        n = len(np.broadcast_shapes(self.loc.shape, self.log_scale.shape))
        return reductions.sum(each, tuple(range(-n, 0))) if n else each

    @property
    def params(self) -> list[Any]:
        """The mean and the logarithm of the scale."""
        return [self.loc, self.log_scale]


def multi_normal(loc: Any, log_scale: Any) -> MultiNormalDiagFromLogScale:
    """A normal distribution with independent elements: ``sample(shape, key)``, ``log_prob(x)``."""
    return MultiNormalDiagFromLogScale(loc, log_scale)
