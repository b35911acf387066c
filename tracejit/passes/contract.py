"""Contractions brought to the forms that BLAS and the generated kernels compute.

Comes in: any graph. Goes out: an equal one in which every ``dot_general`` has operands that are
matrices as they lie in memory (``ops/dot.py: as_matmul`` finds both views) and of the dtype of
the result, and every ``conv_general_dilated`` has no dilated left operand, and padding only where
its kernel leaves it out (``conv_plan.py: takes_padding``):

    conv_general_dilated(x, w, padding=((1, 1), (1, 1)))  ->  conv_general_dilated(pad(x, 0), w)

The last pass before fusion: the ``pad``, ``transpose`` and ``convert`` nodes it writes
become part of the kernels that compute the operands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tracejit.ir.build import current, full_like
from tracejit.ir.graph import Atom, ConstArray, Graph, Literal, Node, Value
from tracejit.ir.prim import Primitive
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.ops import layout
from tracejit.ops.arith import mul
from tracejit.ops.broadcast import broadcast_in_dim, reduce_sum
from tracejit.ops.conv import conv_general_dilated, dilated
from tracejit.ops.dot import accumulator, as_matmul, dot_general, free_axes, narrowed, permuted
from tracejit.ops.fill import full
from tracejit.passes.conv_plan import (
    Geometry,
    geometry,
    packed_spec,
    takes_padding,
    wants_packed,
)
from tracejit.passes.merge import merge_equal
from tracejit.passes.subgraphs import replaced
from tracejit.passes.upsampling import is_upsampling, upsampled

#: products of a matrix and a vector up to so many multiplications are fused maps and sums
SMALL = 32**3
#: from so many multiplications on, 16-bit floats are converted for BLAS
WIDENED = 64**3


def canonicalise(graph: Graph) -> Graph:
    """``graph`` with its contractions, those of inner graphs too, in forms that can be computed."""
    found = replaced(graph, canonicalise, _canonical)
    # an image that a convolution and its gradient read is padded once
    return graph if found is graph else merge_equal(found)


def _canonical(node: Node, inputs: tuple[Atom, ...], env: Mapping[Value, Atom]) -> Any:
    """What computes a contraction; None for one that has its form, and for other nodes."""
    if node.prim not in (dot_general, conv_general_dilated):
        return None
    nodes = current().nodes
    rule, before = _dot if node.prim is dot_general else _conv, len(nodes)
    found = rule(inputs, node.outputs[0].type, dict(node.params))
    if _same(nodes[before:], node.prim, inputs, node.params):
        del nodes[before:]
        return None
    return found


def _same(
    nodes: list[Node], prim: Primitive, inputs: tuple[Atom, ...], params: Mapping[str, Any]
) -> bool:
    """Whether a rule wrote just the node that was there."""
    if len(nodes) != 1:
        return False
    new = nodes[0]
    return new.prim is prim and new.inputs == inputs and dict(new.params) == dict(params)


def _stored(x: Atom) -> Atom:
    """An operand that has a buffer: contractions read memory."""
    if isinstance(x, Literal):
        return full(value=ConstArray(np.asarray(x.value)), shape=x.type.shape)  # type: ignore[no-any-return]
    return x


# ---- dot_general ---------------------------------------------------------------------------------


def _dot(xs: tuple[Any, ...], out: TensorType, params: dict[str, Any]) -> Any:
    """What computes a contraction."""
    lhs, rhs = xs
    numbers = params["dimension_numbers"]
    plan = as_matmul(lhs.type, rhs.type, numbers)
    if out.size == 0 or plan.k == 0:
        return full_like(out, 0)
    work = plan.b * plan.m * plan.n * plan.k
    dtype = out.dtype
    if kind(dtype) == "f" and dtype.itemsize == 2 and work > WIDENED:
        dtype = DTYPES["f32"]
    pair = tuple(narrowed(_stored(x), dtype) for x in xs)
    exact = kind(dtype) in "iuc" or dtype.itemsize > 2
    if kind(dtype) != "b" and exact and plan.k == 1 and work <= SMALL:
        return narrowed(_outer(pair, out.with_dtype(dtype), numbers), out.dtype)
    if kind(dtype) in "fiu" and exact and work <= SMALL and (summed := _summed(pair, numbers)):
        return narrowed(summed, out.dtype)
    pair, numbers = _with_views(pair, numbers)
    found = dot_general(*pair, dimension_numbers=numbers, preferred_element_type=None)
    return narrowed(found, out.dtype)


def _with_views(pair: tuple[Any, ...], numbers: Any) -> tuple[tuple[Any, ...], Any]:
    """Operands that BLAS can read, copied in the order of a matrix where they are not."""
    (left, right), (left_batch, right_batch) = numbers
    plan = as_matmul(pair[0].type, pair[1].type, numbers)
    count, batch = len(left), tuple(range(len(left_batch)))
    lhs, rhs = pair
    if plan.lhs_view is None or plan.rhs_view is None:
        # the order of contracted axes that the plan chose
        left = plan.lhs_axes[len(plan.lhs_axes) - count :]
        right = plan.rhs_axes[len(batch) : len(batch) + count]
    if plan.lhs_view is None:
        lhs = permuted(lhs, plan.lhs_axes)
        left, left_batch = tuple(range(lhs.type.ndim - count, lhs.type.ndim)), batch
    if plan.rhs_view is None:
        rhs = permuted(rhs, plan.rhs_axes)
        right, right_batch = tuple(range(len(batch), len(batch) + count)), batch
    return (lhs, rhs), ((left, right), (left_batch, right_batch))


def _outer(pair: tuple[Any, ...], out: TensorType, numbers: Any) -> Any:
    """A contraction over one element, as a product of broadcasts."""
    (left, right), (left_batch, right_batch) = numbers
    lhs, rhs = pair
    lhs_free = free_axes(lhs.type.ndim, left, left_batch)
    rhs_free = free_axes(rhs.type.ndim, right, right_batch)
    batch = len(left_batch)
    first = tuple(range(batch + len(lhs_free)))
    second = (*range(batch), *range(len(first), len(first) + len(rhs_free)))
    sides = (
        (lhs, (*left_batch, *lhs_free), first),
        (rhs, (*right_batch, *rhs_free), second),
    )
    factors = []
    for x, axes, places in sides:
        x = permuted(x, (*axes, *(a for a in range(x.type.ndim) if a not in axes)))
        if len(axes) < x.type.ndim:
            x = layout.reshape(x, new_sizes=x.type.shape[: len(axes)])
        factors.append(_spread(x, out.shape, places))
    return mul(*factors)


def _spread(x: Any, shape: tuple[int, ...], places: tuple[int, ...]) -> Any:
    """``x`` with its axes at ``places`` of ``shape``."""
    if x.type.shape == shape:
        return x
    return broadcast_in_dim(x, shape=shape, dims=places)


def _summed(pair: tuple[Any, ...], numbers: Any) -> Any:
    """Matrices times vectors as products and sums along rows; None for other contractions."""
    (contract, batch) = numbers
    for matrix, vector in ((0, 1), (1, 0)):
        x, y = pair[matrix], pair[vector]
        if free_axes(y.type.ndim, contract[vector], batch[vector]):
            continue
        rows = free_axes(x.type.ndim, contract[matrix], batch[matrix])
        if (*batch[matrix], *rows, *contract[matrix]) != tuple(range(x.type.ndim)):
            continue
        y = permuted(y, (*batch[vector], *contract[vector]))
        first = len(batch[0])
        places = (*range(first), *range(first + len(rows), x.type.ndim))
        return reduce_sum(mul(x, _spread(y, x.type.shape, places)), axes=contract[matrix])
    return None


# ---- convolution ---------------------------------------------------------------------------------


def _conv(xs: tuple[Any, ...], out: TensorType, params: dict[str, Any]) -> Any:
    """What computes a convolution."""
    if 0 in (out.size, xs[0].type.size, xs[1].type.size):
        return full_like(out, 0)
    dtype = accumulator(out.dtype)
    lhs, rhs = (narrowed(_stored(x), dtype) for x in xs)
    params = {**params, "preferred_element_type": None}
    if is_upsampling(params):
        return narrowed(upsampled(lhs, rhs, params, _padded_conv), out.dtype)
    return narrowed(_padded_conv(lhs, rhs, params), out.dtype)


def _padded_conv(lhs: Any, rhs: Any, params: dict[str, Any]) -> Any:
    """A convolution of operands of one dtype: as a product, or with its padding in another node
    where its kernel takes none.
    """
    if any(pair != (0, 0) for pair in params["padding"]) and max(params["lhs_dilation"]) == 1:
        g = geometry(lhs.type, rhs.type, params)
        if takes_padding(g):
            return _packed_conv(lhs, rhs, params, g)
    lhs, params = _sampled(*_padded(lhs, params, rhs.type), rhs.type)
    out = conv_general_dilated.infer(lhs.type, rhs.type, **params)
    g = geometry(lhs.type, rhs.type, params)
    found = _as_product(lhs, rhs, out, g)
    if found is not None:
        return found
    return _packed_conv(lhs, rhs, params, g)


def _packed_conv(lhs: Any, rhs: Any, params: dict[str, Any], g: Geometry) -> Any:
    """A convolution, its right operand copied to the order in which the kernel reads it."""
    if wants_packed(g):
        spec = packed_spec(g)
        rhs = permuted(rhs, tuple(g.rhs_spec[spec.index(axis)] for axis in range(rhs.type.ndim)))
        params = {**params, "dimension_numbers": (g.lhs_spec, spec, g.out_spec)}
    return conv_general_dilated(lhs, rhs, **params)


def _padded(x: Any, params: dict[str, Any], rhs: TensorType) -> tuple[Any, dict[str, Any]]:
    """The left operand padded, its gaps filled with zeros, and params without padding."""
    config = [(0, 0, 0)] * x.type.ndim
    spec, kernel, _ = params["dimension_numbers"]
    places = range(len(spec[2:]))
    for place in places:
        axis, (low, high) = spec[2 + place], params["padding"][place]
        gap = params["lhs_dilation"][place] - 1 if x.type.shape[axis] > 1 else 0
        config[axis] = (low, high, gap)
    none = {"padding": ((0, 0),) * len(places), "lhs_dilation": (1,) * len(places)}
    if all(entry == (0, 0, 0) for entry in config):
        return x, {**params, **none}
    for place in places:
        # no more than the strides reach, as in the gradients: one padded image may serve all
        axis = spec[2 + place]
        low, high, gap = config[axis]
        reach = dilated(rhs.shape[kernel[2 + place]], params["rhs_dilation"][place])
        room = dilated(x.type.shape[axis], gap + 1) + low + high - reach
        config[axis] = (low, high - room % params["window_strides"][place], gap)
    padded = layout.pad(x, layout.scalar(0, x.type.dtype), config=tuple(config))
    return padded, {**params, **none}


def _sampled(x: Any, params: dict[str, Any], rhs: TensorType) -> tuple[Any, dict[str, Any]]:
    """Without the elements of the left operand that are stepped over, where a slice says that."""
    spec, kernel, _ = params["dimension_numbers"]
    limit, steps = list(x.type.shape), [1] * x.type.ndim
    strides, dilation = list(params["window_strides"]), list(params["rhs_dilation"])
    for place, axis in enumerate(spec[2:]):
        taps = rhs.shape[kernel[2 + place]]
        reach = dilated(taps, dilation[place])
        if taps == 1:
            steps[axis] = strides[place]
        elif limit[axis] - reach < strides[place]:
            # one result: the kernel's elements and no others
            limit[axis], steps[axis] = reach, dilation[place]
        else:
            continue
        strides[place] = dilation[place] = 1
    if tuple(limit) != x.type.shape or max(steps) > 1:
        zeros = (0,) * x.type.ndim
        x = layout.slice_(x, start=zeros, limit=tuple(limit), strides=tuple(steps))
    return x, {**params, "window_strides": tuple(strides), "rhs_dilation": tuple(dilation)}


def _as_product(lhs: Any, rhs: Any, out: TensorType, g: Geometry) -> Any:
    """A convolution that is a matrix product of operands as they lie, or None.

    Every spatial axis is either walked by a kernel of one pixel, or covered whole by the kernel.
    """
    if g.groups > 1:
        return None
    left, right, kept = [g.lhs_spec[1]], [g.rhs_spec[1]], [g.lhs_spec[0]]
    for axis in range(g.rank):
        at = axis + 3 - g.rank
        if g.kernel[at] == 1:
            kept.append(g.lhs_spec[2 + axis])
        elif g.kernel[at] == g.spatial[at] and g.dilation[at] == 1:
            left.append(g.lhs_spec[2 + axis])
            right.append(g.rhs_spec[2 + axis])
        else:
            return None
    # a kernel of one pixel has axes of extent 1 that the product does not see
    ones = [axis for axis in g.rhs_spec[2:] if axis not in right]
    order = sorted(kept)
    roles = {axis: g.out_spec[g.lhs_spec.index(axis)] for axis in kept if axis != g.lhs_spec[0]}
    roles[g.lhs_spec[0]] = g.out_spec[0]
    rows = [roles[axis] for axis in order]
    swapped = _in_order([g.out_spec[1], *rows], out)
    if not swapped and not _in_order([*rows, g.out_spec[1]], out):
        return None
    short = [axis for axis in range(rhs.type.ndim) if axis not in ones]
    right_type = rhs.type.with_shape(tuple(rhs.type.shape[axis] for axis in short))
    pairs = [(a, short.index(b)) for a, b in zip(left, right, strict=True)]
    numbers = _readable(lhs.type, right_type, pairs, out)
    if numbers is None:
        return None
    if ones:
        rhs = layout.reshape(rhs, new_sizes=right_type.shape)
    return _multiplied((lhs, rhs), numbers, out, swapped=swapped)


def _readable(
    lhs: TensorType, rhs: TensorType, pairs: list[tuple[int, int]], out: TensorType
) -> Any:
    """Dimension numbers of a product that reads both operands as they lie, or None.

    The first pair (images, in a gradient) may become a batch axis whose products are added up.
    """
    choices: list[Any] = [((*zip(*pairs, strict=True),), ((), ()))]
    if len(pairs) > 1 and lhs.shape[pairs[0][0]] * out.size <= lhs.size + rhs.size:
        first = ((pairs[0][0],), (pairs[0][1],))
        choices.append(((*zip(*pairs[1:], strict=True),), first))
    for numbers in choices:
        plan = as_matmul(lhs, rhs, numbers)
        if plan.lhs_view is not None and plan.rhs_view is not None:
            return numbers
    return None


def _multiplied(pair: tuple[Any, Any], numbers: Any, out: TensorType, *, swapped: bool) -> Any:
    """The product of ``pair``, its batch axis summed up, in the shape of ``out``."""
    if swapped:
        pair, numbers = pair[::-1], tuple(sides[::-1] for sides in numbers)
    params = {"dimension_numbers": numbers, "preferred_element_type": None}
    wanted = dot_general.infer(*(x.type for x in pair), **params).with_dtype(out.dtype)
    found = _dot(pair, wanted, params)
    if numbers[1][0]:
        found = reduce_sum(found, axes=(0,))
    return found if found.type == out else layout.reshape(found, new_sizes=out.shape)


def _in_order(axes: list[int], out: TensorType) -> bool:
    """Whether axes of the result appear in their order, those of extent 1 left aside."""
    long = [axis for axis in axes if out.shape[axis] != 1]
    return long == sorted(long)
