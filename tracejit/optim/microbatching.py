"""Functions of large batches run on parts of them, one after the other, in the memory of one part.

>>> from tracejit import optim
>>> def total(x):
...     return jnp.sum(x**2)
>>> small = optim.microbatch(total, argnums=0, microbatch_size=2)
>>> small(jnp.arange(6.0))
Array(55., dtype=float32)

Names and arguments are those of ``optax.microbatching``.
Part k holds the examples k, k + parts, ...
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tracejit.numpy as jnp
from tracejit import errors as _errors
from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend.array import as_array
from tracejit.frontend.derivatives import value_and_grad
from tracejit.frontend.shapes import eval_shape
from tracejit.frontend.vectorize import vmap
from tracejit.ir.types import is_inexact
from tracejit.lax import fori_loop
from tracejit.record import dataclass
from tracejit.source import here
from tracejit.tree_util import tree_leaves, tree_map

__all__ = [
    "AccumulationType",
    "Accumulator",
    "micro_grad",
    "micro_vmap",
    "microbatch",
    "reshape_batch_axis",
]


@dataclass(frozen=True)
class Accumulator:
    """How results of parts become one: ``init(shape of a result)``, ``update(so far, result, k)``,
    ``finalize(so far)``; ``aggregate(results along the first axis)`` does the same at once.
    """

    init: Callable[[Any], Any]
    update: Callable[[Any, Any, Any], Any]
    finalize: Callable[[Any], Any]
    aggregate: Callable[[Any], Any]


class AccumulationType(enum.Enum):
    """What becomes of the results of parts."""

    #: their mean
    MEAN = enum.auto()
    #: their sum
    SUM = enum.auto()
    #: the mean of those there are, where parts are left out
    RUNNING_MEAN = enum.auto()
    #: all of them, along the first axis
    CONCAT = enum.auto()


class IndividualOutputs(NamedTuple):
    """Of each example: the value of the function, measurements of its gradient, and aux."""

    values: Any
    metrics: Any
    aux: Any


def reshape_batch_axis(tree: Any, microbatch_size: int, axis: int = 0) -> Any:
    """The batch axis in two: (parts, microbatch_size)."""

    def one(x: Any) -> Any:
        x = as_array(x)
        parts = x.shape[axis] // microbatch_size
        wide = x.reshape((*x.shape[:axis], microbatch_size, parts, *x.shape[axis + 1 :]))
        return jnp.swapaxes(wide, axis, axis + 1)

    return tree_map(one, tree)


# ---- accumulators --------------------------------------------------------------------------------


def _zeros(x: Any) -> Any:
    return jnp.zeros(x.shape, dtype=x.dtype)


def _floating_zeros(x: Any) -> Any:
    if not is_inexact(x.dtype):
        raise DTypeError(f"microbatch: the mean of results of {x.dtype}", at=here())
    return _zeros(x)


def _running(mean: Any, x: Any, k: Any) -> Any:
    seen = k.astype(mean.dtype) if is_inexact(mean.dtype) else k
    return mean + (x - mean) / (seen + 1)


def _of_kind(how: Any, parts: int) -> Accumulator:
    """An accumulator of single arrays."""
    if isinstance(how, Accumulator):
        return how

    def same(x: Any) -> Any:
        return x

    def joined(x: Any) -> Any:
        return jnp.swapaxes(x, 0, 1).reshape((-1, *x.shape[2:]))

    kinds = {
        AccumulationType.SUM: Accumulator(
            _zeros, lambda s, x, k: s + x, same, lambda x: x.sum(0)
        ),
        AccumulationType.MEAN: Accumulator(
            _floating_zeros, lambda s, x, k: s + x, lambda s: s / parts, lambda x: x.mean(0)
        ),
        AccumulationType.RUNNING_MEAN: Accumulator(
            _floating_zeros, _running, same, lambda x: x.mean(0)
        ),
        AccumulationType.CONCAT: Accumulator(
            lambda x: jnp.zeros((parts, *x.shape), dtype=x.dtype),
            lambda s, x, k: s.at[k].set(x), joined, same,
        ),
    }  # fmt: skip
    if how not in kinds:
        raise ArgumentError(
            f"microbatch: an accumulator is an AccumulationType, not {how!r}", at=here()
        )
    return kinds[how]


def _whole(tree: Any, parts: int) -> Accumulator:
    """An accumulator of trees; ``tree`` is a prefix of them."""

    def on(act: Callable[..., Any]) -> Callable[..., Any]:
        def each(*trees: Any) -> Any:
            def one(how: Any, *xs: Any) -> Any:
                kind = _of_kind(how, parts)
                if isinstance(how, Accumulator):  # one of the user's takes trees
                    return act(kind, *xs)
                return tree_map(lambda *ys: act(kind, *ys), *xs)

            return tree_map(one, tree, *trees, is_leaf=lambda x: isinstance(x, Accumulator))

        return each

    return Accumulator(
        on(lambda a, x: a.init(x)),
        lambda s, x, k: on(lambda a, s, x: a.update(s, x, k))(s, x),
        on(lambda a, s: a.finalize(s)),
        on(lambda a, x: a.aggregate(x)),
    )


# ---- functions -----------------------------------------------------------------------------------


def _several(x: Any, kind: type) -> tuple[Any, ...]:
    return (x,) if isinstance(x, kind) else tuple(x)


def _part_size(batches: Sequence[Any], axes: Sequence[int], size: int) -> int:
    """How many parts there are."""
    found = {
        as_array(x).shape[axis]
        for tree, axis in zip(batches, axes, strict=True)
        for x in tree_leaves(tree)
    }
    if len(found) != 1:
        raise ShapeError(f"microbatch: batch axes have the sizes {sorted(found)}", at=here())
    (count,) = found
    if count % size:
        raise ShapeError(f"microbatch: a batch of {count} in parts of {size}", at=here())
    return int(count // size)


def microbatch(
    fun: Callable[..., Any],
    argnums: int | Sequence[int],
    microbatch_size: int | None,
    accumulator: Any = AccumulationType.SUM,
    *,
    argnames: str | Sequence[str] = (),
    in_axes: int | Sequence[int] = 0,
    num_real_microbatches: Any = None,
) -> Callable[..., Any]:
    """``fun`` with the batch arguments ``argnums`` and ``argnames`` given to it in parts of
    ``microbatch_size``; results are accumulated by ``accumulator``, an AccumulationType, an
    Accumulator or a tree of them. None is no parts.

    ``in_axes``: the batch axes. ``num_real_microbatches``: how many parts count, the first ones. It
    may be traced. Raises ShapeError where the parts do not fit.
    """
    if microbatch_size is None:
        return fun
    numbers, names = _several(argnums, int), _several(argnames, str)
    axes = (in_axes,) * (len(numbers) + len(names)) if isinstance(in_axes, int) else tuple(in_axes)

    def in_parts(*args: Any, **kwargs: Any) -> Any:
        batches = [*(args[k] for k in numbers), *(kwargs[name] for name in names)]
        parts = _part_size(batches, axes, microbatch_size)
        split = [
            reshape_batch_axis(tree, microbatch_size, axis)
            for tree, axis in zip(batches, axes, strict=True)
        ]
        whole = _whole(accumulator, parts)

        def part(k: Any) -> Any:
            own = [
                tree_map(lambda x, a=axis: jnp.take(x, k, axis=a), tree)
                for tree, axis in zip(split, axes, strict=True)
            ]
            given, named = list(args), dict(kwargs)
            for n, value in zip(numbers, own, strict=False):
                given[n] = value
            named.update(zip(names, own[len(numbers) :], strict=True))
            return fun(*given, **named)

        first = whole.init(eval_shape(part, 0))
        bound = parts if num_real_microbatches is None else num_real_microbatches
        return whole.finalize(fori_loop(0, bound, lambda k, s: whole.update(s, part(k), k), first))

    return in_parts


def micro_vmap(
    fun: Callable[..., Any],
    in_axes: Any = 0,
    out_axes: int = 0,
    *,
    microbatch_size: int | None = None,
    vmap_fn: Callable[..., Any] = vmap,
    accumulator: Any = AccumulationType.CONCAT,
    num_real_microbatches: Any = None,
) -> Callable[..., Any]:
    """``vmap(fun)`` in parts of ``microbatch_size`` examples, with results accumulated by
    ``accumulator``: without CONCAT they are never there all at once. ``out_axes`` is 0.
    """
    if out_axes != 0:
        raise ArgumentError(f"micro_vmap: out_axes is 0, not {out_axes!r}", at=here())
    axes = (in_axes,) if isinstance(in_axes, int) else tuple(in_axes)

    def mapped(*args: Any) -> Any:
        found = vmap_fn(fun, axes, 0)(*args)
        count = as_array(tree_leaves(found)[0]).shape[0]
        return _whole(accumulator, count).aggregate(found)

    return microbatch(
        mapped,
        [k for k, axis in enumerate(axes) if axis is not None],
        microbatch_size,
        accumulator,
        in_axes=[axis for axis in axes if axis is not None],
        num_real_microbatches=num_real_microbatches,
    )


def _as_it_is(x: Any) -> Any:
    return x


def _nothing(x: Any) -> None:
    return None


def micro_grad(
    fun: Callable[..., Any],
    has_aux: bool = False,
    argnums: int | Sequence[int] = 0,
    *,
    batch_argnums: int | Sequence[int] = 1,
    keep_batch_dim: bool = True,
    microbatch_size: int | None = None,
    accumulator: Any = AccumulationType.SUM,
    transform_fn: Callable[[Any], Any] = _as_it_is,
    metrics_fn: Callable[[Any], Any] = _nothing,
    num_real_microbatches: Any = None,
) -> Callable[..., tuple[Any, IndividualOutputs]]:
    """The gradients of single examples, each through ``transform_fn`` (clipping), accumulated; and
    of each example its value, ``metrics_fn(gradient)`` and aux.

    ``batch_argnums``: arguments with examples along their first axis, of which ``fun`` sees a batch
    of one, or with ``keep_batch_dim=False`` the example alone.
    """
    batched = _several(batch_argnums, int)
    slope = value_and_grad(fun, argnums, has_aux=has_aux)

    def one(*args: Any, **kwargs: Any) -> Any:
        value, gradient = slope(*args, **kwargs)
        value, aux = value if has_aux else (value, None)
        return transform_fn(gradient), IndividualOutputs(value, metrics_fn(gradient), aux)

    axes = [0 if k in batched else None for k in range(max(batched) + 1)]

    def whole(*args: Any, **kwargs: Any) -> Any:
        given = list(args)
        for k in batched if keep_batch_dim else ():
            given[k] = tree_map(lambda x: jnp.expand_dims(x, 1), given[k])
        rest = [None] * (len(args) - len(axes))
        run = micro_vmap(
            lambda *xs: one(*xs, **kwargs),
            [*axes, *rest],
            microbatch_size=microbatch_size,
            accumulator=(accumulator, AccumulationType.CONCAT),
            num_real_microbatches=num_real_microbatches,
        )
        return run(*given)

    return whole


_errors.user_functions(globals())
