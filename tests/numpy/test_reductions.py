"""Reductions, statistics and histograms against NumPy, on arrays and inside a trace."""

from __future__ import annotations

import numpy as np
import pytest

import tracejit.numpy as jnp
from tests.numpy.agree import agrees, check, traced
from tracejit.errors import ArgumentError, ShapeError, TracedValueError
from tracejit.frontend.derivatives import grad, make_graph

RNG = np.random.default_rng(1)
F, G, V = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4)), RNG.normal(size=7)
INTS = RNG.integers(-9, 9, (3, 4))
HOLES = F.copy()
HOLES[0, 1] = HOLES[2, 2] = np.nan


@pytest.mark.parametrize(
    "name", "sum prod mean var std min max ptp any all argmax argmin median count_nonzero".split()
)
@pytest.mark.parametrize(
    "x", [F, INTS, F > 0, F.astype(np.float32)], ids=["f64", "i64", "bool", "f32"]
)
def test_over_axes(name: str, x: np.ndarray) -> None:
    if name == "ptp" and x.dtype == bool:
        return
    same = x.dtype.kind == "f" or name not in ("mean", "var", "std", "median")
    options = {"dtype": same, "tol": 1e-5}
    agrees(name, x, **options)
    agrees(name, x, axis=0, **options)
    agrees(name, x, axis=-1, keepdims=True, **options)
    if name not in ("argmax", "argmin"):
        agrees(name, x, axis=(0, 1), **options)


def test_where_and_initial() -> None:
    mask = F > 0
    for name in ("sum", "prod", "mean", "var", "std"):
        agrees(name, F, where=mask)
        agrees(name, F, axis=0, where=mask)
    for name in ("min", "max"):
        agrees(name, F, initial=0.0, where=mask)
    agrees("sum", INTS, initial=5)
    agrees("any", INTS, where=mask)
    agrees("var", F, ddof=1)
    agrees("sum", np.zeros((0, 3)), axis=0)
    agrees("max", np.zeros((0, 3)), axis=1, trace=False)
    agrees("sum", INTS.astype(np.int8))
    agrees("sum", INTS.astype(np.uint16))


def test_complex_sums() -> None:
    for name in ("sum", "prod", "mean", "var", "std", "cumsum"):
        agrees(name, F + 1j * G)


def test_empty_extrema() -> None:
    with pytest.raises(ShapeError, match="empty"):
        jnp.max(jnp.zeros((0,)))
    with pytest.raises(ShapeError, match="empty"):
        jnp.argmin(jnp.zeros((2, 0)), 1)


@pytest.mark.parametrize(
    "name",
    "nansum nanprod nanmean nanvar nanstd nanmin nanmax nanmedian nancumsum nancumprod nanargmax "
    "nanargmin".split(),
)
def test_without_nan(name: str) -> None:
    agrees(name, HOLES)
    agrees(name, HOLES, axis=1)


def test_running() -> None:
    for name in ("cumsum", "cumprod"):
        agrees(name, F)
        agrees(name, F, axis=1)
        agrees(name, INTS.astype(np.int16), axis=0)
    agrees("cumulative_sum", V, include_initial=True)
    agrees("cumulative_prod", F, axis=1, include_initial=True)


@pytest.mark.parametrize(
    "method",
    "linear lower higher nearest midpoint weibull hazen median_unbiased normal_unbiased "
    "interpolated_inverted_cdf".split(),
)
def test_quantile_methods(method: str) -> None:
    agrees("quantile", F, 0.3, method=method)
    agrees("nanquantile", HOLES, 0.3, axis=1, method=method)


def test_quantiles() -> None:
    agrees("quantile", F, [0.1, 0.9], axis=1)
    agrees("percentile", F, 30)
    agrees("percentile", F, [10, 20.0], axis=(0, 1), keepdims=True)
    agrees("nanpercentile", HOLES, [10, 50])
    agrees("quantile", HOLES, 0.5, axis=0)
    agrees("median", np.array([1.0, np.inf, np.inf, 2.0]))
    assert grad(lambda x: jnp.median(x))(jnp.array([3.0, 1.0, 2.0])).tolist() == [0, 0, 1]


def test_averages_and_covariances() -> None:
    agrees("average", F, axis=0, weights=np.abs(G))
    agrees("average", F, axis=1, weights=np.arange(4.0))
    agrees("cov", F)
    agrees("cov", F, G)
    agrees("cov", F, rowvar=False, ddof=0)
    agrees("cov", F, fweights=np.array([1, 2, 3, 4]))
    agrees("cov", F, aweights=np.array([1.0, 2, 3, 4]))
    agrees("cov", F + 1j * G)
    agrees("corrcoef", F)


def test_histograms() -> None:
    agrees("histogram", V, 5)
    agrees("histogram", V, [-1.0, 0, 0.5, 1])
    agrees("histogram", V, 5, range=(-1, 1.0))
    agrees("histogram", V, 4, weights=np.abs(V))
    agrees("histogram", V, 4, density=True)
    agrees("histogram2d", V, V**2, 3, dtype=False)
    agrees("digitize", F, np.sort(V))
    agrees("digitize", F, np.sort(V)[::-1].copy(), right=True)
    agrees("bincount", np.array([0, 2, 2, 5]), trace=False)
    check(
        lambda x: jnp.bincount(x, length=7),
        lambda x: np.bincount(x, minlength=7),
        np.array([0, 2, 2, 5]),
    )
    with pytest.raises(TracedValueError, match="length"):
        make_graph(lambda x: jnp.bincount(x), np.array([0, 2]))


def test_arg_of_nan_is_its_place() -> None:
    x = np.array([1.0, np.nan, 3.0])
    agrees("argmax", x)
    agrees("max", x)
    assert traced(jnp.nanargmax, x)[0] == 2


def test_bad_arguments() -> None:
    with pytest.raises(ArgumentError, match="no method"):
        jnp.quantile(F, 0.5, method="best")
    with pytest.raises(ShapeError, match="twice"):
        jnp.sum(F, axis=(0, 0))
