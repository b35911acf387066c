"""Vector quantisation: the nearest of several codes.

>>> from tracejit.scipy.cluster.vq import vq
>>> vq(jnp.array([[0.0, 1.0], [4.0, 4.0]]), jnp.array([[0.0, 0.0], [4.0, 4.0]]))
(Array([0, 1], dtype=int32), Array([1., 0.], dtype=float32))
"""

from __future__ import annotations

from typing import Any

from tracejit import errors as _errors
from tracejit.errors import ShapeError as _ShapeError
from tracejit.frontend import elementwise as _ew
from tracejit.frontend import promotion as _promotion
from tracejit.frontend import reductions as _reductions
from tracejit.frontend import shaping as _shaping
from tracejit.ir.types import DTYPES as _DTYPES
from tracejit.source import here as _here


def vq(obs: Any, code_book: Any, check_finite: bool = True) -> tuple[Any, Any]:
    """For each row of ``obs`` (M, N) the nearest row of ``code_book`` (K, N): ``(codes,
    distances)`` of shapes (M,), the first int32. Vectors are rows of one number each.

    ``check_finite`` is accepted: a nan is nearest to nothing, its distance is nan. ShapeError where
    the ranks are not both 1 or 2, or rows differ in length.

    >>> tj.scipy.cluster.vq.vq(jnp.array([0.1, 2.5]), jnp.array([0.0, 3.0]))
    (Array([0, 1], dtype=int32), Array([0.1, 0.5], dtype=float32))
    """
    rows, codes = _promotion.promoted("vq", obs, code_book)
    rows, codes = _promotion.to_inexact(rows), _promotion.to_inexact(codes)
    if rows.ndim != codes.ndim or rows.ndim not in (1, 2):
        raise _ShapeError(
            f"vq: takes two matrices or two vectors, not {rows.type} and {codes.type}", at=_here()
        )
    if rows.ndim == 1:
        rows, codes = _shaping.expand_dims(rows, 1), _shaping.expand_dims(codes, 1)
    if rows.shape[1] != codes.shape[1]:
        raise _ShapeError(
            f"vq: rows of {rows.shape[1]} and codes of {codes.shape[1]} numbers", at=_here()
        )
    if codes.shape[0] == 0:
        raise _ShapeError("vq: the code book is empty", at=_here())
    apart = _ew.subtract(_shaping.expand_dims(rows, 1), codes)
    squares = _reductions.sum(_ew.square(apart), -1)
    nearest = _promotion.convert(_reductions.argmin(squares, -1), _DTYPES["i32"])
    return nearest, _ew.sqrt(_reductions.min(squares, -1))


__all__ = ["vq"]

_errors.user_functions(globals())
