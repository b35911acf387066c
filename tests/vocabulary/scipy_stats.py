"""tracejit.scipy.stats against scipy.stats: distributions, ranks, density estimates."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.stats as st

from tests.vocabulary.spec import Case, Draw, case, ints, of, positive, real

SPACE = "tracejit.scipy.stats."
CASES: list[Case] = []
TOLERANCES = {"tol": 1e-8, "tol32": 5e-4}
KINKS = "not smooth at the edges"
#: the same program as another case's, on other numbers
VALUES = {"jit": "another case", "vmap": "another case", "dtypes": ("float64",)}


def values(*numbers: float) -> Draw:
    """These numbers."""
    return Draw(lambda rng, dtype: np.asarray(numbers, dtype))


def inside(*shape: int) -> Draw:
    return real(*shape, low=0.05, high=0.95)


def width(low: float = 0.6, high: float = 2.5) -> Draw:
    return real(4, low=low, high=high)


X, ABOVE, UNIT = real(3, 4), real(3, 4, low=1.3, high=5.0), inside(3, 4)
AT = ("pdf", "logpdf", "cdf", "logcdf", "sf", "logsf")
BACK = ("ppf", "isf")
#: distribution: where x is drawn with loc in [-0.1, 0.1] and a scale in [1, 1.2], and its shapes
CONTINUOUS: dict[str, tuple[Draw, tuple[Draw, ...]]] = {
    "norm": (X, ()),
    "uniform": (real(3, 4, low=0.2, high=0.8), ()),
    "expon": (ABOVE, ()),
    "laplace": (X, ()),
    "logistic": (X, ()),
    "cauchy": (X, ()),
    "gumbel_l": (X, ()),
    "gumbel_r": (X, ()),
    "gamma": (ABOVE, (width(),)),
    "chi2": (ABOVE, (width(),)),
    "beta": (real(3, 4, low=0.2, high=0.8), (width(), width())),
    "t": (X, (width(),)),
    "pareto": (real(3, 4, low=1.6, high=5.0), (width(),)),
    "lognorm": (ABOVE, (width(),)),
    "gennorm": (X, (width(1.1),)),
    "vonmises": (X, (width(),)),
    "wrapcauchy": (real(3, 4, low=0.3, high=2.8), (real(4, low=0.2, high=0.7),)),
    "truncnorm": (real(3, 4, low=-0.7, high=1.0), (real(4, low=-2, high=-1), width(1.5))),
}
LOC, SCALE = real(4, low=-0.1, high=0.1), real(4, low=1.0, high=1.2)
#: on and beyond the ends of every support
ENDS = values(-1e10, -40, -1, 0, 0.5, 1, 2, 2 * np.pi, 40, 1e10, np.nan)
#: where SciPy's logarithms are not those of a density that underflows
MILD = values(-40, -1, 0, 0.5, 40, np.nan)
PROBABILITIES = values(0, 1e-6, 0.25, 0.5, 0.75, 1, -0.5, 1.5, np.nan)
NOT_THERE = {("vonmises", name) for name in (*AT[2:], *BACK)}


def fixed_shapes(shapes: tuple[Draw, ...]) -> tuple[np.ndarray, ...]:
    """One value of each shape."""
    rng = np.random.default_rng(3)
    return tuple(shape.make(rng, np.dtype("float64"))[0] for shape in shapes)


for dist, (x, shapes) in CONTINUOUS.items():
    for name in (*AT, *BACK):
        if (dist, name) in NOT_THERE:
            continue
        path = f"{SPACE}{dist}.{name}"
        draw, ends = (x, ENDS) if name in AT else (UNIT, PROBABILITIES)
        CASES.append(case(path, draw, *shapes, LOC, SCALE, label="all operands", **TOLERANCES))
        if dist == "laplace":
            ends = MILD if name in AT else ends
        plain = fixed_shapes(shapes)
        CASES.append(case(path, ends, *plain, grad=KINKS, **VALUES, **TOLERANCES))
    CASES.append(
        case(f"{SPACE}{dist}.logpdf", real(3), *fixed_shapes(shapes), 0.5, 0.0, grad="nan")
    )

COUNTS = ints(3, 4, low=-1, below=7)
CHANCE = inside(4)
DISCRETE: dict[str, tuple[Draw, ...]] = {
    "poisson": (positive(4),),
    "bernoulli": (CHANCE,),
    "binom": (ints(4, low=1, below=7, dtype="float64"), CHANCE),
    "nbinom": (width(), CHANCE),
    "geom": (CHANCE,),
    "betabinom": (ints(4, low=1, below=7, dtype="float64"), width(), width()),
}
MASS = ("pmf", "logpmf", "cdf", "logcdf", "sf", "logsf")
ODD = values(-2, -1, 0, 0.5, 1, 1.5, 2, 5, 30, np.nan)
for dist, shapes in DISCRETE.items():
    for name in MASS if dist != "betabinom" else MASS[:2]:
        path = f"{SPACE}{dist}.{name}"
        CASES.append(case(path, COUNTS, *shapes, dtypes=("float64",), **TOLERANCES))
        CASES.append(case(path, COUNTS, *shapes, 1, dtypes=("float32",), tol32=5e-4, grad="loc"))
        plain = fixed_shapes(shapes)
        CASES.append(case(path, ODD, *plain, grad=KINKS, **VALUES, **TOLERANCES))
for dist, counts in {"bernoulli": (), "geom": (), "binom": (5,), "nbinom": (5,)}.items():
    path = f"{SPACE}{dist}.ppf"
    CASES.append(case(path, PROBABILITIES, *counts, 0.3, grad="steps", dtypes=("float64",)))
    CASES.append(case(path, inside(3, 4), *counts, inside(4), 2, grad="steps"))
for mean in (0.0, 0.3, 40.0, -1.0, np.nan):
    CASES.append(case(f"{SPACE}poisson.ppf", PROBABILITIES, mean, grad="steps", **VALUES))
CASES.append(case(f"{SPACE}poisson.ppf", inside(3, 4), positive(4), 2, grad="steps"))
CASES += [
    case(f"{SPACE}poisson.logpmf", ints(3, below=3), values(0, 0.5, 2), grad=KINKS),
    case(f"{SPACE}poisson.entropy", positive(4), **TOLERANCES),
    case(
        f"{SPACE}poisson.entropy",
        values(0, 50, 199, 201),
        grad="another case",
        tol=1e-8,
        tol32=1e-4,
    ),
    case(f"{SPACE}binom.logpmf", ints(3, below=3), 2, values(0, 1, 0.5), grad=KINKS),
    case(f"{SPACE}norm.pdf", ints(3, low=-2, below=3), dtypes=("float64",), tol=1e-6),
    case(f"{SPACE}norm.cdf", real(0)),
    case(f"{SPACE}norm.ppf", inside()),
]

# ---- several variables ---------------------------------------------------------------------------

CHANCES = of(lambda p: p / p.sum(), positive(3))
SIMPLEX = of(lambda p: p / p.sum(0), positive(3, 4, low=0.3))


def covariance(*lead: int) -> Draw:
    return of(
        lambda a: a @ np.swapaxes(a, -1, -2) + 3 * np.eye(3, dtype=a.dtype), real(*lead, 3, 3)
    )


def each_normal(function: Any) -> Any:
    """SciPy's takes one mean and covariance: here leading axes broadcast."""

    def evaluate(x: Any, mean: Any, cov: Any) -> Any:
        return np.vectorize(function, signature="(n),(n),(n,n)->()")(x, mean, cov)

    return evaluate


for name in ("logpmf", "pmf"):
    CASES += [
        case(f"{SPACE}multinomial.{name}", np.array([2, 0, 3]), 5, CHANCES, **TOLERANCES),
        case(f"{SPACE}multinomial.{name}", np.array([[2, 0, 3], [1, 1, 1]]), 5, CHANCES),
    ]
for name in ("logpdf", "pdf"):
    path = f"{SPACE}dirichlet.{name}"
    # beside the simplex there is no density: differences leave it
    CASES += [
        case(
            path, SIMPLEX, np.array([1.5, 0.7, 3.0]), grad="leaves the simplex", dtypes=("float64",)
        ),
        case(path, np.array([0.2, 0.3, 0.5]), positive(3), **TOLERANCES),
        case(path, np.array([[0.2, 0.3], [0.3, 0.1]]), positive(3), **TOLERANCES),
        case(path, real(2, low=0.2, high=0.4), positive(3), **TOLERANCES),
    ]
    path = f"{SPACE}multivariate_normal.{name}"
    reference = each_normal(getattr(st.multivariate_normal, name))
    CASES += [
        case(path, real(3), real(3), covariance(), grad="one triangle counts", tol32=1e-4),
        case(path, real(4, 3), real(3), covariance(), grad="one triangle counts", tol32=1e-4),
        case(path, real(5, 3), real(3), np.eye(3) * 2 + 0.5, **TOLERANCES),
        case(path, real(2, 1, 3), real(4, 3), covariance(4), reference=reference, tol32=1e-4,
             grad="one triangle counts"),
        case(path, real(3), real(), positive(), reference=lambda x, m, v, f=name: (
            np.sum(st.norm.logpdf(x, m, v**0.5)) if f == "logpdf"
            else np.prod(st.norm.pdf(x, m, v**0.5))), tol32=1e-4),
        case(path, real(), real(), positive(), reference=lambda x, m, v, f=name: (
            getattr(st.norm, f)(x, m, v**0.5)), tol32=1e-4),
    ]  # fmt: skip

# ---- ranks ---------------------------------------------------------------------------------------

REPEATED = ints(3, 8, below=5)
HOLES = values(3, np.nan, 1, 3, 2, np.nan)
for method in ("average", "min", "max", "dense", "ordinal"):
    CASES += [
        case(SPACE + "rankdata", REPEATED, method, grad="steps", check_dtype="default float"),
        case(SPACE + "rankdata", REPEATED, method, axis=1, grad="steps"),
        case(SPACE + "rankdata", real(3, 5), method, axis=0, grad="steps"),
        case(SPACE + "rankdata", HOLES, method, grad="steps"),
        case(SPACE + "rankdata", HOLES, method, nan_policy="omit", grad="steps"),
    ]
CASES.append(case(SPACE + "rankdata", real(0), grad="steps"))
for axis in (0, 1, -1, None):
    CASES += [
        case(SPACE + "mode", REPEATED, axis, grad="steps"),
        case(SPACE + "mode", REPEATED, axis=axis, keepdims=True, grad="steps"),
        case(SPACE + "sem", real(3, 5), axis),
        case(SPACE + "sem", real(3, 5), axis=axis, ddof=0, keepdims=True),
    ]
CASES += [
    case(SPACE + "mode", HOLES, grad="steps"),
    case(SPACE + "mode", HOLES, nan_policy="omit", grad="steps"),
    case(SPACE + "mode", real(7), grad="steps"),
    case(SPACE + "sem", HOLES, nan_policy="omit", grad="nan"),
    case(SPACE + "sem", HOLES, grad="nan"),
]
