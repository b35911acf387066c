"""Matrix products and sums of products over chosen axes, on ``dot_general``.

>>> matmul(jnp.ones((2, 3)), jnp.ones((3,)))
Array([3., 3.], dtype=float32)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tracejit import hints
from tracejit.errors import ShapeError
from tracejit.frontend import array as core
from tracejit.frontend import elementwise, promotion, reductions, shaping
from tracejit.frontend.axes import axes_list, axis_number
from tracejit.frontend.promotion import canonical, operand_notes, promoted, reshaped
from tracejit.ops import dot as contraction
from tracejit.source import here

Axes = tuple[int, ...]


def dot_general(
    a: Any,
    b: Any,
    contract: tuple[Axes, Axes],
    batch: tuple[Axes, Axes] = ((), ()),
    preferred: Any = None,
) -> Any:
    """``a`` and ``b`` of one dtype: batch axes, free axes of a, free axes of b."""
    numbers = (
        (tuple(contract[0]), tuple(contract[1])),
        (tuple(batch[0]), tuple(batch[1])),
    )
    element = None if preferred is None else canonical(preferred)
    return core.apply(
        contraction.dot_general, a, b, dimension_numbers=numbers, preferred_element_type=element
    )


def _mismatch(name: str, a: Any, b: Any, m: int, n: int) -> ShapeError:
    return ShapeError(
        f"{name}: contracted sizes differ: {m} and {n}",
        at=here(),
        notes=operand_notes((a, b)),
        hint=hints.contraction(a.shape, b.shape),
    )


def dot(a: Any, b: Any, *, precision: Any = None, preferred_element_type: Any = None) -> Any:
    """The last axis of ``a`` times the second-last of ``b`` (the only one of a vector); products
    with scalars.

    >>> jnp.dot(jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0]))
    Array(11., dtype=float32)
    """
    a, b = promoted("dot", a, b)
    if a.ndim == 0 or b.ndim == 0:
        return elementwise.multiply(a, b)
    axis = max(b.ndim - 2, 0)
    if a.shape[-1] != b.shape[axis]:
        raise _mismatch("dot", a, b, a.shape[-1], b.shape[axis])
    return dot_general(a, b, ((a.ndim - 1,), (axis,)), preferred=preferred_element_type)


def matmul(a: Any, b: Any, *, precision: Any = None, preferred_element_type: Any = None) -> Any:
    """The matrix product; leading axes are a stack of matrices and broadcast; a vector is a row or
    a column.

    Raises ShapeError where the contracted sizes differ, and for scalars.

    >>> jnp.matmul(jnp.ones((5, 2, 3)), jnp.ones((3, 4))).shape
    (5, 2, 4)
    """
    a, b = promoted("matmul", a, b)
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError(
            "matmul: a scalar is no matrix", at=here(), notes=operand_notes((a, b)), hint="use *"
        )
    axis = max(b.ndim - 2, 0)
    if a.shape[-1] != b.shape[axis]:
        raise _mismatch("matmul", a, b, a.shape[-1], b.shape[axis])
    if a.ndim <= 2 and b.ndim <= 2 or b.ndim <= 2:
        return dot_general(a, b, ((a.ndim - 1,), (axis,)), preferred=preferred_element_type)
    if a.ndim == 1:
        found = dot_general(a, b, ((0,), (axis,)), preferred=preferred_element_type)
        return found
    return _stacked(a, b, preferred_element_type)


def _stacked(a: Any, b: Any, preferred: Any) -> Any:
    """Stacks of matrices: axes present in both with the same size are batch axes, the others stay
    free.
    """
    rank = max(a.ndim, b.ndim)
    lead_a, lead_b = (1,) * (rank - a.ndim) + a.shape[:-2], (1,) * (rank - b.ndim) + b.shape[:-2]
    if any(m != n and 1 not in (m, n) for m, n in zip(lead_a, lead_b, strict=True)):
        raise ShapeError(
            f"matmul: stacks do not broadcast: {a.shape[:-2]} and {b.shape[:-2]}",
            at=here(),
            notes=operand_notes((a, b)),
        )
    both = [k for k, (m, n) in enumerate(zip(lead_a, lead_b, strict=True)) if m == n != 1]
    only_a = [k for k, n in enumerate(lead_b) if n == 1 and lead_a[k] != 1]
    only_b = [k for k, m in enumerate(lead_a) if m == 1 and lead_b[k] != 1]
    thin_a = reshaped(a, (*(lead_a[k] for k in sorted(both + only_a)), *a.shape[-2:]))
    thin_b = reshaped(b, (*(lead_b[k] for k in sorted(both + only_b)), *b.shape[-2:]))
    order_a, order_b = sorted(both + only_a), sorted(both + only_b)
    batch = (tuple(order_a.index(k) for k in both), tuple(order_b.index(k) for k in both))
    found = dot_general(thin_a, thin_b, ((thin_a.ndim - 1,), (thin_b.ndim - 2,)), batch, preferred)
    # now: both, only_a, rows, only_b, columns
    labels: list[Any] = [*both, *only_a, "rows", *only_b, "columns"]
    wanted: list[Any] = [*sorted(both + only_a + only_b), "rows", "columns"]
    found = shaping.transpose(found, [labels.index(k) for k in wanted])
    lead = tuple(max(m, n) if 0 not in (m, n) else 0 for m, n in zip(lead_a, lead_b, strict=True))
    return reshaped(found, (*lead, *found.shape[-2:]))


def tensordot(
    a: Any, b: Any, axes: Any = 2, *, precision: Any = None, preferred_element_type: Any = None
) -> Any:
    """Sums of products over ``axes``: a count of last and first axes, or a pair of axes (or lists
    of them).

    >>> jnp.tensordot(jnp.ones((2, 3, 4)), jnp.ones((4, 3)), axes=([1, 2], [1, 0])).shape
    (2,)
    """
    a, b = promoted("tensordot", a, b)
    if isinstance(axes, Sequence):
        left, right = axes
        left = axes_list("tensordot", left, a.ndim)
        right = axes_list("tensordot", right, b.ndim)
    else:
        if axes > min(a.ndim, b.ndim):
            raise ShapeError(
                f"tensordot: {axes} axes, but operands {a.type} and {b.type}", at=here()
            )
        left, right = tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes))
    if len(left) != len(right):
        raise ShapeError(
            f"tensordot: {len(left)} axes on the left, {len(right)} on the right", at=here()
        )
    for i, j in zip(left, right, strict=True):
        if a.shape[i] != b.shape[j]:
            raise _mismatch("tensordot", a, b, a.shape[i], b.shape[j])
    return dot_general(a, b, (left, right), preferred=preferred_element_type)


def vdot(a: Any, b: Any, *, precision: Any = None, preferred_element_type: Any = None) -> Any:
    """The sum of products of all elements, the first operand conjugated."""
    a, b = shaping.ravel(elementwise.conjugate(a)), shaping.ravel(b)
    return dot(a, b, preferred_element_type=preferred_element_type)


def vecdot(
    x1: Any,
    x2: Any,
    /,
    *,
    axis: int = -1,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Any:
    """Products of vectors along ``axis``, the first operand conjugated; the other axes
    broadcast.
    """
    a, b = promoted("vecdot", x1, x2)
    a = shaping.moveaxis(elementwise.conjugate(a), axis, -1)
    b = shaping.moveaxis(b, axis, -1)
    if a.shape[-1] != b.shape[-1]:
        raise _mismatch("vecdot", a, b, a.shape[-1], b.shape[-1])
    found = matmul(
        reshaped(a, (*a.shape[:-1], 1, a.shape[-1])),
        reshaped(b, (*b.shape, 1)),
        preferred_element_type=preferred_element_type,
    )
    return reshaped(found, found.shape[:-2])


def inner(a: Any, b: Any, *, precision: Any = None, preferred_element_type: Any = None) -> Any:
    """Sums of products over the last axes of both."""
    a, b = promoted("inner", a, b)
    if a.ndim == 0 or b.ndim == 0:
        return elementwise.multiply(a, b)
    if a.shape[-1] != b.shape[-1]:
        raise _mismatch("inner", a, b, a.shape[-1], b.shape[-1])
    return dot_general(a, b, ((a.ndim - 1,), (b.ndim - 1,)), preferred=preferred_element_type)


def outer(a: Any, b: Any, out: None = None) -> Any:
    """All products of an element of ``a`` with one of ``b``, both flattened: ``(a.size, b.size)``.

    >>> jnp.outer(jnp.array([1, 2]), jnp.array([3, 4]))
    Array([[3, 4],
           [6, 8]])
    """
    a, b = shaping.ravel(a), shaping.ravel(b)
    return elementwise.multiply(reshaped(a, (a.size, 1)), reshaped(b, (1, b.size)))


def matvec(x1: Any, x2: Any, /) -> Any:
    """Matrices times vectors; leading axes broadcast."""
    x2 = core.as_array(x2)
    found = matmul(x1, reshaped(x2, (*x2.shape, 1)))
    return reshaped(found, found.shape[:-1])


def vecmat(x1: Any, x2: Any, /) -> Any:
    """Vectors (conjugated) times matrices; leading axes broadcast."""
    x1 = elementwise.conjugate(x1)
    found = matmul(reshaped(x1, (*x1.shape[:-1], 1, x1.shape[-1])), x2)
    return reshaped(found, (*found.shape[:-2], found.shape[-1]))


def trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: None = None
) -> Any:
    """The sum along a diagonal."""
    return reductions.sum(shaping.diagonal(a, offset, axis1, axis2), -1, dtype)


def kron(a: Any, b: Any) -> Any:
    """The Kronecker product: ``b`` times every element of ``a``, laid out in blocks.

    >>> jnp.kron(jnp.array([1, 10]), jnp.array([1, 2]))
    Array([ 1,  2, 10, 20])
    """
    a, b = promoted("kron", a, b)
    rank = max(a.ndim, b.ndim)
    sizes_a, sizes_b = (1,) * (rank - a.ndim) + a.shape, (1,) * (rank - b.ndim) + b.shape
    wide_a = reshaped(a, tuple(m for n in sizes_a for m in (n, 1)))
    wide_b = reshaped(b, tuple(m for n in sizes_b for m in (1, n)))
    found = elementwise.multiply(wide_a, wide_b)
    return reshaped(found, tuple(m * n for m, n in zip(sizes_a, sizes_b, strict=True)))


def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Any:
    """The cross product of vectors of 3 (or 2) components.

    >>> jnp.cross(jnp.array([1.0, 0.0, 0.0]), jnp.array([0.0, 1.0, 0.0]))
    Array([0., 0., 1.], dtype=float32)
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = promoted("cross", a, b)
    a = shaping.moveaxis(a, axis_number("cross", axisa, a.ndim), -1)
    b = shaping.moveaxis(b, axis_number("cross", axisb, b.ndim), -1)
    if a.shape[-1] not in (2, 3) or b.shape[-1] not in (2, 3):
        raise ShapeError(
            f"cross: vectors have 2 or 3 components, not {a.type} and {b.type}", at=here()
        )

    def part(x: Any, k: int) -> Any:
        if k >= x.shape[-1]:
            return promotion.filled(0, x.type.with_shape(x.shape[:-1]))
        return reshaped(shaping.cut(x, x.ndim - 1, k, k + 1), x.shape[:-1])

    def component(i: int, j: int) -> Any:
        return elementwise.subtract(
            elementwise.multiply(part(a, i), part(b, j)),
            elementwise.multiply(part(a, j), part(b, i)),
        )

    if a.shape[-1] == b.shape[-1] == 2:
        return component(0, 1)
    found = shaping.stack([component(1, 2), component(2, 0), component(0, 1)], -1)
    return shaping.moveaxis(found, -1, axisc)


def multi_dot(arrays: Sequence[Any], *, precision: Any = None) -> Any:
    """The product of several matrices in the order that takes the fewest multiplications."""
    xs = promoted("multi_dot", *arrays)
    if len(xs) == 1:
        return xs[0]
    sizes = [
        math.prod(xs[0].shape[:1]) if xs[0].ndim == 2 else 1,
        *(x.shape[-1] if x.ndim == 2 else 1 for x in xs),
    ]
    for k, x in enumerate(xs[1:], 1):
        sizes[k] = x.shape[0]
    count = len(xs)
    cost: dict[tuple[int, int], tuple[int, int]] = {(k, k): (0, k) for k in range(count)}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            options = (
                (cost[i, k][0] + cost[k + 1, j][0] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            )
            cost[i, j] = min(options)

    def product(i: int, j: int) -> Any:
        if i == j:
            return xs[i]
        k = cost[i, j][1]
        return dot(product(i, k), product(k + 1, j))

    return product(0, count - 1)
