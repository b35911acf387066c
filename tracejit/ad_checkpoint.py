"""Recomputation in the backward pass, gathered under JAX's name for the module.

>>> from tracejit.ad_checkpoint import checkpoint
>>> checkpoint is tj.checkpoint
True
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tracejit.errors import user_traceback
from tracejit.frontend.call import flatten
from tracejit.frontend.derivatives import vjp
from tracejit.frontend.remat import checkpoint, checkpoint_name, checkpoint_policies
from tracejit.frontend.shapes import typeof

remat = checkpoint


@user_traceback
def print_saved_residuals(f: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Print the types of the arrays that the backward pass of ``f`` at these arguments keeps.

    >>> from tracejit.ad_checkpoint import print_saved_residuals
    >>> print_saved_residuals(lambda x: jnp.sin(jnp.sin(x)), jnp.ones(3))
    f32[3]
    f32[3]
    >>> print_saved_residuals(tj.checkpoint(lambda x: jnp.sin(jnp.sin(x))), jnp.ones(3))
    f32[3]
    """
    for leaf in flatten(vjp(lambda *xs: f(*xs, **kwargs), *args)[1])[0]:
        print(typeof(leaf))


__all__ = [
    "checkpoint",
    "checkpoint_name",
    "checkpoint_policies",
    "print_saved_residuals",
    "remat",
]
