"""tracejit.scipy.special: edges of derivatives, second derivatives, fusion, bad input."""

from __future__ import annotations

import inspect
import math

import mpmath as mp
import numpy as np
import pytest
import scipy.special as sp

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import errors, lax
from tracejit.scipy import special
from tracejit.test_util import check_grads

NATIVE = ("erf erfc erfcx erfinv ndtr ndtri log_ndtr expit log_expit logit entr gammaln gamma "
          "digamma i0 i0e i1 i1e").split()  # fmt: skip


def slope(function, *xs, argnums=0):
    return float(tj.grad(function, argnums)(*map(np.float64, xs)))


# ---- derivatives at the edges --------------------------------------------------------------------


def test_products_with_logarithms_have_their_limits_at_zero() -> None:
    assert slope(special.xlogy, 0.0, 3.0) == pytest.approx(math.log(3))
    assert slope(special.xlogy, 0.0, 0.0, argnums=1) == 0
    assert slope(special.xlog1py, 0.0, 3.0) == pytest.approx(math.log(4))
    assert slope(special.xlog1py, 0.0, -1.0, argnums=1) == 0
    assert slope(special.entr, 0.0) == math.inf
    assert slope(special.entr, -1.0) == 0
    assert slope(special.rel_entr, 0.0, 2.0) == -math.inf
    assert slope(special.rel_entr, 0.0, 2.0, argnums=1) == 0
    assert slope(special.kl_div, 0.0, 2.0, argnums=1) == 1
    assert slope(special.rel_entr, -1.0, 2.0) == slope(special.kl_div, 1.0, -2.0, argnums=1) == 0


@pytest.mark.parametrize(
    ("function", "at", "expected"),
    [
        (special.spence, 1.0, -1.0),
        (special.spence, 1.0 + 1e-9, -1.0 + 0.5e-9),
        (lambda x: special.sici(x)[0], 0.0, 1.0),
        (special.i1e, 0.0, 0.5),
        (special.i0, 0.0, 0.0),
        (special.expit, 800.0, 0.0),
        (special.log_ndtr, -1e8, 1e8),
        (special.log_ndtr, 40.0, 0.0),
        (special.ndtri, 0.5, math.sqrt(2 * math.pi)),
    ],
)
def test_derivatives_where_formulas_are_delicate(function, at, expected) -> None:
    assert slope(function, at) == pytest.approx(expected, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("x", [3.0, 19.9, 20.1, 1e3, 1e6])
def test_slopes_that_cancel_come_from_a_series(x) -> None:
    with mp.workprec(300):
        z = mp.mpf(x)
        scaled = mp.exp(z * z) * mp.erfc(z) if x < 1e3 else None
        if scaled is None:  # DLMF 7.12.1
            terms = [(-1) ** k * mp.fac2(2 * k - 1) / (2 * z * z) ** k for k in range(12)]
            scaled = sum(terms) / (z * mp.sqrt(mp.pi))
        exact = float(2 * z * scaled - 2 / mp.sqrt(mp.pi))
    assert slope(special.erfcx, x) == pytest.approx(exact, rel=1e-10)
    if x < 1e3:
        with mp.workprec(2000):
            z = mp.mpf(x)
            integral = mp.sqrt(mp.pi) / 2 * mp.exp(-z * z) * mp.erfi(z)
            exact = float(1 - 2 * z * integral)
        assert slope(special.dawsn, x) == pytest.approx(exact, rel=1e-10)


def test_boxcox_is_smooth_in_its_exponent_at_zero() -> None:
    for exponent in (0.0, 1e-12, 1e-6, -1e-4):
        found = slope(special.boxcox, 3.0, exponent, argnums=1)
        t = math.log(3)
        assert found == pytest.approx(t * t / 2 + exponent * t**3 / 3, rel=1e-7)


def test_parameters_of_incomplete_functions() -> None:
    with mp.workdps(30):
        exact = float(mp.diff(lambda a: mp.betainc(a, 0.3, 0, 0.999, regularized=True), 40.0))
        inner = float(mp.diff(lambda a: mp.gammainc(a, 0, 2.5, regularized=True), 3.0))
    assert slope(special.betainc, 40.0, 0.3, 0.999) == pytest.approx(exact, rel=1e-9)
    assert slope(special.gammainc, 3.0, 2.5) == pytest.approx(inner, rel=1e-9)
    # far out in a corner, and with large shapes
    upper = slope(special.betaincc, 3e3, 2e3, 0.6, argnums=1)
    assert slope(special.betainc, 3e3, 2e3, 0.6, argnums=1) == -upper != 0
    for x in (0.0, 1.0):
        assert (
            slope(special.betainc, 2.0, 3.0, x)
            == slope(special.betainc, 2.0, 3.0, x, argnums=1)
            == 0
        )


def test_second_derivatives() -> None:
    x = np.array([0.3, 0.7])
    for function in (special.xlogy, special.rel_entr, special.betaln):
        check_grads(function, (x, x + 0.2), 2)
    for function in (special.logit, special.ndtri, special.log_ndtr, special.erfcx, special.i0e):
        check_grads(function, (x,), 2)
    check_grads(lambda x: special.gammainc(1.5, x), (x,), 2)
    check_grads(lambda z: special.bessel_jn(z, v=2), (x,), 2)
    for name in ("fresnel", "sici"):
        check_grads(getattr(special, name), (x,), 2)


def test_no_derivative_in_the_order() -> None:
    with pytest.raises(errors.MissingRule, match="polygamma"):
        tj.grad(special.polygamma)(2.0, 1.0)
    with pytest.raises(errors.MissingRule, match="expn"):
        tj.grad(special.expn)(2.0, 1.0)


# ---- values --------------------------------------------------------------------------------------


def test_beta_of_large_and_small_arguments() -> None:
    for a, b in ((1e-8, 1e6), (1e9, 3.0), (1e9, 1e9), (12.0, 9.5), (0.5, 1e300)):
        with mp.workdps(40):
            x, y = mp.mpf(a), mp.mpf(b)
            exact = float(mp.loggamma(x) - mp.log(y) * x) if b > 1e100 else float(
                mp.loggamma(x) + mp.loggamma(y) - mp.loggamma(x + y))  # fmt: skip
        for function in (special.betaln, tj.jit(special.betaln)):
            assert float(function(np.float64(a), np.float64(b))) == pytest.approx(exact, rel=2e-14)


def test_log_ndtr_in_the_far_tail_in_float32() -> None:
    x = np.array([-1e4, -40, -5, -1, 0, 5], np.float32)
    found = tj.jit(special.log_ndtr)(x)
    np.testing.assert_allclose(found, sp.log_ndtr(x.astype(np.float64)), rtol=1e-6)


def test_bernoulli_numbers() -> None:
    np.testing.assert_allclose(special.bernoulli(30), sp.bernoulli(30), rtol=1e-6)
    assert special.bernoulli(0).shape == (1,)
    assert jnp.isinf(special.bernoulli(300)[300])


def test_binomials_are_whole() -> None:
    n, k = np.arange(30.0)[:, None], np.arange(30.0)
    expected = [[math.comb(int(a), int(b)) for b in k] for a in n[:, 0]]
    np.testing.assert_array_equal(special.comb(n, k), expected)
    assert slope(special.comb, 5.0, 2.0) == pytest.approx(4.5 + 10 * (1 / 5 + 1 / 4 - 9 / 20))


def test_riemann_zeta_and_hurwitz_zeta_agree() -> None:
    x = np.array([1.5, 2.0, 7.0])
    np.testing.assert_allclose(special.zeta(x), special.zeta(x, 1.0), rtol=1e-14)


def test_spherical_harmonics_are_orthonormal() -> None:
    nodes, weights = np.polynomial.legendre.leggauss(12)
    phi = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    theta, around = np.meshgrid(np.arccos(nodes), phi, indexing="ij")
    pairs = [(n, m) for n in range(4) for m in range(-n, n + 1)]
    values = np.stack([np.asarray(special.sph_harm_y(n, m, theta, around)) for n, m in pairs])
    products = np.einsum("aij,bij,i->ab", values, values.conj(), weights) * 2 * np.pi / 16
    np.testing.assert_allclose(products, np.eye(len(pairs)), atol=1e-12)


# ---- how it runs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NATIVE)
def test_frequent_functions_run_inside_of_kernels(name) -> None:
    stages = tj.jit(lambda x: 2 * getattr(special, name)(x) + 1).stages(np.ones(3))
    assert len(stages.kernels) == 1 and len(stages.plan.steps) == 1


def test_lax_has_betainc() -> None:
    x = np.array([0.2, 0.5])
    np.testing.assert_allclose(lax.betainc(x, x, x), sp.betainc(x, x, x))
    with pytest.raises(errors.DTypeError):
        lax.betainc(x, x, x.astype(np.float32))


def test_signatures_are_those_of_jax() -> None:
    shown = {
        "bessel_jn": "(z, *, v, n_iter=50)",
        "comb": "(N, k, *, repetition=False)",
        "log_ndtr": "(x, series_order=3)",
        "zeta": "(x, q=None)",
        "sph_harm_y": "(n, m, theta, phi, diff_n=None, n_max=None)",
        "softmax": "(x, /, *, axis=None)",
    }
    for name, text in shown.items():
        found = inspect.signature(getattr(special, name))
        plain = [p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values()]
        assert str(inspect.Signature(plain)) == text


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: special.xlogy(jnp.ones(2), jnp.ones(3)), errors.ShapeError),
        (lambda: special.gammaln(1j), errors.DTypeError),
        (lambda: special.betainc(1.0, 1j, 0.5), errors.DTypeError),
        (lambda: special.multigammaln(2.0, 1.5), errors.ArgumentError),
        (lambda: special.multigammaln(2.0, 0), errors.ArgumentError),
        (lambda: special.bernoulli(-1), errors.ArgumentError),
        (lambda: special.bessel_jn(jnp.ones(2), v=-1), errors.ArgumentError),
        (lambda: special.factorial(3, exact=True), errors.ArgumentError),
        (lambda: special.log_ndtr(0.0, series_order=0.5), errors.ArgumentError),
        (lambda: special.sph_harm_y(1.5, 0, 0.1, 0.1), errors.DTypeError),
        (lambda: special.sph_harm_y(1, 0, 0.1, 0.1, diff_n=1), errors.ArgumentError),
        (lambda: special.softmax(jnp.ones(2), axis=3), errors.ShapeError),
        (lambda: special.logsumexp(jnp.ones(2), axis=1), errors.ShapeError),
    ],
)
def test_bad_input_is_an_error(call, error) -> None:
    with pytest.raises(error) as info:
        call()
    assert "test_special.py" in str(info.value)
