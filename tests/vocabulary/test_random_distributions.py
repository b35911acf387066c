"""What tracejit.random draws has the distribution it should: Kolmogorov-Smirnov for continuous
samplers, chi-squared for discrete ones, means and covariances where there are several numbers.

The keys are fixed: a test that passes goes on passing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats as st

from tracejit import random

N = 4000
KEY = random.key(1)

CONTINUOUS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "normal": (lambda k: random.normal(k, (N,)), st.norm()),
    "uniform": (lambda k: random.uniform(k, (N,), minval=-1.0, maxval=3.0), st.uniform(-1, 4)),
    "exponential": (lambda k: random.exponential(k, (N,)), st.expon()),
    "cauchy": (lambda k: random.cauchy(k, (N,)), st.cauchy()),
    "laplace": (lambda k: random.laplace(k, (N,)), st.laplace()),
    "logistic": (lambda k: random.logistic(k, (N,)), st.logistic()),
    "gumbel": (lambda k: random.gumbel(k, (N,)), st.gumbel_r()),
    "maxwell": (lambda k: random.maxwell(k, (N,)), st.maxwell()),
    "truncated_normal": (
        lambda k: random.truncated_normal(k, -1.0, 2.0, (N,)),
        st.truncnorm(-1, 2),
    ),
    "lognormal": (lambda k: random.lognormal(k, 0.5, (N,)), st.lognorm(0.5)),
    "pareto": (lambda k: random.pareto(k, 2.5, (N,)), st.pareto(2.5)),
    "rayleigh": (lambda k: random.rayleigh(k, 1.5, (N,)), st.rayleigh(scale=1.5)),
    "weibull_min": (
        lambda k: random.weibull_min(k, 2.0, 1.5, (N,)),
        st.weibull_min(1.5, scale=2),
    ),
    "triangular": (lambda k: random.triangular(k, -1.0, 0.5, 2.0, (N,)), st.triang(0.5, -1, 3)),
    "wald": (lambda k: random.wald(k, 1.5, (N,)), st.invgauss(1.5, scale=1)),
    "generalized_normal": (lambda k: random.generalized_normal(k, 3.0, (N,)), st.gennorm(3)),
    "gamma": (lambda k: random.gamma(k, 2.5, (N,)), st.gamma(2.5)),
    "gamma below 1": (lambda k: random.gamma(k, 0.4, (N,)), st.gamma(0.4)),
    "loggamma": (lambda k: random.loggamma(k, 2.5, (N,)), st.loggamma(2.5)),
    "chisquare": (lambda k: random.chisquare(k, 3.0, (N,)), st.chi2(3)),
    "t": (lambda k: random.t(k, 4.0, (N,)), st.t(4)),
    "beta": (lambda k: random.beta(k, 2.0, 3.0, (N,)), st.beta(2, 3)),
    "f": (lambda k: random.f(k, 5.0, 7.0, (N,)), st.f(5, 7)),
    "dirichlet": (
        lambda k: random.dirichlet(k, np.array([1.0, 2.0, 3.0]), (N,))[:, 1],
        st.beta(2, 4),
    ),
    "ball": (
        lambda k: (np.asarray(random.ball(k, 3, 2, (N,))) ** 2).sum(1) ** 1.5,
        st.uniform(),
    ),
    "double_sided_maxwell": (
        lambda k: abs(np.asarray(random.double_sided_maxwell(k, 1.0, 2.0, (N,))) - 1) / 2,
        st.maxwell(),
    ),
}

P = np.array([0.1, 0.2, 0.3, 0.4])
DISCRETE: dict[str, tuple[Callable[[Any], Any], Callable[[np.ndarray], np.ndarray]]] = {
    "bernoulli": (lambda k: random.bernoulli(k, 0.3, (N,)), st.bernoulli(0.3).pmf),
    "randint": (lambda k: random.randint(k, (N,), 2, 9), st.randint(2, 9).pmf),
    "rademacher": (lambda k: random.rademacher(k, (N,)), lambda x: np.isin(x, (-1, 1)) / 2),
    "categorical": (lambda k: random.categorical(k, np.log(P), shape=(N,)), lambda x: P[x]),
    "choice": (lambda k: random.choice(k, 4, (N,), p=P), lambda x: P[x]),
    "geometric": (lambda k: random.geometric(k, 0.4, (N,)), st.geom(0.4).pmf),
    "poisson": (lambda k: random.poisson(k, 3.5, (N,)), st.poisson(3.5).pmf),
    "poisson of many": (lambda k: random.poisson(k, 40.0, (N,)), st.poisson(40).pmf),
    "binomial": (lambda k: random.binomial(k, 9.0, 0.3, (N,)), st.binom(9, 0.3).pmf),
    "binomial of many": (lambda k: random.binomial(k, 90.0, 0.3, (N,)), st.binom(90, 0.3).pmf),
    "multinomial": (
        lambda k: random.multinomial(k, 5.0, P, shape=(N, 4))[:, 2],
        st.binom(5, 0.3).pmf,
    ),
    "bits": (lambda k: random.bits(k, (N,), np.uint8) >> 5, lambda x: np.full(x.shape, 1 / 8)),
    "permutation": (
        lambda k: [int(random.permutation(one, 4)[0]) for one in random.split(k, 400)],
        lambda x: np.full(x.shape, 1 / 4),
    ),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous(name: str) -> None:
    draw, distribution = CONTINUOUS[name]
    found = st.kstest(np.asarray(draw(KEY), np.float64), distribution.cdf)
    assert found.pvalue > 1e-3, found


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete(name: str) -> None:
    draw, probability = DISCRETE[name]
    drawn = np.asarray(draw(KEY)).astype(np.int64)
    values, counts = np.unique(drawn, return_counts=True)
    expected = probability(values) * drawn.size
    rare = expected < 5
    observed = np.append(counts[~rare], drawn.size - counts[~rare].sum())
    wanted = np.append(expected[~rare], drawn.size - expected[~rare].sum())
    if wanted[-1] < 1:
        observed, wanted = observed[:-1], wanted[:-1] * observed[:-1].sum() / wanted[:-1].sum()
    found = st.chisquare(observed, wanted)
    assert found.pvalue > 1e-3, found


def test_multivariate_normal() -> None:
    mean, cov = np.array([1.0, -2.0]), np.array([[2.0, 0.7], [0.7, 1.0]])
    drawn = np.asarray(random.multivariate_normal(KEY, mean, cov, (N,)), np.float64)
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.1)
    np.testing.assert_allclose(np.cov(drawn.T), cov, atol=0.15)


def test_orthogonal() -> None:
    drawn = np.asarray(random.orthogonal(KEY, 3, (5,)), np.float64)
    identity = np.broadcast_to(np.eye(3), (5, 3, 3))
    np.testing.assert_allclose(drawn @ drawn.transpose(0, 2, 1), identity, atol=1e-5)


def test_randint_in_numpys_order_says_so() -> None:
    with pytest.raises(TypeError, match="the order is randint"):
        random.randint(KEY, 0, 10, (3,))
