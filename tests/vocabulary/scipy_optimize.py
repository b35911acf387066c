"""``tracejit.scipy.optimize.minimize`` against SciPy's: the minimum that both find."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.optimize

import tracejit.numpy as jnp
from tests.vocabulary.spec import Case, of, real

NO_GRAD = "no reverse mode through the minimizer"


def rosenbrock(x: Any) -> Any:
    return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def himmelblau(x: Any) -> Any:
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


def quadratic(x: Any) -> Any:
    return 0.5 * jnp.sum(jnp.arange(1, x.size + 1) * x**2) + x[0] * x[1] - jnp.sum(x)


def scaled(x: Any, a: Any, b: Any) -> Any:
    return jnp.sum(a * (x - b) ** 4 + (x - b) ** 2)


def theirs(fun: Any, x0: Any, args: Any = (), *, method: str, tol: Any = None, options: Any = None):
    """SciPy's minimum, found in float64 by the same kind of method."""
    found = scipy.optimize.minimize(
        lambda x: float(fun(jnp.asarray(x), *args)),
        np.asarray(x0, np.float64),
        method="BFGS" if method.lower() == "bfgs" else "L-BFGS-B",
        options={"gtol": 1e-9},
    )
    return found


def point(result: Any) -> Any:
    return np.asarray(result.x, np.float64), np.asarray(result.fun, np.float64)


def started(*at: float) -> Any:
    """A start near a point, so that both find the same minimum."""
    return of(lambda a: np.asarray(at, a.dtype) + a / 20, real(len(at)))


def minimum(fun: Any, x0: Any, *args: Any, method: str, **options: Any) -> Case:
    given = {k: options.pop(k) for k in ("tol", "options") if k in options}
    return Case(
        "tracejit.scipy.optimize.minimize",
        (fun, x0, *args),
        {"method": method, **given},
        reference=theirs,
        after=point,
        grad=NO_GRAD,
        check_dtype="compared in float64",
        tol=1e-4,
        tol32=5e-3,
        label=f"{fun.__name__},{method}" + ",args" * bool(args) + "".join(f",{k}" for k in given),
        **options,
    )


CASES = [
    minimum(rosenbrock, started(-1.2, 1.0), method="BFGS"),
    minimum(himmelblau, started(2.0, 1.0), method="BFGS"),
    minimum(quadratic, real(4), method="BFGS", options={"maxiter": 500}),
    minimum(scaled, real(3), (2.0, 0.5), method="bfgs", tol=1e-7, dtypes=("float64",)),
    minimum(himmelblau, started(2.0, 1.0), method="L-BFGS"),
    minimum(quadratic, real(4), method="l-bfgs-experimental-do-not-rely-on-this"),
    minimum(scaled, real(3), (2.0, 0.5), method="L-BFGS-B", options={"maxcor": 4}),
]
