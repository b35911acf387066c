"""multivariate_normal and orthogonal against JAX's numbers, polyfit and roots against NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np

import tracejit as tj
from tests.vocabulary.run import jax
from tests.vocabulary.spec import Case, case, of, positive, real

SEED = 7


def _covariance(a: Any) -> Any:
    return (a @ np.swapaxes(a, -1, -2) / 2 + np.diag([1, 2, 4])).astype(a.dtype)


ONE, TWO = of(_covariance, real(3, 3)), of(_covariance, real(2, 3, 3))


def normal(cov: Any, shape: Any, dtype: str, method: str, label: str) -> Case:
    return Case(
        "tracejit.random.multivariate_normal",
        (tj.random.key(SEED), real(3), cov, shape, dtype, method),
        reference=lambda _, *rest: jax().random.multivariate_normal(jax().random.key(SEED), *rest),
        dtypes=(dtype,),
        grad=True if dtype == "float64" else "in float64",
        label=f"{method},{shape},{dtype},{label}",
        tol=1e-10,
        tol32=1e-4,
    )


def rotation(*args: Any) -> Case:
    return Case(
        "tracejit.random.orthogonal",
        (tj.random.key(SEED), *args),
        reference=lambda _, n, shape=(), dtype=None, m=None: jax().random.orthogonal(
            jax().random.key(SEED), n, shape, dtype or "float32", m
        ),
        label=str(args),
        tol32=5e-6,
    )


CASES = [
    *(
        normal(cov, shape, "float64", "cholesky", label)
        for cov, shape, label in ((ONE, None, "one"), (ONE, (4,), "one"), (TWO, None, "two"))
    ),
    *(normal(TWO, (3, 2), "float64", method, "two") for method in ("eigh", "svd")),
    *(normal(ONE, None, "float32", method, "one") for method in ("cholesky", "eigh", "svd")),
    rotation(3),
    rotation(3, (2,)),
    rotation(3, (), None, 5),
    rotation(3, (2,), None, 2),
    rotation(1),
    rotation(4, (), "float64"),
    rotation(2, (), "complex64"),
]

# ---- polynomials ---------------------------------------------------------------------------------


def polyfit(*args: Any, **options: Any) -> Case:
    given = {"tol": 1e-8, "tol32": 2e-3, "check_dtype": "float32 stays float32", **options}
    return case("tracejit.numpy.polyfit", *args, **given)


def roots(*args: Any, **options: Any) -> Case:
    given = {"tol": 1e-8, "tol32": 1e-3, "check_dtype": "always complex, as in JAX", **options}
    return case("tracejit.numpy.roots", *args, **given)


STRIPPED = "which coefficients are 0 must be known"
CASES += [
    polyfit(real(8), real(8), 2, dtypes=("int32", "float32", "float64")),
    polyfit(real(8), real(8, 3), 2),
    polyfit(real(8), real(8), 0),
    polyfit(real(8), real(8), deg=3, w=positive(8)),
    polyfit(real(8), real(8, 2), 2, w=positive(8)),
    polyfit(real(8), real(8), 2, rcond=1e-6),
    polyfit(real(8), real(8), 2, full=True, dtypes=("float64",), after=lambda r: r[:4]),
    polyfit(real(8), real(8, 2), 2, cov=True),
    polyfit(real(8), real(8), 2, cov=True, w=positive(8)),
    polyfit(real(8), real(8, 2), 2, cov="unscaled"),
    polyfit(real(3), real(3), 2, tol=1e-6),
    roots(real(5), jit=STRIPPED, vmap=STRIPPED),
    roots(real(4), jit=STRIPPED, vmap=STRIPPED, dtypes=("complex64", "complex128")),
    roots(
        of(lambda a: np.concatenate([[0, 0], a, [0]]).astype(a.dtype), real(3)),
        jit=STRIPPED,
        vmap=STRIPPED,
        grad="the zeros are taken as fixed",
    ),
    roots(real(1), jit=STRIPPED, vmap=STRIPPED, grad="no zeros"),
    roots(real(0), jit=STRIPPED, vmap=STRIPPED, grad="no zeros"),
    *(
        case(
            "tracejit.numpy.roots",
            real(n),
            strip_zeros=False,
            reference=lambda p, strip_zeros: np.roots(p),
            tol=1e-8,
            tol32=1e-3,
            check_dtype="always complex, as in JAX",
        )
        for n in (2, 3, 5)
    ),
]
