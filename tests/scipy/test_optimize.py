"""minimize: options, reasons to stop, errors; values are cases of the vocabulary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.optimize

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.errors import ArgumentError, DTypeError, GradError, ShapeError
from tracejit.scipy.optimize import OptimizeResults, minimize
from tracejit.scipy.optimize.line_search import Trial, wolfe_step

METHODS = ("BFGS", "L-BFGS")


def rosenbrock(x: Any) -> Any:
    return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def himmelblau(x: Any) -> Any:
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


START = np.array([-1.2, 1.0])


def test_the_result_has_jax_fields() -> None:
    fields = ("x", "success", "status", "fun", "jac", "hess_inv", "nfev", "njev", "nit")
    assert OptimizeResults._fields == fields


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("wrap", (lambda f: f, tj.jit), ids=("eager", "jit"))
def test_rosenbrock(method: str, dtype: str, wrap: Any) -> None:
    found = wrap(lambda x: minimize(rosenbrock, x, method=method))(START.astype(dtype))
    assert found.success and found.status == 0 and found.x.dtype == dtype
    np.testing.assert_allclose(found.x, [1, 1], atol=1e-6 if dtype == "float64" else 1e-3)
    assert 10 < found.nit < 60 and found.nfev == found.njev >= found.nit


def test_takes_about_as_many_rounds_as_scipy() -> None:
    theirs = scipy.optimize.minimize(
        lambda x: float(rosenbrock(jnp.asarray(x))),
        START,
        jac=lambda x: np.asarray(tj.grad(rosenbrock)(jnp.asarray(x))),
        method="BFGS",
    )
    ours = minimize(rosenbrock, START, method="BFGS")
    assert abs(int(ours.nit) - theirs.nit) <= 8
    np.testing.assert_allclose(ours.hess_inv, theirs.hess_inv, rtol=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_vmap_finds_each_minimum(method: str) -> None:
    starts = np.array([[3.0, 1.0], [-3.0, 3.0], [-3.5, -3.0], [3.5, -2.0]])
    found = tj.vmap(lambda x: minimize(himmelblau, x, method=method))(starts)
    want = [[3, 2], [-2.805118, 3.131313], [-3.779310, -3.283186], [3.584428, -1.848127]]
    assert found.success.all()
    np.testing.assert_allclose(found.x, want, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_too_few_rounds(method: str) -> None:
    found = minimize(rosenbrock, START, method=method, options={"maxiter": 3})
    assert not found.success and found.status == 1 and found.nit == 3


@pytest.mark.parametrize("method", METHODS)
def test_a_start_at_the_minimum_takes_no_round(method: str) -> None:
    found = minimize(rosenbrock, np.ones(2), method=method)
    assert found.success and found.nit == 0 and found.nfev == 1


def test_the_inverse_hessian_of_a_quadratic() -> None:
    a = np.array([[3.0, 1.0], [1.0, 2.0]])
    found = minimize(lambda x: x @ jnp.asarray(a) @ x / 2, np.ones(2), method="BFGS")
    np.testing.assert_allclose(found.hess_inv, np.linalg.inv(a), rtol=1e-2)
    assert minimize(lambda x: x @ x, np.ones(2), method="L-BFGS").hess_inv is None


@pytest.mark.parametrize("method", METHODS)
def test_args_and_tolerance(method: str) -> None:
    def shifted(x: Any, by: Any) -> Any:
        return jnp.sum((x - by) ** 4 + (x - by) ** 2)

    found = minimize(shifted, np.zeros(3), (2.0,), method=method, tol=1e-9)
    np.testing.assert_allclose(found.x, 2.0, atol=1e-7)
    assert np.abs(found.jac).max() < 1e-7


def test_a_function_without_a_minimum_stops() -> None:
    found = minimize(lambda x: x[0], np.zeros(1), method="BFGS", options={"maxiter": 5})
    assert not found.success


def test_many_variables_in_single_precision() -> None:
    target = np.linspace(-1, 1, 200).astype("float32")

    def loss(x: Any) -> Any:
        return jnp.sum(jnp.cosh(x - target))

    found = tj.jit(lambda x: minimize(loss, x, method="L-BFGS"))(np.zeros(200, "float32"))
    assert found.success
    np.testing.assert_allclose(found.x, target, atol=1e-2)


@pytest.mark.parametrize(
    ("x0", "options", "error"),
    (
        (np.zeros((2, 2)), {"method": "BFGS"}, ShapeError),
        (np.zeros(2, complex), {"method": "BFGS"}, DTypeError),
        (np.zeros(2), {"method": "Nelder-Mead"}, ArgumentError),
        (np.zeros(2), {"method": "BFGS", "options": {"maxcor": 3}}, ArgumentError),
        (np.zeros(2), {"method": "L-BFGS", "options": {"maxcor": 0}}, ArgumentError),
        (np.zeros(2), {"method": "BFGS", "args": [1.0]}, ArgumentError),
    ),
    ids=("matrix", "complex", "method", "option", "maxcor", "args"),
)
def test_wrong_arguments(x0: Any, options: Any, error: Any) -> None:
    with pytest.raises(error, match="minimize"):
        minimize(rosenbrock, x0, **options)


def test_a_function_that_is_no_scalar() -> None:
    with pytest.raises(GradError, match="not a scalar"):
        minimize(lambda x: x, np.zeros(2), method="BFGS")


@pytest.mark.parametrize("first", (1e-4, 0.3, 1.0, 50.0))
def test_steps_satisfy_the_strong_wolfe_conditions(first: float) -> None:
    def at(step: Any) -> Any:
        return jnp.cos(step) + step**2 / 20, jnp.zeros(1), -jnp.sin(step) + step / 10

    f, g, slope = at(jnp.asarray(0.5, dtype="float64"))
    start = Trial(jnp.zeros((), "float64"), f, g, slope)
    step = wolfe_step(lambda a: at(0.5 + a), start, first, maxiter=30, c2=0.1)
    assert step.found and step.wolfe
    new, _, new_slope = at(0.5 + step.at)
    assert new <= f + 1e-4 * step.at * slope and abs(new_slope) <= -0.1 * slope
