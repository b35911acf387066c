"""Density estimation with Gaussian kernels.

>>> kde = gaussian_kde(jnp.array([-1.0, 0.0, 1.0]))
>>> kde.evaluate(jnp.array([0.0])).round(3)
Array([0.318], dtype=float32)
"""

from __future__ import annotations

import math
from typing import Any

from tracejit import random
from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend import elementwise as ew
from tracejit.frontend import indexing, linear, reductions, shaping
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.promotion import convert, filled, is_python, to_inexact, typed
from tracejit.ir.types import TensorType
from tracejit.linalg import cholesky, triangular_solve
from tracejit.numpy.ranges import identity
from tracejit.scipy.special import logsumexp, ndtr
from tracejit.scipy.special.operands import promoted
from tracejit.source import here
from tracejit.tree_util import register_pytree_node_class

LOG_TWO_PI = math.log(2 * math.pi)


@register_pytree_node_class
class gaussian_kde:  # noqa: N801 - SciPy's name
    """A density as a sum of normal ones around the points of a data set (Scott, 1992).

    ``dataset`` is (n,), or (d, n) for n points of d variables. The kernels' covariance is that of
    the data times the square of a factor: "scott" (the default) n_eff ** (-1 / (d + 4)),
    "silverman" (n_eff (d + 2) / 4) ** (-1 / (d + 4)), a number, or a function of the gaussian_kde.
    ``weights`` (n,) are normalised. A pytree: it may be an argument of jitted functions.

    Raises ShapeError where there are fewer than two numbers or the weights do not fit, DTypeError
    for complex data, ArgumentError for another bandwidth; LinAlgError where the data have no spread
    in some direction.

    >>> kde = gaussian_kde(jnp.array([0.0, 1.0, 2.0]), bw_method=0.5)
    >>> kde.pdf(1.0).shape
    (1,)
    """

    neff: Any
    dataset: Any
    weights: Any
    covariance: Any
    inv_cov: Any

    def __init__(self, dataset: Any, bw_method: Any = None, weights: Any = None) -> None:
        data = _two_axes(to_inexact(dataset), "dataset")
        if data.size < 2:
            raise ShapeError(
                f"gaussian_kde: `dataset` has several elements, not {data.type}", at=here()
            )
        d, n = data.shape
        if weights is None:
            weights = filled(1.0 / n, TensorType(data.dtype, (n,)))
        else:
            data, weights = promoted("gaussian_kde", data, weights)
            if weights.shape != (n,):
                raise ShapeError(
                    f"gaussian_kde: `weights` is ({n},) like the data, not {weights.type}",
                    at=here(),
                )
            weights = ew.divide(weights, reductions.sum(weights))
        self.dataset, self.weights = data, weights
        self.neff = ew.divide(1, reductions.sum(ew.square(weights)))
        factor = self._factor(bw_method)
        self.covariance = ew.multiply(self._data_covariance(), ew.square(factor))
        white = _solve(cholesky(self.covariance), identity(d, dtype=data.dtype))
        self.inv_cov = linear.matmul(shaping.matrix_transpose(white), white)

    def _factor(self, bw_method: Any) -> Any:
        method = "scott" if bw_method is None else bw_method
        power = -1.0 / (self.d + 4)
        if isinstance(method, str):
            if method == "scott":
                return ew.power(self.neff, power)
            if method == "silverman":
                return ew.power(ew.multiply(self.neff, (self.d + 2) / 4.0), power)
        elif callable(method):
            return method(self)
        elif is_python(method) or as_array(method).ndim == 0:
            return typed(method, self.dataset.dtype)
        raise ArgumentError(
            'gaussian_kde: `bw_method` is "scott", "silverman", a number or a function, not '
            f"{method!r}",
            at=here(),
        )

    def _data_covariance(self) -> Array:
        mean = reductions.sum(ew.multiply(self.dataset, self.weights), -1, keepdims=True)
        centred = ew.subtract(self.dataset, mean)
        total = linear.matmul(ew.multiply(centred, self.weights), shaping.matrix_transpose(centred))
        return ew.divide(total, ew.subtract(1, ew.divide(1, self.neff)))  # type: ignore[no-any-return]

    def tree_flatten(self) -> tuple[Any, None]:
        """The arrays, for pytrees."""
        return (self.neff, self.dataset, self.weights, self.covariance, self.inv_cov), None

    @classmethod
    def tree_unflatten(cls, aux_data: Any, children: Any) -> gaussian_kde:
        """The estimate that has these arrays."""
        kde = cls.__new__(cls)
        kde.neff, kde.dataset, kde.weights, kde.covariance, kde.inv_cov = children
        return kde

    @property
    def d(self) -> int:
        """How many variables there are."""
        return int(self.dataset.shape[0])

    @property
    def n(self) -> int:
        """How many points there are."""
        return int(self.dataset.shape[1])

    def evaluate(self, points: Any) -> Array:
        """The density at ``points`` (d, m), or (m,) where d is 1: (m,)."""
        exponents, constant = self._exponents(points)
        terms = ew.multiply(ew.exp(ew.add(exponents, constant)), self.weights)
        return reductions.sum(terms, -1)  # type: ignore[no-any-return]

    def __call__(self, points: Any) -> Array:
        return self.evaluate(points)

    def pdf(self, x: Any) -> Array:
        """The density at x: ``evaluate``."""
        return self.evaluate(x)

    def logpdf(self, x: Any) -> Array:
        """The logarithm of the density at x, precise far away from the data."""
        exponents, constant = self._exponents(x)
        found = logsumexp(ew.add(exponents, ew.log(self.weights)), axis=-1)
        return ew.add(found, constant)  # type: ignore[no-any-return]

    def _exponents(self, points: Any) -> tuple[Array, Array]:
        """Of each point and kernel minus half the squared distance, and the log of the height."""
        points = self._points(points)
        lower = cholesky(self.covariance)
        data, at = _solve(lower, self.dataset), _solve(lower, points)
        squares: Any = 0
        for k in range(self.d):
            gap = ew.subtract(at[k][:, None], data[k])
            squares = ew.add(squares, ew.square(gap))
        constant = ew.subtract(-0.5 * self.d * LOG_TWO_PI, _half_log_det(lower))
        return ew.multiply(squares, -0.5), constant

    def _points(self, points: Any) -> Array:
        found = _two_axes(to_inexact(points), "points")
        if found.shape[0] != self.d:
            if found.shape[0] == 1 and found.shape[1] == self.d:
                found = shaping.reshape(found, (self.d, 1))
            else:
                raise ShapeError(
                    f"gaussian_kde: points {found.type} for data of {self.d} variables", at=here()
                )
        return found

    def integrate_gaussian(self, mean: Any, cov: Any) -> Array:
        """The integral of the density times a normal one with ``mean`` (d,) and ``cov`` (d, d).

        Raises ShapeError for other shapes.
        """
        mean, cov = to_inexact(mean), to_inexact(cov)
        mean = shaping.reshape(mean, (1,)) if mean.ndim == 0 else shaping.squeeze(mean)
        mean = shaping.reshape(mean, (1,)) if mean.ndim == 0 else mean
        cov = shaping.reshape(cov, (1, 1)) if cov.size == 1 else cov
        if mean.shape != (self.d,) or cov.shape != (self.d, self.d):
            raise ShapeError(
                f"gaussian_kde.integrate_gaussian: mean {mean.type} and cov {cov.type} for data of "
                f"{self.d} variables",
                at=here(),
            )
        total = ew.add(self.covariance, cov)
        return self._convolved(total, mean[:, None])[0]

    def _convolved(self, covariance: Array, centres: Array) -> Array:
        """For each centre (d, m) the weighted sum of normal densities of its distances: (m,)."""
        lower = cholesky(covariance)
        data, at = _solve(lower, self.dataset), _solve(lower, centres)
        squares: Any = 0
        for k in range(self.d):
            squares = ew.add(squares, ew.square(ew.subtract(at[k][:, None], data[k])))
        height = ew.exp(ew.subtract(-0.5 * self.d * LOG_TWO_PI, _half_log_det(lower)))
        sums = reductions.sum(ew.multiply(ew.exp(ew.multiply(squares, -0.5)), self.weights), -1)
        return ew.multiply(sums, height)  # type: ignore[no-any-return]

    def integrate_box_1d(self, low: Any, high: Any) -> Array:
        """The integral of the density of one variable from ``low`` to ``high``, scalars.

        Raises ShapeError for more variables and for limits that are no scalars.
        """
        low, high = as_array(low), as_array(high)
        if self.d != 1 or low.ndim or high.ndim:
            raise ShapeError(
                "gaussian_kde.integrate_box_1d: takes scalars, for data of one variable; not "
                f"{low.type} and {high.type} for {self.d}",
                at=here(),
            )
        sigma = ew.sqrt(self.covariance[0, 0])
        above = ndtr(ew.divide(ew.subtract(high, self.dataset[0]), sigma))
        below = ndtr(ew.divide(ew.subtract(low, self.dataset[0]), sigma))
        return reductions.sum(ew.multiply(self.weights, ew.subtract(above, below)))  # type: ignore[no-any-return]

    def integrate_kde(self, other: gaussian_kde) -> Array:
        """The integral of the product of two densities of as many variables, else ShapeError."""
        if other.d != self.d:
            raise ShapeError(
                f"gaussian_kde.integrate_kde: {self.d} and {other.d} variables", at=here()
            )
        sums = self._convolved(ew.add(self.covariance, other.covariance), other.dataset)
        return reductions.sum(ew.multiply(sums, other.weights))  # type: ignore[no-any-return]

    def resample(self, key: Any, shape: Any = ()) -> Array:
        """Points drawn from the density with a random key: (d, *shape)."""
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        which, where = random.split(key)
        chosen = random.choice(which, self.n, shape=shape, p=self.weights)
        noise = random.normal(where, (self.d, math.prod(shape)), self.dataset.dtype)
        noise = linear.matmul(cholesky(self.covariance), noise)
        centres = indexing.take(self.dataset, chosen, 1)
        return ew.add(centres, shaping.reshape(noise, (self.d, *shape)))  # type: ignore[no-any-return]

    def integrate_box(self, low_bounds: Any, high_bounds: Any, maxpts: Any = None) -> Any:
        """Not provided, as in JAX: ArgumentError. ``integrate_box_1d`` is."""
        raise ArgumentError(
            "gaussian_kde.integrate_box: there is no integral over boxes",
            at=here(),
            hint="integrate_box_1d integrates the density of one variable",
        )

    def set_bandwidth(self, bw_method: Any = None) -> None:
        """Not provided, as in JAX: ArgumentError. Make a new gaussian_kde."""
        raise ArgumentError(
            "gaussian_kde.set_bandwidth: the estimate is immutable",
            at=here(),
            hint="make another: gaussian_kde(dataset, bw_method)",
        )


def _two_axes(x: Array, what: str) -> Array:
    if x.dtype.kind == "c":
        raise DTypeError(f"gaussian_kde: `{what}` is real, not {x.dtype}", at=here())
    if x.ndim > 2:
        raise ShapeError(f"gaussian_kde: `{what}` has at most two axes, not {x.type}", at=here())
    return x if x.ndim == 2 else shaping.reshape(x, (1, x.size))  # type: ignore[no-any-return]


def _solve(lower: Array, right: Array) -> Array:
    right = convert(right, lower.dtype)
    return triangular_solve(lower, right, left_side=True, lower=True)  # type: ignore[no-any-return]


def _half_log_det(lower: Array) -> Array:
    return reductions.sum(ew.log(shaping.diagonal(lower)))  # type: ignore[no-any-return]
