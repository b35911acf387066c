"""Rules for operations that move elements: they compose, and on Literals they are Literals.

transpose(transpose(x, permutation=p), permutation=q)  ->  one transpose
broadcast_in_dim(broadcast_in_dim(x, ...), ...)        ->  one broadcast
transpose that moves axes of extent 1 only             ->  reshape, which is free
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.ir.build import full_like
from tracejit.ir.graph import Atom, Literal, literal
from tracejit.ir.types import TensorType
from tracejit.ops.broadcast import broadcast_in_dim
from tracejit.ops.layout import iota, reshape, rev, transpose
from tracejit.passes.rule import Const, Hole, P, Rule, case

x, n, p, q = Hole("x"), Const("n"), Hole("p"), Hole("q")
shape, dims = Hole("shape"), Hole("dims")
dtype, inner, axis = Hole("dtype"), Hole("inner"), Hole("axis")
Axes = tuple[int, ...]


def repeated(n: Literal, shape: Axes) -> Literal:
    """The same scalar under another shape."""
    return Literal(n.value, n.type.with_shape(shape))


# ---- transpose, reshape, rev ---------------------------------------------------------------------


def moves_only_ones(x: Atom, p: Axes) -> bool:
    """Whether the axes with more than one element keep their order."""
    long = [axis for axis in p if x.type.shape[axis] != 1]
    return long == sorted(long)


def differs_by_ones(x: Atom, shape: Axes) -> bool:
    """Whether ``shape`` is that of ``x`` but for axes of extent 1."""
    return [n for n in x.type.shape if n != 1] == [n for n in shape if n != 1] != []


def transpose_long(x: Any, shape: Axes, p: Axes) -> Any:
    """The axes of ``x`` with more than one element in the order that ``p`` brings those of
    ``shape`` to.
    """
    own = [axis for axis, n in enumerate(x.type.shape) if n != 1]
    theirs = [axis for axis, n in enumerate(shape) if n != 1]
    long = [own[theirs.index(axis)] for axis in p if shape[axis] != 1]
    ones = [axis for axis in range(x.type.ndim) if axis not in own]
    turned = transpose(x, permutation=(*ones, *long))
    return reshape(turned, new_sizes=tuple(shape[axis] for axis in p))


def rev_less(x: Any, dims: Axes) -> Any:
    """Axes of extent 1 need no reversing."""
    kept = tuple(d for d in dims if x.type.shape[d] > 1)
    if kept and len(kept) == len(dims):
        return None
    return rev(x, dimensions=kept) if kept else x


REORDERING = (
    Rule(
        "transpose_literal",
        find=P(transpose, n, permutation=p),
        put=lambda n, p: repeated(n, tuple(n.type.shape[k] for k in p)),
        cases=(case("f32[2,3]", lambda x: transpose(full_like(x, 2), permutation=(1, 0))),),
    ),
    Rule(
        "transpose_nothing",
        find=P(transpose, x, permutation=p),
        put=x,
        when=lambda x, p: p == tuple(range(len(p))),
        cases=(
            case("f32[2,3]", lambda x: transpose(x, permutation=(0, 1))),
            case("f32[]", lambda x: transpose(x, permutation=())),
        ),
    ),
    Rule(
        "transpose_of_ones",  # below the reshape: there it may meet another transpose
        find=P(transpose, P(reshape, x, new_sizes=shape), permutation=p),
        put=transpose_long,
        when=lambda x, shape, p: differs_by_ones(x, shape) and shape != x.type.shape,
        cases=(
            case(
                "f32[2,1,3,4]",
                lambda x: transpose(
                    reshape(x, new_sizes=(2, 1, 3, 1, 4)), permutation=(2, 3, 0, 1, 4)
                ),
            ),
            case(
                "f32[2,1,3]",
                lambda x: transpose(reshape(x, new_sizes=(2, 3)), permutation=(1, 0)),
            ),
        ),
    ),
    Rule(
        "transpose_transpose",
        find=P(transpose, P(transpose, x, permutation=p), permutation=q),
        put=lambda x, p, q: transpose(x, permutation=tuple(p[k] for k in q)),
        cases=(
            case(
                "f32[2,3,4]",
                lambda x: transpose(transpose(x, permutation=(2, 0, 1)), permutation=(1, 0, 2)),
            ),
            case(
                "f32[2,3]",
                lambda x: transpose(transpose(x, permutation=(1, 0)), permutation=(1, 0)),
            ),
        ),
    ),
    Rule(
        "transpose_to_reshape",
        find=P(transpose, x, permutation=p),
        put=lambda x, p: reshape(x, new_sizes=tuple(x.type.shape[k] for k in p)),
        when=moves_only_ones,
        cases=(
            case("f32[2,1,3]", lambda x: transpose(x, permutation=(1, 0, 2))),
            case("f32[4,1]", lambda x: transpose(x, permutation=(1, 0))),
        ),
    ),
    Rule(
        "transpose_iota",
        find=P(transpose, P(iota, dtype=dtype, shape=shape, dimension=axis), permutation=p),
        put=lambda dtype, shape, axis, p: iota(
            dtype=dtype, shape=tuple(shape[k] for k in p), dimension=p.index(axis)
        ),
        cases=(
            case(
                lambda: transpose(
                    iota(dtype=np.dtype("int32"), shape=(2, 3, 4), dimension=1),
                    permutation=(1, 2, 0),
                )
            ),
        ),
    ),
    Rule(
        "reshape_literal",
        find=P(reshape, n, new_sizes=shape),
        put=repeated,
        cases=(case("f32[2,3]", lambda x: reshape(full_like(x, 2), new_sizes=(6,))),),
    ),
    Rule(
        "reshape_nothing",
        find=P(reshape, x, new_sizes=shape),
        put=x,
        when=lambda x, shape: x.type.shape == tuple(shape),
        cases=(case("f32[2,3]", lambda x: reshape(x, new_sizes=(2, 3))),),
    ),
    Rule(
        "reshape_reshape",
        find=P(reshape, P(reshape, x), new_sizes=shape),
        put=P(reshape, x, new_sizes=shape),
        cases=(
            case("f32[2,3]", lambda x: reshape(reshape(x, new_sizes=(6,)), new_sizes=(3, 2))),
            case("f32[0,3]", lambda x: reshape(reshape(x, new_sizes=(0,)), new_sizes=(3, 0, 5))),
        ),
    ),
    Rule(
        "rev_literal",
        find=P(rev, n),
        put=n,
        cases=(case("f32[4]", lambda x: rev(full_like(x, 3), dimensions=(0,))),),
    ),
    Rule(
        "rev_nothing",
        find=P(rev, x, dimensions=dims),
        put=rev_less,
        cases=(
            case("f32[1,3]", lambda x: rev(x, dimensions=(0,))),
            case("f32[1,3]", lambda x: rev(x, dimensions=(0, 1))),
            case("f32[3]", lambda x: rev(x, dimensions=())),
        ),
    ),
    Rule(
        "rev_rev",
        find=P(rev, P(rev, x, dimensions=p), dimensions=q),
        put=lambda x, p, q: rev(x, dimensions=tuple(sorted(set(p) ^ set(q)))),
        cases=(
            case("f32[4]", lambda x: rev(rev(x, dimensions=(0,)), dimensions=(0,))),
            case("f32[4,5,6]", lambda x: rev(rev(x, dimensions=(2, 0)), dimensions=(0, 1))),
        ),
    ),
)


# ---- broadcast -----------------------------------------------------------------------------------


def broadcast_to_reshape(x: Any, shape: Axes, dims: Axes) -> Any:
    """A broadcast that only adds axes of extent 1 is a reshape."""
    return reshape(x, new_sizes=shape) if x.type.size == int(np.prod(shape)) > 0 else None


def broadcast_of_expanded(x: Any, p: Axes, shape: Axes, dims: Axes) -> Any:
    """A broadcast of x with axes of extent 1 put in: straight from x."""
    where: list[int] = []
    k = 0
    for size in x.type.shape:
        while k < len(p) and p[k] != size and p[k] == 1:
            k += 1
        if k == len(p) or p[k] != size:
            return None
        where.append(dims[k])
        k += 1
    if any(size != 1 for size in p[k:]):
        return None
    return broadcast_in_dim(x, shape=shape, dims=tuple(where))


def broadcast_iota(dtype: Any, inner: Axes, axis: int, shape: Axes, dims: Axes) -> Any:
    if inner[axis] != shape[dims[axis]]:
        return None
    return iota(dtype=dtype, shape=shape, dimension=dims[axis])


def zero_iota(dtype: Any, shape: Axes, axis: int) -> Any:
    """Counting to one."""
    return literal(0, TensorType(dtype, shape)) if shape[axis] == 1 else None


BROADCASTS = (
    Rule(
        "broadcast_literal",
        find=P(broadcast_in_dim, n, shape=shape),
        put=repeated,
        cases=(
            case("f32[3]", lambda x: broadcast_in_dim(full_like(x, 2), shape=(2, 3), dims=(1,))),
        ),
    ),
    Rule(
        "broadcast_nothing",
        find=P(broadcast_in_dim, x, shape=shape),
        put=x,
        when=lambda x, shape: x.type.shape == tuple(shape),
        cases=(case("f32[2,3]", lambda x: broadcast_in_dim(x, shape=(2, 3), dims=(0, 1))),),
    ),
    Rule(
        "broadcast_broadcast",
        find=P(broadcast_in_dim, P(broadcast_in_dim, x, dims=p), shape=shape, dims=q),
        put=lambda x, p, q, shape: broadcast_in_dim(x, shape=shape, dims=tuple(q[k] for k in p)),
        cases=(
            case(
                "f32[3,1]",
                lambda x: broadcast_in_dim(
                    broadcast_in_dim(x, shape=(2, 3, 1), dims=(1, 2)),
                    shape=(2, 4, 3, 5),
                    dims=(0, 2, 3),
                ),
            ),
        ),
    ),
    Rule(
        "broadcast_to_reshape",
        find=P(broadcast_in_dim, x, shape=shape, dims=dims),
        put=broadcast_to_reshape,
        cases=(case("f32[3,4]", lambda x: broadcast_in_dim(x, shape=(3, 1, 4), dims=(0, 2))),),
    ),
    Rule(
        "broadcast_of_expanded",
        find=P(broadcast_in_dim, P(reshape, x, new_sizes=p), shape=shape, dims=dims),
        put=broadcast_of_expanded,
        cases=(
            case(
                "f32[3]",
                lambda x: broadcast_in_dim(
                    reshape(x, new_sizes=(1, 3, 1)), shape=(2, 3, 4), dims=(0, 1, 2)
                ),
            ),
            case(
                "f32[1,3]",
                lambda x: broadcast_in_dim(
                    reshape(x, new_sizes=(1, 1, 3)), shape=(4, 1, 3), dims=(0, 1, 2)
                ),
            ),
            case(
                "f32[]",
                lambda x: broadcast_in_dim(reshape(x, new_sizes=(1,)), shape=(4, 2), dims=(1,)),
            ),
        ),
    ),
    Rule(
        "broadcast_iota",
        find=P(
            broadcast_in_dim,
            P(iota, dtype=dtype, shape=inner, dimension=axis),
            shape=shape,
            dims=dims,
        ),
        put=broadcast_iota,
        cases=(
            case(
                lambda: broadcast_in_dim(
                    iota(dtype=np.dtype("int64"), shape=(3,), dimension=0), shape=(2, 3), dims=(1,)
                )
            ),
        ),
    ),
    Rule(
        "iota_of_one",
        find=P(iota, dtype=dtype, shape=shape, dimension=axis),
        put=zero_iota,
        cases=(case(lambda: iota(dtype=np.dtype("int32"), shape=(3, 1), dimension=1)),),
    ),
)

RULES = (*REORDERING, *BROADCASTS)
