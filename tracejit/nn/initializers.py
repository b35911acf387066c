"""Initial values of parameters: ``initializer(key, shape, dtype=None) -> Array``.

    >>> w = glorot_normal()(random.key(0), (256, 128))

Names and argument order are those of ``jax.nn.initializers``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from tracejit import random
from tracejit.config import config
from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend import creation, linear, promotion, shaping
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import Array
from tracejit.frontend.axes import shape_tuple
from tracejit.frontend.promotion import reshaped
from tracejit.ir.types import kind, real_dtype
from tracejit.lax.loops import fori_loop
from tracejit.lax.shapes import dynamic_index_in_dim, dynamic_update_index_in_dim
from tracejit.source import here

Axes = int | Sequence[int]

__all__ = [
    "Initializer",
    "constant",
    "delta_orthogonal",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]


class Initializer(Protocol):
    """What every maker below returns."""

    def __call__(
        self, key: Any, shape: Any, dtype: Any = None, out_sharding: Any = None
    ) -> Array: ...


def _dtype(given: Any, default: Any) -> np.dtype:
    if given is not None:
        return promotion.canonical(given)
    return config.default_float if default is None else promotion.canonical(default)


# ---- the same everywhere -------------------------------------------------------------------------


def zeros(key: Any, shape: Any, dtype: Any = None, out_sharding: Any = None) -> Array:
    """Zeros; the key is not used."""
    return creation.zeros(shape, dtype)


def ones(key: Any, shape: Any, dtype: Any = None, out_sharding: Any = None) -> Array:
    """Ones; the key is not used."""
    return creation.ones(shape, dtype)


def constant(value: Any, dtype: Any = None) -> Initializer:
    """``value``, a scalar or an array that broadcasts."""

    def init(key: Any, shape: Any, dtype: Any = dtype, out_sharding: Any = None) -> Array:
        return creation.full(shape, value, _dtype(dtype, None))

    return init


# ---- independent numbers -------------------------------------------------------------------------


def uniform(scale: Any = 1e-2, dtype: Any = None) -> Initializer:
    """Uniform numbers in [0, scale)."""

    def init(key: Any, shape: Any, dtype: Any = dtype, out_sharding: Any = None) -> Array:
        return ew.multiply(random.uniform(key, shape, _dtype(dtype, None)), scale)

    return init


def normal(stddev: Any = 1e-2, dtype: Any = None) -> Initializer:
    """Normal numbers of standard deviation ``stddev``."""

    def init(key: Any, shape: Any, dtype: Any = dtype, out_sharding: Any = None) -> Array:
        return ew.multiply(random.normal(key, shape, _dtype(dtype, None)), stddev)

    return init


def truncated_normal(
    stddev: Any = 1e-2, dtype: Any = None, lower: Any = -2.0, upper: Any = 2.0
) -> Initializer:
    """Normal numbers between ``lower`` and ``upper``, times ``stddev``."""

    def init(key: Any, shape: Any, dtype: Any = dtype, out_sharding: Any = None) -> Array:
        numbers = random.truncated_normal(key, lower, upper, shape, _dtype(dtype, None))
        return ew.multiply(numbers, stddev)

    return init


# ---- scaled to the size of a layer ---------------------------------------------------------------

#: the standard deviation of a standard normal number truncated to (-2, 2)
TRUNCATED_STD = 0.87962566103423978


def fans(
    shape: Sequence[int], in_axis: Axes, out_axis: Axes, batch_axis: Axes
) -> tuple[float, float]:
    """How many inputs and outputs each output and input of a layer has; remaining axes are a
    kernel's extent.
    """
    if len(shape) < 2 and not (isinstance(in_axis, Sequence) or isinstance(out_axis, Sequence)):
        raise ShapeError(
            "an initializer that scales with fan-in and fan-out needs two axes, not shape "
            f"{tuple(shape)}",
            at=here(),
        )

    def extent(axes: Axes) -> int:
        given = (axes,) if isinstance(axes, int) else axes
        return math.prod(shape[a] for a in given)

    fan_in, fan_out = extent(in_axis), extent(out_axis)
    rest = math.prod(shape) / max(fan_in * fan_out * extent(batch_axis), 1)
    return fan_in * rest, fan_out * rest


def variance_scaling(
    scale: Any,
    mode: str,
    distribution: str,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: Any = None,
) -> Initializer:
    """Numbers of variance scale / n: n is the fan-in, the fan-out or a mean of both, as ``mode``
    says.

    ``mode``: "fan_in", "fan_out", "fan_avg", "fan_geo_avg". ``distribution``: "truncated_normal",
    "normal", "uniform".
    """
    means: dict[str, Callable[[float, float], float]] = {
        "fan_in": lambda fan_in, fan_out: fan_in,
        "fan_out": lambda fan_in, fan_out: fan_out,
        "fan_avg": lambda fan_in, fan_out: (fan_in + fan_out) / 2,
        "fan_geo_avg": lambda fan_in, fan_out: math.sqrt(fan_in * fan_out),
    }
    if mode not in means:
        raise ArgumentError(
            f"variance_scaling: mode is one of {', '.join(means)}, not {mode!r}", at=here()
        )
    if distribution not in ("truncated_normal", "normal", "uniform"):
        raise ArgumentError(
            "variance_scaling: distribution is truncated_normal, normal or uniform, not "
            f"{distribution!r}",
            at=here(),
        )

    def init(key: Any, shape: Any, dtype: Any = dtype, out_sharding: Any = None) -> Array:
        sizes, found = shape_tuple(shape), _dtype(dtype, None)
        deviation = math.sqrt(
            scale / max(means[mode](*fans(sizes, in_axis, out_axis, batch_axis)), 1e-30)
        )
        if distribution == "normal":
            return ew.multiply(random.normal(key, sizes, found), deviation)
        if kind(found) == "c":
            raise ArgumentError(
                f"variance_scaling: {distribution} numbers are real; use normal", at=here()
            )
        if distribution == "uniform":
            bound = math.sqrt(3) * deviation
            return ew.multiply(random.uniform(key, sizes, found, -1), bound)
        numbers = random.truncated_normal(key, -2, 2, sizes, real_dtype(found))
        return ew.multiply(numbers, deviation / TRUNCATED_STD)

    return init


def scaled(
    name: str, scale: float, mode: str, distribution: str, doc: str
) -> Callable[..., Initializer]:
    """A maker of ``variance_scaling`` initializers with its first arguments fixed."""

    def maker(
        in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None
    ) -> Initializer:
        return variance_scaling(scale, mode, distribution, in_axis, out_axis, batch_axis, dtype)

    return ew.named(maker, name, doc)


glorot_uniform = scaled(
    "glorot_uniform",
    1.0,
    "fan_avg",
    "uniform",
    "Uniform, variance 2 / (fan_in + fan_out): Glorot and Bengio (2010).",
)
glorot_normal = scaled(
    "glorot_normal",
    1.0,
    "fan_avg",
    "truncated_normal",
    "Normal, variance 2 / (fan_in + fan_out): Glorot and Bengio (2010).",
)
lecun_uniform = scaled(
    "lecun_uniform", 1.0, "fan_in", "uniform", "Uniform, variance 1 / fan_in: LeCun et al. (1998)."
)
lecun_normal = scaled(
    "lecun_normal",
    1.0,
    "fan_in",
    "truncated_normal",
    "Normal, variance 1 / fan_in: LeCun et al. (1998).",
)
he_uniform = scaled(
    "he_uniform", 2.0, "fan_in", "uniform", "Uniform, variance 2 / fan_in: He et al. (2015)."
)
he_normal = scaled(
    "he_normal", 2.0, "fan_in", "truncated_normal", "Normal, variance 2 / fan_in: He et al. (2015)."
)
xavier_uniform, xavier_normal = glorot_uniform, glorot_normal
kaiming_uniform, kaiming_normal = he_uniform, he_normal


# ---- orthogonal ----------------------------------------------------------------------------------


def orthonormal_columns(a: Array) -> Array:
    """The Q of a = QR with positive diagonal of R: Gram-Schmidt, each column cleaned twice.

    Twice is enough to be orthogonal to rounding (Giraud, Langou and Rozloznik, 2005).
    """
    turned = ew.conjugate(shaping.transpose(a))

    def step(k: Any, basis: Array) -> Array:
        column = ew.conjugate(dynamic_index_in_dim(turned, k, keepdims=False))
        for _ in range(2):  # the columns of basis from k on are still zero
            shares = linear.matmul(ew.conjugate(shaping.transpose(basis)), column)
            column = ew.subtract(column, linear.matmul(basis, shares))
        size = ew.sqrt(ew.real(linear.vdot(column, column)))
        return dynamic_update_index_in_dim(basis, ew.divide(column, size), k, 1)

    return fori_loop(0, a.shape[1], step, creation.zeros_like(a))  # type: ignore[no-any-return]


def orthogonal(scale: Any = 1.0, column_axis: int = -1, dtype: Any = None) -> Initializer:
    """Matrices with orthonormal rows or columns, uniform among those, times ``scale``."""

    def init(key: Any, shape: Any, dtype: Any = dtype, out_sharding: Any = None) -> Array:
        sizes = shape_tuple(shape)
        if len(sizes) < 2:
            raise ShapeError(f"orthogonal: needs at least two axes, not shape {sizes}", at=here())
        columns = sizes[column_axis]
        rows = math.prod(sizes) // max(columns, 1)
        tall = (rows, columns) if rows >= columns else (columns, rows)
        found = orthonormal_columns(random.normal(key, tall, _dtype(dtype, None)))
        found = found if rows >= columns else shaping.transpose(found)
        rest = tuple(np.delete(sizes, column_axis).tolist())
        return ew.multiply(
            shaping.moveaxis(reshaped(found, (*rest, columns)), -1, column_axis), scale
        )

    return init


def delta_orthogonal(scale: Any = 1.0, column_axis: int = -1, dtype: Any = None) -> Initializer:
    """Kernels of convolutions that are zero but for an orthogonal matrix at their centre (Xiao et
    al., 2018).

    Shapes are (*kernel, in, out) with 1 to 3 kernel axes and in <= out.
    """

    def init(key: Any, shape: Any, dtype: Any = dtype, out_sharding: Any = None) -> Array:
        sizes = shape_tuple(shape)
        if len(sizes) not in (3, 4, 5) or sizes[-1] < sizes[-2]:
            raise ShapeError(
                "delta_orthogonal: takes shapes (*kernel, in, out) of 3 to 5 axes with in <= "
                f"out, not {sizes}",
                at=here(),
            )
        centre = orthogonal(scale, column_axis, dtype)(key, sizes[-2:])
        thin = reshaped(centre, (*(1 for _ in sizes[:-2]), *sizes[-2:]))
        around = [((n - 1) // 2, n // 2, 0) for n in sizes[:-2]]
        return shaping.padded(thin, (*around, (0, 0, 0), (0, 0, 0)))

    return init
