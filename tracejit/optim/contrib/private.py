"""Gradients of single examples, clipped and with noise: differential privacy; and complex
parameters as pairs of real ones.

    optimizer = dpsgd(0.1, l2_norm_clip=1.0, noise_multiplier=1.1, seed=0)
    per_example = vmap(grad(loss), in_axes=(None, 0))(params, batch)
    updates, state = optimizer.update(per_example, state, params)

Names, arguments and states are those of ``optax.contrib``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import as_array
from tracejit.ir.types import kind
from tracejit.optim.around import per_example_global_norm_clip
from tracejit.optim.base import (
    GradientTransformation,
    GradientTransformationExtraArgs,
    ScalarOrSchedule,
    chain,
    identity,
    narrow,
    transformation,
)
from tracejit.optim.further import key_or_seed
from tracejit.optim.transform import scale_by_learning_rate, trace
from tracejit.random import normal, split
from tracejit.tree_util import tree_flatten, tree_map, tree_unflatten


class DifferentiallyPrivateAggregateState(NamedTuple):
    """``rng_key`` for the next draw."""

    rng_key: Any


def differentially_private_aggregate(
    l2_norm_clip: Any, noise_multiplier: Any, key: Any = None, *, seed: Any = None
) -> GradientTransformation:
    """The mean over examples (first axis) of gradients that are clipped to the norm
    ``l2_norm_clip``, with normal noise of ``noise_multiplier`` times that norm in the sum (Abadi et
    al., "Deep learning with differential privacy", 2016). ``key``: a random key or a seed.
    """
    first = key_or_seed("differentially_private_aggregate", key, seed)
    spread = l2_norm_clip * noise_multiplier

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        leaves, treedef = tree_flatten(updates)
        sums, _ = per_example_global_norm_clip(leaves, l2_norm_clip)
        count = as_array(leaves[0]).shape[0]
        keys = split(state.rng_key, len(leaves) + 1)

        def noisy(g: Any, k: int) -> Any:
            noise = ew.multiply(narrow(spread, g), normal(keys[k], g.shape, g.dtype))
            return ew.divide(ew.add(g, noise), count)

        found = [noisy(g, k) for k, g in enumerate(sums, 1)]
        return tree_unflatten(treedef, found), DifferentiallyPrivateAggregateState(keys[0])

    return transformation(lambda params: DifferentiallyPrivateAggregateState(first), update)


def dpsgd(
    learning_rate: ScalarOrSchedule,
    l2_norm_clip: Any,
    noise_multiplier: Any,
    seed: Any,
    momentum: Any = None,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """Differentially private gradient descent (Abadi et al., 2016)."""
    return chain(
        differentially_private_aggregate(l2_norm_clip, noise_multiplier, seed=seed),
        identity() if momentum is None else trace(decay=momentum, nesterov=nesterov),
        scale_by_learning_rate(learning_rate),
    )


class SplitRealAndImaginaryArrays(NamedTuple):
    """The two parts of a complex array."""

    real: Any
    imaginary: Any


class SplitRealAndImaginaryState(NamedTuple):
    """The state of the optimiser inside."""

    inner_state: Any


def _split(x: Any) -> Any:
    x = as_array(x)
    return SplitRealAndImaginaryArrays(ew.real(x), ew.imag(x)) if kind(x.dtype) == "c" else x


def _joined(x: Any) -> Any:
    return ew.add(x.real, ew.multiply(x.imaginary, 1j)) if _is_pair(x) else x


def _is_pair(x: Any) -> bool:
    return isinstance(x, SplitRealAndImaginaryArrays)


def split_real_and_imaginary(inner: Any) -> GradientTransformation:
    """``inner`` on real and imaginary parts as if they were parameters of their own.

    >>> from tracejit import optim
    >>> step = optim.contrib.split_real_and_imaginary(optim.adam(0.1))
    >>> w = jnp.array([3.0 + 4.0j])
    >>> step.update(w, step.init(w), w)[0].round(2)
    Array([-0.1-0.1j], dtype=complex64)
    """

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        some = None if params is None else tree_map(_split, params)
        found, held = inner.update(tree_map(_split, updates), state.inner_state, some)
        return tree_map(_joined, found, is_leaf=_is_pair), SplitRealAndImaginaryState(held)

    return transformation(
        lambda params: SplitRealAndImaginaryState(inner.init(tree_map(_split, params))), update
    )
