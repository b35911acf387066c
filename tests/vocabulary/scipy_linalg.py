"""``tracejit.scipy.linalg`` and ``tracejit.scipy.sparse.linalg``, against SciPy's functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg

import tracejit.numpy as jnp
from tests.vocabulary.spec import Case, Draw, case, of, real

NUMBERS = ("float32", "float64", "complex64", "complex128")
COMPLEX = ("complex64", "complex128")
NO_GRAD = "Schur and Hessenberg forms have no derivatives"
CONSTANT = "a constant"


def linalg(name: str, *args: Any, **options: Any) -> Case:
    return case(f"tracejit.scipy.linalg.{name}", *args, **{"tol": 1e-8, "tol32": 1e-3, **options})


def adjoint(x: Any) -> Any:
    return np.conj(np.swapaxes(np.asarray(x), -1, -2))


def near_identity(*shape: int) -> Draw:
    """Matrices that are far from singular."""
    return of(lambda a: (a / 2 + 4 * np.eye(shape[-1])).astype(a.dtype), real(*shape))


def positive(*shape: int) -> Draw:
    """Hermitian positive definite matrices."""
    return of(lambda a: (a @ adjoint(a) / 2 + 2 * np.eye(shape[-1])).astype(a.dtype), real(*shape))


def hermitian(*shape: int) -> Draw:
    return of(lambda a: a + adjoint(a) + np.diag(6 * np.arange(shape[-1])), real(*shape))


def triangular(*shape: int) -> Draw:
    return of(lambda a: np.tril(a) + 4 * np.eye(shape[-1]).astype(a.dtype), real(*shape))


# ---- matrices with a name ------------------------------------------------------------------------

CASES: list[Case] = []
for _name in ("toeplitz", "circulant", "hankel", "fiedler"):
    CASES += [
        linalg(_name, real(4), dtypes=("int32", *NUMBERS)),
        linalg(_name, real(1)),
        linalg(_name, real(5)),
    ]
    if _name != "hankel":
        CASES.append(linalg(_name, real(2, 3)))
CASES += [
    linalg("toeplitz", real(3), real(4), dtypes=NUMBERS),
    linalg("toeplitz", real(2, 3), real(4)),
    linalg("toeplitz", real()),
    linalg("hankel", real(3), real(4), dtypes=NUMBERS),
    linalg("hankel", real(3), real(2)),
]
for _name in ("companion", "fiedler_companion"):
    CASES += [linalg(_name, real(n, low=0.5, high=3.0), dtypes=NUMBERS) for n in (2, 3, 4, 5, 6)]
    CASES.append(linalg(_name, real(2, 4, low=0.5, high=3.0)))
for _mode in ("full", "same", "valid"):
    CASES += [
        linalg("convolution_matrix", real(3), 5, _mode),
        linalg("convolution_matrix", real(4), 2, mode=_mode, dtypes=("int32", *NUMBERS)),
        linalg("convolution_matrix", real(2, 2), 3, _mode),
    ]
CASES += [
    linalg("leslie", real(4), real(3)),
    linalg("leslie", real(2), real(1)),
    linalg("leslie", real(2, 3), real(2, 2)),
    linalg("block_diag", real(2, 3), real(1, 1), real(3), real()),
    linalg("block_diag", real(2, 2), real(0, 2), dtypes=NUMBERS),
    linalg("block_diag"),
    linalg("block_diag", real(2, 2, 2), real(1, 1, 3)),
]
for _n in (1, 2, 5):
    _options: Any = {"grad": CONSTANT, "tol32": 2e-6, "check_dtype": "the default float"}
    CASES += [
        linalg(name, _n, **_options)
        for name in ("dft", "helmert", "hilbert", "invhilbert", "pascal", "invpascal")
    ]
    for _kind in ("symmetric", "lower", "upper"):
        CASES += [linalg(name, _n, _kind, **_options) for name in ("pascal", "invpascal")]
CASES += [
    linalg("dft", 4, "sqrtn", tol32=1e-6),
    linalg("dft", 4, scale="n", tol32=1e-6),
    linalg("helmert", 3, True, tol32=1e-6),
    linalg("hadamard", 8),
    linalg("hadamard", 1),
    linalg("hadamard", 4, dtype=float),
    linalg("hilbert", 0),
    linalg("pascal", 0),
]

# ---- factorisations ------------------------------------------------------------------------------


def product(result: Any) -> Any:
    """What does not depend on signs: the product of the factors."""
    found = np.asarray(result[0])
    for factor in result[1:]:
        found = found @ np.asarray(factor)
    return found


def similar(result: Any) -> Any:
    t, z = (np.asarray(x) for x in result)
    return z @ t @ adjoint(z)


def with_values(result: Any) -> Any:
    """Eigenvalues, and eigenvectors up to a factor of absolute value 1."""
    w, v = (np.asarray(x) for x in result)
    return w, np.abs(v)


for _draw in (positive(3, 3), positive(1, 1), positive(2, 3, 3)):
    for _lower in (False, True):
        CASES += [
            linalg("cholesky", _draw, _lower, dtypes=NUMBERS),
            linalg(
                "cho_factor",
                _draw,
                lower=_lower,
                after=lambda r, low=_lower: (np.tril if low else np.triu)(np.asarray(r[0])),
            ),
        ]
CASES += [
    linalg("lu", real(3, 3), dtypes=NUMBERS),
    linalg("lu", real(4, 2)),
    linalg("lu", real(2, 4)),
    linalg("lu", real(2, 3, 3)),
    linalg("lu", real(3, 3), permute_l=True),
    linalg("lu_factor", real(3, 3), dtypes=NUMBERS),
    linalg("lu_factor", real(2, 4, 4)),
    linalg("qr", real(4, 3), mode="economic", dtypes=NUMBERS),
    linalg("qr", real(3, 3)),
    linalg("qr", real(3, 4)),
    linalg("qr", real(2, 3, 3), mode="economic"),
    linalg("qr", real(4, 3), grad="a full q is not determined"),
    linalg("qr", real(4, 3), mode="economic", pivoting=True),
    linalg("qr", real(4, 3), mode="r", after=np.abs, grad="a full r has rows of zeros"),
    linalg("qr", real(4, 3), mode="raw", after=lambda r: (*r[0], r[1]), grad="LAPACK's own form"),
    linalg("qr_multiply", real(4, 3), real(2, 4), dtypes=NUMBERS),
    linalg("qr_multiply", real(4, 3), real(3, 2), "left"),
    linalg("qr_multiply", real(4, 3), real(4)),
    linalg("qr_multiply", real(4, 3), real(3), mode="left"),
    linalg("qr_multiply", real(4, 3), real(3, 2), mode="left", pivoting=True),
    linalg("qr_multiply", real(3, 3), real(3, 3), conjugate=True, dtypes=COMPLEX),
    linalg("svd", real(3, 3), compute_uv=False, dtypes=NUMBERS),
    linalg("svd", real(2, 4, 3), compute_uv=False),
    linalg("svd", real(4, 3), full_matrices=False, after=lambda r: [np.abs(x) for x in r]),
    linalg(
        "svd", real(3, 4), after=lambda r: (np.abs(r[0]), r[1]), grad="a full vh is not determined"
    ),
    linalg("svd", real(3, 3), lapack_driver="gesvd", after=lambda r: r[1]),
]
for _side in ("right", "left"):
    CASES += [
        linalg("polar", near_identity(3, 3), _side, dtypes=NUMBERS),
        linalg("polar", real(4, 2), side=_side),
        linalg("polar", real(2, 3), _side),
        linalg("polar", near_identity(2, 3, 3), side=_side),
    ]
CASES += [
    linalg("polar", near_identity(3, 3), reference=lambda a, method: scipy.linalg.polar(a),
           method="svd"),
]  # fmt: skip
for _lower in (True, False):
    CASES += [
        linalg("eigh", hermitian(3, 3), lower=_lower, after=with_values, dtypes=NUMBERS),
        linalg("eigh", hermitian(3, 3), lower=_lower, eigvals_only=True, dtypes=NUMBERS),
        *(
            linalg(
                "eigh", hermitian(3, 3), positive(3, 3), lower=_lower, type=kind,
                after=with_values, dtypes=NUMBERS,
            )
            for kind in (1, 2, 3)
        ),
    ]  # fmt: skip
CASES += [
    linalg("eigh", hermitian(2, 3, 3), eigvals_only=True),
    linalg("eigh", hermitian(3, 3), positive(3, 3), eigvals_only=True, type=2),
]
_diagonals = (of(lambda d: d + 4 * np.arange(5, dtype=d.dtype), real(5)), real(4))
CASES += [
    linalg("eigh_tridiagonal", *_diagonals, after=with_values),
    linalg("eigh_tridiagonal", *_diagonals, eigvals_only=True),
    linalg("eigh_tridiagonal", *_diagonals, select="i", select_range=(1, 3), after=with_values),
    linalg(
        "eigh_tridiagonal", *_diagonals, eigvals_only=True, select="v", select_range=(0.0, 9.0),
        jit="the number of eigenvalues depends on them", vmap="likewise", grad="likewise",
    ),
    linalg("eigh_tridiagonal", real(1), real(0), eigvals_only=True),
]  # fmt: skip
for _output in ("real", "complex"):
    CASES += [
        linalg("schur", real(3, 3), _output, after=similar, grad=NO_GRAD, dtypes=NUMBERS),
        linalg("schur", real(2, 3, 3), output=_output, after=similar, grad=NO_GRAD),
    ]
_form = of(lambda a: scipy.linalg.schur(a)[0].astype(a.dtype), real(5, 5))
_turn = of(lambda a: scipy.linalg.schur(a)[1].astype(a.dtype), real(5, 5))
CASES += [
    linalg("hessenberg", real(4, 4), grad=NO_GRAD, dtypes=NUMBERS),
    linalg("hessenberg", real(4, 4), calc_q=True, grad=NO_GRAD, dtypes=NUMBERS),
    linalg("hessenberg", real(2, 3, 3), calc_q=True, grad=NO_GRAD),
    linalg("hessenberg", real(2, 2), calc_q=True, grad=NO_GRAD),
    linalg("hessenberg", real(1, 1), calc_q=True, grad=NO_GRAD),
    linalg("rsf2csf", _form, _turn, grad="jumps where a pair of eigenvalues becomes real"),
    linalg("rsf2csf", triangular(3, 3), real(3, 3), after=np.shape, grad="no float result"),
]

# ---- equations -----------------------------------------------------------------------------------


def solution(a: Any, b: Any, **_: Any) -> Any:
    return np.linalg.solve(a, b) if np.ndim(b) > 1 else np.linalg.solve(a, b[:, None])[..., 0]


for _right in (real(3), real(3, 2)):
    CASES += [
        linalg("solve", near_identity(3, 3), _right, dtypes=("int32", *NUMBERS)),
        linalg("solve", positive(3, 3), _right, assume_a="pos", dtypes=NUMBERS),
        linalg("solve", hermitian(3, 3), _right, assume_a="her", dtypes=NUMBERS),
        linalg("solve", hermitian(3, 3), _right, assume_a="sym", lower=True),
        linalg("solve", positive(3, 3), _right, lower=True, assume_a="pos"),
        linalg("solve", triangular(3, 3), _right, assume_a="lower triangular"),
        linalg("solve_triangular", triangular(3, 3), _right, lower=True, dtypes=NUMBERS),
        linalg("solve_triangular", near_identity(3, 3), _right, dtypes=NUMBERS),
        linalg("solve_triangular", near_identity(3, 3), _right, unit_diagonal=True),
    ]
CASES += [
    linalg("solve_triangular", near_identity(3, 3), real(3), how, dtypes=NUMBERS[1::2])
    for how in (1, 2, "N", "T", "C")
]
CASES += [
    linalg("solve", near_identity(2, 3, 3), real(3), reference=solution),
    linalg("solve", near_identity(2, 3, 3), real(2, 3, 2), reference=solution),
    linalg("solve", near_identity(3, 3), real(2, 3, 2), reference=solution),
    linalg("solve", of(lambda a: np.diag(np.diag(a)), near_identity(4, 4)), real(4, 2),
           assume_a="diagonal"),
    linalg("solve", of(lambda a: np.triu(np.tril(a, 1), -1), near_identity(4, 4)), real(4),
           assume_a="tridiagonal"),
    linalg("solve", near_identity(0, 0), real(0), reference=solution),
    linalg("inv", near_identity(3, 3), dtypes=NUMBERS),
    linalg("inv", near_identity(2, 3, 3)),
    linalg("det", near_identity(3, 3), dtypes=NUMBERS, tol32=1e-4),
    linalg("det", real(2, 3, 3), tol32=1e-4),
    linalg("solve_sylvester", near_identity(3, 3), near_identity(2, 2), real(3, 2), dtypes=NUMBERS),
    linalg("solve_sylvester", near_identity(3, 3), near_identity(2, 2), real(3, 2),
           method="eigen", reference=lambda a, b, c, method: scipy.linalg.solve_sylvester(a, b, c)),
    linalg("solve_sylvester", near_identity(2, 3, 3), near_identity(3, 3), real(2, 3, 3)),
]  # fmt: skip

for _b in (real(3), real(3, 2)):
    for _trans in (0, 1, 2):
        CASES.append(
            linalg(
                "lu_solve",
                (
                    of(lambda a: scipy.linalg.lu_factor(a)[0], near_identity(3, 3)),
                    of(lambda a: np.array([1, 2, 2], np.int32), real(1), fixed=True),
                ),
                _b,
                trans=_trans,
                dtypes=NUMBERS,
            )
        )
    for _lower in (True, False):
        CASES.append(linalg("cho_solve", (near_identity(3, 3), _lower), _b, dtypes=NUMBERS))

# ---- functions -----------------------------------------------------------------------------------

CASES += [
    linalg("expm", real(3, 3), dtypes=("int32", *NUMBERS)),
    linalg("expm", real(2, 3, 3)),
    linalg("expm", of(lambda a: a / 1000, real(2, 2))),
    linalg("expm", of(lambda a: 20 * a - 40 * np.eye(3, dtype=a.dtype), real(3, 3)), tol=1e-7),
    linalg("expm", real(0, 0), grad="nothing to differentiate"),
    linalg(
        "expm", of(np.triu, real(4, 4)), upper_triangular=True,
        reference=lambda a, upper_triangular: scipy.linalg.expm(a),
        grad="reads one triangle",
    ),
    linalg("expm_frechet", real(3, 3), real(3, 3)),
    linalg("expm_frechet", real(3, 3), real(3, 3), method="blockEnlarge"),
    linalg("expm_frechet", real(3, 3), real(3, 3), compute_expm=False),
    linalg("sqrtm", positive(3, 3), dtypes=NUMBERS, check_dtype="complex, as in JAX"),
    linalg("sqrtm", near_identity(2, 3, 3)),
    linalg("sqrtm", real(3, 3)),
    linalg("funm", near_identity(3, 3), jnp.sin, dtypes=NUMBERS,
           reference=lambda a, f: scipy.linalg.sinm(a)),
    linalg("funm", real(4, 4), jnp.exp, reference=lambda a, f: scipy.linalg.expm(a)),
    linalg("funm", real(3, 3), jnp.cosh, disp=False,
           reference=lambda a, f, disp: (scipy.linalg.coshm(a),), after=lambda r: r[0]),
]  # fmt: skip

# ---- solvers that multiply only ------------------------------------------------------------------


def sparse(name: str, *args: Any, **options: Any) -> Case:
    def reference(a: Any, b: Any, *_: Any, **__: Any) -> Any:
        return np.linalg.solve(a, b), None

    given: Any = {"tol": 1e-11, **options}
    return Case(
        f"tracejit.scipy.sparse.linalg.{name}",
        args,
        {"tol": given.pop("tol"), **{k: given.pop(k) for k in list(given) if k in _SPARSE}},
        reference=reference,
        tol=1e-7,
        tol32=1e-4,
        **given,
    )


_SPARSE = ("x0", "M", "restart", "maxiter", "solve_method", "atol")
CASES += [
    sparse("cg", positive(4, 4), real(4), dtypes=("float64", "complex128"),
           grad="of symmetric matrices alone"),
    sparse("cg", positive(4, 4), real(4), x0=real(4), dtypes=("float64",),
           grad="of symmetric matrices alone"),
    sparse("cg", positive(4, 4), real(4), M=np.diag([0.5, 0.4, 0.3, 0.2]), dtypes=("float64",),
           grad="of symmetric matrices alone"),
    sparse("bicgstab", near_identity(4, 4), real(4), dtypes=("float64", "complex128")),
    sparse("bicgstab", near_identity(4, 4), real(4), M=np.eye(4) / 4, dtypes=("float64",)),
    sparse("gmres", near_identity(4, 4), real(4), dtypes=("float64", "complex128")),
    sparse("gmres", near_identity(4, 4), real(4), restart=2, dtypes=("float64",)),
    sparse("gmres", near_identity(4, 4), real(4), M=np.eye(4) / 4, solve_method="incremental",
           dtypes=("float64",)),
    sparse("cg", positive(4, 4), real(4), tol=1e-6, dtypes=("float32",), grad="float32 only"),
]  # fmt: skip
