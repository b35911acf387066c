"""Functions made smooth by noise, with gradients that need none of the function itself.

    soft = make_perturbed_fun(argmax, num_samples=100, sigma=0.5)
    grad(lambda x: loss(soft(key, x)))(scores)

Sources: Berthet et al., "Learning with differentiable perturbed optimizers" (2020); the surrogate
of the score function is that of Foerster et al., "DiCE" (2018).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tracejit.numpy as jnp
from tracejit import errors as _errors
from tracejit.errors import user_methods
from tracejit.frontend.vectorize import vmap
from tracejit.lax import stop_gradient
from tracejit.optim import tree as _tree
from tracejit.random import gumbel, normal, split
from tracejit.tree_util import tree_map

__all__ = ["Gumbel", "Normal", "make_perturbed_fun"]


@user_methods()
class Normal:
    """The normal distribution: what noise is drawn from, and its log density up to a constant."""

    def sample(self, key: Any, sample_shape: Any = (), dtype: Any = float) -> Any:
        """Draws of ``sample_shape``."""
        return normal(key, sample_shape, dtype)

    def log_prob(self, inputs: Any) -> Any:
        """-x**2 / 2."""
        return -0.5 * jnp.square(inputs)


@user_methods()
class Gumbel:
    """The Gumbel distribution: what noise is drawn from, and its log density."""

    def sample(self, key: Any, sample_shape: Any = (), dtype: Any = float) -> Any:
        """Draws of ``sample_shape``."""
        return gumbel(key, sample_shape, dtype)

    def log_prob(self, inputs: Any) -> Any:
        """-x - exp(-x)."""
        return -jnp.asarray(inputs) - jnp.exp(-jnp.asarray(inputs))


GUMBEL = Gumbel()


def make_perturbed_fun(
    fun: Callable[[Any], Any],
    num_samples: int = 1000,
    sigma: Any = 0.1,
    noise: Any = GUMBEL,
    use_baseline: bool = True,
) -> Callable[[Any, Any], Any]:
    """``f(key, x)``: the mean of ``fun(x + sigma * noise)`` over draws, a smooth function of x
    whose derivatives are estimated from the values alone (Berthet et al., 2020).

    ``use_baseline`` subtracts ``fun(x)`` in the estimate, for less noise.

    >>> from tracejit import optim
    >>> def steps(x):
    ...     return jnp.sign(x)
    >>> soft = optim.perturbations.make_perturbed_fun(
    ...     steps, 1000, 1.0, optim.perturbations.Normal())
    >>> slope = grad(lambda x: soft(random.key(0), x))(0.0)  # 2 / sqrt(2 pi)
    >>> abs(slope - 0.8) < 0.1
    Array(True)
    """

    def one(key: Any, x: Any, base: Any) -> Any:
        drawn = _tree.random_like(key, x, sampler=noise.sample)
        moved = stop_gradient(_tree.add_scale(x, sigma, drawn))
        back = tree_map(lambda y, z: (z - y) / sigma, x, moved)
        density = _tree.sum(tree_map(noise.log_prob, back))
        weight = jnp.exp(density - stop_gradient(density))  # 1, with the derivative of density
        found = _tree.scale(weight, fun(moved))
        return _tree.add_scale(found, 1 - weight, base) if use_baseline else found

    def perturbed(key: Any, x: Any) -> Any:
        x = tree_map(jnp.asarray, x)
        base = fun(stop_gradient(x)) if use_baseline else None
        keys = split(key, num_samples)
        found = vmap(lambda k: one(k, x, base))(keys)
        return tree_map(lambda y: y.mean(0), found)

    return perturbed


_errors.user_functions(globals())
