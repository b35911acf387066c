"""The public functions, gathered from where they are made."""

from __future__ import annotations

from tracejit.frontend.array import Array
from tracejit.frontend.derivatives import (
    grad,
    hessian,
    jacfwd,
    jacobian,
    jacrev,
    jvp,
    linearize,
    make_graph,
    value_and_grad,
    vjp,
)
from tracejit.frontend.dispatch import Jitted, ShapeDtypeStruct, eval_shape, jit
from tracejit.frontend.vectorize import vmap

__all__ = [
    "Array",
    "Jitted",
    "ShapeDtypeStruct",
    "eval_shape",
    "grad",
    "hessian",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jit",
    "jvp",
    "linearize",
    "make_graph",
    "value_and_grad",
    "vjp",
    "vmap",
]
