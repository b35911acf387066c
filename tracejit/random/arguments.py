"""Arguments of the samplers, checked: dtypes, shapes, and parameters that broadcast to the shape.

dtype = float_dtype("gamma", None)                    -> config.default_float
shape, (a,) = parameters("gamma", None, dtype, a)     -> a.shape, [a in dtype]
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from tracejit import source
from tracejit.config import config
from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend import elementwise, promotion, reductions
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.axes import shape_tuple
from tracejit.frontend.promotion import canonical, convert
from tracejit.ir.types import kind
from tracejit.ops import special


def float_dtype(name: str, dtype: Any, kinds: str = "f") -> np.dtype:
    """The dtype of a sampler's result, ``config.default_float`` where none is given."""
    found = config.default_float if dtype is None else canonical(dtype)
    if kind(found) not in kinds:
        wanted = "floating or complex" if "c" in kinds else "floating"
        raise DTypeError(f"{name}: takes a {wanted} dtype, not {found}", at=source.here())
    return found


def int_dtype(name: str, dtype: Any) -> np.dtype:
    """The dtype of an integer sampler's result, ``config.default_int`` where none is given."""
    found = config.default_int if dtype is None else canonical(dtype)
    if kind(found) not in "iu":
        raise DTypeError(f"{name}: takes an integer dtype, not {found}", at=source.here())
    return found


def result_shape(name: str, shape: Any, *arrays: Array) -> tuple[int, ...]:
    """``shape`` checked to hold the parameters' shapes; their common shape where it is None."""
    common = promotion.broadcast_shapes(name, arrays) if arrays else ()
    if shape is None:
        return common
    sizes = shape_tuple(shape)
    lead = len(sizes) - len(common)
    if lead < 0 or any(n not in (1, m) for n, m in zip(common, sizes[lead:], strict=True)):
        raise ShapeError(
            f"{name}: parameters of shape {common} do not broadcast to shape {sizes}",
            at=source.here(),
        )
    return sizes


def parameters(
    name: str, shape: Any, dtype: np.dtype, *values: Any
) -> tuple[tuple[int, ...], list[Array]]:
    """The result's shape and the parameters as Arrays of ``dtype``."""
    arrays = [real_array(name, value) for value in values]
    return result_shape(name, shape, *arrays), [convert(a, dtype) for a in arrays]


def real_array(name: str, value: Any) -> Array:
    """A parameter as an Array; complex ones are a DTypeError."""
    array = as_array(value)
    if kind(array.dtype) == "c":
        raise DTypeError(f"{name}: takes real parameters, not {array.type}", at=source.here())
    return array


def floating(name: str, *values: Any) -> list[Array]:
    """Parameters in their common floating dtype: integers count as the default float."""
    for value in values:
        real_array(name, value)
    arrays = promotion.promoted(name, *values)
    dtype = promotion.inexact(arrays[0].dtype)
    return [convert(a, dtype) for a in arrays]


def one_of(name: str, what: str, value: Any, *legal: str | None) -> None:
    """ArgumentError unless ``value`` is one of the legal names."""
    if value not in legal:
        listed = " | ".join(map(str, legal))
        raise ArgumentError(f"{name}: {what}={value!r}", at=source.here(), hint=f"legal: {listed}")


def constant(value: Any, dtype: np.dtype) -> Array:
    """A scalar Array of exactly ``dtype``."""
    return as_array(np.asarray(value, dtype))


def float_info(dtype: np.dtype) -> Any:
    """``finfo``, for bfloat16 too."""
    return ml_dtypes.finfo(dtype)


# ---- functions that tracejit.numpy does not have -------------------------------------------------


def erf(x: Array) -> Array:
    return elementwise.run(special.erf, x)


def erf_inv(x: Array) -> Array:
    return elementwise.run(special.erf_inv, x)


def lgamma(x: Array) -> Array:
    return elementwise.run(special.lgamma, x)


def digamma(x: Array) -> Array:
    return elementwise.run(special.digamma, x)


def igamma_grad_a(a: Array, x: Array) -> Array:
    return apply(special.igamma_grad_a, a, x)


def softmax(x: Array) -> Array:
    """exp(x) along the last axis, summing to 1."""
    scaled = elementwise.exp(x - reductions.max(x, axis=-1, keepdims=True))
    return scaled / reductions.sum(scaled, axis=-1, keepdims=True)
