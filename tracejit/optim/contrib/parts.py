"""What the contributed optimisers share: parameters as Arrays, numbers in their dtype.

rate = number(learning_rate, state.count, state.gamma)     a rate or a schedule, as a scalar
params = arrays(params)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.frontend.array import Array, as_array
from tracejit.frontend.promotion import convert, is_python, typed
from tracejit.optim import tree
from tracejit.optim.base import identity, mapped, narrow
from tracejit.optim.moments import power_of_count, precision
from tracejit.optim.transform import add_decayed_weights


def arrays(params: Any) -> Any:
    """The leaves as Arrays; None stays."""
    return mapped(as_array, params)


def lowest(params: Any) -> np.dtype:
    """The narrowest dtype among parameters, which numbers about all of them are kept in."""
    return tree.dtype(params, "lowest")


def scalar(value: Any, dtype: Any) -> Array:
    """A number in a dtype."""
    return typed(value, dtype) if is_python(value) else convert(as_array(value), dtype)  # type: ignore[no-any-return]


def number(value: Any, count: Any, like: Any) -> Any:
    """A hyperparameter, or what its schedule gives at ``count``, in the dtype of ``like``."""
    return narrow(value(count) if callable(value) else value, as_array(like))


def decayed(decay: Any, count: Any, like: Any) -> Any:
    """decay**count in the dtype of ``like``."""
    like = as_array(like)
    return narrow(power_of_count(decay, count, precision(like)), like)


def decoupled(weight_decay: Any, mask: Any) -> Any:
    """``add_decayed_weights``, or nothing for None."""
    return identity() if weight_decay is None else add_decayed_weights(weight_decay, mask)
