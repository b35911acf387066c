"""Contractions and convolutions under JAX's ``lax`` names.

    >>> a, b = jnp.ones((5, 2, 3)), jnp.ones((5, 3, 4))
    >>> dot_general(a, b, (((2,), (1,)), ((0,), (0,)))).shape  # batched matrix product
    (5, 2, 4)
    >>> x, w = jnp.ones((1, 8, 8, 3)), jnp.ones((3, 3, 3, 16))
    >>> numbers = ("NHWC", "HWIO", "NHWC")
    >>> conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=numbers).shape
    (1, 8, 8, 16)

The convolution's kernel is not flipped, as everywhere in machine learning.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend import creation, shaping
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.promotion import reshaped
from tracejit.ir.types import DTYPES, TensorType
from tracejit.lax.operands import canonical_or, check_precision, ints, same_dtypes
from tracejit.lax.pads import padtype_to_pads
from tracejit.ops import conv as conv_ops
from tracejit.ops import dot as dot_ops
from tracejit.source import here


class Precision(enum.Enum):
    """Accepted for compatibility: products are always computed in the full precision of their
    operands.
    """

    DEFAULT = 0
    HIGH = 1
    HIGHEST = 2


PrecisionLike = Any
DotDimensionNumbers = Any
ConvGeneralDilatedDimensionNumbers = Any


# ---- contractions --------------------------------------------------------------------------------


def dot_general(
    lhs: Any,
    rhs: Any,
    dimension_numbers: Any,
    precision: Any = None,
    preferred_element_type: Any = None,
    *,
    out_sharding: Any = None,
) -> Array:
    """Sums of products: ``dimension_numbers`` is ((left contracted, right contracted), (left batch,
    right batch)).

    The result's axes: batch, then the rest of ``lhs``, then the rest of ``rhs``. Operands have one
    dtype. Raises ShapeError where sizes differ.

    >>> a, b = jnp.ones((5, 2, 3)), jnp.ones((5, 3, 4))
    >>> lax.dot_general(a, b, (((2,), (1,)), ((0,), (0,)))).shape
    (5, 2, 4)
    """
    check_precision("dot_general", precision)
    x, y = same_dtypes("dot_general", lhs, rhs)
    (xc, yc), (xb, yb) = dimension_numbers
    numbers = ((_axes(xc, x), _axes(yc, y)), (_axes(xb, x), _axes(yb, y)))
    return apply(
        dot_ops.dot_general,
        x,
        y,
        dimension_numbers=numbers,
        preferred_element_type=canonical_or(preferred_element_type, None),
    )


def _axes(axes: Any, x: Array) -> tuple[int, ...]:
    return tuple(a + x.ndim if a < 0 else a for a in ints(axes))


def dot(
    lhs: Any,
    rhs: Any,
    *,
    dimension_numbers: Any = None,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> Array:
    """Vector and matrix products of arrays of one or two axes; with ``dimension_numbers``,
    ``dot_general``.
    """
    x, y = as_array(lhs), as_array(rhs)
    if dimension_numbers is None:
        if not (1 <= x.ndim <= 2 and 1 <= y.ndim <= 2) or x.shape[-1] != y.shape[0]:
            raise ShapeError(
                f"lax.dot: {x.type} and {y.type} have no product",
                at=here(),
                hint="see lax.dot_general",
            )
        dimension_numbers = (((x.ndim - 1,), (0,)), ((), ()))
    return dot_general(x, y, dimension_numbers, precision, preferred_element_type)


def batch_matmul(lhs: Any, rhs: Any, precision: Any = None) -> Array:
    """Matrix products of two stacks of matrices of one shape of stack."""
    x, y = as_array(lhs), as_array(rhs)
    if x.ndim < 2 or x.ndim != y.ndim:
        raise ShapeError(
            f"batch_matmul: takes stacks of matrices of equal rank, not {x.type} and {y.type}",
            at=here(),
        )
    stack = tuple(range(x.ndim - 2))
    return dot_general(x, y, (((x.ndim - 1,), (x.ndim - 2,)), (stack, stack)), precision)


# ---- which axis is what --------------------------------------------------------------------------


class ConvDimensionNumbers(NamedTuple):
    """Axes by role: (batch, feature, *spatial) of the operand and result, (out, in, *spatial) of
    the kernel.
    """

    lhs_spec: tuple[int, ...]
    rhs_spec: tuple[int, ...]
    out_spec: tuple[int, ...]


def conv_dimension_numbers(
    lhs_shape: Any, rhs_shape: Any, dimension_numbers: Any
) -> ConvDimensionNumbers:
    """Dimension numbers from strings like ("NHWC", "HWIO", "NHWC"); None is batch and features
    first.
    """
    rank = len(tuple(lhs_shape))
    if rank != len(tuple(rhs_shape)):
        raise ShapeError(
            f"convolution: operand {tuple(lhs_shape)} and kernel {tuple(rhs_shape)} differ in rank",
            at=here(),
        )
    if isinstance(dimension_numbers, ConvDimensionNumbers):
        return dimension_numbers
    if dimension_numbers is None:
        return ConvDimensionNumbers(*(tuple(range(rank)),) * 3)
    if len(dimension_numbers) != 3:
        raise ArgumentError(
            f"convolution: dimension_numbers {dimension_numbers!r} are not three specs", at=here()
        )
    if not all(isinstance(spec, str) for spec in dimension_numbers):
        return ConvDimensionNumbers(*(ints(spec) for spec in dimension_numbers))
    if any(len(spec) != rank for spec in dimension_numbers):
        raise ShapeError(
            f"convolution: dimension_numbers {dimension_numbers!r} do not name {rank} axes",
            at=here(),
        )
    return ConvDimensionNumbers(*conv_general_permutations(dimension_numbers))


def conv_general_permutations(dimension_numbers: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Three tuples of axes from three strings; spatial letters follow the kernel's order."""
    lhs, rhs, out = dimension_numbers
    found = []
    for spec, (a, b) in ((lhs, "NC"), (rhs, "OI"), (out, "NC")):
        if len(set(spec)) != len(spec) or a not in spec or b not in spec:
            raise ArgumentError(
                f"convolution: {spec!r} must name {a!r}, {b!r} and each spatial axis once",
                at=here(),
            )
        if set(spec) - {a, b} != set(rhs) - set("OI"):
            raise ArgumentError(
                f"convolution: {lhs!r}, {rhs!r}, {out!r} name different spatial axes", at=here()
            )
        spatial = [letter for letter in rhs if letter not in "OI"]
        found.append((spec.index(a), spec.index(b), *(spec.index(letter) for letter in spatial)))
    return tuple(found)


# ---- convolutions --------------------------------------------------------------------------------


def conv_general_dilated(
    lhs: Any,
    rhs: Any,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> Array:
    """Convolution over up to three spatial axes, with strides, padding, dilation and groups.

    ``dimension_numbers`` names the axes of ``lhs``, ``rhs`` and the result: ("NCHW", "OIHW",
    "NCHW") by default. ``padding`` is "VALID", "SAME" or (low, high) pairs. The kernel is not
    flipped. Raises ShapeError where sizes do not fit.

    >>> x, w = jnp.ones((1, 3, 8, 8)), jnp.ones((16, 3, 3, 3))
    >>> lax.conv_general_dilated(x, w, (2, 2), "SAME").shape
    (1, 16, 4, 4)
    """
    check_precision("conv_general_dilated", precision)
    x, w = same_dtypes("conv_general_dilated", lhs, rhs)
    params = conv_parameters(
        x.shape, w.shape, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers
    )
    return apply(
        conv_ops.conv_general_dilated,
        x,
        w,
        **params,
        feature_group_count=int(feature_group_count),
        batch_group_count=int(batch_group_count),
        preferred_element_type=canonical_or(preferred_element_type, None),
    )


def conv_parameters(
    lhs_shape: Any,
    rhs_shape: Any,
    strides: Any,
    padding: Any,
    lhs_dilation: Any,
    rhs_dilation: Any,
    numbers: Any,
) -> dict[str, Any]:
    """The params of a convolution that the user may give in several forms."""
    spec = conv_dimension_numbers(lhs_shape, rhs_shape, numbers)
    ones = (1,) * (len(tuple(lhs_shape)) - 2)
    inner = ones if rhs_dilation is None else _spread(rhs_dilation, len(ones))
    outer = ones if lhs_dilation is None else _spread(lhs_dilation, len(ones))
    steps = _spread(strides, len(ones))
    if isinstance(padding, str):
        if any(d != 1 for d in outer):
            raise ArgumentError(
                "convolution: padding by name and lhs_dilation together are ambiguous",
                at=here(),
                hint="use conv_transpose",
            )
        sizes = [lhs_shape[a] for a in spec.lhs_spec[2:]]
        reach = [(rhs_shape[a] - 1) * d + 1 for a, d in zip(spec.rhs_spec[2:], inner, strict=True)]
        padding = padtype_to_pads(sizes, reach, steps, padding)
    return {
        "window_strides": steps,
        "padding": tuple(ints(p) for p in padding),
        "lhs_dilation": outer,
        "rhs_dilation": inner,
        "dimension_numbers": tuple(spec),
    }


def _spread(given: Any, rank: int) -> tuple[int, ...]:
    return (int(given),) * rank if isinstance(given, int) else ints(given)


def conv(
    lhs: Any,
    rhs: Any,
    window_strides: Sequence[int],
    padding: str,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """Convolution with batch and features in front (NCHW, OIHW)."""
    return conv_general_dilated(
        lhs,
        rhs,
        window_strides,
        padding,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )


def conv_with_general_padding(
    lhs: Any,
    rhs: Any,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None,
    rhs_dilation: Sequence[int] | None,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """``conv`` with padding as pairs and dilation."""
    return conv_general_dilated(
        lhs,
        rhs,
        window_strides,
        padding,
        lhs_dilation,
        rhs_dilation,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )


def transpose_pads(kernel: int, stride: int, padding: str) -> tuple[int, int]:
    """The padding with which a dilated convolution is the transpose of one with ``padding``."""
    name = str(padding).upper()
    if name not in ("SAME", "VALID"):
        raise ArgumentError(
            f"conv_transpose: padding is 'SAME', 'VALID' or pairs, not {padding!r}", at=here()
        )
    total = kernel + stride - 2
    if name == "SAME":
        low = kernel - 1 if stride > kernel - 1 else -(-total // 2)
    else:
        total += max(kernel - stride, 0)
        low = kernel - 1
    return low, total - low


_TRANSPOSE_SPECS = {
    2: ("NC", "IO", "NC"),
    3: ("NHC", "HIO", "NHC"),
    4: ("NHWC", "HWIO", "NHWC"),
    5: ("NHWDC", "HWDIO", "NHWDC"),
}


def conv_transpose(
    lhs: Any,
    rhs: Any,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    transpose_kernel: bool = False,
    precision: Any = None,
    preferred_element_type: Any = None,
    use_consistent_padding: bool = False,
) -> Array:
    """The adjoint of a strided convolution ("deconvolution"): a convolution of the dilated operand.

    Features come last by default (NHWC, HWIO). With ``transpose_kernel`` the kernel is the one of
    the convolution whose adjoint this is: flipped, its feature axes exchanged. Pairs of padding
    apply to the dilated operand, or with ``use_consistent_padding`` are those of that convolution.
    """
    x, w = same_dtypes("conv_transpose", lhs, rhs)
    numbers = _TRANSPOSE_SPECS.get(x.ndim) if dimension_numbers is None else dimension_numbers
    spec = conv_dimension_numbers(x.shape, w.shape, numbers)
    spatial = spec.rhs_spec[2:]
    steps = _spread(strides, len(spatial))
    inner = (1,) * len(spatial) if rhs_dilation is None else _spread(rhs_dilation, len(spatial))
    reach = [(w.shape[a] - 1) * d + 1 for a, d in zip(spatial, inner, strict=True)]
    if isinstance(padding, str):
        pads = [transpose_pads(k, s, padding) for k, s in zip(reach, steps, strict=True)]
    elif use_consistent_padding:
        pads = [(k - 1 - low, k - 1 - high) for k, (low, high) in zip(reach, padding, strict=True)]
    else:
        pads = [ints(p) for p in padding]  # type: ignore[misc]
    if transpose_kernel:
        w = shaping.swapaxes(shaping.flip(w, spatial), spec.rhs_spec[0], spec.rhs_spec[1])
    return conv_general_dilated(
        x,
        w,
        (1,) * len(spatial),
        pads,
        steps,
        inner,
        spec,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )


# ---- patches -------------------------------------------------------------------------------------


def conv_general_dilated_patches(
    lhs: Any,
    filter_shape: Sequence[int],
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """The elements under a kernel at each of its positions, as features: channel by channel, row-
    major within.
    """
    x = as_array(lhs)
    size = ints(filter_shape)
    numbers = dimension_numbers
    if numbers is None:
        numbers = ConvDimensionNumbers(*(tuple(range(x.ndim)),) * 3)
    elif all(isinstance(s, str) for s in numbers):
        numbers = ConvDimensionNumbers(*conv_general_permutations(numbers))
    else:
        numbers = ConvDimensionNumbers(*(ints(s) for s in numbers))
    channels, count = x.shape[numbers.lhs_spec[1]], prod(size)
    kernel = reshaped(creation.eye(count, dtype=x.dtype), (count, 1, *size))
    kernel = shaping.tile(kernel, (channels, *(1,) * (x.ndim - 1)))
    order = np.argsort(numbers.rhs_spec).tolist()
    return conv_general_dilated(
        x,
        shaping.transpose(kernel, order),
        window_strides,
        padding,
        lhs_dilation,
        rhs_dilation,
        numbers,
        feature_group_count=channels,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )


def conv_general_dilated_local(
    lhs: Any,
    rhs: Any,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    filter_shape: Sequence[int],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    precision: Any = None,
) -> Array:
    """A convolution with another kernel at every position: the kernel's input features are those of
    patches.
    """
    x, w = same_dtypes("conv_general_dilated_local", lhs, rhs)
    spec = conv_dimension_numbers(x.shape, w.shape, dimension_numbers)
    patches = conv_general_dilated_patches(
        x, filter_shape, window_strides, padding, lhs_dilation, rhs_dilation, spec, precision
    )
    spatial, places = spec.rhs_spec[2:], spec.out_spec[2:]
    out = dot_general(
        w, patches, (((spec.rhs_spec[1],), (spec.out_spec[1],)), (spatial, places)), precision
    )  # axes: spatial, out features, batch
    rank = len(spatial)
    order = [0] * x.ndim
    order[spec.out_spec[0]], order[spec.out_spec[1]] = rank + 1, rank
    for k, axis in enumerate(places):
        order[axis] = k
    return shaping.transpose(out, order)


# ---- shapes --------------------------------------------------------------------------------------


def _result_shape(lhs_shape: Any, rhs_shape: Any, **params: Any) -> tuple[int, ...]:
    f32 = DTYPES["f32"]
    full = {
        "feature_group_count": 1,
        "batch_group_count": 1,
        "preferred_element_type": None,
        **params,
    }
    types = TensorType(f32, tuple(lhs_shape)), TensorType(f32, tuple(rhs_shape))
    return conv_ops.conv_general_dilated.infer(*types, **full).shape  # type: ignore[no-any-return]


def conv_shape_tuple(
    lhs_shape: Any, rhs_shape: Any, strides: Any, pads: Any, batch_group_count: int = 1
) -> tuple[int, ...]:
    """The shape that ``conv`` gives."""
    params = conv_parameters(lhs_shape, rhs_shape, strides, pads, None, None, None)
    return _result_shape(lhs_shape, rhs_shape, **params, batch_group_count=batch_group_count)


def conv_general_shape_tuple(
    lhs_shape: Any, rhs_shape: Any, window_strides: Any, padding: Any, dimension_numbers: Any
) -> tuple[int, ...]:
    """The shape that ``conv_general_dilated`` gives."""
    params = conv_parameters(
        lhs_shape, rhs_shape, window_strides, padding, None, None, dimension_numbers
    )
    return _result_shape(lhs_shape, rhs_shape, **params)


def conv_transpose_shape_tuple(
    lhs_shape: Any, rhs_shape: Any, window_strides: Any, padding: Any, dimension_numbers: Any
) -> tuple[int, ...]:
    """The shape that ``conv_transpose`` gives."""
    spec = conv_dimension_numbers(lhs_shape, rhs_shape, dimension_numbers)
    if isinstance(padding, str):
        kernel = [rhs_shape[a] for a in spec.rhs_spec[2:]]
        padding = [
            transpose_pads(k, s, padding) for k, s in zip(kernel, window_strides, strict=True)
        ]
    ones = (1,) * len(spec.rhs_spec[2:])
    params = conv_parameters(lhs_shape, rhs_shape, ones, padding, window_strides, None, spec)
    return _result_shape(lhs_shape, rhs_shape, **params)
