"""``numpy.linalg`` on tracejit's Arrays, with the Array API's extension and JAX's arguments.

    >>> import tracejit.numpy as jnp
    >>> print(jnp.linalg.solve(jnp.array([[2.0, 0.0], [0.0, 4.0]]), jnp.array([2.0, 8.0])))
    [1. 2.]

Matrices are the last two axes of an array, the axes before them a stack. Where a matrix has no
inverse or factorisation, LinAlgError is raised outside of ``jit``; inside, the result is inf or
nan. All have derivatives in both modes.
"""

from __future__ import annotations

from typing import Any

from tracejit import errors as _errors
from tracejit.errors import LinAlgError, ShapeError
from tracejit.frontend import eager as _eager
from tracejit.frontend import linear as _linear
from tracejit.frontend import shaping as _shaping
from tracejit.frontend.array import as_array as _as_array
from tracejit.frontend.axes import axis_number as _axis_number
from tracejit.frontend.linear import vecdot
from tracejit.frontend.shaping import matrix_transpose
from tracejit.linalg.decompositions import (
    EighResult,
    EigResult,
    QRResult,
    SVDResult,
    cholesky,
    eig,
    eigh,
    eigvals,
    eigvalsh,
    qr,
    svd,
)
from tracejit.linalg.equations import (
    SlogdetResult,
    det,
    inv,
    lstsq,
    matrix_power,
    matrix_rank,
    multi_dot,
    pinv,
    slogdet,
    solve,
    tensorinv,
    tensorsolve,
)
from tracejit.linalg.norms import cond, matrix_norm, norm, outer, vector_norm
from tracejit.source import here as _here


def svdvals(x: Any, /) -> Any:
    """The singular values of x[..., m, n], the largest first.

    Raises ShapeError, DTypeError, LinAlgError without convergence (nan inside jit).

    >>> print(jnp.linalg.svdvals(jnp.array([[3.0, 0.0], [0.0, -4.0]])))
    [4. 3.]
    """
    return svd(x, compute_uv=False)


def cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """The cross product of vectors of 3 components along ``axis``; other axes broadcast.

    Raises ShapeError for vectors of another size.

    >>> jnp.linalg.cross(jnp.array([1.0, 0.0, 0.0]), jnp.array([0.0, 1.0, 0.0]))
    Array([0., 0., 1.], dtype=float32)
    """
    x1, x2 = _as_array(x1), _as_array(x2)
    for x in (x1, x2):
        if x.shape[_axis_number("cross", axis, x.ndim)] != 3:
            raise ShapeError(f"cross: takes vectors of 3 components, not {x.type}", at=_here())
    return _linear.cross(x1, x2, axis=axis)


def diagonal(x: Any, /, *, offset: int = 0) -> Any:
    """The diagonal of each matrix x[..., m, n], ``offset`` places right of the main one.

    >>> jnp.linalg.diagonal(jnp.array([[1, 2], [3, 4]]))
    Array([1, 4])
    """
    x = _as_array(x)
    if x.ndim < 2:
        raise ShapeError(f"diagonal: takes matrices, not {x.type}", at=_here())
    return _shaping.diagonal(x, offset, -2, -1)


def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    """The sum along a diagonal of each matrix x[..., m, n].

    >>> jnp.linalg.trace(jnp.array([[1, 2], [3, 4]]))
    Array(5)
    """
    x = _as_array(x)
    if x.ndim < 2:
        raise ShapeError(f"trace: takes matrices, not {x.type}", at=_here())
    return _linear.trace(x, offset, -2, -1, dtype)


def matmul(
    x1: Any, x2: Any, /, *, precision: Any = None, preferred_element_type: Any = None
) -> Any:
    """The matrix product, as ``numpy.matmul``.

    >>> jnp.linalg.matmul(jnp.ones((2, 3)), jnp.ones((3,)))
    Array([3., 3.], dtype=float32)
    """
    return _linear.matmul(x1, x2, preferred_element_type=preferred_element_type)


def tensordot(
    x1: Any,
    x2: Any,
    /,
    *,
    axes: Any = 2,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> Any:
    """Sums of products over ``axes``, as ``numpy.tensordot``.

    >>> jnp.linalg.tensordot(jnp.ones((2, 3)), jnp.ones((2, 3)))
    Array(6., dtype=float32)
    """
    return _linear.tensordot(x1, x2, axes, preferred_element_type=preferred_element_type)


# fmt: off
__all__ = [
    "EigResult", "EighResult", "LinAlgError", "QRResult", "SVDResult", "SlogdetResult", "cholesky",
    "cond", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh", "inv", "lstsq",
    "matmul", "matrix_norm", "matrix_power", "matrix_rank", "matrix_transpose", "multi_dot", "norm",
    "outer", "pinv", "qr", "slogdet", "solve", "svd", "svdvals", "tensordot", "tensorinv",
    "tensorsolve", "trace", "vecdot", "vector_norm",
]
# fmt: on

_errors.user_functions(globals(), _eager.remembering())
