"""Optimisers: chains of transformations, with the names and arguments of optax.

    optimizer = adamw(1e-3, weight_decay=1e-2)
    state = optimizer.init(params)
    updates, state = optimizer.update(gradients, state, params)
    params = apply_updates(params, updates)

A learning rate is a number or a schedule, a function of the number of updates so far.
"""

from __future__ import annotations

from typing import Any

from tracejit.frontend import elementwise as ew
from tracejit.optim.adaptive import (
    scale_by_adadelta,
    scale_by_adam,
    scale_by_adamax,
    scale_by_amsgrad,
    scale_by_belief,
    scale_by_novograd,
    scale_by_radam,
    scale_by_rms,
    scale_by_rprop,
    scale_by_rss,
    scale_by_stddev,
    scale_by_yogi,
)
from tracejit.optim.base import (
    GradientTransformationExtraArgs,
    ScalarOrSchedule,
    chain,
    identity,
)
from tracejit.optim.masks import masked
from tracejit.optim.transform import (
    add_decayed_weights,
    ema,
    scale,
    scale_by_learning_rate,
    scale_by_lion,
    scale_by_sign,
    scale_by_trust_ratio,
    trace,
)

Optimizer = GradientTransformationExtraArgs


def sgd(
    learning_rate: ScalarOrSchedule,
    momentum: Any = None,
    nesterov: bool = False,
    accumulator_dtype: Any = None,
) -> Optimizer:
    """Stochastic gradient descent, with momentum (Polyak, 1964) and Nesterov's variant of it.

    >>> from tracejit import optim
    >>> step = optim.sgd(0.1)
    >>> params = jnp.array([1.0, -2.0])
    >>> updates, state = step.update(2 * params, step.init(params), params)
    >>> optim.apply_updates(params, updates)
    Array([ 0.8, -1.6], dtype=float32)
    """
    first = identity() if momentum is None else trace(momentum, nesterov, accumulator_dtype)
    return chain(first, scale_by_learning_rate(learning_rate))


def momentum(
    learning_rate: ScalarOrSchedule,
    decay: Any = 0.9,
    nesterov: bool = False,
    accumulator_dtype: Any = None,
) -> Optimizer:
    """Gradient descent with momentum: ``sgd(learning_rate, momentum=decay)``, the name that optax
    has it under (Polyak, 1964).

    >>> from tracejit import optim
    >>> step = optim.momentum(0.1)
    >>> params = jnp.array([1.0, -2.0])
    >>> updates, state = step.update(2 * params, step.init(params), params)
    >>> optim.apply_updates(params, updates)
    Array([ 0.8, -1.6], dtype=float32)
    """
    return sgd(learning_rate, decay, nesterov, accumulator_dtype)


def adam(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
) -> Optimizer:
    """Adam (Kingma and Ba, 2015); with ``nesterov`` NAdam (Dozat, 2016).

    >>> from tracejit import optim
    >>> step = optim.adam(0.1)
    >>> params = jnp.array([1.0, -2.0])
    >>> updates, state = step.update(2 * params, step.init(params), params)
    >>> optim.apply_updates(params, updates).round(2)
    Array([ 0.9, -1.9], dtype=float32)
    """
    first = scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)
    return chain(first, scale_by_learning_rate(learning_rate))


def nadam(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = True,
) -> Optimizer:
    """Adam with Nesterov's momentum (Dozat, 2016)."""
    return adam(learning_rate, b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)


def adamw(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: Any = None,
    *,
    nesterov: bool = False,
) -> Optimizer:
    """Adam with weights that decay by learning_rate * weight_decay a step, where ``mask`` is true
    (Loshchilov and Hutter, 2019).

    >>> from tracejit import optim
    >>> step = optim.adamw(0.1, weight_decay=0.5)
    >>> updates, _ = step.update(jnp.zeros(1), step.init(jnp.ones(1)), jnp.ones(1))
    >>> updates
    Array([-0.05], dtype=float32)
    """
    first = scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)
    decay = add_decayed_weights(weight_decay, mask)
    return chain(first, decay, scale_by_learning_rate(learning_rate))


def nadamw(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: Any = None,
    *,
    nesterov: bool = True,
) -> Optimizer:
    """``adamw`` with Nesterov's momentum."""
    return adamw(
        learning_rate, b1, b2, eps, eps_root, mu_dtype, weight_decay, mask, nesterov=nesterov
    )


def amsgrad(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    bias_correction_mu: bool = True,
    bias_correction_nu: bool = True,
) -> Optimizer:
    """AMSGrad (Reddi, Kale and Kumar, 2018)."""
    first = scale_by_amsgrad(
        b1, b2, eps, eps_root, mu_dtype, bias_correction_mu, bias_correction_nu
    )
    return chain(first, scale_by_learning_rate(learning_rate))


def adamax(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8
) -> Optimizer:
    """Adam with the maximum norm (Kingma and Ba, 2015)."""
    return chain(scale_by_adamax(b1, b2, eps), scale_by_learning_rate(learning_rate))


def adamaxw(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: Any = None,
) -> Optimizer:
    """``adamax`` with weights that decay."""
    decay = add_decayed_weights(weight_decay, mask)
    return chain(scale_by_adamax(b1, b2, eps), decay, scale_by_learning_rate(learning_rate))


def adabelief(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-16,
    eps_root: Any = 1e-16,
    *,
    nesterov: bool = False,
) -> Optimizer:
    """AdaBelief (Zhuang et al., 2020)."""
    first = scale_by_belief(b1, b2, eps, eps_root, nesterov=nesterov)
    return chain(first, scale_by_learning_rate(learning_rate))


def yogi(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-3
) -> Optimizer:
    """Yogi (Zaheer et al., 2018)."""
    return chain(scale_by_yogi(b1, b2, eps), scale_by_learning_rate(learning_rate))


def radam(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    threshold: Any = 5.0,
    *,
    nesterov: bool = False,
) -> Optimizer:
    """Rectified Adam (Liu et al., 2020)."""
    first = scale_by_radam(b1, b2, eps, eps_root, threshold, nesterov=nesterov)
    return chain(first, scale_by_learning_rate(learning_rate))


def novograd(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.25,
    eps: Any = 1e-6,
    eps_root: Any = 0.0,
    weight_decay: Any = 0.0,
) -> Optimizer:
    """NovoGrad (Ginsburg et al., 2019)."""
    first = scale_by_novograd(b1, b2, eps, eps_root, weight_decay)
    return chain(first, scale_by_learning_rate(learning_rate))


def adagrad(
    learning_rate: ScalarOrSchedule, initial_accumulator_value: Any = 0.1, eps: Any = 1e-7
) -> Optimizer:
    """AdaGrad (Duchi, Hazan and Singer, 2011)."""
    first = scale_by_rss(initial_accumulator_value, eps)
    return chain(first, scale_by_learning_rate(learning_rate))


def adadelta(
    learning_rate: ScalarOrSchedule = None,
    rho: Any = 0.9,
    eps: Any = 1e-6,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: Any = None,
) -> Optimizer:
    """AdaDelta (Zeiler, 2012)."""
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_adadelta(rho, eps),
        scale_by_learning_rate(learning_rate),
    )


def rmsprop(
    learning_rate: ScalarOrSchedule,
    decay: Any = 0.9,
    eps: Any = 1e-8,
    initial_scale: Any = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: Any = None,
    nesterov: bool = False,
    bias_correction: bool = False,
) -> Optimizer:
    """RMSProp (Hinton, lecture notes, 2012); ``centered`` divides by the standard deviation
    (Graves, 2013).

    >>> from tracejit import optim
    >>> step = optim.rmsprop(0.1)
    >>> step.update(jnp.array([4.0]), step.init(jnp.zeros(1)))[0].round(3)
    Array([-0.316], dtype=float32)
    """
    by = scale_by_stddev if centered else scale_by_rms
    return chain(
        by(decay, eps, initial_scale, eps_in_sqrt, bias_correction),
        scale_by_learning_rate(learning_rate),
        identity() if momentum is None else trace(momentum, nesterov),
    )


def lion(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.99,
    mu_dtype: Any = None,
    weight_decay: ScalarOrSchedule = 1e-3,
    mask: Any = None,
) -> Optimizer:
    """Lion: steps are signs (Chen et al., 2023).

    >>> from tracejit import optim
    >>> step = optim.lion(0.1, weight_decay=0.0)
    >>> step.update(jnp.array([4.0, -0.01]), step.init(jnp.zeros(2)), jnp.zeros(2))[0]
    Array([-0.1,  0.1], dtype=float32)
    """
    decay = add_decayed_weights(weight_decay, mask)
    return chain(scale_by_lion(b1, b2, mu_dtype), decay, scale_by_learning_rate(learning_rate))


def lars(
    learning_rate: ScalarOrSchedule,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: Any = True,
    trust_coefficient: Any = 0.001,
    eps: Any = 0.0,
    trust_ratio_mask: Any = True,
    momentum: Any = 0.9,
    nesterov: bool = False,
) -> Optimizer:
    """LARS, for large batches (You, Gitman and Ginsburg, 2017)."""
    ratio = scale_by_trust_ratio(trust_coefficient=trust_coefficient, eps=eps)
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        masked(ratio, trust_ratio_mask),
        scale_by_learning_rate(learning_rate),
        trace(momentum, nesterov),
    )


def lamb(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-6,
    eps_root: Any = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Any = None,
) -> Optimizer:
    """LAMB: Adam for large batches (You et al., 2020)."""
    return chain(
        scale_by_adam(b1, b2, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_trust_ratio(),
        scale_by_learning_rate(learning_rate),
    )


def fromage(learning_rate: ScalarOrSchedule, min_norm: Any = 1e-6) -> Optimizer:
    """Fromage: steps relative to the size of each layer (Bernstein et al., 2020)."""

    def shrink(rate: Any) -> Any:
        return (1 + rate**2) ** -0.5

    if not callable(learning_rate):
        factor = shrink(learning_rate)
        rate: Any = learning_rate * factor
        decay: Any = factor - 1
    else:

        def rate(count: Any) -> Any:
            return ew.multiply(shrink(learning_rate(count)), learning_rate(count))

        def decay(count: Any) -> Any:
            return ew.subtract(shrink(learning_rate(count)), 1)

    return chain(
        scale_by_trust_ratio(min_norm), scale_by_learning_rate(rate), add_decayed_weights(decay)
    )


def sign_sgd(learning_rate: ScalarOrSchedule) -> Optimizer:
    """Steps of one size, along the signs of gradients (Bernstein et al., 2018)."""
    return chain(scale_by_sign(), scale_by_learning_rate(learning_rate))


def signum(
    learning_rate: ScalarOrSchedule, beta: Any = 0.9, accumulator_dtype: Any = None
) -> Optimizer:
    """``sign_sgd`` of the average of gradients (Bernstein et al., 2018)."""
    first = ema(beta, debias=False, accumulator_dtype=accumulator_dtype)
    return chain(first, scale_by_sign(), scale_by_learning_rate(learning_rate))


def rprop(
    learning_rate: Any,
    eta_minus: Any = 0.5,
    eta_plus: Any = 1.2,
    min_step_size: Any = 1e-6,
    max_step_size: Any = 50.0,
) -> Optimizer:
    """Rprop, for whole batches (Riedmiller and Braun, 1993)."""
    step = scale_by_rprop(learning_rate, eta_minus, eta_plus, min_step_size, max_step_size)
    return chain(step, scale(-1.0))
