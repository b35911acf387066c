"""tracejit.scipy.special against scipy.special."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special as sp

from tests.vocabulary.spec import Case, Draw, case, ints, mask, of, positive, real

SPACE = "tracejit.scipy.special."
CASES: list[Case] = []
#: SciPy's float32 loops of these are no better
ROUGH = {"tol32": 2e-4}


def add(names: str, *args: Any, **options: Any) -> None:
    CASES.extend(case(SPACE + name, *args, **options) for name in names.split())


def values(*numbers: float) -> Draw:
    """These numbers."""
    return Draw(lambda rng, dtype: np.asarray(numbers, dtype))


def inside(*shape: int) -> Draw:
    return real(*shape, low=0.05, high=0.95)


EDGES = values(0.0, 1.0, -1.0, 1e-30, 1e30, np.inf, -np.inf, np.nan)
KINKS = "not smooth at the edges"

# one operand
add("erf erfc erfcx dawsn ndtr log_ndtr expit log_expit i0 i0e i1 i1e", real(3, 4))
add("erf erfc erfcx dawsn ndtr log_ndtr expit log_expit i0e i1e entr", EDGES, grad=KINKS)
add("gamma gammaln digamma loggamma entr exp1 expi spence", positive(3, 4), **ROUGH)
add("gamma gammaln digamma", real(4, low=-2.9, high=-2.1), **ROUGH)
add("gamma gammasgn", EDGES, grad=KINKS)
add("gammasgn", real(7, low=-6, high=6), grad=KINKS)
add("factorial", positive(3), **ROUGH)
add("factorial", ints(4, below=9), tol32=2e-6)
add("erfinv", real(3, 4, low=-0.9, high=0.9))
add("erfinv ndtri logit", values(-1.0, 0.0, 1.0, 2.0, np.nan), grad=KINKS)
add("erfcinv", real(3, 4, low=0.1, high=1.9), tol32=1e-4)
add("ndtri logit", inside(3, 4))
add("ndtri logit", values(1e-30, 1e-7, 0.49999, 0.9999), grad="steep")
add("log_ndtr ndtr", real(5, low=-35, high=8))
add("erfcx dawsn", real(5, low=-4, high=60))
add("erf gammaln expit entr i0", real(0))
add("erf gammaln expit entr i0", positive())
add("sici fresnel", real(3, 4))
add("sici", values(0.0, -2.0, 40.0), grad=KINKS)
add("zeta", positive(3, low=1.4, high=4.0), tol=1e-7)
add("zeta", values(-1.5, 0.5, 1.0, 30.0), grad="differences")
add("loggamma wofz", real(4, low=0.3, high=2.5), dtypes=("complex64", "complex128"), tol32=1e-4)
add("wofz", real(4), after=np.real, dtypes=("float32", "float64"), grad="complex result")
add("bernoulli", 12, check_dtype="default float", reference=sp.bernoulli, tol32=1e-6)

# two and more
add("xlogy rel_entr kl_div", real(3, 4, low=0.1), positive(4))
add("xlog1py", real(3, 4), real(4, low=-0.8))
add(
    "xlogy xlog1py rel_entr kl_div",
    values(0, 0, 0, 1, -1, 2),
    values(0, 1, np.nan, 0, 1, np.inf),
    grad=KINKS,
)
add("boxcox", positive(3, 4), real(4))
add("boxcox", positive(5), values(0, 1e-5, -1e-5, 1e-3, 0.02), grad="differences lose digits")
add("boxcox1p", positive(3, 4, low=-0.7), real(4))
add("beta betaln", positive(3, 4), positive(4), **ROUGH)
add(
    "betaln",
    values(1e-3, 5, 1e4, 12, 1e9, 3e5),
    values(1e5, 1e8, 1e3, 15, 2, 4e5),
    grad="steep",
    **ROUGH,
)
add("beta", values(-1.5, 2.5, 0.5), values(2.0, -0.5, -3.25), grad="digamma gap", **ROUGH)
add("poch", positive(3, 4), positive(4), **ROUGH)
add("comb", positive(5, low=3, high=9), positive(5), **ROUGH)
add("comb", ints(6, below=9), ints(6, below=9), tol32=1e-6)
add("comb", ints(6, below=9), ints(6, below=5), repetition=True, tol32=1e-6)
add("gammainc gammaincc", positive(3, 4), positive(4), tol=1e-8, **ROUGH)
add("gammaincinv gammainccinv", positive(3, 4), inside(4), tol=1e-8, **ROUGH)
add("gammainc gammaincc", values(2, 2, 0.5, 30), values(0, np.inf, 1e-6, 90), grad=KINKS)
add("betainc betaincc", positive(3, 4), positive(4), inside(3, 1), tol=1e-8, **ROUGH)
add("betaincinv betainccinv", positive(3, 4), positive(4), inside(3, 1), tol=1e-8, tol32=1e-3)
add("betainc", values(1, 1, 2), values(2, 1, 3), values(0, 1, 1), grad=KINKS)
add("polygamma", 2, positive(3, 4), **ROUGH)
add("polygamma", ints(4, below=4), positive(4), **ROUGH)
add("zeta", positive(3, low=1.4, high=4.0), positive(3), tol=1e-7)
add("expn", 3, positive(3, 4))
add("expn", ints(4, below=4), positive(4))
add("owens_t", real(3, 4), real(4))
add("hyp1f1", positive(3, 4), positive(4, low=1), real(4), tol=1e-8, **ROUGH)
add(
    "hyp2f1",
    positive(3, 4),
    positive(4),
    positive(4, low=1),
    real(4, low=-0.7, high=0.7),
    tol=1e-8,
    **ROUGH,
)
add("multigammaln", positive(3, 4, low=2.0, high=4.0), 3, **ROUGH)
add(
    "bessel_jn",
    real(3, 4),
    v=3,
    reference=lambda z, v: np.stack([sp.jv(k, z) for k in range(v + 1)]),
    tol32=1e-5,
)


for n, m in ((0, 0), (3, 2), (4, -3), (2, 1)):
    add("sph_harm_y", np.array(n), np.array(m), real(3, low=0.2, high=2.9), real(3), tol32=1e-5)
add(
    "sph_harm_y",
    ints(3, below=5),
    ints(3, below=2),
    real(3, low=0.2, high=2.9),
    real(3),
    tol32=1e-5,
)

# rows
ROWS = (None, 0, -1, (0, 1))
for axis in ROWS:
    add("softmax log_softmax", real(3, 4), axis=axis)
    add("logsumexp", real(3, 4), axis=axis)
    add("logsumexp", real(3, 4), axis=axis, keepdims=True)
add("softmax log_softmax", real(2, 3, 2, low=-300, high=300), axis=1, grad="differences")
add("logsumexp", real(3, 4), axis=1, b=positive(3, 4))
add("logsumexp", real(3, 4), 1, real(3, 4, low=-2, high=3), return_sign=True, tol32=2e-4)
add("logsumexp", real(3, 4, low=-900, high=900), axis=0, grad="differences")
add("logsumexp", values(-np.inf, -np.inf), grad="not defined")
add("logsumexp", real(5), dtypes=("complex64", "complex128"))


def masked(a: Any, axis: Any = None, where: Any = None) -> Any:
    """What ``where`` means, by weights of 0 and 1."""
    return sp.logsumexp(a, axis=axis, b=np.where(where, 1.0, 0.0).astype(a.dtype))


add(
    "logsumexp",
    real(3, 4),
    axis=1,
    where=of(lambda m: m | (np.arange(4) == 0), mask(3, 4), fixed=True),
    reference=masked,
)
