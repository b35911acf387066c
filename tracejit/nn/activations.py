"""Activation functions, element by element, in few operations so that they fuse with their
neighbours.

    >>> relu(jnp.array([-1.0, 2.0]))
    Array([0., 2.], dtype=float32)

nan stays nan. At a kink the derivative is that of JAX: 0 for ``relu`` at 0.
"""

from __future__ import annotations

import math
from typing import Any

from tracejit.errors import ShapeError
from tracejit.frontend import elementwise as ew
from tracejit.frontend import shaping
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.axes import axis_number
from tracejit.frontend.custom import custom_jvp
from tracejit.frontend.promotion import to_inexact
from tracejit.ops import math as math_ops
from tracejit.ops import special
from tracejit.source import here

_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805


def identity(x: Any) -> Array:
    """x."""
    return as_array(x)


def relu(x: Any) -> Array:
    """max(x, 0), with derivative 0 at 0; nan stays nan.

    >>> nn.relu(jnp.array([-1.0, 2.0]))
    Array([0., 2.], dtype=float32)
    """
    x = as_array(x)
    return ew.select(ew.less_equal(x, 0), 0, x)


def relu6(x: Any) -> Array:
    """x limited to [0, 6]."""
    return ew.select(ew.greater_equal(x, 6), 6, relu(x))


def sigmoid(x: Any) -> Array:
    """1 / (1 + exp(-x)), without overflow.

    >>> nn.sigmoid(jnp.array([-1000.0, 0.0, 1000.0]))
    Array([0. , 0.5, 1. ], dtype=float32)
    """
    return ew.run(math_ops.logistic, to_inexact(x))


@custom_jvp
def _softplus(x: Any) -> Array:
    return ew.add(ew.maximum(x, 0), ew.log1p(ew.exp(ew.negative(ew.absolute(x)))))


@_softplus.defjvp
def _softplus_jvp(primals: Any, tangents: Any) -> Any:
    (x,), (dx,) = primals, tangents
    return _softplus(x), ew.multiply(dx, sigmoid(x))


def softplus(x: Any) -> Array:
    """log(1 + exp(x)), computed as max(x, 0) + log1p(exp(-|x|)), without overflow.

    >>> nn.softplus(jnp.array([-1000.0, 1000.0]))
    Array([   0., 1000.], dtype=float32)
    """
    return _softplus(to_inexact(x))  # type: ignore[no-any-return]


def soft_sign(x: Any) -> Array:
    """x / (|x| + 1)."""
    x = to_inexact(x)
    return ew.divide(x, ew.add(ew.absolute(x), 1))


def silu(x: Any) -> Array:
    """x * sigmoid(x), also known as swish (Elfwing, Uchibe and Doya, 2017).

    >>> nn.silu(jnp.array([0.0, 100.0]))
    Array([  0., 100.], dtype=float32)
    """
    x = to_inexact(x)
    return ew.multiply(x, sigmoid(x))


swish = silu


def mish(x: Any) -> Array:
    """x * tanh(softplus(x)) (Misra, 2019)."""
    x = to_inexact(x)
    return ew.multiply(x, ew.tanh(softplus(x)))


def log_sigmoid(x: Any) -> Array:
    """log(sigmoid(x)) = -softplus(-x)."""
    return ew.negative(softplus(ew.negative(to_inexact(x))))


def elu(x: Any, alpha: Any = 1.0) -> Array:
    """x above 0, alpha * (exp(x) - 1) below (Clevert, Unterthiner and Hochreiter, 2015).

    >>> nn.elu(jnp.array([-1000.0, 2.0]))
    Array([-1.,  2.], dtype=float32)
    """
    x = to_inexact(x)
    return ew.select(ew.greater(x, 0), x, ew.multiply(alpha, ew.expm1(x)))


def celu(x: Any, alpha: Any = 1.0) -> Array:
    """x above 0, alpha * (exp(x / alpha) - 1) below: ``elu`` with a continuous derivative (Barron,
    2017).
    """
    x = to_inexact(x)
    return ew.select(ew.greater(x, 0), x, ew.multiply(alpha, ew.expm1(ew.divide(x, alpha))))


def selu(x: Any) -> Array:
    """``elu`` scaled so that layers keep mean 0 and variance 1 (Klambauer et al., 2017)."""
    return ew.multiply(_SELU_SCALE, elu(x, _SELU_ALPHA))


def gelu(x: Any, approximate: bool = True) -> Array:
    """x times the normal distribution function at x; ``approximate`` uses a tanh in its place.

    0.5 x (1 + erf(x / sqrt(2))), or about 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x**3))):
    Hendrycks and Gimpel, "Gaussian error linear units" (2016).

    >>> nn.gelu(jnp.array([-1.0, 0.0, 1.0]), approximate=False).round(3)
    Array([-0.159,  0.   ,  0.841], dtype=float32)
    """
    x = to_inexact(x)
    if approximate:
        cubic = ew.multiply(x, ew.add(1, ew.multiply(0.044715, ew.square(x))))
        cdf = ew.multiply(0.5, ew.add(1, ew.tanh(ew.multiply(math.sqrt(2 / math.pi), cubic))))
        return ew.multiply(x, cdf)
    tail = ew.run(special.erfc, ew.multiply(x, -math.sqrt(0.5)))
    return ew.multiply(ew.multiply(0.5, x), tail)


def leaky_relu(x: Any, negative_slope: Any = 0.01) -> Array:
    """x from 0 on, negative_slope * x below.

    >>> nn.leaky_relu(jnp.array([-100.0, 2.0]))
    Array([-1.,  2.], dtype=float32)
    """
    x = to_inexact(x)
    return ew.select(ew.greater_equal(x, 0), x, ew.multiply(negative_slope, x))


def hard_tanh(x: Any) -> Array:
    """x limited to [-1, 1]."""
    x = as_array(x)
    return ew.select(ew.greater(x, 1), 1, ew.select(ew.less(x, -1), -1, x))


def hard_sigmoid(x: Any) -> Array:
    """relu6(x + 3) / 6."""
    return ew.divide(relu6(ew.add(to_inexact(x), 3)), 6)


def hard_silu(x: Any) -> Array:
    """x * hard_sigmoid(x)."""
    x = to_inexact(x)
    return ew.multiply(x, hard_sigmoid(x))


hard_swish = hard_silu


def squareplus(x: Any, b: Any = 4) -> Array:
    """(x + sqrt(x**2 + b)) / 2 (Barron, 2021)."""
    x = to_inexact(x)
    return ew.multiply(0.5, ew.add(x, ew.sqrt(ew.add(ew.square(x), b))))


def sparse_plus(x: Any) -> Array:
    """0 up to -1, x from 1, (x + 1)**2 / 4 between."""
    x = to_inexact(x)
    square = ew.multiply(0.25, ew.square(ew.add(x, 1)))
    return ew.select(ew.less_equal(x, -1), 0, ew.select(ew.greater_equal(x, 1), x, square))


def sparse_sigmoid(x: Any) -> Array:
    """(x + 1) / 2 between -1 and 1, 0 below and 1 above: the derivative of ``sparse_plus``."""
    return ew.multiply(0.5, ew.clip(ew.add(to_inexact(x), 1), 0, 2))


def glu(x: Any, axis: int = -1) -> Array:
    """The first half along an axis times the sigmoid of the second.

    Raises ShapeError for an odd size.

    >>> nn.glu(jnp.array([2.0, 4.0, 0.0, 1000.0]))
    Array([1., 4.], dtype=float32)
    """
    x = to_inexact(x)
    number = axis_number("glu", axis, x.ndim)
    size = x.shape[number]
    if size % 2:
        raise ShapeError(f"glu: axis {number} of {x.type} cannot be halved", at=here())
    first = shaping.cut(x, number, 0, size // 2)
    return ew.multiply(first, sigmoid(shaping.cut(x, number, size // 2, size)))


def log1mexp(x: Any) -> Array:
    """log(1 - exp(-x)) for positive x, precise near 0 and for large x (Maechler, 2012)."""
    x = to_inexact(x)
    minus = ew.negative(x)
    near = ew.log(ew.negative(ew.expm1(minus)))
    return ew.select(ew.less(x, math.log(2)), near, ew.log1p(ew.negative(ew.exp(minus))))


def tanh(x: Any, /) -> Array:
    """The hyperbolic tangent."""
    return ew.tanh(x)  # type: ignore[no-any-return]
