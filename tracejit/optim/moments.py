"""Running averages of gradients and of their squares, which the adaptive optimisers share.

    mu = update_moment(gradients, mu, b1, 1)          (1 - b1) * g + b1 * mu
    mu_hat = bias_correction(mu, b1, count)           mu / (1 - b1**count)

Leaf by leaf; averages begin at zero and are divided by the weight that they have seen so far
(Kingma and Ba, "Adam", 2015).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.promotion import convert, is_python, typed
from tracejit.ir.types import DTYPES, kind
from tracejit.optim.base import mapped, narrow, square_norm

F32, F64 = DTYPES["f32"], DTYPES["f64"]


def mixed(decay: Any, new: Any, old: Any) -> Any:
    """(1 - decay) * new + decay * old."""
    old = as_array(old)
    d = narrow(decay, old)
    return ew.add(ew.multiply(1.0 - d, new), ew.multiply(d, old))


def update_moment(updates: Any, moments: Any, decay: Any, order: int) -> Any:
    """The running average of the updates (order 1) or of their squares (order 2)."""
    return mapped(lambda g, m: mixed(decay, ew.power(g, order), m), updates, moments)


def update_square_norm(updates: Any, moments: Any, decay: Any) -> Any:
    """The running average of |g|**2: real for complex gradients too."""
    return mapped(lambda g, m: mixed(decay, square_norm(g), m), updates, moments)


def power_of_count(decay: Any, count: Array, dtype: np.dtype) -> Any:
    """decay**count in ``dtype``."""
    return ew.power(typed(decay, dtype), convert(count, dtype))


def precision(leaf: Any) -> np.dtype:
    """What factors of a leaf are computed in: float32, float64 beside double precision."""
    dtype = as_array(leaf).dtype
    wide = dtype.itemsize == 8 if kind(dtype) == "f" else dtype.itemsize == 16
    return F64 if wide else F32


def bias_correction(moments: Any, decay: Any, count: Array) -> Any:
    """Each average divided by 1 - decay**count, the weight that it has seen."""

    def corrected(moment: Any) -> Any:
        seen = ew.subtract(1.0, power_of_count(decay, count, precision(moment)))
        return ew.divide(moment, narrow(seen, as_array(moment)))

    return mapped(corrected, moments)


def quotient(numerators: Any, squares: Any, eps: Any, eps_root: Any) -> Any:
    """m / (sqrt(v + eps_root) + eps)."""

    def one(m: Any, v: Any) -> Any:
        inside = v if is_python(eps_root) and eps_root == 0 else ew.add(v, narrow(eps_root, v))
        return ew.divide(m, ew.add(ew.sqrt(inside), narrow(eps, as_array(v))))

    return mapped(one, numerators, squares)
