"""Distributions as objects, and what SciPy draws and computes for them on the host."""

from __future__ import annotations

import inspect
import types

import numpy as np
import pytest
import scipy.stats

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.errors import ArgumentError, TracedValueError
from tracejit.scipy import stats


def test_a_distribution_keeps_its_parameters() -> None:
    d, known = stats.norm(1.0, scale=2.0), scipy.stats.norm(1.0, scale=2.0)
    x = np.linspace(-1, 2, 5)
    for name in ("pdf", "logpdf", "cdf", "sf"):
        np.testing.assert_allclose(getattr(d, name)(x), getattr(known, name)(x), rtol=1e-10)
    np.testing.assert_allclose(d.ppf(np.array([0.1, 0.5])), known.ppf([0.1, 0.5]), rtol=1e-10)
    assert repr(d) == "norm(1.0, scale=2.0)" and tj.jit(lambda: d.pdf(1.0))() == d.pdf(1.0)
    assert tj.grad(lambda m: stats.norm(m, 2.0).logpdf(1.0))(0.5) == pytest.approx(0.125)
    gauss = stats.multivariate_normal(jnp.zeros(2), jnp.eye(2))
    assert gauss.pdf(jnp.zeros(2)) == pytest.approx(1 / (2 * np.pi))


@pytest.mark.parametrize("name", ["mean", "var", "std", "median", "entropy", "support", "stats"])
def test_what_scipy_computes(name: str) -> None:
    found, wanted = (getattr(s.gamma(2.0, scale=3.0), name)() for s in (stats, scipy.stats))
    np.testing.assert_allclose(found, wanted)


def test_no_mean_is_zero() -> None:
    x, cov = np.array([0.5, 1.0]), np.array([[2.0, 0.5], [0.5, 1.0]])
    found = stats.multivariate_normal.logpdf(x, None, cov)
    assert found == pytest.approx(scipy.stats.multivariate_normal.logpdf(x, None, cov))
    for point in (x[:1], x[:, None]):  # the same number in both variables
        wanted = scipy.stats.multivariate_normal.logpdf(point, [0.0, 0.0], cov)
        np.testing.assert_allclose(
            stats.multivariate_normal.logpdf(point, None, cov).ravel(), wanted
        )


def test_arguments_stand_where_scipy_has_them() -> None:
    for s in (stats, scipy.stats):
        d = s.expon(scale=2.0)
        np.testing.assert_allclose(d.interval(0.5), scipy.stats.expon.interval(0.5, scale=2.0))
        np.testing.assert_allclose(d.moment(2), 8.0)
        assert d.rvs(3).shape == d.rvs(size=3, random_state=0).shape == (3,)
        np.testing.assert_allclose(s.norm.fit(jnp.arange(4.0)), (1.5, 1.25**0.5), rtol=1e-6)


def test_draws_are_scipys() -> None:
    np.random.seed(0)
    wanted = [scipy.stats.norm.rvs(size=3), scipy.stats.beta.rvs(2.0, 3.0, size=(2, 2))]
    jnp.random.seed(0)
    found = [stats.norm.rvs(size=3), stats.beta.rvs(2.0, jnp.array(3.0), size=(2, 2))]
    for a, b in zip(found, wanted, strict=True):
        assert isinstance(a, jnp.Array)
        np.testing.assert_allclose(a, b)
    for make in (lambda xp: xp.random.default_rng(1), lambda xp: xp.random.RandomState(1)):
        found = stats.norm(1.0).rvs(4, random_state=make(jnp))
        np.testing.assert_array_equal(found, scipy.stats.norm(1.0).rvs(4, random_state=make(np)))


def test_draws_and_values_under_jit_are_errors() -> None:
    with pytest.raises(ArgumentError, match="would draw once"):
        tj.jit(lambda: stats.norm.rvs(size=3))()
    with pytest.raises(TracedValueError):
        tj.jit(lambda m: stats.norm(m).mean())(1.0)


def test_names_that_are_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'foo'"):
        _ = stats.norm.foo
    with pytest.raises(AttributeError):
        stats.norm(0.0).foo(1.0)
    assert inspect.ismodule(stats.norm) and isinstance(stats.norm, types.ModuleType)
