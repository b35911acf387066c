"""tracejit.scipy.stats: ends of supports, density estimates, dtypes, bad input."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import scipy.stats as st

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import errors, random
from tracejit.scipy import stats
from tracejit.test_util import check_grads

#: distribution: shapes, and points outside of its support
BOUNDED = {
    "uniform": ((), (-0.5, 1.5)),
    "expon": ((), (-1.0,)),
    "gamma": ((2.5,), (-1.0,)),
    "chi2": ((3.0,), (-1.0,)),
    "beta": ((2.0, 3.0), (-0.5, 1.5)),
    "pareto": ((2.0,), (0.5, -3.0)),
    "lognorm": ((0.5,), (-1.0, 0.0)),
    "wrapcauchy": ((0.5,), (-1.0, 7.0)),
    "truncnorm": ((-1.0, 2.0), (-2.0, 3.0)),
}


def numbers(*xs):
    return tuple(map(np.float64, xs))


@pytest.mark.parametrize("name", BOUNDED)
def test_outside_of_the_support_every_derivative_is_zero(name) -> None:
    shapes, points = BOUNDED[name]
    module = getattr(stats, name)
    for x in points:
        operands = numbers(x, *shapes, 0.0, 1.0)
        assert float(module.logpdf(*operands)) == -math.inf and float(module.pdf(*operands)) == 0
        for function in (module.logpdf, module.pdf, module.cdf, module.sf):
            for mode in (tj.jacrev, tj.jacfwd):
                slopes = mode(function, tuple(range(len(operands))))(*operands)
                assert [float(s) for s in slopes] == [0.0] * len(operands)


@pytest.mark.parametrize(
    ("function", "operands", "expected"),
    [
        (stats.expon.logpdf, (0.0, 0.0, 1.0), (-1.0, 1.0, -1.0)),
        (stats.gamma.logpdf, (0.0, 1.0, 0.0, 1.0), (-1.0, -math.inf, 1.0, -1.0)),
        (stats.t.cdf, (0.0, 3.0, 0.0, 1.0), (st.t.pdf(0, 3), 0.0, -st.t.pdf(0, 3), 0.0)),
        (stats.gennorm.cdf, (0.0, 1.5, 0.0, 1.0), (st.gennorm.pdf(0, 1.5), 0.0,
                                                  -st.gennorm.pdf(0, 1.5), 0.0)),
        (stats.norm.logcdf, (-1e6, 0.0, 1.0), (1e6, -1e6, 1e12)),
        (stats.norm.logsf, (-1e6, 0.0, 1.0), (0.0, 0.0, 0.0)),
        (stats.poisson.logpmf, (0.0, 2.0), (None, -1.0)),
        (stats.bernoulli.logpmf, (1.0, 0.25), (None, 4.0)),
        (stats.binom.logpmf, (2.0, 2.0, 0.5), (None, None, 4.0)),
    ],
)  # fmt: skip
def test_derivatives_at_delicate_points(function, operands, expected) -> None:
    slopes = tj.grad(function, tuple(range(len(operands))))(*numbers(*operands))
    for found, wanted in zip(slopes, expected, strict=True):
        if wanted is not None:
            assert float(found) == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_masked_log_likelihoods_have_derivatives() -> None:
    x = np.array([-1.0, 0.5, 2.0])

    def loss(shape):
        logs = stats.gamma.logpdf(x, shape)
        return jnp.sum(jnp.where(x > 0, logs, 0.0))

    assert np.isfinite(tj.grad(loss)(np.float64(2.0)))


def test_parameters_that_are_not_allowed_give_nan() -> None:
    bad = (
        stats.norm.pdf(0.0, 0.0, -1.0),
        stats.norm.cdf(0.0, scale=0.0),
        stats.gamma.logpdf(1.0, -1.0),
        stats.beta.cdf(0.5, 1.0, 0.0),
        stats.poisson.pmf(1, -1.0),
        stats.binom.pmf(1, 2, 1.5),
        stats.geom.cdf(1, 0.0),
        stats.truncnorm.pdf(0.0, 1.0, -1.0),
        stats.norm.ppf(1.5),
        stats.dirichlet.pdf(jnp.array([0.5, 0.5]), jnp.array([1.0, -1.0])),
    )
    assert all(np.isnan(value) for value in bad)
    assert np.isnan(tj.jit(stats.norm.pdf)(0.0, 0.0, -1.0))


def test_dtypes() -> None:
    assert stats.norm.pdf(0.5).dtype == np.float32
    assert stats.norm.pdf(np.arange(3)).dtype == np.float32
    assert stats.norm.pdf(np.float64(0.5)).dtype == np.float64
    assert stats.norm.pdf(np.ones(2, np.float32), 0, 2).dtype == np.float32
    assert stats.poisson.logpmf(np.arange(3, dtype=np.int8), np.float32(2)).dtype == np.float32
    assert stats.rankdata(np.arange(3)).dtype == np.float32
    assert stats.mode(np.arange(3, dtype=np.int16)).mode.dtype == np.int16


def test_quantiles_invert_far_in_the_tails() -> None:
    x = np.array([-12.0, -8.0, 8.0, 12.0])
    np.testing.assert_allclose(stats.norm.ppf(stats.norm.cdf(x[:2])), x[:2], rtol=1e-12)
    np.testing.assert_allclose(stats.norm.isf(stats.norm.sf(x[2:])), x[2:], rtol=1e-12)
    found = stats.truncnorm.ppf(np.array([1e-3, 0.5]), 9.0, 30.0)
    np.testing.assert_allclose(stats.truncnorm.cdf(found, 9.0, 30.0), [1e-3, 0.5], rtol=1e-9)


def test_entropy_of_large_means_joins_the_sum() -> None:
    low, high = (float(stats.poisson.entropy(np.float64(mu))) for mu in (200.0, 200.0001))
    assert high - low == pytest.approx(0.0001 / 400, rel=5e-3)


def test_a_log_likelihood_is_one_kernel() -> None:
    def loss(x, loc, scale):
        return -jnp.mean(stats.norm.logpdf(x, loc, scale))

    program = tj.jit(tj.value_and_grad(loss, argnums=(1, 2)))
    value, (by_loc, by_scale) = program(np.arange(10.0), 4.5, 2.0)
    assert float(by_loc) == pytest.approx(0.0, abs=1e-6) and float(by_scale) < 0
    assert np.isfinite(value)


def test_signatures_are_those_of_jax() -> None:
    shown = {
        stats.norm.isf: "(q, loc=0, scale=1)",
        stats.beta.logpdf: "(x, a, b, loc=0, scale=1)",
        stats.gumbel_l.ppf: "(p, loc=0, scale=1)",
        stats.logistic.isf: "(x, loc=0, scale=1)",
        stats.betabinom.pmf: "(k, n, a, b, loc=0)",
        stats.truncnorm.sf: "(x, a, b, loc=0, scale=1)",
    }
    for function, text in shown.items():
        assert str(inspect.signature(function)) == text
    assert stats.norm.pdf.__module__ == "tracejit.scipy.stats.norm"
    assert "standard deviation" in stats.norm.pdf.__doc__


# ---- several variables ---------------------------------------------------------------------------


def test_multivariate_normal_derivatives() -> None:
    rng = np.random.default_rng(0)
    x, mean, root = rng.normal(size=(4, 3)), rng.normal(size=3), rng.normal(size=(3, 3))

    def density(x, mean, root):
        return stats.multivariate_normal.logpdf(
            x, mean, root @ root.T + 2 * jnp.eye(3, dtype=root.dtype)
        )

    check_grads(density, (x, mean, root), 1)
    check_grads(tj.vmap(density, in_axes=(0, None, None)), (x, mean, root), 1)


def test_a_covariance_that_is_not_positive_definite() -> None:
    cov = np.array([[1.0, 2.0], [2.0, 1.0]])
    assert np.isnan(tj.jit(stats.multivariate_normal.logpdf)(np.zeros(2), np.zeros(2), cov))
    with pytest.raises(errors.LinAlgError):
        stats.multivariate_normal.logpdf(np.zeros(2), np.zeros(2), cov)


# ---- density estimates ---------------------------------------------------------------------------

DATA = np.random.default_rng(1).normal(size=(2, 12))
WEIGHTS = np.random.default_rng(2).uniform(0.5, 2, 12)


@pytest.mark.parametrize("bandwidth", [None, "silverman", 0.7, lambda kde: kde.neff**-0.3])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("data", [DATA, DATA[0]])
def test_density_estimates(data, weights, bandwidth) -> None:
    ours, theirs = (library.gaussian_kde(data, bandwidth, weights) for library in (stats, st))
    points = np.random.default_rng(3).normal(size=(ours.d, 5)) * 3
    np.testing.assert_allclose(ours(points), theirs(points), rtol=1e-10)
    np.testing.assert_allclose(ours.pdf(points), theirs.pdf(points), rtol=1e-10)
    np.testing.assert_allclose(ours.logpdf(points), theirs.logpdf(points), rtol=1e-10)
    np.testing.assert_allclose(ours.covariance, theirs.covariance, rtol=1e-12)
    np.testing.assert_allclose(ours.inv_cov, theirs.inv_cov, rtol=1e-10)
    mean, cov = np.full(ours.d, 0.3), np.eye(ours.d) + 0.5
    np.testing.assert_allclose(
        ours.integrate_gaussian(mean, cov), theirs.integrate_gaussian(mean, cov), rtol=1e-10
    )
    others = [library.gaussian_kde(data * 1.5 + 0.1) for library in (stats, st)]
    np.testing.assert_allclose(
        ours.integrate_kde(others[0]), theirs.integrate_kde(others[1]), rtol=1e-10
    )
    if ours.d == 1:
        np.testing.assert_allclose(
            ours.integrate_box_1d(-1.0, 0.5), theirs.integrate_box_1d(-1.0, 0.5), rtol=1e-10
        )


def test_a_density_estimate_is_a_pytree() -> None:
    kde = stats.gaussian_kde(DATA)
    found = tj.jit(lambda kde, x: kde.logpdf(x))(kde, np.zeros(2))
    np.testing.assert_allclose(found, kde.logpdf(np.zeros(2)), rtol=1e-12)
    assert len(tj.tree.leaves(kde)) == 5
    check_grads(lambda data: stats.gaussian_kde(data).logpdf(np.zeros((2, 1))), (DATA,), 1)


def test_samples_of_a_density_estimate() -> None:
    kde = stats.gaussian_kde(DATA, 0.5)
    drawn = kde.resample(random.key(0), (4000,))
    assert drawn.shape == (2, 4000) and kde.resample(random.key(0)).shape == (2,)
    assert tj.jit(lambda key: kde.resample(key, (2, 3)))(random.key(1)).shape == (2, 2, 3)
    np.testing.assert_allclose(np.mean(drawn, 1), DATA.mean(1), atol=0.1)
    spread = np.cov(DATA, bias=True) + np.asarray(kde.covariance)
    np.testing.assert_allclose(np.cov(drawn), spread, atol=0.15)


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: stats.norm.pdf(jnp.ones(2), jnp.ones(3)), errors.ShapeError),
        (lambda: stats.norm.pdf(1j), errors.DTypeError),
        (lambda: stats.poisson.pmf(1j, 2.0), errors.DTypeError),
        (lambda: stats.multinomial.pmf(1.0, 2, jnp.ones(2)), errors.ShapeError),
        (lambda: stats.multinomial.pmf(jnp.ones(3), 2, jnp.ones(2)), errors.ShapeError),
        (lambda: stats.dirichlet.pdf(jnp.ones(5), jnp.ones(3)), errors.ShapeError),
        (lambda: stats.dirichlet.pdf(jnp.ones(3), jnp.ones((3, 1))), errors.ShapeError),
        (lambda: stats.multivariate_normal.pdf(jnp.ones(3), jnp.ones(2), jnp.eye(2)),
         errors.ShapeError),
        (lambda: stats.multivariate_normal.pdf(jnp.ones(2), jnp.ones(2), jnp.ones((2, 3))),
         errors.ShapeError),
        (lambda: stats.multivariate_normal.logpdf(jnp.ones(2), 0.0, 1.0, True),
         errors.ArgumentError),
        (lambda: stats.rankdata(jnp.ones(2), "most"), errors.ArgumentError),
        (lambda: stats.rankdata(jnp.ones(2), axis=1), errors.ShapeError),
        (lambda: stats.rankdata(jnp.array([jnp.nan]), nan_policy="raise"), errors.ArgumentError),
        (lambda: stats.mode(jnp.ones(2), nan_policy="ignore"), errors.ArgumentError),
        (lambda: stats.mode(jnp.ones(2), axis=2), errors.ShapeError),
        (lambda: stats.sem(jnp.ones(2), axis=2), errors.ShapeError),
        (lambda: stats.gaussian_kde(jnp.ones(1)), errors.ShapeError),
        (lambda: stats.gaussian_kde(DATA, "best"), errors.ArgumentError),
        (lambda: stats.gaussian_kde(DATA, weights=jnp.ones(3)), errors.ShapeError),
        (lambda: stats.gaussian_kde(np.ones((2, 4))), errors.LinAlgError),
        (lambda: stats.gaussian_kde(DATA).pdf(jnp.ones((3, 1))), errors.ShapeError),
        (lambda: stats.gaussian_kde(DATA).integrate_box_1d(0.0, 1.0), errors.ShapeError),
        (lambda: stats.gaussian_kde(DATA).set_bandwidth(), errors.ArgumentError),
    ],
)  # fmt: skip
def test_bad_input_is_an_error(call, error) -> None:
    with pytest.raises(error) as info:
        call()
    assert "test_stats.py" in str(info.value)


def test_values_that_are_looked_at_do_not_trace() -> None:
    with pytest.raises(errors.TracedValueError):
        tj.jit(lambda x: stats.rankdata(x, nan_policy="raise"))(np.ones(3))
