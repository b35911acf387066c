"""The nearest point of a set: for constraints, after each update.

>>> from tracejit import optim
>>> optim.projections.projection_simplex(jnp.array([2.0, 1.0, 0.0])).round(3)
Array([1., 0., 0.], dtype=float32)

Trees count as one vector. Names and arguments are those of ``optax.projections``.
"""

from __future__ import annotations

from typing import Any

import tracejit.numpy as jnp
from tracejit import errors as _errors
from tracejit.flatten_util import ravel_pytree
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.custom import custom_jvp
from tracejit.optim import tree as _tree
from tracejit.optim.base import narrow
from tracejit.tree_util import tree_map, tree_structure, treedef_is_leaf

__all__ = [
    "projection_box",
    "projection_halfspace",
    "projection_hypercube",
    "projection_hyperplane",
    "projection_l1_ball",
    "projection_l1_sphere",
    "projection_l2_ball",
    "projection_l2_sphere",
    "projection_linf_ball",
    "projection_non_negative",
    "projection_simplex",
    "projection_vector",
]


def projection_non_negative(tree: Any) -> Any:
    """Negative elements become 0."""
    return tree_map(lambda x: jnp.maximum(x, 0), tree)


def projection_box(tree: Any, lower: Any, upper: Any) -> Any:
    """Each element into [lower, upper], which are numbers or trees like ``tree``."""

    def like(bound: Any) -> Any:
        if treedef_is_leaf(tree_structure(bound)):
            return tree_map(lambda x: narrow(bound, as_array(x)), tree)
        return bound

    return tree_map(jnp.clip, tree, like(lower), like(upper))


def projection_hypercube(tree: Any, scale: Any = 1) -> Any:
    """Each element into [0, scale]."""
    return projection_box(tree, 0, scale)


@custom_jvp
def _on_simplex(x: Array) -> Array:
    n = x.shape[0]
    falling = jnp.sort(x)[::-1]
    sums = jnp.cumsum(falling)
    count = jnp.arange(1, n + 1, dtype=x.dtype)
    kept = jnp.count_nonzero(1 + count * falling - sums > 0)
    return jnp.maximum(x + (1 - sums[kept - 1]) / kept.astype(x.dtype), 0)


@_on_simplex.defjvp
def _on_simplex_jvp(primals: Any, tangents: Any) -> Any:
    (x,), (dx,) = primals, tangents
    y = _on_simplex(x)
    inside = y > 0
    moved = jnp.where(inside, dx, 0)
    return y, jnp.where(inside, moved - moved.sum() / inside.sum().astype(x.dtype), 0)


def projection_simplex(tree: Any, scale: Any = 1) -> Any:
    """The nearest tree of non-negative elements with the sum ``scale`` (Duchi et al., 2008)."""
    values, rebuild = ravel_pytree(tree)
    return rebuild(scale * _on_simplex(values / scale))


def projection_l1_sphere(tree: Any, scale: Any = 1) -> Any:
    """The nearest tree whose absolute values have the sum ``scale``."""
    sizes = projection_simplex(tree_map(jnp.abs, tree), scale)
    return tree_map(lambda x, size: jnp.sign(x) * size, tree, sizes)


def projection_l1_ball(tree: Any, scale: Any = 1) -> Any:
    """The nearest tree whose absolute values have a sum of at most ``scale``."""
    inside = _tree.norm(tree, ord=1) <= scale
    return _tree.where(inside, tree, projection_l1_sphere(tree, scale))


def projection_l2_sphere(tree: Any, scale: Any = 1) -> Any:
    """The nearest tree of the Euclidean norm ``scale``."""
    return _tree.scale(scale / _tree.norm(tree), tree)


def projection_l2_ball(tree: Any, scale: Any = 1) -> Any:
    """The nearest tree whose Euclidean norm is at most ``scale``."""
    square = jnp.maximum(_tree.norm(tree, squared=True), scale**2)
    return _tree.scale(scale / jnp.sqrt(square), tree)


def projection_linf_ball(tree: Any, scale: Any = 1) -> Any:
    """Each element into [-scale, scale]."""
    return projection_box(tree, -scale, scale)


def projection_vector(x: Any, a: Any) -> Any:
    """The nearest multiple of the tree ``a``."""
    return _tree.scale(_tree.vdot(x, a) / _tree.vdot(a, a), a)


def projection_hyperplane(x: Any, a: Any, b: Any) -> Any:
    """The nearest tree whose inner product with ``a`` is ``b``."""
    return _tree.add_scale(x, (b - _tree.vdot(x, a)) / _tree.vdot(a, a), a)


def projection_halfspace(x: Any, a: Any, b: Any) -> Any:
    """The nearest tree whose inner product with ``a`` is at most ``b``."""
    step = jnp.minimum((b - _tree.vdot(x, a)) / as_array(_tree.vdot(a, a)), 0)
    return _tree.add_scale(x, step, a)


_errors.user_functions(globals())
