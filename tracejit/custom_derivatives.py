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
from tracejit.frontend.symbolic_zeros import (
    CustomVJPPrimal,
    SymbolicZero,
    custom_vjp_primal_tree_values,
)

__all__ = [
    "CustomVJPPrimal",
    "SymbolicZero",
    "closure_convert",
    "custom_gradient",
    "custom_jvp",
    "custom_vjp",
    "custom_vjp_primal_tree_values",
    "linear_call",
    "zero_from_primal",
]
