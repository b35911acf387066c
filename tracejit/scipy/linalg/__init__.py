"""``scipy.linalg``: factorisations, equations, functions of matrices, and matrices with a name.

    >>> import tracejit.scipy.linalg as jsl
    >>> print(jsl.solve(jnp.array([[2.0, 0.0], [0.0, 4.0]]), jnp.array([2.0, 8.0])))
    [1. 2.]

Names and arguments are JAX's, which are SciPy's; stacks of matrices are taken in the leading axes.
"""

from __future__ import annotations

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.scipy.linalg.equations import det, inv, solve, solve_sylvester, solve_triangular
from tracejit.scipy.linalg.factors import (
    cho_factor,
    cho_solve,
    cholesky,
    eigh,
    eigh_tridiagonal,
    hessenberg,
    lu,
    lu_factor,
    lu_solve,
    polar,
    qr,
    qr_multiply,
    schur,
    svd,
)
from tracejit.scipy.linalg.functions import expm, expm_frechet, funm, rsf2csf, sqrtm
from tracejit.scipy.linalg.special_matrices import (
    block_diag,
    circulant,
    companion,
    convolution_matrix,
    dft,
    fiedler,
    fiedler_companion,
    hadamard,
    hankel,
    helmert,
    hilbert,
    invhilbert,
    invpascal,
    leslie,
    pascal,
    toeplitz,
)

# fmt: off
__all__ = [
    "block_diag", "cho_factor", "cho_solve", "cholesky", "circulant", "companion",
    "convolution_matrix", "det", "dft", "eigh", "eigh_tridiagonal", "expm", "expm_frechet",
    "fiedler", "fiedler_companion", "funm", "hadamard", "hankel", "helmert", "hessenberg",
    "hilbert", "inv", "invhilbert", "invpascal", "leslie", "lu", "lu_factor", "lu_solve", "pascal",
    "polar", "qr", "qr_multiply", "rsf2csf", "schur", "solve", "solve_sylvester",
    "solve_triangular", "sqrtm", "svd", "toeplitz",
]
# fmt: on

_errors.user_functions(globals(), _eager.remembering())
