"""Broadcast and sum: each is the other's adjoint, and every family needs both.

broadcast_in_dim(x: f32[3], shape=(2, 3), dims=(1,))   -> f32[2,3]
reduce_sum(x: f32[2,3], axes=(0,))                     -> f32[3]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import ShapeError
from tracejit.ir.expr import const
from tracejit.ir.graph import Literal
from tracejit.ir.prim import Primitive, Reduce
from tracejit.ir.types import TensorType, kind


def _infer_broadcast(x: TensorType, *, shape: tuple[int, ...], dims: tuple[int, ...]) -> TensorType:
    if len(dims) != x.ndim or any(b <= a for a, b in zip(dims, dims[1:], strict=False)):
        raise ShapeError(f"broadcast_in_dim: dims {dims} must be increasing, one per axis of {x}")
    for axis, dim in enumerate(dims):
        if not 0 <= dim < len(shape) or x.shape[axis] not in (1, shape[dim]):
            raise ShapeError(
                f"broadcast_in_dim: axis {axis} of {x} does not fit axis {dim} of {shape}"
            )
    return x.with_shape(shape)


def _numpy_broadcast(x: Any, *, shape: tuple[int, ...], dims: tuple[int, ...]) -> Any:
    wide = [1] * len(shape)
    for axis, dim in enumerate(dims):
        wide[dim] = x.shape[axis]
    return np.broadcast_to(x.reshape(wide), shape)


def _transpose_broadcast(cts: Any, xs: Any, *, shape: Any, dims: Any) -> Any:
    (ct,), (x,) = cts, xs
    summed = tuple(
        d for d in range(len(shape)) if d not in dims or x.type.shape[dims.index(d)] != shape[d]
    )
    total = reduce_sum(ct, axes=summed)
    kept = tuple(k for k, d in enumerate(dims) if x.type.shape[k] == shape[d])
    if len(kept) == x.type.ndim:
        return (total,)
    return (broadcast_in_dim(total, shape=x.type.shape, dims=kept),)


def _element_broadcast(xs: Any, index: Any, *, shape: Any, dims: Any) -> Any:
    x = xs[0]
    where = (
        const(0) if x.type.shape[k] == 1 and shape[d] != 1 else index[d] for k, d in enumerate(dims)
    )
    return x(tuple(where))


def _cases_broadcast() -> list[Any]:
    f32 = np.dtype("float32")
    return [
        ((TensorType(f32, (3,)),), {"shape": (2, 3), "dims": (1,)}),
        ((TensorType(f32, (2, 1)),), {"shape": (2, 4, 5), "dims": (0, 2)}),
        ((TensorType(f32, ()),), {"shape": (3,), "dims": ()}),
        ((TensorType(f32, (1, 0)),), {"shape": (4, 0), "dims": (0, 1)}),
    ]


broadcast_in_dim = Primitive(
    "broadcast_in_dim",
    params=("shape", "dims"),
    infer=_infer_broadcast,
    numpy=_numpy_broadcast,
    jvp=lambda dxs, ys, xs, **params: (broadcast_in_dim(dxs[0], **params),),
    transpose=_transpose_broadcast,
    batch=lambda size, mask, xs, *, shape, dims: broadcast_in_dim(
        xs[0], shape=(size, *shape), dims=(0, *(d + 1 for d in dims))
    ),
    element=_element_broadcast,
    cases=_cases_broadcast,
    doc="Repeat x along new or size-1 axes: axis k of x becomes axis dims[k] of the result.",
)


def check_axes(name: str, x: TensorType, axes: tuple[int, ...]) -> None:
    """Raise ShapeError unless ``axes`` are distinct axes of ``x``, non-negative."""
    if len(set(axes)) != len(axes) or any(not 0 <= a < x.ndim for a in axes):
        raise ShapeError(f"{name}: axes {axes} are not distinct axes of {x}")


def dropped(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """``shape`` without ``axes``."""
    return tuple(n for a, n in enumerate(shape) if a not in axes)


def infer_reduced(name: str) -> Any:
    """The infer rule of a reduction over ``axes`` that keeps the dtype."""

    def infer(x: TensorType, *, axes: tuple[int, ...]) -> TensorType:
        check_axes(name, x, axes)
        return x.with_shape(dropped(x.shape, axes))

    return infer


def shifted(axes: tuple[int, ...]) -> tuple[int, ...]:
    """``axes`` after a batch axis has been put in front."""
    return tuple(a + 1 for a in axes)


def reduction_cases() -> list[Any]:
    f32 = np.dtype("float32")
    return [
        ((TensorType(f32, (3, 5)),), {"axes": (1,)}),
        ((TensorType(f32, (3, 5)),), {"axes": (0,)}),
        ((TensorType(f32, (2, 3, 17)),), {"axes": (0, 2)}),
        ((TensorType(f32, (7,)),), {"axes": (0,)}),
        ((TensorType(f32, (2, 1)),), {"axes": ()}),
    ]


def _numpy_sum(x: Any, *, axes: tuple[int, ...]) -> Any:
    wide = np.float32 if kind(x.dtype) == "f" and x.dtype.itemsize == 2 else x.dtype
    if x.dtype == np.bool_:
        return np.any(x, axis=axes)
    return np.asarray(np.add.reduce(x, axis=axes, dtype=wide)).astype(x.dtype, copy=False)


def _transpose_sum(cts: Any, xs: Any, *, axes: Any) -> Any:
    shape = xs[0].type.shape
    kept = tuple(a for a in range(len(shape)) if a not in axes)
    return (broadcast_in_dim(cts[0], shape=shape, dims=kept),)


reduce_sum = Primitive(
    "reduce_sum",
    params=("axes",),
    infer=infer_reduced("reduce_sum"),
    numpy=_numpy_sum,
    jvp=lambda dxs, ys, xs, *, axes: (reduce_sum(dxs[0], axes=axes),),
    transpose=_transpose_sum,
    batch=lambda size, mask, xs, *, axes: reduce_sum(xs[0], axes=shifted(axes)),
    reduce=Reduce("add", lambda dtype: 0),
    cases=reduction_cases,
    doc="Sum over axes; float16 and bfloat16 are summed in float32, integers wrap.",
)


def with_batch_axis(x: Any, size: int, batched: bool) -> Any:
    """``x`` with a batch axis in front: as it is when ``batched``, repeated ``size`` times
    otherwise.
    """
    if batched:
        return x
    if isinstance(x, Literal):
        return Literal(x.value, x.type.with_shape((size, *x.type.shape)))
    n = x.type.ndim
    return broadcast_in_dim(x, shape=(size, *x.type.shape), dims=tuple(range(1, n + 1)))


__all__ = [
    "broadcast_in_dim",
    "check_axes",
    "dropped",
    "infer_reduced",
    "reduce_sum",
    "reduction_cases",
    "shifted",
    "with_batch_axis",
]
