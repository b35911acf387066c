"""tracejit.random: the numbers of jax.random for the same key, where JAX is installed (those of the
continuous samplers are compared in tests/random with stored ones, which takes no JAX). That they
have the distributions they should is in test_random_distributions.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tracejit
from tests.vocabulary import run
from tests.vocabulary.spec import Case, case, ints, of, positive, real

KEY = ints(2, below=2**31, dtype="uint32")
SHAPE = (3, 4)
WIDE = ("float32", "float64")
NO = "no float result"
#: their random signs take other bits in JAX's mode of 64 bits
SIGNED = ("generalized_normal", "double_sided_maxwell")
IMPLICIT = "a derivative of the distribution, not of the rejection sampler"


def drawn(name: str, *args: Any, **options: Any) -> list[Case]:
    """A sampler in float32 and, unless JAX would take long to compile it twice, in float64, where
    the derivatives by its parameters are checked.
    """
    heavy = options.get("grad", True) is IMPLICIT and name != "gamma"
    wanted = WIDE[:1] if heavy or name in SIGNED else WIDE
    found = []
    for dtype in wanted:
        more = {"dtypes": (dtype,), "tol32": 1e-4, "tol": 1e-8, "dtype": np.dtype(dtype)}
        if dtype == "float32":
            more["grad"] = "in float64"
        # the numbers themselves are compared with JAX's in tests/random/golden.json
        more |= {"reference": lambda *_, **__: None, "same": _numbers_of(dtype)}
        more |= options
        found.append(case(f"tracejit.random.{name}", KEY, *args, **more, label=_label(args, dtype)))
    return found


def _numbers_of(dtype: str) -> Any:
    def check(ours: Any, theirs: Any) -> None:
        assert ours.dtype == dtype and np.isfinite(np.asarray(ours)).all()
        if theirs is not None:
            np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=1e-3, atol=1e-3)

    return check


def _label(args: Any, dtype: str) -> str:
    return f"{dtype},{len(args)} arguments"


def as_jax32(name: str, *args: Any, **options: Any) -> Case:
    """What depends on JAX's mode of 64 bits: compared with its default mode."""
    return plain(name, *args, reference=run.jax_in_single(f"jax.random.{name}"), **options)


def plain(name: str, *args: Any, **options: Any) -> Case:
    return case(f"tracejit.random.{name}", KEY, *args, **{"grad": NO, **options})


def _data(key: Any) -> Any:
    """The words of a key, ours or JAX's."""
    own = tracejit if type(key).__module__.startswith("tracejit") else run.jax()
    return np.asarray(own.random.key_data(key))


P = real(4, low=0.1, high=0.9)
CONTINUOUS = [
    *(
        c
        for name in (
            "normal",
            "uniform",
            "exponential",
            "cauchy",
            "laplace",
            "logistic",
            "gumbel",
            "maxwell",
        )
        for c in drawn(name, SHAPE)
    ),
    *drawn("uniform", SHAPE, minval=-1.0, maxval=real(4, low=0.5)),
    *drawn("truncated_normal", real(4, low=-2.0, high=-0.5), 1.5, SHAPE),
    *drawn("lognormal", positive(4), SHAPE),
    *drawn("pareto", positive(4, low=1.0), SHAPE),
    *drawn("rayleigh", positive(4), SHAPE),
    *drawn("weibull_min", positive(4), positive(4, low=1.0), SHAPE),
    *drawn("triangular", -1.0, real(4, low=-0.5, high=0.5), 2.0, SHAPE, grad="kinks"),
    *drawn("wald", positive(4), SHAPE, grad="kinks"),
    *drawn("generalized_normal", 1.5, SHAPE, tol32=1e-3),
    *drawn("double_sided_maxwell", 0.5, 2.0, SHAPE),
    as_jax32("ball", 3, 2, (4,), tol32=1e-3),
    *(
        c
        for name, args in (
            ("gamma", (positive(4),)),
            ("loggamma", (positive(4),)),
            ("chisquare", (positive(4, low=1.0),)),
            ("t", (positive(4, low=1.0),)),
            ("beta", (positive(4), positive(4))),
            ("f", (positive(3, 4, low=1.0), positive(3, 4, low=1.0))),
        )
        for c in drawn(name, *args, SHAPE, grad=IMPLICIT, tol32=1e-3)
    ),
    *drawn("dirichlet", positive(4), (3,), grad=IMPLICIT, tol32=1e-3),
    plain("normal", SHAPE, np.complex64, reference=run.jax_in_single("jax.random.normal")),
    *drawn(
        "multivariate_normal",
        real(3),
        of(lambda a: a @ a.T + 3 * np.eye(3, dtype=a.dtype), real(3, 3)),
        (4,),
        grad="of a symmetric matrix",
        tol32=1e-3,
    ),
    *drawn("orthogonal", 3, (2,), tol32=1e-3),
]
DISCRETE = [
    plain("bits", SHAPE, np.uint32),
    plain("bits", SHAPE, np.uint8),
    plain("bits", SHAPE, dtype=np.uint64),
    as_jax32("bernoulli", 0.3, SHAPE),
    plain("bernoulli", P, SHAPE, dtypes=("float32",)),
    plain("randint", SHAPE, 0, 10, np.int32),
    plain("randint", SHAPE, ints(4, low=-9, below=0, dtype="int32"), 100, np.int32),
    plain("randint", SHAPE, -5, 5, np.int64),
    plain("randint", SHAPE, 0, 255, np.uint8),
    as_jax32("rademacher", SHAPE, np.int32),
    plain("categorical", real(3, 5), dtypes=("float32",)),
    plain("categorical", real(5), shape=(4, 3), axis=-1, dtypes=("float32",)),
    plain("categorical", real(5, 3), axis=0, dtypes=("float32",)),
    plain("categorical", real(6), shape=(4,), replace=False, dtypes=("float32",)),
    plain("geometric", P, SHAPE, np.int32, dtypes=("float32",)),
    plain("poisson", positive(4, high=20.0), SHAPE, np.int32, dtypes=("float32",)),
    plain("binomial", 9.0, P, SHAPE, np.float32, dtypes=("float32",), grad="whole numbers"),
    plain(
        "multinomial", 9.0, np.array([0.2, 0.3, 0.5], np.float32), shape=(2, 3), dtype=np.float32
    ),
    as_jax32("choice", 9, (4,)),
    as_jax32("choice", real(5), SHAPE, dtypes=("float32",), grad=True),
    plain("choice", real(5, 2), (3,), replace=False, dtypes=("float32",), grad=True),
    plain("choice", 5, (3,), p=np.array([0.1, 0.2, 0.3, 0.2, 0.2], np.float32)),
    plain("choice", 5, (3,), replace=False, p=np.array([0.1, 0.2, 0.3, 0.2, 0.2], np.float32)),
    plain("permutation", 7),
    plain("permutation", real(5, 2), dtypes=("float32",), grad=True),
    plain("permutation", real(5, 2), axis=1, independent=True, dtypes=("float32",), grad=True),
]
KEYS = [
    plain("split"),
    plain("split", 5),
    plain("split", (2, 3)),
    plain("fold_in", 7),
    plain("fold_in", ints(below=9, dtype="uint32")),
    plain("clone", vmap=True),
    case("tracejit.random.PRNGKey", 42, grad=NO),
    case("tracejit.random.PRNGKey", 2**40 + 3, grad=NO),
    case("tracejit.random.PRNGKey", -1, reference=run.jax_in_single("jax.random.PRNGKey")),
    case("tracejit.random.key", 42, after=_data),
    plain("wrap_key_data", after=_data, vmap="a key is one value"),
    case("tracejit.random.key_data", KEY, grad=NO),
]


CASES = [*CONTINUOUS, *DISCRETE, *KEYS]
