"""The incomplete gamma and beta functions as kernels compute them: against mpmath at points drawn
over eight decades, against SciPy where a parameter is 0, infinite or no number."""

from __future__ import annotations

import itertools
import math
import shutil

import mpmath as mp
import numpy as np
import pytest
import scipy.special as sp

import tracejit as tj
from tests.kernel.math_reference import evaluate
from tracejit import debug, lax
from tracejit.ir.expr import Const, Var
from tracejit.kernel.math_builder import Recorder
from tracejit.kernel.math_gamma import uniform_coefficients, uniform_rows
from tracejit.kernel.nodes import Local, Op, Set, While
from tracejit.scipy import special, stats

#: largest relative error met where the result is no less than 1e-290: exponents reach 700
WORST = {"f64": 4e-13, "f32": 1.3e-7}
KIND = {"f64": np.float64, "f32": np.float32}


def gamma_tail(a: mp.mpf, x: mp.mpf, lower: bool) -> mp.mpf:
    """P or Q from a series of positive terms or a continued fraction (DLMF 8.11.4, 8.9.2)."""
    front = mp.exp(a * mp.log(x) - x - mp.loggamma(a))
    if x < a + 1:
        term = total = 1 / a
        k = 0
        while term > total * mp.mpf(10) ** -45:
            k += 1
            term *= x / (a + k)
            total += term
        p = total * front
        return p if lower else 1 - p
    b, c = x + 1 - a, mp.mpf(10) ** 200
    d = 1 / b
    h, k, change = d, 0, mp.mpf(0)
    while abs(change - 1) > mp.mpf(10) ** -40:
        k += 1
        b += 2
        d = 1 / (b - k * (k - a) * d)
        c = b - k * (k - a) / c
        change = c * d
        h *= change
    return 1 - h * front if lower else h * front


def beta_tail(a: mp.mpf, b: mp.mpf, x: mp.mpf, lower: bool) -> mp.mpf:
    """I_x(a, b), or one minus it, from the continued fraction of DLMF 8.17.22."""
    y = 1 - x
    if x > a / (a + b):
        a, b, x, y, lower = b, a, y, x, not lower
    c, d, m, change = mp.mpf(1), 1 / (1 - (a + b) * x / (a + 1)), 0, mp.mpf(0)
    h = d
    while abs(change - 1) > mp.mpf(10) ** -32:
        m += 1
        above = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for top in (m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)), above):
            d = 1 / (1 + top * d)
            c = 1 + top / c
            change = c * d
            h *= change
    quotient = mp.loggamma(a + b) - mp.loggamma(a + 1) - mp.loggamma(b)
    tail = h * mp.exp(a * mp.log(x) + b * mp.log(y) + quotient)
    return tail if lower else 1 - tail


def gamma_points(count: int, seed: int, high: float = 1e5) -> tuple[np.ndarray, np.ndarray]:
    """Shapes over eight decades, x over eight decades or some deviations from the mean."""
    rng = np.random.default_rng(seed)
    a, wide = np.exp(rng.uniform(np.log(1e-3), np.log(high), (2, count)))
    near = np.clip(a + rng.normal(0, 4, count) * np.sqrt(a), 1e-3, 1e5)
    around = a * np.exp(rng.normal(0, 0.6, count))
    return a, np.choose(rng.integers(0, 3, count), [wide, near, around])


def beta_points(count: int, seed: int, high: float = 1e5) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    a, b = np.exp(rng.uniform(np.log(1e-3), np.log(high), (2, count)))
    mean = a / (a + b)
    near = mean + np.sqrt(mean * (1 - mean) / (a + b + 1)) * rng.normal(0, 4, count)
    x = np.where(rng.random(count) < 0.5, near, rng.random(count))
    return a, b, np.clip(x, 1e-5, 1 - 1e-5)


def relative_errors(found: np.ndarray, exact: list[mp.mpf], least: float) -> np.ndarray:
    pairs = zip(found.tolist(), exact, strict=True)
    return np.array([float(abs(mp.mpf(y) - e) / abs(e)) if abs(e) > least else 0 for y, e in pairs])


def check(fn: str, points: tuple[np.ndarray, ...], reference, dtype: str = "f64") -> None:
    points = tuple(p.astype(KIND[dtype]) for p in points)
    with mp.workdps(50):
        exact = [reference(*map(mp.mpf, point)) for point in np.transpose(points).tolist()]
        errors = relative_errors(evaluate(fn, *points), exact, 1e-290 if dtype == "f64" else 1e-37)
    k = int(errors.argmax())
    assert errors[k] <= WORST[dtype], (errors[k], [p[k] for p in points])


@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_gamma_functions(dtype: str) -> None:
    points = gamma_points(70, seed=1)
    check("igamma", points, lambda a, x: gamma_tail(a, x, True), dtype)
    check("igammac", points, lambda a, x: gamma_tail(a, x, False), dtype)


@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_beta_functions(dtype: str) -> None:
    points = beta_points(30, seed=2, high=1e3)
    check("betainc", points, lambda a, b, x: beta_tail(a, b, x, True), dtype)
    check("betaincc", points, lambda a, b, x: beta_tail(a, b, x, False), dtype)


def test_large_parameters_of_beta() -> None:
    a, b = np.array([1e6, 3e7, 1e5, 4e9, 2e12]), np.array([2e6, 1e3, 1e5, 8e9, 2e12])
    mean = a / (a + b)
    x = mean + np.sqrt(mean * (1 - mean) / (a + b)) * np.array([-2.0, 1.0, 0.0, -1.5, 0.5])
    np.testing.assert_allclose(evaluate("betainc", a, b, x), sp.betainc(a, b, x), rtol=1e-9)
    np.testing.assert_allclose(evaluate("betaincc", a, b, x), sp.betaincc(a, b, x), rtol=1e-9)


def test_slopes_in_the_parameters() -> None:
    def slope(tail, k: int):
        def central(*xs):
            lower = xs[-1] < (xs[0] if len(xs) == 2 else xs[0] / (xs[0] + xs[1]))
            step = xs[k] * mp.mpf(10) ** -12
            sides = ([x + s * step if j == k else x for j, x in enumerate(xs)] for s in (1, -1))
            above, below = (tail(*side, lower) for side in sides)
            return (above - below) / (2 * step) * (1 if lower else -1)

        return central

    check("igamma_grad_a", gamma_points(30, seed=3), slope(gamma_tail, 0))
    whole = np.array([1.0, 2.0, 3.0, 10.0, 1.0, 2.0])
    check("igamma_grad_a", (whole, np.array([3.0, 5.0, 9.0, 20.0, 0.2, 0.7])), slope(gamma_tail, 0))
    other, x = np.array([0.5, 1.0, 2.0, 7.0, 1.0, 3.0]), np.array([0.7, 0.3, 0.5, 0.9, 0.99, 0.01])
    check("betainc_grad_a", (whole, other, x), slope(beta_tail, 0))
    check("betainc_grad_b", (whole, other, x), slope(beta_tail, 1))
    points = beta_points(15, seed=4, high=1e3)
    check("betainc_grad_a", points, slope(beta_tail, 0))
    check("betainc_grad_b", points, slope(beta_tail, 1))


def test_students_distribution() -> None:
    df, t = gamma_points(200, seed=5)
    t *= np.where(np.arange(200) % 2, 1e-2, -1e-2)
    np.testing.assert_allclose(evaluate("student_cdf", df, t), sp.stdtr(df, t), rtol=1e-11)


EDGES = (0.0, -0.0, 1e-10, 0.5, 1.0, 12.0, 1e5, 1e200, math.inf, -1.0, -math.inf, math.nan)


@pytest.mark.parametrize("dtype", ["f64", "f32"])
@pytest.mark.parametrize("fn, host", [("igamma", sp.gammainc), ("igammac", sp.gammaincc)])
def test_edges_of_gamma(fn: str, host, dtype: str) -> None:
    with np.errstate(over="ignore"):
        points = np.array(list(itertools.product(EDGES, EDGES))).T.astype(KIND[dtype])
    rtol = 1e-11 if dtype == "f64" else 1e-6
    np.testing.assert_allclose(evaluate(fn, *points), host(*points), rtol=rtol)


@pytest.mark.parametrize("fn, host", [("betainc", sp.betainc), ("betaincc", sp.betaincc)])
def test_edges_of_beta(fn: str, host) -> None:
    inside = (0.0, -0.0, 0.3, 0.5, 1 - 1e-9, 1.0, 1.5, -0.1, math.inf, math.nan)
    shapes = (0.0, 0.5, 1.0, 12.0, 1e5, math.inf, -1.0, math.nan)
    points = np.array(list(itertools.product(shapes, shapes, inside))).T.copy()
    np.testing.assert_allclose(evaluate(fn, *points), host(*points), rtol=1e-11, atol=1e-300)


def test_edges_of_students_distribution() -> None:
    df = (1e-5, 0.3, 1.0, 30.0, 1e10, 1e300, math.inf, 0.0, -1.0, math.nan)
    t = (0.0, -0.0, 1e-200, 1e-10, -0.5, 3.0, -40.0, 1e160, -1e160, math.inf, -math.inf, math.nan)
    points = np.array(list(itertools.product(df, t))).T.copy()
    np.testing.assert_allclose(evaluate("student_cdf", *points), sp.stdtr(*points), rtol=1e-10)


def test_slopes_at_edges() -> None:
    a, x = np.array(list(itertools.product(EDGES, (0.0, math.inf, -1.0, math.nan)))).T.copy()
    inside = (a > 0) & (a < math.inf) & (x >= 0)
    np.testing.assert_array_equal(evaluate("igamma_grad_a", a, x), np.where(inside, 0.0, np.nan))
    tiny = evaluate("igamma_grad_a", np.array([0.5, 12.0, 1e300]), np.full(3, 1e-320))
    assert np.isfinite(tiny).all()


# ---- how they are made ---------------------------------------------------------------------------


def test_coefficients_of_temmes_expansion() -> None:
    """DLMF 8.12.10 and 8.12.13: c_0(eta) = 1 / (lambda - 1) - 1 / eta, and the values at 0."""
    rows = uniform_coefficients(3, 20)
    assert [str(row[0]) for row in rows] == ["-1/3", "-1/540", "25/6048"]
    with mp.workdps(30):
        for ratio in (mp.mpf("0.8"), mp.mpf("1.3")):
            eta = mp.sign(ratio - 1) * mp.sqrt(2 * (ratio - 1 - mp.log(ratio)))
            series = sum(
                mp.mpf(c.numerator) / c.denominator * eta**k for k, c in enumerate(rows[0])
            )
            assert abs(series - (1 / (ratio - 1) - 1 / eta)) < 1e-15
    assert len(uniform_rows(1e-9)) < len(uniform_rows(2.0**-55))


def test_a_loop_of_a_recorder() -> None:
    """The new state is bound before it is set, and what the loop takes from outside is a local."""
    recorder = Recorder(set())
    x = Var("x", "f64")
    outside = recorder.record(Op("mul", (x, x), "f64"))
    first = recorder.record(Op("gt", (x, Const(0.0, "f64")), "bool"))

    def step(y: Var, z: Var):
        more = recorder.record(Op("lt", (y, outside), "bool"))
        return more, [z, recorder.record(Op("add", (y, z), "f64"))]

    state = recorder.repeated(first, [x, x], step)
    statements, (root,) = recorder.finish([state[1]])
    loop = statements[-1]
    assert isinstance(loop, While) and root == state[1]
    kinds = [type(s) for s in loop.body]
    assert kinds == [Local] * 3 + [Set] * 3
    (kept,) = [s for s in statements if isinstance(s, Local) and s.value == outside]
    assert loop.body[2].value == Op("lt", (state[0], Var(kept.name, "f64")), "bool")


# ---- compiled ------------------------------------------------------------------------------------


def test_compiled() -> None:
    a, x = gamma_points(333, seed=6)
    b, z = x[::-1].copy(), np.random.default_rng(0).random(333)
    np.testing.assert_allclose(tj.jit(special.gammainc)(a, x), sp.gammainc(a, x), 1e-11, 1e-290)
    found = tj.jit(special.betainc)(a, b, z)
    np.testing.assert_allclose(found, sp.betainc(a, b, z), 1e-11, 1e-290)


def test_in_half_precision() -> None:
    a, x = (v.astype(np.float16) for v in gamma_points(50, seed=7, high=1e3))
    found = tj.jit(special.gammainc)(a, x)
    assert found.dtype == np.float16
    exact = sp.gammainc(*(v.astype(np.float64) for v in (a, x)))
    np.testing.assert_allclose(np.asarray(found, np.float64), exact, rtol=1e-3, atol=1e-7)


@pytest.mark.skipif(not shutil.which("g++"), reason="the device that plays a GPU needs g++")
def test_in_cuda_c() -> None:
    a, x = gamma_points(130, seed=8)
    with debug.cuda_on_cpu() as device:
        stages = tj.jit(special.gammaincc).stages(tj.device_put(a, device), x)
        found = np.asarray(tj.jit(special.gammaincc)(tj.device_put(a, device), x))
    assert "while (" in stages.sources.cuda
    np.testing.assert_allclose(found, sp.gammaincc(a, x), 1e-11, 1e-290)


def test_one_kernel_with_what_is_around() -> None:
    def f(a, x):
        return 1 - special.gammaincc(a * 2, x + 1) * 3, lax.igamma(a, x)

    stages = tj.jit(f).stages(np.ones(100), np.ones(100))
    assert [kernel.name for kernel in stages.program.kernels] and len(stages.kernels) == 1


def test_gradients_of_distributions_in_their_parameters() -> None:
    """SciPy's stdtr is good to 1e-10 or so: no differences of it."""
    x = np.linspace(0.1, 0.9, 5)

    def total(a, x):
        return stats.beta.cdf(x, a, 3.0).sum() + stats.t.cdf(x, a).sum()

    def exact(a):
        each = [mp.mpf(t) for t in x.tolist()]
        beta = mp.fsum(mp.betainc(a, 3, 0, t, regularized=True) for t in each)
        return beta - mp.fsum(mp.betainc(a / 2, 0.5, 0, a / (a + t * t), True) for t in each) / 2

    slope = tj.jit(tj.grad(total))(np.float64(2.0), x)
    np.testing.assert_allclose(slope, float(mp.diff(exact, 2)), rtol=1e-11)
    across = tj.jit(tj.grad(tj.grad(lambda x, a: special.gammainc(a, x)), argnums=1))
    wanted = mp.diff(lambda a: mp.mpf(0.7) ** (a - 1) * mp.exp(-0.7) / mp.gamma(a), 2)
    np.testing.assert_allclose(across(np.float64(0.7), np.float64(2.0)), float(wanted), rtol=1e-12)
