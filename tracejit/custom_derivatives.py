"""Functions with derivatives of the user's own, gathered under JAX's name for the module.

>>> from tracejit.custom_derivatives import custom_jvp
>>> custom_jvp is tj.custom_jvp
True
"""

from __future__ import annotations

from tracejit.frontend.custom import (
    closure_convert,
    custom_gradient,
    custom_jvp,
    custom_vjp,
    zero_from_primal,
)
from tracejit.frontend.linear_call import linear_call

__all__ = [
    "closure_convert",
    "custom_gradient",
    "custom_jvp",
    "custom_vjp",
    "linear_call",
    "zero_from_primal",
]
