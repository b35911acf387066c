"""Diagonals of Hessians and of Fisher's information, for losses of parameters and data.

>>> from tracejit import optim
>>> def loss(w, x, y):
...     return jnp.sum((w * x - y) ** 2)
>>> optim.second_order.hessian_diag(loss, jnp.ones(2), jnp.array([1.0, 3.0]), jnp.zeros(2))
Array([ 2., 18.], dtype=float32)

Names and arguments are those of ``optax.second_order``; parameters count as one vector.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tracejit.numpy as jnp
from tracejit import errors as _errors
from tracejit.flatten_util import ravel_pytree
from tracejit.frontend.array import Array
from tracejit.frontend.derivatives import grad, jvp
from tracejit.frontend.vectorize import vmap

__all__ = ["fisher_diag", "hessian_diag", "hvp"]

Loss = Callable[[Any, Any, Any], Any]


def hvp(loss: Loss, v: Any, params: Any, inputs: Any, targets: Any) -> Any:
    """The Hessian of ``loss(params, inputs, targets)`` times the vector ``v``, as a tree like the
    parameters.
    """
    rebuild = ravel_pytree(params)[1]
    return jvp(grad(lambda p: loss(p, inputs, targets)), (params,), (rebuild(v),))[1]


def hessian_diag(loss: Loss, params: Any, inputs: Any, targets: Any) -> Array:
    """The diagonal of the Hessian: one product for each parameter."""
    flat, _ = ravel_pytree(params)

    def one(v: Any) -> Any:
        return jnp.vdot(v, ravel_pytree(hvp(loss, v, params, inputs, targets))[0])

    return vmap(one)(jnp.eye(flat.size, dtype=flat.dtype))  # type: ignore[no-any-return]


def fisher_diag(negative_log_likelihood: Loss, params: Any, inputs: Any, targets: Any) -> Array:
    """The diagonal of Fisher's information, from one gradient: its square."""
    found = grad(negative_log_likelihood)(params, inputs, targets)
    return jnp.square(ravel_pytree(found)[0])  # type: ignore[no-any-return]


_errors.user_functions(globals())
